"""Reading the configuration file: its text, connections, server addresses, the data directory.

Decides which values are accepted, and names file, key and reason where one isn't. Doesn't know the settings of systems
(`service.settings`). Start at `file.py`.
"""

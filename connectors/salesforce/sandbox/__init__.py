"""A stateful stand-in of the Salesforce API, as strict as the documentation says.

Decides what an org would answer. Isn't used by the connector. Start at `server.py`.
"""

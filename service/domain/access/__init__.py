"""Rules of API keys: scopes and the form of a key.

Decides what a scope is called. Doesn't check keys (`service.access`). Start at `api_key.py`.
"""

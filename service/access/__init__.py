"""API keys: create, list, revoke, authenticate.

Decides which key is valid and which scopes it has. Doesn't decide which scope an operation needs: each route declares
it. Start at `authenticate.py`.
"""

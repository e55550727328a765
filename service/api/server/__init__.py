"""The listeners: sockets, limits of connections, the probes' own listener.

Decides which connection is accepted and when it ends. Doesn't decide what a request means: `service.api.app` does.
Start at `serve.py`.
"""

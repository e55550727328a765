"""Make every HTTP call of the service: `open_client` returns a strict httpx client.

Decides which addresses a call may reach, how long it may last, how much of an answer is read, which certificates TLS
accepts and which proxy is used. Doesn't decide the meaning of an answer; the rules for URLs and addresses are in
`connectors.base.destinations`. Start at `client.py`.
"""

"""The resources of the HTTP interface, one module each.

Decides paths, scopes and response models. Doesn't decide rules of a request nor SQL: each function calls one verb of a
wing. Start at `requests.py`.
"""

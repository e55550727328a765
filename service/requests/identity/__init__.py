"""The data subject's cluster: which requests to resolve next, what the search found, review.

Decides whether a cluster is settled or waits for a reviewer. Doesn't decide how the identity graph is searched
(`service.domain.identity`). Start at `resolve.py`.
"""

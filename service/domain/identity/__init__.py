"""Rules of identity: search of the graph, clusters, conflicts, normalisation, masks.

Decides which identifiers are one data subject's and where a reviewer is needed. Doesn't ask the warehouse. Start at
`walk.py`.
"""

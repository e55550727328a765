"""Plans: create steps, freeze, approve, release, and what a request does next.

Decides which systems get a step and when a plan needs an approval. Doesn't call connectors. Start at `advance.py`.
"""

"""Decisions of a person about steps: list them, retry them, resolve them.

Decides which steps a decision may change. Doesn't decide what a connector's result makes of a step: the rules in
`service.domain.execution` do. Start at `resolve.py`.
"""

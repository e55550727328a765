"""The table of steps: one store that writes it.

Decides how a transition becomes a row and an audit entry in one statement. Doesn't decide which transition follows an
event (`service.domain.execution.decide`). Start at `store.py`.
"""

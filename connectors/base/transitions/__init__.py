"""The transitions that follow from a connector's result: one rule for the service and the runner.

Decides what an answer, an error or a search makes of a step. Doesn't decide about holds, plans, leases and decisions of
people: `service.domain.execution.decide` does, and calls this rule for results. Start at `results.py`.
"""

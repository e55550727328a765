"""Rules of steps: transitions, retry policy, parked reasons, queues, circuit breaker.

Decides what a result makes of a step. Doesn't write the step (`service.execution`). Start at `decide.py`.
"""

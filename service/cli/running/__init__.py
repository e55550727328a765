"""Commands that run the service: `up`, `workers`, and the processes that they supervise.

Decides which process starts when, and what is printed about it. Doesn't decide what a process does. Start at `up.py`.
"""

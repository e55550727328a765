"""Requests from submission to sealing: look-up, deadlines, withdrawal, reveal, seal.

Decides what a request's state may become. Doesn't decide what happens to one step: `service.execution` does. Start at
`intake/submit.py`, then `planning/advance.py`.
"""

"""The product without Celery: HTTP interface, command line, the five wings, storage and pure rules.

Decides everything about requests, steps, suppression and evidence. Doesn't decide how one vendor is called
(`connectors`) nor which process runs a task (`workers`). Start at `api/app.py` for a request's way in, and at
`execution/run_batch.py` for a step's way out.
"""

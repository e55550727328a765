"""Rules of requests: states, deadlines, plans, blast radius, idempotency, certificates.

Decides which state may follow and when a response is due. Doesn't write requests (`service.requests`). Start at
`states.py`.
"""

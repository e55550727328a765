"""Legal holds: place, lift, list, and which requests a hold covers now.

Decides whether a hold stops a request. Doesn't stop a running batch: a lease's renewal reads the holds. Start at
`place.py`.
"""

"""Commands about requests, steps, holds and imports; all of them ask the HTTP interface.

Decides what is asked and printed. Doesn't read the database. Start at `request.py`.
"""

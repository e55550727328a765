"""Submissions: validate, find duplicates, build the rows, insert them in one transaction.

Decides whether a submission becomes a new request, a replay or a link to an earlier one. Doesn't read HTTP bodies
(`service.api.bodies`). Start at `submit.py`.
"""

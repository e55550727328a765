"""Deleting in Salesforce: find roots and dependents, plan, write, purge.

Decides the order of deletion and what stays, with the reason. Doesn't open sessions. Start at `planning.py`.
"""

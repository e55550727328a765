"""The table `requests`: its rows, its locks, and its only INSERT and UPDATEs.

Decides nothing about a request's way: the use cases do. Start at `changes.py`.
"""

"""SOQL of the stand-in: parser, paths, conditions, selection.

Decides which rows a query returns. Start at `select.py`.
"""

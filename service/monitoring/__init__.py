"""Figures about the whole installation: work counts for metrics, readiness.

Decides what counts as ready and which figures are exported. Changes nothing. Start at `readiness.py`.
"""

"""The scheduled scan of systems for suppressed people that came back.

Decides which changed records match the suppression list and which requests are opened for them. Doesn't decide how a
connector reads changes. Start at `scan_schedule.py`, then `match_changes.py`.
"""

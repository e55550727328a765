"""Commands about evidence: export, verify, reports, upkeep of the log.

Decides what is printed. `verify_audit.py` is the single file that auditors run without Expunge. Start at `commands.py`.
"""

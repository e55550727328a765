"""Triggers that refuse changes of logged rows, as a first fence against mistakes.

They don't protect against the owner of the database, who can disable them; the signed tree and the offline verifier
find a change that was made then. Decides which audit tables only grow. A migration executes `FENCE` after it created
the tables.
"""

from __future__ import annotations

from service.store.sql_files import load_sql

FENCED_TABLES = ("audit_leaves", "audit_nodes", "audit_checkpoints", "audit_findings")

FENCE = load_sql(__package__, "fence")
"""The trigger function, and the trigger `only_grows` of each of `FENCED_TABLES`."""

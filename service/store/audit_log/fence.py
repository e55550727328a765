"""Triggers that refuse to change what was logged: a first fence against mistakes, no protection against the owner.

Decides which audit tables only grow. A migration runs `FENCE` after it created the tables. Whoever owns the database
can take the fence down; that is what the signed tree and the offline verifier are for.
"""

from __future__ import annotations

FENCED_TABLES = ("audit_leaves", "audit_nodes", "audit_checkpoints", "audit_findings")

FENCE: tuple[str, ...] = (
    """
    CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'table % only grows', TG_TABLE_NAME;
    END
    $$
    """,
    *(
        f"CREATE TRIGGER only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()"
        for table in FENCED_TABLES
    ),
)

UNFENCE: tuple[str, ...] = (
    *(f"DROP TRIGGER only_grows ON {table}" for table in FENCED_TABLES),
    "DROP FUNCTION refuse_audit_change()",
)

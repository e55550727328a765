"""Rename columns whose names misled, and one reason of requests.

`lane` is `fair_queue`, because a `queue` is also one of Celery's. `tries` counted two things: a request's or a step's
attempts since its last success, a running one included, and the errors in a row of a suppression sync.
"""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rename columns in place. PostgreSQL adapts indexes, generated columns and constraints by itself."""
    op.alter_column("requests", "lane", new_column_name="fair_queue")
    op.alter_column("steps", "lane", new_column_name="fair_queue")
    op.alter_column("requests", "duty", new_column_name="next_action")
    op.alter_column("requests", "tries", new_column_name="consecutive_attempts")
    op.alter_column("steps", "tries", new_column_name="consecutive_attempts")
    op.alter_column("suppression_syncs", "tries", new_column_name="consecutive_errors")
    op.alter_column("steps", "left_over", new_column_name="remaining")
    op.alter_column("steps", "rounds", new_column_name="plan_rounds")
    op.alter_column("requests", "linked_to", new_column_name="duplicate_of")
    op.execute("ALTER INDEX ix_requests_linked_to RENAME TO ix_requests_duplicate_of")
    op.execute(
        "ALTER TABLE requests RENAME CONSTRAINT fk_requests_linked_to_requests TO fk_requests_duplicate_of_requests"
    )
    op.execute("UPDATE requests SET reason = 'duplicate' WHERE reason = 'linked'")
    # The receipts of submissions are answered again to whoever repeats the Idempotency-Key.
    op.execute(
        "UPDATE idempotency_keys SET receipt = receipt - 'linked_to'"
        " || jsonb_build_object('duplicate_of', receipt -> 'linked_to') WHERE receipt ? 'linked_to'"
    )
    op.alter_column("systems", "rest_until", new_column_name="cooldown_until")
    op.alter_column("systems", "rest_reason", new_column_name="cooldown_reason")

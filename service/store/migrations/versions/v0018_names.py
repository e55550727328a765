"""Rename columns whose names misled; no row is rewritten.

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

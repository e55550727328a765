"""Rename columns whose names misled; no row is rewritten.

`lane` is `fair_queue`, because a `queue` is also one of Celery's.
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

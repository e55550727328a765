"""Store which of the vendor's jobs an accepted step waits for, and when its last callback came.

Also adds the indexes of two parts of the unfinished rows that had none: waiting steps and overdue requests.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns without defaults, and indexes of few rows each; nothing that exists changes."""
    op.add_column("steps", sa.Column("job_hashes", postgresql.ARRAY(sa.LargeBinary()), nullable=True))
    op.add_column("steps", sa.Column("hinted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_steps_jobs",
        "steps",
        ["job_hashes"],
        postgresql_using="gin",
        postgresql_where=sa.text("state = 'accepted' AND job_hashes IS NOT NULL"),
    )
    op.create_index(
        "ix_steps_waiting", "steps", ["system"], unique=False, postgresql_where=sa.text("state = 'waiting'")
    )
    op.create_index(
        "ix_requests_overdue",
        "requests",
        ["respond_by"],
        unique=False,
        postgresql_where=sa.text("state IN ('open', 'in_progress') AND overdue_at IS NOT NULL"),
    )

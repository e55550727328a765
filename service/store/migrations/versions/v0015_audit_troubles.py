"""Store why the audit log can't be signed or anchored, because readiness and the console show it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table of one row per failing part; empty while everything works."""
    op.create_table(
        "audit_troubles",
        sa.Column("part", sa.String(60), nullable=False),
        sa.Column("code", sa.String(80), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("part", name="pk_audit_troubles"),
    )

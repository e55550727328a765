"""Systems at rest, systems that are down, and what was taken of long rate limits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns that have defaults, and one table; nothing that exists changes."""
    op.add_column("systems", sa.Column("rest_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("systems", sa.Column("rest_reason", sa.Text(), nullable=True))
    op.add_column("systems", sa.Column("failed_passes", sa.Integer(), server_default="0", nullable=False))
    op.add_column("systems", sa.Column("down_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("systems", sa.Column("is_slow", sa.Boolean(), server_default="false", nullable=False))
    op.create_table(
        "call_counts",
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("window_seconds", sa.Float(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("begins_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["system"], ["systems.name"], name=op.f("fk_call_counts_system_systems")),
        sa.PrimaryKeyConstraint("system", "window_seconds", "unit", "begins_at", name=op.f("pk_call_counts")),
    )

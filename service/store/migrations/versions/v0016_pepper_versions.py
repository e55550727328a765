"""Store which peppers the store's keyed hashes need.

The version is the store's, no longer a row's, which no code ever read.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One new table; two columns go, which PostgreSQL does without rewriting the tables."""
    op.create_table(
        "pepper_versions",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("check_value", sa.LargeBinary(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_pepper_versions")),
    )
    op.drop_column("identifiers", "pepper_version")
    op.drop_column("suppression_entries", "pepper_version")

"""Keep with each system what its connector declares not to cover, because certificates must name it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column with a default to a table of a few rows; the next start fills it."""
    op.add_column("systems", sa.Column("not_covered", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False))

"""What the look said that followed an erasing call in the same pass."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add one column without a default; nothing that exists changes."""
    op.add_column("attempts", sa.Column("look", sa.Text(), nullable=True))

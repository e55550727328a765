"""Store the result of the look after an erasing call; keep free space beside rows that change soon."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add one column without a default, and have pages that are filled from now on keep some room."""
    op.add_column("attempts", sa.Column("look", sa.Text(), nullable=True))
    op.execute("ALTER TABLE requests SET (fillfactor = 65)")
    op.execute("ALTER TABLE identifiers SET (fillfactor = 65)")

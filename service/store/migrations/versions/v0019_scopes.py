"""Store the scopes of requests and of entries of the suppression list.

Until now every entry was written for an erasure, so that every stored entry has the scope `erased`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns without rewriting the tables, and make the primary key longer."""
    op.add_column(
        "requests", sa.Column("scopes", postgresql.ARRAY(sa.Text()), server_default='{"erased"}', nullable=False)
    )
    op.alter_column("requests", "scopes", server_default=None)
    op.add_column("suppression_entries", sa.Column("scope", sa.Text(), server_default="erased", nullable=False))
    op.alter_column("suppression_entries", "scope", server_default=None)
    op.drop_constraint("pk_suppression_entries", "suppression_entries", type_="primary")
    op.create_primary_key("pk_suppression_entries", "suppression_entries", ["keyed_hash", "request_id", "scope"])

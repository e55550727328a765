"""Index the requests that the suppression list lags by, of which a check reads the oldest."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index of requests that the engine still has to bring onto the list."""
    op.create_index(
        "ix_requests_unlisted",
        "requests",
        ["created_at"],
        postgresql_where=sa.text("next_action IN ('identify', 'freeze') AND plan_version = 0"),
    )

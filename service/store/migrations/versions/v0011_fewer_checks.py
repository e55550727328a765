"""Drop the foreign keys of a step's request, system and batch (see store.tables.work).

A request may be checked at a later time than now.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop three foreign keys, and add a column to a table that holds rows for seconds."""
    op.drop_constraint("fk_steps_request_id_requests", "steps", type_="foreignkey")
    op.drop_constraint("fk_steps_system_systems", "steps", type_="foreignkey")
    op.drop_constraint("fk_steps_batch_id_batches", "steps", type_="foreignkey")
    op.add_column(
        "request_checks",
        sa.Column("look_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
    )

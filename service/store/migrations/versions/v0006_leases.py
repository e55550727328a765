"""A lease is one entry of its batch; attempts are told apart by their number and take their answer in place."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Batches count their entries; attempts lose an id that nobody asked for, a foreign key and two indexes."""
    op.add_column("batches", sa.Column("version", sa.Integer(), server_default="0", nullable=False))
    op.add_column("batches", sa.Column("entry_hash", sa.LargeBinary(), nullable=True))
    op.drop_constraint("pk_attempts", "attempts", type_="primary")
    op.drop_constraint("fk_attempts_step_id_steps", "attempts", type_="foreignkey")
    op.drop_index("ix_attempts_step_id", table_name="attempts")
    op.drop_column("attempts", "id")
    op.create_primary_key("pk_attempts", "attempts", ["step_id", "number"])
    op.execute("ALTER TABLE attempts SET (fillfactor = 50)")

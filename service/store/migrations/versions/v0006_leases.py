"""Log a lease as one entry of its batch; identify attempts by their number and update them in place."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Count batches' entries; drop an unused id, a foreign key and two indexes of attempts."""
    op.add_column("batches", sa.Column("version", sa.Integer(), server_default="0", nullable=False))
    op.add_column("batches", sa.Column("entry_hash", sa.LargeBinary(), nullable=True))
    op.drop_constraint("pk_attempts", "attempts", type_="primary")
    op.drop_constraint("fk_attempts_step_id_steps", "attempts", type_="foreignkey")
    op.drop_index("ix_attempts_step_id", table_name="attempts")
    op.drop_column("attempts", "id")
    op.create_primary_key("pk_attempts", "attempts", ["step_id", "number"])
    op.execute("ALTER TABLE attempts SET (fillfactor = 50)")

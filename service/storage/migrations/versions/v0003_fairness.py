"""Lines of due steps: whose turn it is, by time left, and no bulk submission before everybody else."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.domain.fairness import SINGLE_LANE

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DUE = "state IN ('due', 'accepted')"


def upgrade() -> None:
    """Every step that exists stands in the line of requests that came one by one."""
    if "import_id" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("requests")}:
        op.add_column("requests", sa.Column("import_id", sa.Uuid(), nullable=True))
    op.add_column("systems", sa.Column("last_bulk", sa.Uuid(), nullable=True))
    op.add_column("steps", sa.Column("lane", sa.Uuid(), server_default=str(SINGLE_LANE), nullable=False))
    op.drop_index("ix_steps_due", table_name="steps")
    op.create_index(
        "ix_steps_fresh",
        "steps",
        ["system", "phase", "lane", "respond_by", "due_at"],
        unique=False,
        postgresql_where=sa.text(f"{_DUE} AND batch_id IS NULL"),
    )
    op.create_index(
        "ix_steps_again",
        "steps",
        ["system", "lane", "respond_by", "due_at"],
        unique=False,
        postgresql_where=sa.text(f"{_DUE} AND batch_id IS NOT NULL"),
    )
    op.add_column("batches", sa.Column("root_id", sa.Uuid(), nullable=True))
    op.create_index(
        "ix_batches_root", "batches", ["root_id"], unique=False, postgresql_where=sa.text("root_id IS NOT NULL")
    )
    op.drop_index("ix_steps_parked", table_name="steps")
    op.create_index(
        "ix_steps_parked", "steps", ["system", "id"], unique=False, postgresql_where=sa.text("state = 'parked'")
    )

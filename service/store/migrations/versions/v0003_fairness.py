"""Add queues of due steps by time left and bulk submission, parts of split batches, archived attempts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Written out: what a migration does must not change with the constants of the code.
_SINGLE = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_LANE = (
    "CASE WHEN urgent THEN '00000000-0000-0000-0000-000000000000'::uuid"
    " ELSE COALESCE(import_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) END"
)
_DUE = "state IN ('due', 'accepted')"


def upgrade() -> None:
    """Every step that exists stands in the line of requests that came one by one."""
    op.add_column("requests", sa.Column("import_id", sa.Uuid(), nullable=True))
    op.add_column("requests", sa.Column("urgent", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("requests", sa.Column("lane", sa.Uuid(), sa.Computed(_LANE, persisted=True), nullable=False))
    op.create_index(
        "ix_requests_identify",
        "requests",
        ["lane", "respond_by", "due_at"],
        unique=False,
        postgresql_where=sa.text("duty = 'identify'"),
    )
    op.add_column("requests", sa.Column("attempts_kept", sa.Boolean(), server_default="true", nullable=False))
    op.create_index(
        "ix_requests_sealed",
        "requests",
        ["sealed_at"],
        unique=False,
        postgresql_where=sa.text("sealed_at IS NOT NULL AND attempts_kept"),
    )
    op.add_column("systems", sa.Column("last_bulk", sa.Uuid(), nullable=True))
    op.add_column("steps", sa.Column("lane", sa.Uuid(), server_default=_SINGLE, nullable=False))
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

"""A step's request, system and batch aren't checked by the database at every write any more: see storage.tables.work."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop three foreign keys; no row changes."""
    op.drop_constraint("fk_steps_request_id_requests", "steps", type_="foreignkey")
    op.drop_constraint("fk_steps_system_systems", "steps", type_="foreignkey")
    op.drop_constraint("fk_steps_batch_id_batches", "steps", type_="foreignkey")

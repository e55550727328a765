"""Add the suppression sync's rows: each system's cursor, and the erased people that appeared again.

Also whom the sync has to search for again, and the first request of a person who re-appeared.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    """Make three tables and a column without a default; nothing that exists changes."""
    op.create_table(
        "suppression_syncs",
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("due_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.Column("nudged_at", _INSTANT, nullable=True),
        sa.Column("lease_until", _INSTANT, nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_success_at", _INSTANT, nullable=True),
        sa.Column("found", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(["system"], ["systems.name"], name=op.f("fk_suppression_syncs_system_systems")),
        sa.PrimaryKeyConstraint("system", name=op.f("pk_suppression_syncs")),
    )
    op.create_table(
        "reappearances",
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("record_hash", sa.LargeBinary(), nullable=False),
        sa.Column("changed_at", _INSTANT, nullable=False),
        sa.Column("origin_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("seen_at", _INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["system"], ["systems.name"], name=op.f("fk_reappearances_system_systems")),
        sa.ForeignKeyConstraint(["origin_id"], ["requests.id"], name=op.f("fk_reappearances_origin_id_requests")),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_reappearances_request_id_requests")),
        sa.PrimaryKeyConstraint("system", "record_hash", "changed_at", name=op.f("pk_reappearances")),
    )
    op.create_table(
        "suppression_waits",
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["system"], ["systems.name"], name=op.f("fk_suppression_waits_system_systems")),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name=op.f("fk_suppression_waits_request_id_requests")),
        sa.PrimaryKeyConstraint("system", "request_id", "cursor", name=op.f("pk_suppression_waits")),
    )
    op.add_column("requests", sa.Column("reappearance_of", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_requests_reappearance_of_requests"), "requests", "requests", ["reappearance_of"], ["id"]
    )
    op.create_index(
        "ix_requests_reappearance_of",
        "requests",
        ["reappearance_of"],
        unique=False,
        postgresql_where=sa.text("reappearance_of IS NOT NULL"),
    )

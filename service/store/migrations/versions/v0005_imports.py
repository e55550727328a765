"""Imports: their rows, their refused lines, and which request came with which line of which import."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_OF_AN_IMPORT = sa.text("import_id IS NOT NULL")


def upgrade() -> None:
    """Make the tables and the columns; rows that exist came with no import."""
    op.create_table(
        "imports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("submitted_by", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", _INSTANT, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("received_at", _INSTANT, nullable=True),
        sa.Column("accepted", sa.Integer(), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("entry_hash", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
        sa.UniqueConstraint("submitted_by", "key", name=op.f("uq_imports_submitted_by_key")),
    )
    op.create_index("ix_imports_page", "imports", ["created_at", "id"], unique=False)
    op.create_index(
        "ix_imports_halted",
        "imports",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state IN ('paused', 'cancelling')"),
    )
    op.create_table(
        "import_refusals",
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("errors", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name=op.f("fk_import_refusals_import_id_imports")),
        sa.PrimaryKeyConstraint("import_id", "line", name=op.f("pk_import_refusals")),
    )
    op.add_column("requests", sa.Column("import_line", sa.Integer(), nullable=True))
    op.add_column("requests", sa.Column("import_fingerprint", sa.LargeBinary(), nullable=True))
    op.create_foreign_key(op.f("fk_requests_import_id_imports"), "requests", "imports", ["import_id"], ["id"])
    op.create_index(
        "ix_requests_import_state", "requests", ["import_id", "state"], unique=False, postgresql_where=_OF_AN_IMPORT
    )
    op.create_index(
        "ix_requests_import_line",
        "requests",
        ["import_id", "import_line"],
        unique=False,
        postgresql_where=_OF_AN_IMPORT,
    )

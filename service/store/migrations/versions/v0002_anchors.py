"""Anchors: what was published, disagreements, admitted processes, and pruned prefixes of the log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NOW = sa.text("clock_timestamp()")


def upgrade() -> None:
    """Make the tables; nothing that exists changes."""
    op.create_table(
        "anchored_heads",
        sa.Column("anchor", sa.String(length=40), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("anchor", name=op.f("pk_anchored_heads")),
    )
    op.create_table(
        "anchor_conflicts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("anchor", sa.String(length=40), nullable=False),
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("accepted_by", sa.String(length=80), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_anchor_conflicts")),
    )
    op.create_index(
        "ix_anchor_conflicts_open",
        "anchor_conflicts",
        ["anchor", "code"],
        unique=True,
        postgresql_where=sa.text("accepted_at IS NULL"),
    )
    op.create_table(
        "vendor_admissions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("admitted_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vendor_admissions")),
    )
    op.create_index("ix_vendor_admissions_admitted_at", "vendor_admissions", ["admitted_at"], unique=False)
    op.create_table(
        "audit_pruned",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("pruned_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_audit_pruned")),
    )

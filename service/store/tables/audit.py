"""The audit log's tables: pending entries, leaves and nodes of the tree, signed heads, findings.

The truth is `audit_leaves.entry` under `audit_checkpoints.note`; every other column is recomputed from these two by the
export, which refuses if it differs. `created_at` columns are bookkeeping of the sequencer and prove nothing.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Identity, Index, LargeBinary, SmallInteger, String, Text, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.base import Base


class AuditPending(Base):
    """An entry, written in the transaction of its change, that isn't in the tree yet.

    `refused` is the reason why the sequencer will never take it.
    """

    __tablename__ = "audit_pending"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    entry: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=sql("clock_timestamp()"))
    refused: Mapped[str | None] = mapped_column(String(40))


class AuditLeaf(Base):
    """One entry of the log. `subject` repeats the entry's own, to find a request's entries."""

    __tablename__ = "audit_leaves"
    __table_args__ = (
        Index("ix_audit_leaves_subject", "subject", "index", postgresql_where=sql("subject IS NOT NULL")),
    )

    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    entry: Mapped[bytes] = mapped_column(LargeBinary)
    leaf_hash: Mapped[bytes] = mapped_column(LargeBinary)
    subject: Mapped[str | None] = mapped_column(String(64))


class AuditNode(Base):
    """The hash of a complete perfect subtree of 2**level leaves, level 1 and up. Never changes."""

    __tablename__ = "audit_nodes"

    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class AuditHead(Base):
    """The newest logged entry of an object, which the sequencer compares with the next one.

    It is a guard, no evidence.
    """

    __tablename__ = "audit_heads"
    # Each row changes with each of its object's entries: room beside it, and its index stays as it is.
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)

    object: Mapped[str] = mapped_column(String(80), primary_key=True)
    object_id: Mapped[str] = mapped_column(String(80), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(String(64))


class AuditCheckpoint(Base):
    """A signed head: the C2SP note, and its size and root in columns."""

    __tablename__ = "audit_checkpoints"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    note: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=sql("clock_timestamp()"))


class AuditFinding(Base):
    """A disagreement that was found in the log, kept for its investigation.

    One row per finding, however often it is found.
    """

    __tablename__ = "audit_findings"
    __table_args__ = (UniqueConstraint("code", "detail"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    found_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=sql("clock_timestamp()"))
    code: Mapped[str] = mapped_column(String(40))
    detail: Mapped[str] = mapped_column(Text)


class AuditTroubleRow(Base):
    """A part (`signing`, `anchor:<name>`) whose last attempt failed, and since when.

    It is bookkeeping and proves nothing.
    """

    __tablename__ = "audit_troubles"

    part: Mapped[str] = mapped_column(String(60), primary_key=True)
    code: Mapped[str] = mapped_column(String(80))
    reason: Mapped[str] = mapped_column(Text)
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=sql("clock_timestamp()"))

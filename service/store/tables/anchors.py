"""The heads that anchors have, and the disagreements that stop vendor calls until a human decides.

These rows are restored with the database, so that they prove nothing by themselves: the anchors do. They engage the
safety interlock (store.interlock) from the time that a disagreement is found until a human's decision.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.base import Base
from service.store.tables.requests import Instant


class AnchoredHeadRow(Base):
    """The head that was published last to an anchor."""

    __tablename__ = "anchored_heads"

    anchor: Mapped[str] = mapped_column(String(40), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    published_at: Mapped[datetime] = mapped_column(Instant, server_default=text("clock_timestamp()"))


class AnchorConflictRow(Base):
    """A disagreement with an anchor. While `accepted_at` is empty nothing is leased."""

    __tablename__ = "anchor_conflicts"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    anchor: Mapped[str] = mapped_column(String(40))
    code: Mapped[str] = mapped_column(String(40))
    detail: Mapped[str] = mapped_column(Text)
    found_at: Mapped[datetime] = mapped_column(Instant, server_default=text("clock_timestamp()"))
    accepted_at: Mapped[datetime | None] = mapped_column(Instant)
    accepted_by: Mapped[str | None] = mapped_column(String(80))

    __table_args__ = (
        Index("ix_anchor_conflicts_open", "anchor", "code", unique=True, postgresql_where=text("accepted_at IS NULL")),
    )


class VendorAdmissionRow(Base):
    """A process that compared the store with the anchors.

    A restored database doesn't know the processes that were admitted later.
    """

    __tablename__ = "vendor_admissions"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    admitted_at: Mapped[datetime] = mapped_column(Instant, server_default=text("clock_timestamp()"))

    __table_args__ = (Index("ix_vendor_admissions_admitted_at", "admitted_at"),)


class PrunedLogRow(Base):
    """The prefix of the log that was removed after its retention: its size, and the root over it."""

    __tablename__ = "audit_pruned"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    pruned_at: Mapped[datetime] = mapped_column(Instant, server_default=text("clock_timestamp()"))

"""The suppression sync's rows: each system's cursor, its findings, and the people to search for again.

No column holds personal data in clear: a cursor has none by its contract, records are keyed hashes.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.base import Base
from service.store.tables.requests import Instant


class SuppressionSyncRow(Base):
    """One system's sync. `cursor` is its connector's own; none before the first page.

    `fence` grows with each lease; only its holder may write. `last_error` is the code of
    the last of `consecutive_errors`, until the next success. `found` is the number of all re-appearances.
    """

    __tablename__ = "suppression_syncs"

    system: Mapped[str] = mapped_column(ForeignKey("systems.name"), primary_key=True)
    cursor: Mapped[str | None] = mapped_column(Text)
    due_at: Mapped[datetime] = mapped_column(Instant, server_default=text("clock_timestamp()"))
    nudged_at: Mapped[datetime | None] = mapped_column(Instant)
    lease_until: Mapped[datetime | None] = mapped_column(Instant)
    fence: Mapped[int] = mapped_column(BigInteger, server_default="0")
    consecutive_errors: Mapped[int] = mapped_column(server_default="0")
    last_error: Mapped[str | None] = mapped_column(Text)
    last_success_at: Mapped[datetime | None] = mapped_column(Instant)
    found: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=text("clock_timestamp()"))


class ReappearanceRow(Base):
    """A record of an erased person that was seen again, in the state that it had at `changed_at`.

    It makes the same state, read twice, one request. `origin_id` is the person's first request, `request_id` the one
    that was opened now.
    """

    __tablename__ = "reappearances"

    system: Mapped[str] = mapped_column(ForeignKey("systems.name"), primary_key=True)
    record_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    changed_at: Mapped[datetime] = mapped_column(Instant, primary_key=True)
    origin_id: Mapped[UUID] = mapped_column(ForeignKey("requests.id"))
    request_id: Mapped[UUID] = mapped_column(ForeignKey("requests.id"))
    seen_at: Mapped[datetime] = mapped_column(Instant)


class SuppressionWaitRow(Base):
    """A page with a person on whom another request still works.

    It is read again when that request has ended.
    """

    __tablename__ = "suppression_waits"

    system: Mapped[str] = mapped_column(ForeignKey("systems.name"), primary_key=True)
    request_id: Mapped[UUID] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    cursor: Mapped[str] = mapped_column(Text, primary_key=True)

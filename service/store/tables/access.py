"""API keys and legal holds."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.base import Base
from service.store.tables.requests import Instant


class ApiKeyRow(Base):
    """An API key: its shown part (`prefix`), the hash of its secret, its scopes, its end."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    prefix: Mapped[str] = mapped_column(Text, unique=True)
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(Instant)
    expires_at: Mapped[datetime] = mapped_column(Instant)
    revoked_at: Mapped[datetime | None] = mapped_column(Instant)
    version: Mapped[int] = mapped_column(server_default="0")
    entry_hash: Mapped[bytes | None] = mapped_column(LargeBinary)


class HoldRow(Base):
    """A legal hold on a person; from `effective_at` on no effect starts.

    `reason` is a code, never free text.
    """

    __tablename__ = "holds"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(Text)
    until: Mapped[datetime | None] = mapped_column(Instant)
    placed_by: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(Instant)
    effective_at: Mapped[datetime] = mapped_column(Instant)
    lifted_at: Mapped[datetime | None] = mapped_column(Instant)
    version: Mapped[int] = mapped_column(server_default="0")
    entry_hash: Mapped[bytes | None] = mapped_column(LargeBinary)

    __table_args__ = (Index("ix_holds_open", "id", postgresql_where=text("lifted_at IS NULL")),)


class HoldHashRow(Base):
    """One identifier of a held person, as a keyed hash."""

    __tablename__ = "hold_hashes"

    hold_id: Mapped[UUID] = mapped_column(ForeignKey("holds.id"), primary_key=True)
    keyed_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("ix_hold_hashes_keyed_hash", "keyed_hash"),)

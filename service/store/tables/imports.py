"""Imports, each with many requests of one body, to follow, pause and cancel; and their refused lines.

Accepted lines are requests (`requests.import_id`, `import_line`). A refused line's row has the place and the reason,
never the line's content.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.base import Base
from service.store.tables.requests import Instant


class ImportRow(Base):
    """One import. `state`: see domain.imports.ImportState; `received_at`: when its body last came whole."""

    __tablename__ = "imports"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    submitted_by: Mapped[UUID]
    key: Mapped[str] = mapped_column(Text)
    format: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=text("clock_timestamp()"))
    received_at: Mapped[datetime | None] = mapped_column(Instant)
    accepted: Mapped[int] = mapped_column(server_default="0")
    version: Mapped[int] = mapped_column(server_default="0")
    entry_hash: Mapped[bytes | None] = mapped_column(LargeBinary)

    __table_args__ = (
        UniqueConstraint("submitted_by", "key"),
        Index("ix_imports_page", "created_at", "id"),
        # The lease of every batch reads these; finished imports don't make it slower.
        Index("ix_imports_halted", "id", postgresql_where=text("state IN ('paused', 'cancelling')")),
    )


class ImportRefusalRow(Base):
    """A line that was refused when it was last sent: number, problem code, place and reason."""

    __tablename__ = "import_refusals"

    import_id: Mapped[UUID] = mapped_column(ForeignKey("imports.id"), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    code: Mapped[str] = mapped_column(Text)
    errors: Mapped[list[dict[str, str]]] = mapped_column(JSONB)

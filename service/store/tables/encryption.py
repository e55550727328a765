"""The audited record of encryption epochs, and the peppers that the main store's hashes need.

Holds no key. The key store's own register of epochs is `key_epochs`.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import LargeBinary, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.base import Base
from service.store.tables.requests import Instant


class EncryptionEpochRow(Base):
    """An epoch that the audit log knows. `state` is `begun`, `destroyed` or `lost`. Never holds a key."""

    __tablename__ = "encryption_epochs"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(server_default="0")
    entry_hash: Mapped[bytes | None] = mapped_column(LargeBinary)


class PepperVersionRow(Base):
    """One pepper of this store's keyed hashes; all of them together make a hash of the newest version."""

    __tablename__ = "pepper_versions"

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    check_value: Mapped[bytes] = mapped_column(LargeBinary)
    begun_at: Mapped[datetime] = mapped_column(Instant, server_default=text("clock_timestamp()"))

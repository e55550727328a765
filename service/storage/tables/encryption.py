"""The audited record of encryption epochs, beside the audit log. The key store's own register is `key_epochs`."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.storage.tables.base import Base


class EncryptionEpochRow(Base):
    """An epoch that the audit log knows. `state` is `begun`, `destroyed` or `lost`. Never holds a key."""

    __tablename__ = "encryption_epochs"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(server_default="0")
    entry_hash: Mapped[bytes | None] = mapped_column(LargeBinary)

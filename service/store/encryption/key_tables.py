"""Tables of the key store's database: data keys, and the encryption epochs whose keys wrap them.

Epoch keys themselves are never in a database: `epoch_files` or a KMS keeps them.
"""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Index, LargeBinary, MetaData, Table, Text, Uuid, text

from service.domain.encryption.epochs import EpochState

KEY_METADATA = MetaData()

# `wrapping_key_id` is an epoch's id; `local-1` in rows from before there were epochs, wrapped under the
# key-encryption key itself.
data_keys = Table(
    "data_keys",
    KEY_METADATA,
    Column("owner", Text, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("wrapping_key_id", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), server_default=text("clock_timestamp()"), nullable=False),
)

key_epochs = Table(
    "key_epochs",
    KEY_METADATA,
    Column("id", Uuid, primary_key=True),
    Column("state", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), server_default=text("clock_timestamp()"), nullable=False),
    Column("retired_at", DateTime(timezone=True)),
    Column("emptied_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
)
# Two processes can't both begin an epoch.
Index(
    "uq_key_epochs_current",
    key_epochs.c.state,
    unique=True,
    postgresql_where=key_epochs.c.state == EpochState.CURRENT.value,
)

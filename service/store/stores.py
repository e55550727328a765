"""Everything durable that a process works with, opened together and passed down."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Engine

from service.store.autocommit import Autocommit
from service.store.encryption.key_store import KeyStore
from service.store.encryption.keyed_hash import Pepper
from service.store.encryption.pepper_versions import refuse_other_peppers
from service.store.encryption.secrets import Secrets
from service.store.engine import open_engine


@dataclass(frozen=True)
class Stores:
    """The main store, the key store and the pepper of the keyed hashes.

    `autocommit` executes single statements of the main store, each a transaction by itself.
    """

    engine: Engine = field(repr=False)
    keys: KeyStore = field(repr=False)
    pepper: Pepper
    autocommit: Autocommit = field(repr=False)
    _key_engine: Engine = field(repr=False)

    @classmethod
    def open(
        cls,
        database_url: str,
        key_database_url: str,
        secrets: Secrets,
        *,
        pool_size: int = 5,
        plans_once: bool = False,
    ) -> Stores:
        """Open both databases; nothing is connected before the first use. `plans_once` as for `open_engine`."""
        key_engine = open_engine(key_database_url, pool_size=pool_size, plans_once=plans_once)
        engine = open_engine(database_url, pool_size=pool_size, plans_once=plans_once)
        refuse_other_peppers(engine, secrets.pepper)
        return cls(
            engine=engine,
            keys=KeyStore(key_engine, secrets.epochs, secrets.key_encryption_keys),
            pepper=secrets.pepper,
            autocommit=Autocommit(engine),
            _key_engine=key_engine,
        )

    @property
    def key_engine(self) -> Engine:
        """The key store's database, for its upkeep; its rows are `keys`' alone."""
        return self._key_engine

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
        self._key_engine.dispose()

"""What a worker process holds open: settings, stores, one connector instance per system, the identity source.

Made after the fork, on first use; nothing of it is shared between processes or threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Mapping
from pathlib import Path

from connectors.base.identity_source import IdentitySource, Neighbours
from connectors.base.interface import Connector
from connectors.base.registry import connector_class, identity_sources
from connectors.base.values import Identifier
from service.domain.signed_note import SigningKey
from service.settings import Settings, load_settings
from service.storage.open_installation import open_stores
from service.storage.secrets import audit_signing_key
from service.storage.stores import Stores

CONFIG_VARIABLE = "EXPUNGE_CONFIG"


class NoIdentityGraph:
    """Stands in where no identity graph is configured: nobody has neighbours, only what was submitted counts."""

    def neighbours(
        self, identifiers: Collection[Identifier], *, max_neighbours: int
    ) -> Mapping[Identifier, Neighbours]:
        """Nothing is known of anybody."""
        return {}

    def close(self) -> None:
        """Nothing to give back."""


class Runtime:
    """The open things of one thread of one worker process."""

    def __init__(self, settings: Settings, stores: Stores) -> None:
        self.settings = settings
        self.stores = stores
        self._connectors: dict[str, Connector] = {}
        self._source: IdentitySource | None = None
        self._signing_key: SigningKey | None = None

    def connector(self, system: str) -> Connector:
        """The connector instance of one system. Raises KeyError for a system that isn't configured here."""
        if system not in self._connectors:
            config = self.settings.system(system).config
            self._connectors[system] = connector_class(config.connector)(config)
        return self._connectors[system]

    def identity_source(self) -> IdentitySource:
        """The configured identity graph."""
        if self._source is None:
            graph = self.settings.identity_graph
            if graph is None:
                self._source = NoIdentityGraph()
            else:
                table = graph.model_dump(include={"base_url", "credentials", "table", "columns"})
                self._source = identity_sources()[graph.source](table)
        return self._source

    def signing_key(self) -> SigningKey:
        """The audit log's signing key."""
        if self._signing_key is None:
            self._signing_key = audit_signing_key(self.settings)
        return self._signing_key

    def close(self) -> None:
        """Give everything back."""
        for connector in self._connectors.values():
            connector.close()
        if self._source is not None:
            self._source.close()
        self.stores.close()


_local = threading.local()


def runtime() -> Runtime:
    """This thread's runtime, opened on first use from the file that EXPUNGE_CONFIG names."""
    if getattr(_local, "pid", None) != os.getpid():
        settings = load_settings(Path(os.environ[CONFIG_VARIABLE]))
        _local.runtime = Runtime(settings, open_stores(settings, pool_size=2))
        _local.pid = os.getpid()
    opened: Runtime = _local.runtime
    return opened

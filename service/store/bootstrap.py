"""Opens the stores of this installation for any of its processes.

Decides where the URLs come from: the configuration, or, for embedded servers, the environment that `expunge up` gives
its children, or the run file that it leaves for commands on the same machine.
"""

from __future__ import annotations

import json
import os

from connectors.base.config import ConfigurationError
from connectors.base.identity_source import IdentitySource, OpenIdentitySource
from connectors.base.registry import identity_sources
from service.settings import Settings
from service.store.encryption.secrets import load_secrets
from service.store.stores import Stores

RUN_FILE = "run/servers.json"
_VARIABLES = {
    "database_url": "EXPUNGE_DATABASE_URL",
    "key_database_url": "EXPUNGE_KEY_DATABASE_URL",
    "broker_url": "EXPUNGE_BROKER_URL",
}


def open_stores(settings: Settings, *, pool_size: int = 5, plans_once: bool = False) -> Stores:
    """Open the main store and the key store. Raises ConfigurationError when no server is known.

    `plans_once` as for `open_engine`.
    """
    return Stores.open(
        server_url(settings, "database_url"),
        server_url(settings, "key_database_url"),
        load_secrets(settings),
        pool_size=pool_size,
        plans_once=plans_once,
    )


def open_identity_graph(settings: Settings) -> IdentitySource | None:
    """The configured identity graph, or None if there is none. Asks it nothing. Raises ConfigurationError."""
    graph = settings.identity_graph
    if graph is None:
        return None
    known = {"base_url", "credentials", "table", "columns", "lock_wait_seconds", "statement_timeout_seconds"}
    opener: OpenIdentitySource | None = identity_sources().get(graph.source)
    if opener is None:
        raise ConfigurationError(f"identity_graph.source: known sources are {', '.join(sorted(identity_sources()))}")
    return opener(graph.model_dump(include=known, exclude_none=True))


def server_url(settings: Settings, name: str) -> str:
    """`database_url`, `key_database_url` or `broker_url` of this installation."""
    configured = {
        "database_url": settings.database.url,
        "key_database_url": settings.database.key_url,
        "broker_url": settings.broker.url,
    }[name]
    if configured is not None:
        return configured.get_secret_value()
    if _VARIABLES[name] in os.environ:
        return os.environ[_VARIABLES[name]]
    try:
        running = json.loads((settings.service.data_directory / RUN_FILE).read_text(encoding="utf-8"))
        return str(running[name])
    except (OSError, ValueError, KeyError):
        raise ConfigurationError(f"no {name}: configure one, or start `expunge up` first") from None

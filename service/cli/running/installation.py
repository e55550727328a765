"""A running installation: servers, schema, secrets, systems, and the processes of the service.

Decides the order of start and stop. `expunge up` and `expunge demo` both run this one; nothing here knows the demo.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from connectors.base.config import ConfigurationError
from connectors.base.registry import connector_class
from service.audit.log_configuration import log_configuration
from service.audit.reconcile import compare_with_anchors
from service.cli.running.api_process import Listeners, api_child
from service.cli.running.supervise import Child, Supervisor, python
from service.configuration.data_directory import private_directory
from service.embedded import EmbeddedServers
from service.execution.systems.availability import probe_at_once
from service.execution.systems.sync_config import sync_systems
from service.settings import AUDIT_QUEUE, CONTROL_QUEUE, SYSTEMS_QUEUE, Settings, queue_of_kind
from service.store.anchors.configured import configured_anchors
from service.store.bootstrap import RUN_FILE, open_identity_graph, open_stores, server_url
from service.store.encryption import generated_pepper
from service.store.encryption.epoch_secrets import EpochKeyUnusable
from service.store.encryption.pepper_versions import bring_hashes_up
from service.store.encryption.secrets import audit_signing_key, keys_directory, load_secrets
from service.store.engine import open_engine
from service.store.interlock import open_conflicts
from service.store.migrate import migrate, migrate_keys
from service.store.stores import Stores

_WORKER_GRACE_SECONDS = 20.0
# Quiet: its banner is no log line.
_CELERY = python("-m", "workers", "-q", "-A", "workers.app")


@dataclass(frozen=True)
class Servers:
    """Where the databases and the broker are, and what a person should know about them."""

    urls: Mapping[str, str]
    notes: tuple[str, ...]
    ended: Callable[[], tuple[str, ...]] = tuple
    """Names of embedded servers that ended by themselves."""


@contextlib.contextmanager
def servers(settings: Settings) -> Iterator[Servers]:
    """Open the configured servers, else embedded ones, and migrate both schemas."""
    configured = (settings.database.url, settings.database.key_url, settings.broker.url)
    with contextlib.ExitStack() as stack:
        notes: tuple[str, ...] = ()
        ended: Callable[[], tuple[str, ...]] = tuple
        urls: dict[str, str] = {}
        if None in configured:
            embedded = EmbeddedServers(settings.service.data_directory)
            running = stack.enter_context(embedded)
            ended = embedded.ended_servers
            notes = running.notes
            urls = {
                "database_url": running.database_url,
                "key_database_url": running.key_database_url,
                "broker_url": running.broker_url,
            }
            run_file = settings.service.data_directory / RUN_FILE
            _write_private(run_file, json.dumps(urls))
            stack.callback(run_file.unlink, missing_ok=True)
        named = {name: _configured(settings, name) or urls[name] for name in _NAMES}
        if named["database_url"] == named["key_database_url"]:
            raise ConfigurationError("database.key_url: the key store needs a database of its own")
        migrate(named["database_url"])
        migrate_keys(named["key_database_url"])
        yield Servers(named, notes, ended)


_NAMES = ("database_url", "key_database_url", "broker_url")


def _configured(settings: Settings, name: str) -> str | None:
    value = {
        "database_url": settings.database.url,
        "key_database_url": settings.database.key_url,
        "broker_url": settings.broker.url,
    }[name]
    return None if value is None else value.get_secret_value()


def environment(settings: Settings, found: Servers) -> dict[str, str]:
    """Return the child processes' environment: the configuration's path and the servers' URLs.

    They are never on a command line, because other users of the machine see it.
    """
    if settings.origin is None:
        raise ConfigurationError("the processes read the configuration themselves: it must be a file")
    return dict(os.environ) | {
        "EXPUNGE_CONFIG": str(settings.origin.resolve()),
        "EXPUNGE_DATABASE_URL": found.urls["database_url"],
        "EXPUNGE_KEY_DATABASE_URL": found.urls["key_database_url"],
        "EXPUNGE_BROKER_URL": found.urls["broker_url"],
        "EXPUNGE_LOG_LEVEL": settings.service.log_level,
    }


def prepare(settings: Settings, found: Servers) -> Stores:
    """Open the stores in this process, with secrets made if there are none, and bring the systems in line.

    Everything that is configured is built once, so that what can't work is said now and not in a worker's log.
    """
    _build_everything(settings)
    os.environ.update({k: v for k, v in environment(settings, found).items() if k.startswith("EXPUNGE_")})
    _bring_hashes_up(settings)
    stores = open_stores(settings, pool_size=2)
    try:
        stores.keys.epochs.current()
        stores.keys.check()
    except EpochKeyUnusable as error:
        stores.close()
        raise ConfigurationError(f"{error}; see deploy/runbooks/epoch_key_missing.md") from None
    log_configuration(stores, settings)
    sync_systems(stores, settings)
    probe_at_once(stores)
    return stores


def _bring_hashes_up(settings: Settings) -> None:
    """Convert the hashes to the newest pepper before a process starts, because each process checks that."""
    if settings.keys.pepper is None:
        generated_pepper.take_next(keys_directory(settings))
    engine = open_engine(server_url(settings, "database_url"), pool_size=1)
    try:
        bring_hashes_up(engine, load_secrets(settings).pepper)
    finally:
        engine.dispose()


def _build_everything(settings: Settings) -> None:
    source = open_identity_graph(settings)
    if source is not None:
        source.close()
    for system in settings.systems:
        connector_class(system.config.connector)(system.config).close()


def unreconciled(settings: Settings, stores: Stores) -> tuple[str, ...]:
    """Compare the store with the anchors; why no system will be called, in words, or nothing."""
    compare_with_anchors(stores.engine, audit_signing_key(settings), configured_anchors(settings))
    with stores.engine.begin() as connection:
        return tuple(f"{c.anchor}: {c.code} ({c.detail})" for c in open_conflicts(connection))


def system_workers(queue: str, count: int, name: str) -> Child:
    """So many processes that take one queue's nudges."""
    command = [*_worker(), "-Q", queue, "-n", f"{name}@%h", "-c", str(count)]
    return Child(name, command, grace_seconds=_WORKER_GRACE_SECONDS)


def sequencer() -> Child:
    """The one process that puts entries into the log's tree, so that nothing else makes them wait."""
    command = [*_worker(), "-Q", AUDIT_QUEUE, "-n", "sequencer@%h", "-P", "solo"]
    return Child("sequencer", command, grace_seconds=_WORKER_GRACE_SECONDS)


def _worker() -> list[str]:
    return [*_CELERY, "worker", "--without-gossip", "--without-mingle", "--without-heartbeat", "-Ofair"]


def log_directory(settings: Settings) -> Path:
    """Where the processes' logs are."""
    return settings.service.data_directory / "logs"


@contextlib.contextmanager
def processes(settings: Settings, found: Servers, listeners: Listeners) -> Iterator[Supervisor]:
    """API, workers and beat, until the end of the context."""
    logs = log_directory(settings)
    run = settings.service.data_directory / "run"
    for directory in (logs, run):
        private_directory(directory)
    config = str(settings.origin)
    with Supervisor(environment(settings, found), logs) as supervisor:
        supervisor.add(api_child(config, listeners))
        supervisor.add(system_workers(SYSTEMS_QUEUE, settings.service.workers, "systems"))
        for kind, count in settings.service.dedicated_workers.items():
            supervisor.add(system_workers(queue_of_kind(kind), count, f"systems-{kind}"))
        supervisor.add(Child("control", [*_worker(), "-Q", CONTROL_QUEUE, "-n", "control@%h", "-c", "2"]))
        supervisor.add(sequencer())
        supervisor.add(Child("beat", [*_CELERY, "beat", "-s", str(run / "beat"), "--pidfile", ""]))
        yield supervisor


def _write_private(path: Path, content: str) -> None:
    private_directory(path.parent)
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)

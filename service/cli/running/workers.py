"""`expunge workers`: run more worker processes, on this machine or another one.

They share its stores and its broker and nothing else; the configuration, the keys and the anchors must be the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from connectors.base.config import ConfigurationError
from service.cli.printing import note
from service.cli.running.installation import Servers, environment, log_directory, system_workers
from service.cli.running.supervise import Supervisor
from service.configuration.data_directory import private_directory
from service.monitoring.readiness import check_readiness
from service.settings import SYSTEMS_QUEUE, Settings, load_settings, queue_of_kind
from service.store.bootstrap import open_stores, server_url
from service.store.encryption.epoch_secrets import EpochKeyUnusable


def workers(
    config: Annotated[Path, typer.Option(help="the configuration file, the same as the service's")] = Path(
        "expunge.toml"
    ),
    kind: Annotated[
        str | None, typer.Option(help="a kind of connector in service.dedicated_workers; default: all others")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, max=256, help="processes; default: as configured")] = None,
) -> None:
    """Run more worker processes for a service that is up.

    On any number of machines, until Ctrl-C.
    """
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    try:
        settings = load_settings(config)
        queue, processes = _asked(settings, kind)
        found = _servers(settings)
        _check_keys(settings)
        _check(settings, found)
        logs = private_directory(log_directory(settings))
    except ConfigurationError as error:
        note(str(error))
        raise typer.Exit(2) from None
    with Supervisor(environment(settings, found), logs) as supervisor:
        supervisor.add(system_workers(queue, count or processes, f"extra-{os.getpid()}"))
        note(f"{count or processes} workers take {queue}. Stop them with Ctrl-C.")
        over.wait()
        note("stopping")


def _asked(settings: Settings, kind: str | None) -> tuple[str, int]:
    if kind is None:
        return SYSTEMS_QUEUE, settings.service.workers
    if kind not in settings.service.dedicated_workers:
        raise ConfigurationError(f"service.dedicated_workers: {kind!r} has no workers of its own")
    return queue_of_kind(kind), settings.service.dedicated_workers[kind]


def _servers(settings: Settings) -> Servers:
    names = ("database_url", "key_database_url", "broker_url")
    return Servers({name: server_url(settings, name) for name in names}, ())


def _check_keys(settings: Settings) -> None:
    """Refuse a missing key instead of creating it.

    Workers with new keys could open no value, and would stop the vendor calls of all workers.
    """
    ours = settings.service.data_directory / "keys"
    needed = {
        "keys.key_encryption_key": None if settings.keys.key_encryption_key else ours / "key_encryption_key",
        "keys.pepper": None if settings.keys.pepper else ours / "pepper",
        "keys.audit_key_directory": (settings.keys.audit_key_directory or ours) / "audit.key",
    }
    for name, path in needed.items():
        if path is not None and not path.exists():
            raise ConfigurationError(f"{name}: the service's own key must be there before workers start")


def _check(settings: Settings, found: Servers) -> None:
    """The stores answer and are migrated: that is the service's own work, at its start."""
    os.environ.update({k: v for k, v in environment(settings, found).items() if k.startswith("EXPUNGE_")})
    with contextlib.closing(open_stores(settings, pool_size=1)) as stores:
        try:
            check_readiness(stores)
        except EpochKeyUnusable as error:
            raise ConfigurationError(f"{error}; see deploy/runbooks/epoch_key_missing.md") from None
        except SQLAlchemyError:
            raise ConfigurationError("the stores don't answer, or aren't migrated: start `expunge up` first") from None

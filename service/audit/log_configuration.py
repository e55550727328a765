"""Log the configuration's hash at each start, so that an auditor sees when the configuration changed.

The hash covers everything but the secrets: equal hashes mean equal settings. The event `system_changed` names the
system that changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Set
from uuid import uuid4

from pydantic import BaseModel, SecretStr

from service.settings import Settings
from service.store.audit_log.record_change import log_event
from service.store.locking import database_now
from service.store.stores import Stores


def log_configuration(stores: Stores, settings: Settings) -> None:
    """One entry for this start."""
    with stores.engine.begin() as connection:
        log_event(
            connection,
            row="configuration",
            key=str(uuid4()),
            event="configuration_loaded",
            actor="service",
            at=database_now(connection),
            data={"configuration_hash": configuration_hash(settings)},
        )


def configuration_hash(settings: Settings) -> str:
    """SHA-256 in hex over all settings but the secrets, the same in every process."""
    parts: dict[str, object] = {
        name: part.model_dump(exclude={"credentials"})
        for name, part in vars(settings).items()
        if isinstance(part, BaseModel)
    }
    parts["systems"] = sorted((system.config.name, system.fingerprint) for system in settings.systems)
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return None
    return sorted(map(str, value)) if isinstance(value, Set) else str(value)

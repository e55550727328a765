"""Ask systems whether our credential is accepted and sees; keep the results for the list of systems."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from connectors.base.config import ConfigurationError
from connectors.base.errors import ConnectorError
from connectors.base.registry import connector_class
from service.execution.systems.list import record_checks
from service.settings import ConfiguredSystem, Settings
from service.store.bootstrap import open_stores
from service.store.stores import Stores

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Checked:
    """One system's result: what proved its visibility, or the code and the name of the error."""

    system: str
    ok: bool
    result: str
    detail: str


def check_system(system: ConfiguredSystem) -> Checked:
    """Ask one system. Whatever its connector raises is a result."""
    name = system.config.name
    try:
        connector = connector_class(system.config.connector)(system.config)
        try:
            seen = connector.check_credentials()
        finally:
            connector.close()
    except ConnectorError as error:
        return Checked(name, False, error.code, type(error).__name__)
    except ConfigurationError as error:
        return Checked(name, False, "configuration", str(error))
    except Exception as error:
        # A connector's fault must not hide the other systems' results. Its text may carry what the vendor said.
        log.exception("connector_failed", system=name, phase="check", error=type(error).__name__)
        return Checked(name, False, "connector_failed", type(error).__name__)
    return Checked(name, True, seen.proof, seen.detail)


def keep_checks(stores: Stores, results: Sequence[Checked]) -> None:
    """Write the results down; `systems list` shows them."""
    record_checks(stores, {r.system: r.result if r.ok else f"failed:{r.result}" for r in results})


def check_beside(settings: Settings, warn: Callable[[Checked], None], over: threading.Event) -> threading.Thread:
    """Check every system in a thread, one after the other; `warn` is called for each failure.

    The service starts meanwhile: a vendor that is down must not keep it from accepting requests.
    """

    def check() -> None:
        stores = open_stores(settings, pool_size=1)
        try:
            for system in settings.systems:
                if over.is_set():
                    return
                checked = check_system(system)
                keep_checks(stores, [checked])
                if not checked.ok:
                    warn(checked)
        except Exception as error:
            log.exception("credential_checks_ended", error=type(error).__name__)
        finally:
            stores.close()

    thread = threading.Thread(target=check, name="credential-checks", daemon=True)
    thread.start()
    return thread

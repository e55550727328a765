"""Bring the table of systems in line with the configuration, at start.

A removed system's steps park, they are never dropped; adding the system again lets them go on. A system that is new
gets steps for requests that come later.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Connection, bindparam, func, select

from connectors.base.registry import connector_class
from connectors.base.transitions.states import NOT_DONE_YET, StepState
from service.domain.audit.schema import AuditValue
from service.domain.execution.events import SystemRemoved, SystemReturned
from service.execution.systems.store import KnownSystem, lock_systems, remove_system, write_system
from service.requests.steps.move import apply_event
from service.requests.steps.read import lock_in_states
from service.settings import ConfiguredSystem, Settings
from service.store.audit_log.record_change import Change, Version, log_changes
from service.store.execute import execute
from service.store.locking import database_now
from service.store.stores import Stores
from service.suppression.scan_schedule import begin_sync_anew, keep_syncs
from service.system_rules import rules_of

_LOCK = 0x53595354
_ONE_AT_A_TIME = select(func.pg_advisory_xact_lock(bindparam("lock", type_=BigInteger())))


def sync_systems(stores: Stores, settings: Settings) -> None:
    """Add, change, remove and bring back systems so that the rows say what the configuration says."""
    with stores.engine.begin() as connection:
        execute(connection, _ONE_AT_A_TIME, {"lock": _LOCK})
        known = lock_systems(connection)
        for system in settings.systems:
            _upsert(connection, settings, system, known.get(system.config.name))
        configured = {system.config.name for system in settings.systems}
        for name, row in known.items():
            if name not in configured and row.state == "active":
                _remove(connection, row)
        keep_syncs(connection, settings, [s.config.name for s in settings.systems if _reports_changes(s)])


def _reports_changes(system: ConfiguredSystem) -> bool:
    return connector_class(system.config.connector).declaration.reports_changes


def _upsert(connection: Connection, settings: Settings, system: ConfiguredSystem, row: KnownSystem | None) -> None:
    config = system.config
    declaration = connector_class(config.connector).declaration
    now_known = KnownSystem(
        name=config.name,
        connector=config.connector,
        state="active",
        fingerprint=system.fingerprint,
        position=declaration.order if config.order is None else config.order,
        max_concurrency=config.max_concurrency or declaration.max_concurrency,
        not_covered=sorted(set(declaration.not_covered)),
        version=Version() if row is None else row.version,
    )
    if row == now_known:
        return
    write_system(connection, now_known)
    event = "system_added" if row is None or row.state != "active" else "system_changed"
    data: dict[str, AuditValue] = {
        "configuration_hash": system.fingerprint,
        "connector": config.connector,
        "not_covered": list(now_known.not_covered),
    }
    now = database_now(connection)
    log_changes(
        connection, [Change("system", config.name, now_known.version, event, None, data)], actor="service", at=now
    )
    if row is None or row.state != "active" or row.fingerprint != system.fingerprint:
        begin_sync_anew(connection, config.name)
    if row is not None and row.state != "active":
        parked = lock_in_states(connection, config.name, {StepState.PARKED})
        rules = rules_of(settings, config.name)
        apply_event(connection, parked, SystemReturned(), actor="service", at=database_now(connection), rules=rules)


def _remove(connection: Connection, row: KnownSystem) -> None:
    remove_system(connection, row.name)
    now = database_now(connection)
    change = Change("system", row.name, row.version, "system_removed", None, {})
    log_changes(connection, [change], actor="service", at=now)
    unfinished = lock_in_states(connection, row.name, NOT_DONE_YET)
    apply_event(connection, unfinished, SystemRemoved(), actor="service", at=database_now(connection))

"""Bring the table of systems in line with the configuration, at start.

A removed system's steps park, they are never dropped; adding the system again lets them go on. A system that is new
gets steps for requests that come later.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, text

from connectors.base.registry import connector_class
from service.domain.audit.schema import AuditValue
from service.domain.execution.results import first_phase
from service.domain.execution.states import SYSTEM_REMOVED, Phase, StepState, SystemRules
from service.settings import ConfiguredSystem, Settings
from service.store.audit_log.record_change import Change, Version, log_changes
from service.store.locking import check_again, database_now, version_of
from service.store.stores import Stores
from service.suppression.scan_schedule import begin_sync_anew, keep_syncs
from service.system_rules import rules_of

_LOCK = 0x53595354


def sync_systems(stores: Stores, settings: Settings) -> None:
    """Add, change, remove and bring back systems so that the rows say what the configuration says."""
    with stores.engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        known = {
            row.name: row for row in connection.execute(text("SELECT * FROM systems ORDER BY name FOR NO KEY UPDATE"))
        }
        for system in settings.systems:
            _upsert(connection, settings, system, known.get(system.config.name))
        configured = {system.config.name for system in settings.systems}
        for name, row in known.items():
            if name not in configured and row.state == "active":
                _remove(connection, row)
        keep_syncs(connection, settings, [s.config.name for s in settings.systems if _tells_changes(s)])


def _tells_changes(system: ConfiguredSystem) -> bool:
    return connector_class(system.config.connector).declaration.tells_changes


def _upsert(connection: Connection, settings: Settings, system: ConfiguredSystem, row: Row[Any] | None) -> None:
    config = system.config
    declaration = connector_class(config.connector).declaration
    values: dict[str, Any] = {
        "name": config.name,
        "connector": config.connector,
        "fingerprint": system.fingerprint,
        "position": declaration.order if config.order is None else config.order,
        "max_concurrency": config.max_concurrency or declaration.max_concurrency,
        "not_covered": sorted(set(declaration.not_covered)),
    }
    if row is not None and row.state == "active" and all(getattr(row, k) == v for k, v in values.items()):
        return
    connection.execute(
        text(
            "INSERT INTO systems (name, connector, state, fingerprint, position, max_concurrency, not_covered)"
            " VALUES (:name, :connector, 'active', :fingerprint, :position, :max_concurrency,"
            " CAST(:not_covered AS text[]))"
            " ON CONFLICT (name) DO UPDATE SET connector = excluded.connector, state = 'active',"
            " fingerprint = excluded.fingerprint, position = excluded.position,"
            " max_concurrency = excluded.max_concurrency, not_covered = excluded.not_covered"
        ),
        values,
    )
    event = "system_added" if row is None or row.state != "active" else "system_changed"
    data: dict[str, AuditValue] = {
        "configuration_hash": system.fingerprint,
        "connector": config.connector,
        "not_covered": values["not_covered"],
    }
    version = Version() if row is None else version_of(row)
    now = database_now(connection)
    log_changes(connection, [Change("system", config.name, version, event, None, data)], actor="service", at=now)
    if row is None or row.state != "active" or row.fingerprint != system.fingerprint:
        begin_sync_anew(connection, config.name)
    if row is not None and row.state != "active":
        rules = rules_of(settings, config.name)
        _move(connection, config.name, "s.state = 'parked' AND s.reason = :removed", "step_unparked", rules)


def _remove(connection: Connection, row: Row[Any]) -> None:
    connection.execute(text("UPDATE systems SET state = 'removed' WHERE name = :n"), {"n": row.name})
    now = database_now(connection)
    change = Change("system", row.name, version_of(row), "system_removed", None, {})
    log_changes(connection, [change], actor="service", at=now)
    _move(connection, row.name, "s.state IN ('waiting', 'due', 'accepted')", "step_parked")


def _move(connection: Connection, system: str, which: str, event: str, rules: SystemRules | None = None) -> None:
    """Park the unfinished steps of a system; with its `rules`, bring them back. A leased one is moved by its recording.

    One that was searched and whose plan isn't frozen yet waits for its plan. Any other that comes back in its search
    searches again: its plan was frozen without anybody to begin the step, and much may have happened meanwhile. Where
    nobody searches it begins; whether it may, the lease asks, as always.
    """
    steps = connection.execute(
        text(
            "SELECT s.*, r.subject FROM steps s JOIN requests r ON r.id = s.request_id"  # noqa: S608 - our own text
            f" WHERE s.system = :system AND {which} ORDER BY s.id FOR NO KEY UPDATE OF s"
        ),
        {"system": system, "removed": SYSTEM_REMOVED},
    ).all()
    if not steps:
        return
    now = database_now(connection)
    reason = SYSTEM_REMOVED if event == "step_parked" else None
    places = [(StepState.PARKED, Phase(s.phase)) if rules is None else _place_of_returned(s, rules) for s in steps]
    connection.execute(
        text(
            "UPDATE steps SET state = n.state, phase = n.phase, reason = :reason,"
            " due_at = CASE WHEN n.state = 'due' THEN CAST(:now AS timestamptz) END"
            " FROM unnest(CAST(:ids AS uuid[]), CAST(:states AS text[]), CAST(:phases AS text[]))"
            " AS n(id, state, phase) WHERE steps.id = n.id"
        ),
        {
            "reason": reason,
            "now": now,
            "ids": [s.id for s in steps],
            "states": [state for state, _ in places],
            "phases": [phase for _, phase in places],
        },
    )
    changes = [
        Change("step", str(s.id), version_of(s), event, s.subject, {"phase": phase, "state": state, "reason": reason})
        for s, (state, phase) in zip(steps, places, strict=True)
    ]
    log_changes(connection, changes, actor="service", at=now)
    check_again(connection, [s.request_id for s in steps])


def _place_of_returned(step: Row[Any], rules: SystemRules) -> tuple[StepState, Phase]:
    phase = Phase(step.phase)
    if phase is not Phase.LOCATE:
        return StepState.DUE, phase
    if step.plan_version is None and (step.located or not rules.searches_first):
        return StepState.WAITING, phase
    return StepState.DUE, phase if rules.searches_first else first_phase(rules, found=False)

"""Read the counts of unfinished work. Each statement costs as much as there is unfinished work.

Conditions on states are literals, because PostgreSQL uses a partial index only for a statement that has the index's own
condition.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Double,
    cast,
    extract,
    func,
    literal_column,
    or_,
    select,
    union_all,
)

from service.store.tables.access import HoldRow
from service.store.tables.anchors import AnchorConflictRow, AnchoredHeadRow
from service.store.tables.audit import AuditFinding, AuditLeaf
from service.store.tables.imports import ImportRow
from service.store.tables.requests import RequestRow
from service.store.tables.suppression import SuppressionSyncRow
from service.store.tables.work import StepRow, SystemRow

_NOW = func.clock_timestamp(type_=DateTime(timezone=True))
_ACTIVE = SystemRow.state == literal_column("'active'")


class RequestCount(NamedTuple):
    """Unfinished requests of one state and reason; `overdue` of them are past their deadline."""

    state: str
    reason: str | None
    requests: int
    overdue: int


class SystemStatus(NamedTuple):
    """An active system; `cooldown_seconds` is 0 where work may be sent to it."""

    name: str
    is_down: bool
    cooldown_reason: str | None
    cooldown_seconds: float


class SyncStatus(NamedTuple):
    """The suppression sync of an active system.

    `last_error` is the code of the last of `consecutive_errors`.
    """

    system: str
    found: int
    last_error: str | None
    consecutive_errors: int
    age_seconds: float


def can_read(connection: Connection) -> None:
    """Read a table that only a migrated store has. Raises the driver's errors."""
    connection.execute(select(literal_column("1")).select_from(RequestRow).limit(1))


def count_requests(connection: Connection) -> list[RequestCount]:
    """Count unfinished requests by state and reason."""
    return [RequestCount(state, reason, n, overdue) for state, reason, n, overdue in connection.execute(_REQUESTS)]


# One part for each partial index of unfinished requests.
_UNFINISHED_REQUEST = RequestRow.state.in_([literal_column("'open'"), literal_column("'in_progress'")])
_UNFINISHED_REQUESTS = union_all(
    select(RequestRow.state, RequestRow.reason, RequestRow.respond_by).where(
        _UNFINISHED_REQUEST, RequestRow.overdue_at.is_(None)
    ),
    select(RequestRow.state, RequestRow.reason, RequestRow.respond_by).where(
        _UNFINISHED_REQUEST, RequestRow.overdue_at.is_not(None)
    ),
).subquery("r")
_REQUESTS = select(
    _UNFINISHED_REQUESTS.c.state,
    _UNFINISHED_REQUESTS.c.reason,
    func.count(),
    func.count().filter(_UNFINISHED_REQUESTS.c.respond_by < _NOW),
).group_by(_UNFINISHED_REQUESTS.c.state, _UNFINISHED_REQUESTS.c.reason)


def count_steps(connection: Connection) -> dict[tuple[str, str], int]:
    """Count unfinished steps by system and state."""
    return {(system, state): n for system, state, n in connection.execute(_STEPS)}


# One part for each partial index of unfinished steps.
_CAN_BE_LEASED = StepRow.state.in_([literal_column("'due'"), literal_column("'accepted'")])
_UNFINISHED_STEPS = union_all(
    select(StepRow.system, StepRow.state).where(_CAN_BE_LEASED, StepRow.batch_id.is_(None)),
    select(StepRow.system, StepRow.state).where(_CAN_BE_LEASED, StepRow.batch_id.is_not(None)),
    select(StepRow.system, StepRow.state).where(
        StepRow.state == literal_column("'leased'"), StepRow.batch_id.is_not(None)
    ),
    select(StepRow.system, StepRow.state).where(StepRow.state == literal_column("'waiting'")),
    select(StepRow.system, StepRow.state).where(StepRow.state == literal_column("'parked'")),
).subquery("s")
_STEPS = select(_UNFINISHED_STEPS.c.system, _UNFINISHED_STEPS.c.state, func.count()).group_by(
    _UNFINISHED_STEPS.c.system, _UNFINISHED_STEPS.c.state
)


def count_parked_steps(connection: Connection) -> dict[tuple[str, str], int]:
    """Count parked steps by system and the reason's part before the colon."""
    return {(system, reason): n for system, reason, n in connection.execute(_PARKED)}


_REASON: ColumnElement[str] = func.split_part(func.coalesce(StepRow.reason, literal_column("''")), ":", 1).label("r")
_PARKED = (
    select(StepRow.system, _REASON, func.count())
    .where(StepRow.state == literal_column("'parked'"))
    .group_by(StepRow.system, literal_column("r"))
)


def read_systems(connection: Connection) -> list[SystemStatus]:
    """Return every active system."""
    return [SystemStatus(*row) for row in connection.execute(_SYSTEMS)]


_SYSTEMS = select(
    SystemRow.name,
    SystemRow.down_since.is_not(None),
    SystemRow.cooldown_reason,
    cast(func.greatest(extract("epoch", SystemRow.cooldown_until - _NOW), 0), Double),
).where(_ACTIVE)


def read_syncs(connection: Connection) -> list[SyncStatus]:
    """Return the suppression sync of every active system that has one."""
    return [SyncStatus(*row) for row in connection.execute(_SYNCS)]


_SYNCS = (
    select(
        SuppressionSyncRow.system,
        SuppressionSyncRow.found,
        SuppressionSyncRow.last_error,
        SuppressionSyncRow.consecutive_errors,
        cast(
            extract(
                "epoch",
                _NOW - func.coalesce(SuppressionSyncRow.last_success_at, SuppressionSyncRow.created_at),
            ),
            Double,
        ),
    )
    .join(SystemRow, SystemRow.name == SuppressionSyncRow.system)
    .where(_ACTIVE)
)


def count_imports(connection: Connection) -> dict[str, int]:
    """Count imports by state, ended ones included."""
    return dict(connection.execute(_IMPORTS).all())


_IMPORTS = select(ImportRow.state, func.count()).group_by(ImportRow.state)


def count_holds(connection: Connection) -> int:
    """Count the legal holds in force."""
    return connection.execute(_HOLDS).scalar_one()


_HOLDS = (
    select(func.count())
    .select_from(HoldRow)
    .where(HoldRow.lifted_at.is_(None), or_(HoldRow.until.is_(None), HoldRow.until > _NOW))
)


def count_audit_findings(connection: Connection) -> dict[str, int]:
    """Count the faults found in the audit log, by code."""
    return dict(connection.execute(_FINDINGS).all())


_FINDINGS = select(AuditFinding.code, func.count()).group_by(AuditFinding.code)


def count_anchor_conflicts(connection: Connection) -> dict[tuple[str, str], int]:
    """Count the disagreements with an anchor that no person has accepted, by anchor and code."""
    return {(anchor, code): n for anchor, code, n in connection.execute(_CONFLICTS)}


_CONFLICTS = (
    select(AnchorConflictRow.anchor, AnchorConflictRow.code, func.count())
    .where(AnchorConflictRow.accepted_at.is_(None))
    .group_by(AnchorConflictRow.anchor, AnchorConflictRow.code)
)


def read_anchor_lags(connection: Connection) -> dict[str, int]:
    """Return how many entries each anchor's newest head doesn't cover."""
    return dict(connection.execute(_LAGS).all())


_LAGS = select(
    AnchoredHeadRow.anchor,
    select(func.coalesce(func.max(AuditLeaf.index) + 1, 0)).scalar_subquery() - AnchoredHeadRow.size,
)

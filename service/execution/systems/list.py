"""Show the connected systems: what each one's connector declares, and how its last check went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, case, func, select

from connectors.base.interface import Connector, Delays, Operation
from connectors.base.registry import connectors
from service.execution.systems.store import write_checks
from service.settings import Settings
from service.store.execute import execute
from service.store.stores import Stores
from service.store.tables.suppression import SuppressionSyncRow
from service.store.tables.work import SystemRow


@dataclass(frozen=True)
class RateLimitView:
    """At most so many calls (or people, `per_subject`) in any window of that length."""

    calls: int
    per_seconds: float
    per_subject: bool


@dataclass(frozen=True)
class DeclarationView:
    """The declaration of a connector. Delays are those in force for this system."""

    level: str
    operations: list[str]
    identifier_kinds: list[str]
    erases_by: str
    max_subjects_per_call: dict[str, int]
    can_confirm: bool
    searches_first: bool
    suppress_first: bool
    confirm_after_seconds: float
    poll_every_seconds: float
    purge_after_seconds: float
    rate_limits: list[RateLimitView]
    required_scopes: list[str]
    not_covered: list[str]


@dataclass(frozen=True)
class SystemView:
    """A system. `declaration` is None for one whose connector isn't installed any more.

    `down_since`: it gave no answer in several passes and is only probed. `cooldown_until`: nothing is sent until
    then, for the `cooldown_reason` (`system_down`, `rate_limited`: the vendor asked for it, `rate_window`: our limit).
    `changes_read_at`: when the suppression sync last read what changed there; `changes_error`: why it couldn't since.
    """

    name: str
    connector: str
    state: str
    position: int
    max_concurrency: int
    checked_at: datetime | None
    check_result: str | None
    down_since: datetime | None
    cooldown_until: datetime | None
    cooldown_reason: str | None
    changes_read_at: datetime | None
    changes_error: str | None
    declaration: DeclarationView | None


class _ListedSystem(NamedTuple):
    """A connected or removed system, with how its last check and its suppression sync went."""

    name: str
    connector: str
    state: str
    position: int
    max_concurrency: int
    checked_at: datetime | None
    check_result: str | None
    down_since: datetime | None
    cooldown_until: datetime | None
    cooldown_reason: str | None
    changes_read_at: datetime | None
    changes_error: str | None


def list_systems(stores: Stores, settings: Settings) -> list[SystemView]:
    """Return all systems in the order of work, also removed ones, because steps may wait for them."""
    with stores.engine.begin() as connection:
        return [_view(system, settings) for system in _all_systems(connection)]


def _all_systems(connection: Connection) -> list[_ListedSystem]:
    """Return every system in the order of work, also removed ones."""
    return [_ListedSystem(*row) for row in execute(connection, _ALL).all()]


_COOLS_DOWN = SystemRow.cooldown_until > func.clock_timestamp()
_ALL = (
    select(
        SystemRow.name,
        SystemRow.connector,
        SystemRow.state,
        SystemRow.position,
        SystemRow.max_concurrency,
        SystemRow.checked_at,
        SystemRow.check_result,
        SystemRow.down_since,
        case((_COOLS_DOWN, SystemRow.cooldown_until)),
        case((_COOLS_DOWN, SystemRow.cooldown_reason)),
        SuppressionSyncRow.last_success_at,
        SuppressionSyncRow.last_error,
    )
    .outerjoin(SuppressionSyncRow, SuppressionSyncRow.system == SystemRow.name)
    .order_by(SystemRow.position, SystemRow.name)
)


def _view(row: _ListedSystem, settings: Settings) -> SystemView:
    kind = connectors().get(row.connector)
    return SystemView(
        *row,
        declaration=None if kind is None else _declared(kind, row.name, settings),
    )


def _declared(kind: type[Connector], name: str, settings: Settings) -> DeclarationView:
    declaration = kind.declaration
    config = {s.config.name: s.config for s in settings.systems}.get(name)
    configured = {} if config is None else config.delays
    limits = declaration.rate_limits if config is None else kind.limits(config)

    def seconds(delay: str) -> float:
        declared: Delays = declaration.delays
        return float(configured.get(delay, getattr(declared, delay)).total_seconds())

    return DeclarationView(
        level=declaration.level,
        operations=[operation.value for operation in Operation if operation in declaration.operations],
        identifier_kinds=sorted(declaration.identifier_kinds),
        erases_by=declaration.erases_by.value,
        max_subjects_per_call={o.value: declaration.batch_limit(o) for o in Operation if o in declaration.operations},
        can_confirm=declaration.can_confirm,
        searches_first=declaration.searches_first,
        suppress_first=declaration.suppress_first,
        confirm_after_seconds=seconds("confirm_after"),
        poll_every_seconds=seconds("poll_every"),
        purge_after_seconds=seconds("purge_after"),
        rate_limits=[RateLimitView(r.calls, r.per.total_seconds(), r.per_subject) for r in limits],
        required_scopes=list(declaration.required_scopes),
        not_covered=list(declaration.not_covered),
    )


def record_checks(stores: Stores, results: Mapping[str, str]) -> None:
    """Write one code per system's name; names that aren't connected are passed over."""
    with stores.engine.begin() as connection:
        write_checks(connection, results)

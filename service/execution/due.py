"""Say which systems have due steps, and whether other systems wait for a worker.

Decides the order in which systems are woken. Doesn't decide which steps form a batch: `select` does.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import exists, func, literal_column, or_, select

from service.execution.select import is_leasable
from service.execution.systems.store import free_systems, mark_woken
from service.requests.records.store import pick_identities
from service.settings import Settings
from service.store.execute import execute
from service.store.stores import Stores
from service.store.tables.requests import RequestRow
from service.store.tables.work import RequestCheckRow

_NOW = func.clock_timestamp()


@dataclass(frozen=True)
class DueSystem:
    """A system with due steps and a free call slot."""

    name: str
    connector: str


def due_systems(stores: Stores, settings: Settings, *, nudge_again_seconds: float) -> list[DueSystem]:
    """Return systems in which a worker would get a batch now, and mark them as woken.

    Systems in a cooldown and those that were woken just now are left out. The cost grows with the number of systems,
    not of steps.
    """
    configured = [system.config.name for system in settings.systems]
    with stores.engine.begin() as connection:
        free = free_systems(connection, configured, nudge_again_seconds)
        due = [name for name in free if is_leasable(connection, settings, name)]
        if not due:
            return []
        connectors = mark_woken(connection, due)
    return [DueSystem(name, connectors[name]) for name in due if name in connectors]


def has_due_identities(stores: Stores) -> bool:
    """True if a request's person is still to be found."""
    with stores.engine.begin() as connection:
        return bool(pick_identities(connection, 1))


# By the oldest row, through the index: a plain EXISTS reads its way through all the rows that were just deleted.
_OLDEST_CHECK = (
    select(RequestCheckRow.id)
    .where(RequestCheckRow.look_at <= select(_NOW).scalar_subquery())
    .order_by(RequestCheckRow.id)
    .limit(literal_column("1"))
    .scalar_subquery()
)
_TO_FREEZE = exists(
    select(RequestRow.id).where(
        RequestRow.next_action == literal_column("'freeze'"), RequestRow.due_at <= select(_NOW).scalar_subquery()
    )
)
_WAITING = select(or_(_OLDEST_CHECK.is_not(None), _TO_FREEZE))


def requests_wait(stores: Stores) -> bool:
    """True if a request is to be looked at now."""
    with stores.engine.begin() as connection:
        return bool(execute(connection, _WAITING).scalar_one())

"""How a system stands before work of it is leased: at rest, down, or free for one more pass.

Reads; decides by domain.system_health. Slots are worker processes: those of this configuration, or as many as asked
for admission within the last half minute, if that is more (workers on other machines).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import func, literal_column, select, text

from service.domain.execution.health import CooldownReason, most_passes
from service.execution.systems.store import end_cooldowns, write_cooldown
from service.settings import Settings
from service.store.execute import execute
from service.store.sql_files import load_sql
from service.store.stores import Stores
from service.store.tables.anchors import VendorAdmissionRow

_STANDING = text(load_sql(__package__, "availability"))
_WORKERS = select(func.count()).where(
    VendorAdmissionRow.admitted_at > func.clock_timestamp() - literal_column("interval '15 minutes'")
)


class _Standing(NamedTuple):
    """The row of availability.sql. `own`, `slow`: live leases of this system, and of all slow ones."""

    connector: str
    max_concurrency: int
    failed_passes: int
    is_slow: bool
    is_down: bool
    rests: bool
    own: int
    slow: int
    has_quick: bool
    workers: int


@dataclass(frozen=True)
class Availability:
    """One reading. `has_slot`: one more call may begin now. `is_healthy`: no health to write."""

    connector: str
    max_concurrency: int
    is_down: bool
    is_slow: bool
    has_slot: bool
    is_healthy: bool


def read_availability(stores: Stores, settings: Settings, system: str) -> Availability | None:
    """How it stands; None if it isn't connected or at rest."""
    apart = settings.service.dedicated_workers
    rows = stores.autocommit.execute(_STANDING, {"system": system, "apart": list(apart)})
    if not rows:
        return None
    row = _Standing(*rows[0])
    if row.rests:
        return None
    slow = row.is_slow or row.is_down
    if row.connector in apart:
        # Its workers serve this kind only: nobody else waits for them.
        has_slot = row.own < row.max_concurrency
    else:
        slots = max(settings.service.workers, row.workers)
        has_slot = row.own < most_passes(slots, row.max_concurrency, is_slow=slow)
        # All slow ones together leave a slot, too, as long as there is anybody else.
        has_slot = has_slot and not (slow and row.has_quick and slots > 1 and row.slow >= slots - 1)
    if row.is_down:
        has_slot = row.own == 0
    return Availability(
        connector=row.connector,
        max_concurrency=row.max_concurrency,
        is_down=row.is_down,
        is_slow=row.is_slow,
        has_slot=has_slot,
        is_healthy=not (row.is_down or row.is_slow or row.failed_passes),
    )


def start_cooldown(stores: Stores, system: str, seconds: float, reason: str) -> None:
    """Start a cooldown in which no work of the system is leased; a longer one stays.

    A cooldown isn't a change of state.
    """
    with stores.engine.begin() as connection:
        write_cooldown(connection, system, seconds, reason)


def probe_at_once(stores: Stores) -> None:
    """At a start: whoever starts the service may just have mended what a system didn't answer for."""
    with stores.engine.begin() as connection:
        end_cooldowns(connection, CooldownReason.SYSTEM_DOWN)


def live_workers(stores: Stores, settings: Settings) -> int:
    """Return among how many workers a limit is shared that no server counts; never fewer than there are.

    A worker that has been idle for a quarter of an hour isn't counted; it counts itself before its next call.
    """
    with stores.engine.begin() as connection:
        admitted: int = execute(connection, _WORKERS).scalar_one()
    return max(settings.service.workers, admitted)

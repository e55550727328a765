"""Read the availability of a system before a lease, and write its health after a call.

Decides by domain.execution.health whether a call may begin, and whether the circuit breaker opens or closes. Slots are
workers: those of this configuration, or as many as asked for admission within the last half minute, if that is more
(workers on other machines). Opening and closing are changes of state with audit entries; a cooldown that a vendor asked
for ends by itself and has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import func, literal_column, select, text

from service.domain.execution.health import (
    SLOW_PASS,
    BreakerRules,
    BreakerState,
    CooldownReason,
    PassKind,
    after_pass,
    most_passes,
)
from service.execution.systems.store import BreakerWrite, end_cooldowns, lock_breaker, write_breaker, write_cooldown
from service.requests.steps.schedule import retry_after_recovery
from service.settings import Settings
from service.store.audit_log.record_change import Change, log_changes
from service.store.execute import execute
from service.store.locking import database_now
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


@dataclass(frozen=True)
class CallStats:
    """The kind and duration of one pass. `shut_seconds`: the cooldown that the vendor asked for."""

    kind: PassKind
    took: timedelta
    shut_seconds: float | None = None

    @property
    def is_slow(self) -> bool:
        """True if it held its worker for long."""
        return self.took >= SLOW_PASS

    @property
    def is_ordinary(self) -> bool:
        """True if a system that is well stays as it is written."""
        return self.kind is not PassKind.SILENT and not self.is_slow and self.shut_seconds is None


def record_call(stores: Stores, settings: Settings, system: str, facts: CallStats) -> None:
    """Bring the system's row in line with what just happened in it."""
    rules = BreakerRules(settings.engine.circuit_breaker_threshold, settings.seconds("circuit_breaker_pause"))
    with stores.engine.begin() as connection:
        row = lock_breaker(connection, system)
        if row is None:
            return
        before = BreakerState(row.failed_passes, row.is_down)
        after, pause = after_pass(before, facts.kind, rules)
        rest, reason = _rest(facts, pause)
        write = BreakerWrite(
            failed_passes=after.failed_passes,
            is_slow=facts.is_slow,
            is_down=after.is_down,
            answered=facts.kind is PassKind.ANSWERED,
            cooldown_seconds=rest,
            reason=reason,
        )
        write_breaker(connection, system, write)
        if before.is_down == after.is_down:
            return
        event, data = (
            ("system_paused", {"reason": CooldownReason.SYSTEM_DOWN}) if after.is_down else ("system_resumed", {})
        )
        change = Change("system", system, row.version, event, None, data)
        log_changes(connection, [change], actor="worker", at=database_now(connection))
        if not after.is_down:
            retry_after_recovery(connection, system)


def _rest(facts: CallStats, pause: timedelta | None) -> tuple[float | None, str | None]:
    """How long, and why; the longer of what the breaker and the vendor say."""
    asked, paused = facts.shut_seconds or 0.0, pause.total_seconds() if pause else 0.0
    if not asked and not paused:
        return None, None
    reason = CooldownReason.SYSTEM_DOWN if paused >= asked else CooldownReason.RATE_LIMITED
    return max(asked, paused), reason

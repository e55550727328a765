"""Write the health of a system after a call: circuit breaker, the vendor's cooldown, slowness.

All workers read this row before they lease. Opening and closing are changes of state with audit entries; a cooldown
that a vendor asked for ends by itself and has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from service.domain.execution.health import (
    SLOW_PASS,
    BreakerRules,
    BreakerState,
    CooldownReason,
    PassKind,
    after_pass,
)
from service.execution.systems.store import BreakerWrite, lock_breaker, write_breaker
from service.requests.steps.schedule import retry_after_recovery
from service.settings import Settings
from service.store.audit_log.record_change import Change, log_changes
from service.store.locking import database_now
from service.store.stores import Stores


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

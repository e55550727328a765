"""Write down what a pass said about its system: the breaker opens or closes, the vendor's word is kept, slowness is.

In one row that all processes read before they lease. Opening and closing are changes of state, and audited; a rest that
a vendor asked for is none: it ends by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text

from service.domain.execution.health import (
    SLOW_PASS,
    BreakerRules,
    Health,
    PassKind,
    RestReason,
    after_pass,
)
from service.requests.steps.schedule import retry_after_recovery
from service.settings import Settings
from service.store.audit_log.record_change import Change, log_changes
from service.store.locking import database_now, version_of
from service.store.stores import Stores

_WRITE = text(
    "UPDATE systems SET failed_passes = :failed, is_slow = :slow,"
    " down_since = CASE WHEN :down THEN coalesce(down_since, clock_timestamp()) END,"
    " rest_until = CASE WHEN CAST(:rest AS float8) IS NULL AND NOT :answered THEN rest_until"
    " WHEN CAST(:rest AS float8) IS NULL THEN CASE WHEN rest_reason = 'system_down' THEN NULL ELSE rest_until END"
    " ELSE greatest(rest_until, clock_timestamp() + make_interval(secs => :rest)) END,"
    " rest_reason = coalesce(:reason, rest_reason),"
    " nudged_at = NULL WHERE name = :system"
)
# Those that wait after an error of the time when the system was down; not those whose vendor takes its time.


@dataclass(frozen=True)
class PassFacts:
    """What one pass was like. `shut_seconds`: how long the vendor wants to be left alone, if it said so."""

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


def note_pass(stores: Stores, settings: Settings, system: str, facts: PassFacts) -> None:
    """Bring the system's row in line with what just happened in it."""
    rules = BreakerRules(settings.engine.circuit_breaker_threshold, settings.seconds("circuit_breaker_pause"))
    with stores.engine.begin() as connection:
        row = connection.execute(
            text("SELECT * FROM systems WHERE name = :system FOR NO KEY UPDATE"), {"system": system}
        ).one_or_none()
        if row is None:
            return
        before = Health(row.failed_passes, row.down_since is not None)
        after, pause = after_pass(before, facts.kind, rules)
        rest, reason = _rest(facts, pause)
        connection.execute(
            _WRITE,
            {
                "system": system,
                "failed": after.failed_passes,
                "slow": facts.is_slow,
                "down": after.is_down,
                "answered": facts.kind is PassKind.ANSWERED,
                "rest": rest,
                "reason": reason,
            },
        )
        if before.is_down == after.is_down:
            return
        event, data = ("system_paused", {"reason": RestReason.SYSTEM_DOWN}) if after.is_down else ("system_resumed", {})
        change = Change("system", system, version_of(row), event, None, data)
        log_changes(connection, [change], actor="worker", at=database_now(connection))
        if not after.is_down:
            retry_after_recovery(connection, system)


def _rest(facts: PassFacts, pause: timedelta | None) -> tuple[float | None, str | None]:
    """How long, and why; the longer of what the breaker and the vendor say."""
    asked, paused = facts.shut_seconds or 0.0, pause.total_seconds() if pause else 0.0
    if not asked and not paused:
        return None, None
    reason = RestReason.SYSTEM_DOWN if paused >= asked else RestReason.RATE_LIMITED
    return max(asked, paused), reason

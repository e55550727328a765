"""How a system stands before work of it is leased: at rest, down, or free for one more pass.

Reads; decides by domain.system_health. Slots are worker processes: those of this configuration, or as many as asked
for admission within the last half minute, if that is more (workers on other machines).
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from service.domain.execution.health import CooldownReason, most_passes
from service.execution.systems.store import end_cooldowns, write_cooldown
from service.settings import Settings
from service.store.stores import Stores

_STANDING = (
    "SELECT y.connector, y.max_concurrency, y.failed_passes, y.is_slow, y.down_since IS NOT NULL AS is_down,"
    " coalesce(y.cooldown_until > clock_timestamp(), false) AS rests, live.own, live.slow,"
    " EXISTS (SELECT 1 FROM systems q WHERE q.state = 'active' AND NOT q.is_slow AND q.down_since IS NULL)"
    " AS has_quick,"
    " (SELECT count(*) FROM vendor_admissions WHERE admitted_at > clock_timestamp() - interval '30 seconds') AS workers"
    " FROM systems y CROSS JOIN LATERAL (SELECT coalesce(sum(l.n) FILTER (WHERE z.name = y.name), 0)::int AS own,"
    " coalesce(sum(l.n) FILTER (WHERE (z.is_slow OR z.down_since IS NOT NULL)"
    " AND NOT z.connector = ANY(CAST(%(apart)s AS text[]))), 0)::int AS slow"
    # One index probe per system: batches that wait for their vendors are open as well, and may be many.
    " FROM systems z CROSS JOIN LATERAL (SELECT count(*) AS n FROM batches b WHERE b.system = z.name"
    " AND b.ended_at IS NULL AND b.lease_until > (SELECT clock_timestamp())) AS l) AS live"
    " WHERE y.name = %(system)s AND y.state = 'active'"
)


@dataclass(frozen=True)
class Availability:
    """One reading. `has_slot`: one more pass may begin now. `is_healthy`: nothing of its health needs writing down."""

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
    if not rows or rows[0].rests:
        return None
    row = rows[0]
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
    """Nobody leases work of it for so long; a rest that lasts longer already stays as it is. Not a change of state."""
    with stores.engine.begin() as connection:
        write_cooldown(connection, system, seconds, reason)


def probe_at_once(stores: Stores) -> None:
    """At a start: whoever starts the service may just have mended what a system didn't answer for."""
    with stores.engine.begin() as connection:
        end_cooldowns(connection, CooldownReason.SYSTEM_DOWN)


def live_workers(stores: Stores, settings: Settings) -> int:
    """Worker processes among which a limit is shared where nothing else counts it; never fewer than there are.

    One that has been idle for a quarter of an hour isn't counted; it counts itself before it calls anybody.
    """
    with stores.engine.begin() as connection:
        admitted: int = connection.execute(
            text("SELECT count(*) FROM vendor_admissions WHERE admitted_at > clock_timestamp() - interval '15 minutes'")
        ).scalar_one()
    return max(settings.service.workers, admitted)

"""Count unfinished work for the operators' graphs and alerts.

Decides that ended requests and steps aren't counted, because a scrape must not cost more with every request that was
ever made. The audit log and its reports have the outcomes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.execution.select import oldest_due_seconds
from service.monitoring import store
from service.store.audit_log.log import oldest_pending_seconds, pending_count
from service.store.locking import disable_seqscan
from service.store.stores import Stores


@dataclass(frozen=True)
class WorkCounts:
    """One reading of the counts of unfinished work.

    `requests` is by (state, reason), `steps` by (system, state), `parked` by (system, the reason's part before the
    colon). `oldest_due_seconds`: per active system, the time for which its longest due step has been due.
    `system_cooldowns`: by (system, reason), the seconds until work is sent to it again. `reappearances`: how many the
    suppression sync has ever found in a system; `sync_age_seconds`: since its changes were last read; `sync_failures`:
    consecutive ones by (system, code of the last).
    """

    requests: Mapping[tuple[str, str], int]
    steps: Mapping[tuple[str, str], int]
    systems_down: Mapping[str, int]
    system_cooldowns: Mapping[tuple[str, str], float]
    parked: Mapping[tuple[str, str], int]
    oldest_due_seconds: Mapping[str, float]
    imports: Mapping[str, int]
    reappearances: Mapping[str, int]
    sync_age_seconds: Mapping[str, float]
    sync_failures: Mapping[tuple[str, str], int]
    overdue: int
    holds: int
    audit_pending: int
    audit_refused: int
    audit_oldest_pending_seconds: float
    audit_findings: Mapping[str, int]
    anchor_conflicts: Mapping[tuple[str, str], int]
    anchor_lag_entries: Mapping[str, int]


def count_work(stores: Stores) -> WorkCounts:
    """Read all counts in one transaction."""
    with stores.engine.begin() as connection:
        disable_seqscan(connection)
        requests = store.count_requests(connection)
        systems = store.read_systems(connection)
        syncs = store.read_syncs(connection)
        pending, refused = pending_count(connection)
        return WorkCounts(
            requests={(each.state, each.reason or ""): each.requests for each in requests},
            steps=store.count_steps(connection),
            systems_down={each.name: int(each.is_down) for each in systems},
            system_cooldowns={
                (each.name, each.cooldown_reason or ""): each.cooldown_seconds
                for each in systems
                if each.cooldown_seconds
            },
            parked=store.count_parked_steps(connection),
            oldest_due_seconds={each.name: oldest_due_seconds(connection, each.name) for each in systems},
            imports=store.count_imports(connection),
            reappearances={each.system: each.found for each in syncs},
            sync_age_seconds={each.system: each.age_seconds for each in syncs},
            sync_failures={
                (each.system, each.last_error): each.consecutive_errors for each in syncs if each.last_error
            },
            overdue=sum(each.overdue for each in requests),
            holds=store.count_holds(connection),
            audit_pending=pending,
            audit_refused=refused,
            audit_oldest_pending_seconds=oldest_pending_seconds(connection),
            audit_findings=store.count_audit_findings(connection),
            anchor_conflicts=store.count_anchor_conflicts(connection),
            anchor_lag_entries=store.read_anchor_lags(connection),
        )

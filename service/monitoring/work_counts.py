"""Count what is unfinished and what is waiting, for the operators' graphs and alerts.

Decides that what has ended isn't counted: a scrape costs as much as there is work, however much was ever done. How
requests and steps ended is told by the audit log and its reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text

from service.execution.select import oldest_due_seconds
from service.store.audit_log.log import oldest_pending_seconds, pending_count
from service.store.locking import read_by_index
from service.store.stores import Stores


@dataclass(frozen=True)
class WorkCounts:
    """One reading: unfinished requests by (state, reason), unfinished steps by (system, state), and single counts.

    `parked` is by (system, the reason's word before the colon). `oldest_due_seconds` says per connected system for how
    long the step that waits longest could have been worked on. `reappearances`: how many the suppression sync ever
    found in a system; `sync_age_seconds`: since its changes were read last; `sync_failing`: by (system, error).
    """

    requests: Mapping[tuple[str, str], int]
    steps: Mapping[tuple[str, str], int]
    systems_down: Mapping[str, int]
    systems_at_rest: Mapping[tuple[str, str], float]
    parked: Mapping[tuple[str, str], int]
    oldest_due_seconds: Mapping[str, float]
    imports: Mapping[str, int]
    reappearances: Mapping[str, int]
    sync_age_seconds: Mapping[str, float]
    sync_failing: Mapping[tuple[str, str], int]
    overdue: int
    holds: int
    audit_pending: int
    audit_refused: int
    audit_oldest_pending_seconds: float
    audit_findings: Mapping[str, int]
    anchor_conflicts: Mapping[tuple[str, str], int]
    anchor_lag_entries: Mapping[str, int]


# One part for each of the partial indexes that hold the unfinished: the planner matches each by its own condition.
_STEPS = text(
    "SELECT system, state, count(*) AS n FROM ("
    " SELECT system, state FROM steps WHERE state IN ('due', 'accepted') AND batch_id IS NULL"
    " UNION ALL SELECT system, state FROM steps WHERE state IN ('due', 'accepted') AND batch_id IS NOT NULL"
    " UNION ALL SELECT system, state FROM steps WHERE state = 'leased' AND batch_id IS NOT NULL"
    " UNION ALL SELECT system, state FROM steps WHERE state = 'waiting'"
    " UNION ALL SELECT system, state FROM steps WHERE state = 'parked') AS s GROUP BY system, state"
)
_REQUESTS = text(
    "SELECT state, reason, count(*) AS n, count(*) FILTER (WHERE respond_by < clock_timestamp()) AS overdue FROM ("
    " SELECT state, reason, respond_by FROM requests WHERE state IN ('open', 'in_progress') AND overdue_at IS NULL"
    " UNION ALL SELECT state, reason, respond_by FROM requests"
    " WHERE state IN ('open', 'in_progress') AND overdue_at IS NOT NULL) AS r GROUP BY state, reason"
)
_PARKED = text(
    "SELECT system, split_part(coalesce(reason, ''), ':', 1) AS reason, count(*) AS n FROM steps"
    " WHERE state = 'parked' GROUP BY 1, 2"
)
_SYSTEMS = text(
    "SELECT name, down_since IS NOT NULL AS is_down, rest_reason,"
    " greatest(extract(epoch FROM rest_until - clock_timestamp()), 0)::float8 AS rest FROM systems"
    " WHERE state = 'active'"
)
_IMPORTS = text("SELECT state, count(*) AS n FROM imports GROUP BY state")
_SYNCS = text(
    "SELECT u.system, u.found, u.last_error, u.tries,"
    " extract(epoch FROM clock_timestamp() - coalesce(u.last_success_at, u.created_at))::float8 AS age"
    " FROM suppression_syncs u JOIN systems y ON y.name = u.system WHERE y.state = 'active'"
)
_HOLDS = text("SELECT count(*) FROM holds WHERE lifted_at IS NULL AND (until IS NULL OR until > clock_timestamp())")
_FINDINGS = text("SELECT code, count(*) AS n FROM audit_findings GROUP BY code")
_CONFLICTS = text("SELECT anchor, code, count(*) AS n FROM anchor_conflicts WHERE accepted_at IS NULL GROUP BY 1, 2")
_LAGS = text("SELECT anchor, (SELECT coalesce(max(index) + 1, 0) FROM audit_leaves) - size AS n FROM anchored_heads")


def count_work(stores: Stores) -> WorkCounts:
    """Read all counts in one transaction."""
    with stores.engine.begin() as connection:
        read_by_index(connection)
        requests = connection.execute(_REQUESTS).all()
        systems = connection.execute(_SYSTEMS).all()
        syncs = connection.execute(_SYNCS).all()
        pending, refused = pending_count(connection)
        return WorkCounts(
            requests={(row.state, row.reason or ""): row.n for row in requests},
            steps={(row.system, row.state): row.n for row in connection.execute(_STEPS)},
            systems_down={row.name: int(row.is_down) for row in systems},
            systems_at_rest={(row.name, row.rest_reason): row.rest for row in systems if row.rest},
            parked={(row.system, row.reason): row.n for row in connection.execute(_PARKED)},
            oldest_due_seconds={row.name: oldest_due_seconds(connection, row.name) for row in systems},
            imports={row.state: row.n for row in connection.execute(_IMPORTS)},
            reappearances={row.system: row.found for row in syncs},
            sync_age_seconds={row.system: row.age for row in syncs},
            sync_failing={(row.system, row.last_error): row.tries for row in syncs if row.last_error},
            overdue=sum(row.overdue for row in requests),
            holds=connection.execute(_HOLDS).scalar_one(),
            audit_pending=pending,
            audit_refused=refused,
            audit_oldest_pending_seconds=oldest_pending_seconds(connection),
            audit_findings={row.code: row.n for row in connection.execute(_FINDINGS)},
            anchor_conflicts={(row.anchor, row.code): row.n for row in connection.execute(_CONFLICTS)},
            anchor_lag_entries={row.anchor: row.n for row in connection.execute(_LAGS)},
        )

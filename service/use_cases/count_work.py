"""Count what is there and what is waiting, for the operators' graphs and alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text

from service.storage.audit_log import oldest_pending_seconds, pending_count
from service.storage.stores import Stores
from service.use_cases.pick_steps import oldest_due_seconds


@dataclass(frozen=True)
class WorkCounts:
    """One reading: requests by (state, reason), steps by (system, state), and single counts.

    `parked` is by (system, the reason's word before the colon). `oldest_due_seconds` says per connected system for how
    long the step that waits longest could have been worked on.
    """

    requests: Mapping[tuple[str, str], int]
    steps: Mapping[tuple[str, str], int]
    systems_down: Mapping[str, int]
    systems_at_rest: Mapping[tuple[str, str], float]
    parked: Mapping[tuple[str, str], int]
    oldest_due_seconds: Mapping[str, float]
    imports: Mapping[str, int]
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
        requests = connection.execute(text("SELECT state, reason, count(*) AS n FROM requests GROUP BY state, reason"))
        steps = connection.execute(text("SELECT system, state, count(*) AS n FROM steps GROUP BY system, state"))
        systems = connection.execute(
            text(
                "SELECT name, down_since IS NOT NULL AS is_down, rest_reason,"
                " greatest(extract(epoch FROM rest_until - clock_timestamp()), 0)::float8 AS rest FROM systems"
                " WHERE state = 'active'"
            )
        ).all()
        parked = connection.execute(
            text(
                "SELECT system, split_part(coalesce(reason, ''), ':', 1) AS reason, count(*) AS n FROM steps"
                " WHERE state = 'parked' GROUP BY 1, 2"
            )
        )
        imports = connection.execute(text("SELECT state, count(*) AS n FROM imports GROUP BY state"))
        overdue = connection.execute(
            text(
                "SELECT count(*) FROM requests"
                " WHERE state IN ('open', 'in_progress') AND respond_by < clock_timestamp()"
            )
        ).scalar_one()
        holds = connection.execute(
            text("SELECT count(*) FROM holds WHERE lifted_at IS NULL AND (until IS NULL OR until > clock_timestamp())")
        ).scalar_one()
        pending, refused = pending_count(connection)
        findings = connection.execute(text("SELECT code, count(*) AS n FROM audit_findings GROUP BY code"))
        conflicts = connection.execute(
            text("SELECT anchor, code, count(*) AS n FROM anchor_conflicts WHERE accepted_at IS NULL GROUP BY 1, 2")
        )
        lags = connection.execute(
            text(
                "SELECT anchor, (SELECT coalesce(max(index) + 1, 0) FROM audit_leaves) - size AS n FROM anchored_heads"
            )
        )
        return WorkCounts(
            requests={(row.state, row.reason or ""): row.n for row in requests},
            steps={(row.system, row.state): row.n for row in steps},
            systems_down={row.name: int(row.is_down) for row in systems},
            systems_at_rest={(row.name, row.rest_reason): row.rest for row in systems if row.rest},
            parked={(row.system, row.reason): row.n for row in parked},
            oldest_due_seconds={row.name: oldest_due_seconds(connection, row.name) for row in systems},
            imports={row.state: row.n for row in imports},
            overdue=overdue,
            holds=holds,
            audit_pending=pending,
            audit_refused=refused,
            audit_oldest_pending_seconds=oldest_pending_seconds(connection),
            audit_findings={row.code: row.n for row in findings},
            anchor_conflicts={(row.anchor, row.code): row.n for row in conflicts},
            anchor_lag_entries={row.anchor: row.n for row in lags},
        )

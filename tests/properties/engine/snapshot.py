"""One reading of everything that the service's rows say, in one statement: what the machine compares."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Row = dict[str, Any]

_INSTANTS = ("due_at", "lease_until", "ended_at", "effect_at", "respond_by", "overdue_at", "effective_at", "until")
READ = (
    "SELECT (SELECT jsonb_agg(to_jsonb(r)) FROM requests r) AS requests,"
    " (SELECT jsonb_agg(to_jsonb(s)) FROM steps s) AS steps,"
    " (SELECT jsonb_agg(to_jsonb(i)) FROM (SELECT id, request_id, encode(keyed_hash, 'hex') AS hash, origin, use,"
    "   verification_method FROM identifiers) i) AS identifiers,"
    " (SELECT jsonb_agg(to_jsonb(p)) FROM plans p) AS plans,"
    " (SELECT jsonb_agg(to_jsonb(b)) FROM (SELECT id, fence, lease_until, ended_at, phase, system FROM batches"
    "   WHERE ended_at IS NULL) b) AS batches,"
    " (SELECT jsonb_agg(to_jsonb(h)) FROM holds h) AS holds,"
    " (SELECT jsonb_agg(to_jsonb(y)) FROM systems y) AS systems,"
    " (SELECT jsonb_agg(to_jsonb(e)) FROM (SELECT request_id, encode(keyed_hash, 'hex') AS hash, removed_at"
    "   FROM suppression_entries) e) AS suppressed,"
    " (SELECT jsonb_object_agg(c.request_id, c.look_at) FROM (SELECT request_id, min(look_at) AS look_at"
    "   FROM request_checks GROUP BY 1) c) AS checks,"
    " (SELECT jsonb_agg(jsonb_build_array(id, encode(entry, 'hex')) ORDER BY id) FROM audit_pending"
    "   WHERE id > %(seen)s) AS entries"
)


@dataclass
class Snapshot:
    """Rows by primary key, new audit entries as bytes in their order; `checks`: from when on a request is looked at."""

    now: datetime
    requests: dict[str, Row] = field(default_factory=dict)
    steps: dict[str, Row] = field(default_factory=dict)
    identifiers: dict[str, list[Row]] = field(default_factory=dict)
    plans: dict[tuple[str, int], Row] = field(default_factory=dict)
    batches: dict[str, Row] = field(default_factory=dict)
    holds: dict[str, Row] = field(default_factory=dict)
    systems: dict[str, Row] = field(default_factory=dict)
    suppressed: dict[str, dict[str, bool]] = field(default_factory=dict)
    checks: dict[str, datetime] = field(default_factory=dict)
    entries: list[tuple[int, bytes]] = field(default_factory=list)

    def steps_of(self, request_id: str) -> list[Row]:
        """The steps of one request."""
        return [s for s in self.steps.values() if s["request_id"] == request_id]

    def used(self, request_id: str, *uses: str) -> set[str]:
        """Keyed hashes of the request's identifiers that are used so."""
        return {i["hash"] for i in self.identifiers.get(request_id, ()) if i["use"] in uses}


def taken_from(row: Any, now: datetime) -> Snapshot:
    """What `READ` answered at that moment; of the audit log only the pending entries with an id above `seen`."""
    taken = Snapshot(now)
    taken.requests = {r["id"]: _timed(r) for r in row.requests or ()}
    taken.steps = {s["id"]: _timed(s) for s in row.steps or ()}
    for identifier in row.identifiers or ():
        taken.identifiers.setdefault(identifier["request_id"], []).append(identifier)
    taken.plans = {(p["request_id"], p["version"]): p for p in row.plans or ()}
    taken.batches = {b["id"]: _timed(b) for b in row.batches or ()}
    taken.holds = {h["id"]: _timed(h) for h in row.holds or ()}
    taken.systems = {y["name"]: y for y in row.systems or ()}
    for entry in row.suppressed or ():
        taken.suppressed.setdefault(entry["request_id"], {})[entry["hash"]] = entry["removed_at"] is None
    taken.checks = {request: datetime.fromisoformat(at) for request, at in (row.checks or {}).items()}
    taken.entries = [(number, bytes.fromhex(raw)) for number, raw in row.entries or ()]
    return taken


def _timed(row: Row) -> Row:
    for name in _INSTANTS:
        if row.get(name) is not None:
            row[name] = datetime.fromisoformat(row[name])
    return row

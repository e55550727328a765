"""I7 and I9 after each step: every new entry follows its object's last, tells the row's state, and names nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from service.domain.audit.entry import decode_entry
from service.domain.audit.replay import Replay, StoredObject, differences
from service.domain.audit.schema import instant_text
from tests.properties.engine.snapshot import Row, Snapshot

CANARY = b"canary"
_FIELDS = {
    "request": ("state", "reason", "subject", "kind", "regime", "duplicate_of", "plan_version"),
    "step": ("system", "phase", "state", "reason"),
    "hold": ("reason",),
    "system": ("connector", "fingerprint", "state"),
}


class AuditEye:
    """Folds the entries of one run as they come."""

    def __init__(self) -> None:
        self.seen = 0
        self._replay = Replay(is_pruned=False)
        self._ends: dict[str, int] = {}

    def broken(self, rows: Snapshot) -> Iterator[str]:
        """What log and rows disagree about now."""
        for number, raw in rows.entries:
            self.seen = max(self.seen, number)
            if CANARY in raw.lower():
                yield "I9: an audit entry names somebody"
            entry = decode_entry(raw)
            self._replay.take(entry, raw)
            if entry["event"] == "step_ended":
                self._ends[entry["object_id"]] = self._ends.get(entry["object_id"], 0) + 1
        for difference in differences(self._replay, _stored(rows))[0]:
            yield (
                f"I7: {difference.object} {difference.field}: the log says {difference.logged},"
                f" the row {difference.stored}"
            )
        yield from ("a step ended twice" for times in self._ends.values() if times > 1)


def _stored(rows: Snapshot) -> Iterator[StoredObject]:
    for request in rows.requests.values():
        yield _object(
            "request",
            request["id"],
            request,
            respond_by=_instant(request["respond_by"]),
            overdue=request["overdue_at"] is not None,
            extended=request["extended_at"] is not None,
            sealed=request["sealed_at"] is not None,
        )
    for step in rows.steps.values():
        yield _object("step", step["id"], step, request=step["request_id"])
    for hold in rows.holds.values():
        yield _object(
            "hold",
            hold["id"],
            hold,
            effective_at=_instant(hold["effective_at"]),
            until=_instant(hold["until"]),
            lifted=hold["lifted_at"] is not None,
        )
    for system in rows.systems.values():
        yield _object("system", system["name"], system)


def _object(kind: str, key: str, row: Row, **more: object) -> StoredObject:
    fields = {name: row[name] for name in _FIELDS[kind]} | more
    digest = None if row["entry_hash"] is None else row["entry_hash"].removeprefix("\\x")
    return StoredObject(kind, key, fields, row["version"], digest)


def _instant(at: datetime | None) -> str | None:
    return None if at is None else instant_text(at.astimezone(UTC))

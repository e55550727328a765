"""Rebuild what the service's rows say from the audit log alone: one fold over entries in their order.

Decides what each event does to its object's state. Only what people decide by is rebuilt (states, reasons, plans,
holds, scopes), not scheduling (due times, leases) and nothing sealed. Entries older than a pruned log's beginning are
not there; of an object that began before, only the fields that later entries tell are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from service.domain.audit_entry import digest_of
from service.domain.imports import ImportState
from service.domain.request import Progress, RequestState

Fields = dict[str, Any]
REPLAYED_OBJECTS = ("request", "step", "batch", "hold", "key", "system", "import")
# Rows of these are deleted in the end, by the retention of attempts; their entries stay.
_DELETED_IN_THE_END = frozenset({"batch"})
_RECORDS_ACCEPTED = "records_accepted"


@dataclass
class ReplayedObject:
    """An object as its entries tell it: the fields known, how many entries it had, and the digest of the last."""

    fields: Fields = field(default_factory=dict)
    version: int = 0
    digest: str | None = None


@dataclass(frozen=True)
class Difference:
    """One field in which a row and the log disagree; `field` is `row` if one of the two isn't there at all."""

    object: str
    object_id: str
    field: str
    logged: Any
    stored: Any


class Replay:
    """The state after the entries taken so far, by (object, object id).

    `breaks` are entries that don't follow their object's last one. In a pruned log an object's first may have any
    version.
    """

    def __init__(self, *, is_pruned: bool) -> None:
        self.is_pruned = is_pruned
        self.objects: dict[tuple[str, str], ReplayedObject] = {}
        self.breaks: list[Difference] = []

    def take(self, entry: Mapping[str, Any], raw: bytes) -> None:
        """The next entry, decoded, with its bytes."""
        if entry["object"] not in REPLAYED_OBJECTS:
            return
        known = self.objects.setdefault((entry["object"], entry["object_id"]), ReplayedObject())
        if (entry["version"], entry["previous"]) != (known.version + 1, known.digest) and (
            known.version or not self.is_pruned
        ):
            self.breaks.append(
                Difference(entry["object"], entry["object_id"], "chain", entry["version"], known.version + 1)
            )
        known.version, known.digest = entry["version"], digest_of(raw)
        effect = _EFFECTS.get(entry["event"])
        if effect is not None:
            known.fields.update(effect(entry["data"]))
        if entry["event"] == "batch_leased":
            self._lease(entry["data"])
        starts = entry["event"] == "plan_frozen" and not entry["data"]["needs_approval"]
        if starts or entry["event"] == "plan_approved":
            # A request that was answered already stays answered while more is done.
            under_way = known.fields.get("state") == RequestState.IN_PROGRESS
            known.fields["reason"] = Progress.ERASING if under_way else None
        if entry["version"] == 1 and entry["object"] == "request":
            known.fields["subject"] = entry["subject"]

    def _lease(self, data: Mapping[str, Any]) -> None:
        """One entry of the batch tells of all the steps in it."""
        for step_id in data["steps"]:
            step = self.objects.setdefault(("step", step_id), ReplayedObject())
            step.fields.update(phase=data["phase"], state=data["state"])
            if not self.is_pruned:
                step.fields["attempts"] = step.fields.get("attempts", 0) + 1


@dataclass(frozen=True)
class StoredObject:
    """A row in the words of the log."""

    object: str
    object_id: str
    fields: Mapping[str, Any]
    version: int
    digest: str | None


def differences(replay: Replay, rows: Iterable[StoredObject]) -> tuple[list[Difference], int]:
    """Every disagreement between log and rows, and how many rows only a pruned log's lost beginning could tell of."""
    found, pruned = list(replay.breaks), replay.is_pruned
    seen: set[tuple[str, str]] = set()
    beyond = 0
    for row in rows:
        seen.add((row.object, row.object_id))
        logged = replay.objects.get((row.object, row.object_id))
        if logged is None:
            if pruned and row.version > 0:
                beyond += 1
            else:
                found.append(Difference(row.object, row.object_id, "row", None, "stored"))
            continue
        expected = logged.fields | {"version": logged.version, "entry_hash": logged.digest}
        actual = dict(row.fields) | {"version": row.version, "entry_hash": row.digest}
        # A whole history tells every field; one that began before the log does tells those that changed since.
        names = actual.keys() if not pruned else expected.keys() & actual.keys()
        found += [
            Difference(row.object, row.object_id, name, expected.get(name), actual[name])
            for name in sorted(names)
            if expected.get(name) != actual[name]
        ]
    found += [
        Difference(kind, key, "row", "logged", None)
        for kind, key in sorted(replay.objects.keys() - seen)
        if kind not in _DELETED_IN_THE_END
    ]
    return found, beyond


def _state(state: str, reason: str | None = None, **more: Any) -> Fields:
    return {"state": state, "reason": reason, **more}


def _submitted(data: Mapping[str, Any]) -> Fields:
    linked_to = data.get("linked_to")
    return {
        **(_state(RequestState.IN_PROGRESS, Progress.LINKED) if linked_to else _state(RequestState.OPEN)),
        "kind": data["kind"],
        "regime": data["regime"],
        "respond_by": data["respond_by"],
        "linked_to": linked_to,
        "plan_version": 0,
        "overdue": False,
        "extended": False,
        "sealed": False,
    }


def _resumed(data: Mapping[str, Any]) -> Fields:
    if data.get("reason") == Progress.LOCATING:
        return _state(RequestState.IN_PROGRESS, Progress.LOCATING)
    # What it was linked to is gone: it goes its own way again.
    return _state(RequestState.OPEN, linked_to=None)


def _frozen(data: Mapping[str, Any]) -> Fields:
    return {"plan_version": data["plan"], **({"reason": Progress.AWAITING_APPROVAL} if data["needs_approval"] else {})}


def _step(data: Mapping[str, Any]) -> Fields:
    return {"phase": data["phase"], "state": data["state"], "reason": data.get("reason")}


def _unparked(data: Mapping[str, Any]) -> Fields:
    # The entry's reason is the human's; the row keeps one only where the next search must know it.
    accepted = data.get("decision") == "accept_records"
    return _step(data) | {"reason": _RECORDS_ACCEPTED if accepted else None}


def _configured(data: Mapping[str, Any]) -> Fields:
    return {"connector": data["connector"], "fingerprint": data["configuration_hash"], "state": "active"}


_EFFECTS: Mapping[str, Callable[[Mapping[str, Any]], Fields]] = MappingProxyType(
    {
        "request_submitted": _submitted,
        "request_extended": lambda data: {"respond_by": data["respond_by"], "extended": True},
        "request_settled": lambda data: _state(RequestState.IN_PROGRESS, Progress.LOCATING),
        "request_in_progress": lambda data: _state(RequestState.IN_PROGRESS, data["reason"]),
        "request_linked": lambda data: _state(RequestState.IN_PROGRESS, Progress.LINKED, linked_to=data["to"]),
        "request_resumed": _resumed,
        "request_denied": lambda data: _state(RequestState.DENIED, data["reason"]),
        "request_revoked": lambda data: _state(RequestState.REVOKED, data.get("reason")),
        "request_expired": lambda data: _state(RequestState.EXPIRED, overdue=True),
        "request_fulfilled": lambda data: _state(RequestState.FULFILLED),
        "request_overdue": lambda data: {"overdue": True},
        "request_sealed": lambda data: {"sealed": True},
        "review_opened": lambda data: _state(RequestState.IN_PROGRESS, Progress.NEEDS_REVIEW),
        "plan_frozen": _frozen,
        "plan_approved": lambda data: {},
        "step_opened": lambda data: _step(data) | {"request": data["request"], "system": data["system"], "attempts": 0},
        "step_released": _step,
        "step_due": _step,
        "step_lease_expired": _step,
        "step_answered": _step,
        "step_parked": _step,
        "step_unparked": _unparked,
        "step_ended": _step,
        "batch_leased": lambda data: {"system": data["system"], "phase": data["phase"]},
        "hold_placed": lambda data: {
            "reason": data["reason"],
            "effective_at": data["effective_at"],
            "until": data.get("until"),
            "lifted": False,
        },
        "hold_released": lambda data: {"lifted": True},
        "import_begun": lambda data: {"state": ImportState.RUNNING, "format": data["format"]},
        "import_paused": lambda data: {"state": ImportState.PAUSED},
        "import_resumed": lambda data: {"state": ImportState.RUNNING},
        "import_cancelled": lambda data: {"state": ImportState.CANCELLING},
        "import_ended": lambda data: {"state": ImportState.CANCELLED},
        "key_created": lambda data: {
            "scopes": list(data["roles"]),
            "expires_at": data.get("expires_at"),
            "revoked": False,
        },
        "key_revoked": lambda data: {"revoked": True},
        "system_added": _configured,
        "system_changed": _configured,
        "system_removed": lambda data: {"state": "removed"},
    }
)

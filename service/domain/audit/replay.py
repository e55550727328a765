"""Rebuild the state of the service's rows from the audit log alone, entry by entry.

Decides the effect of each event on its object's state and on the steps that its entry lists. Rebuilds the facts on
which people decide (states, reasons, plans, holds, scopes), but no scheduling (due times, leases) and no sealed value.
A pruned log lacks its oldest entries; of an object that began before, only the fields in later entries are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias, TypedDict

from connectors.base.transitions.states import Phase, StepState
from service.domain.audit.entry import EntryMembers, digest_of
from service.domain.audit.events import EventData
from service.domain.requests.imports import ImportState
from service.domain.requests.states import Progress, RequestState, work_on

REPLAYED_OBJECTS = ("request", "step", "batch", "hold", "key", "system", "import", "encryption_epoch")
# The retention of attempts deletes rows of these; their entries stay in the log.
_DELETED_IN_THE_END = frozenset({"batch"})
_RECORDS_ACCEPTED = "records_accepted"


FieldValue: TypeAlias = object


class Fields(TypedDict, total=False):
    """The fields of all replayed objects; a row has those of its own kind."""

    attempts: int
    connector: str
    doubts_version: int
    effective_at: str
    expires_at: str | None
    extended: bool
    fingerprint: str
    format: str
    kind: str
    lifted: bool
    duplicate_of: str | None
    overdue: bool
    phase: str
    plan_version: int
    reappearance_of: str | None
    reason: str | None
    regime: str
    request: str
    respond_by: str
    revoked: bool
    scopes: list[str]
    sealed: bool
    state: str
    subject: str | None
    system: str
    until: str | None


@dataclass
class ReplayedObject:
    """The rebuilt state of an object: its known fields, the number of its entries, the digest of the last.

    `has_begun`: the log has the entry with which the object began, so none of its own entries is missing.
    """

    fields: Fields = field(default_factory=Fields)
    version: int = 0
    digest: str | None = None
    has_begun: bool = False


@dataclass(frozen=True)
class Difference:
    """One field in which a row and the log disagree; `field` is `row` if one of the two is missing."""

    object: str
    object_id: str
    field: str
    logged: FieldValue
    stored: FieldValue


class Replay:
    """The state after the entries so far, by (object, object id).

    `breaks` are entries that don't follow their object's last one. In a pruned log an object's first entry may have any
    version. `opened` are the requests whose steps the log lists.
    """

    def __init__(self, *, is_pruned: bool) -> None:
        self.is_pruned = is_pruned
        self.objects: dict[tuple[str, str], ReplayedObject] = {}
        self.breaks: list[Difference] = []
        self.opened: set[str] = set()

    def take(self, entry: EntryMembers, raw: bytes) -> None:
        """Apply the next entry, decoded, with its bytes."""
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
            # A request that was answered before stays answered while a later plan is carried out.
            under_way = known.fields.get("state") == RequestState.IN_PROGRESS
            known.fields["reason"] = work_on(str(known.fields.get("kind"))) if under_way else None
        if entry["version"] == 1 and entry["object"] == "request":
            known.fields["subject"] = entry["subject"]
        if entry["event"] == "request_settled":
            self.opened.add(entry["object_id"])
        self._take_beside(entry)

    def _take_beside(self, entry: EntryMembers) -> None:
        """Apply the entry to the other objects that it lists, because they have no entry of their own for it."""
        for begins, kind, key, fields in _TOLD_BESIDE.get(entry["event"], _nothing)(entry):
            told = self.objects.setdefault((kind, key), ReplayedObject())
            if begins and (told.version or told.has_begun):
                self.breaks.append(Difference(kind, key, "chain", "begins", told.version))
            told.has_begun = told.has_begun or begins
            told.fields.update(fields)

    def _lease(self, data: EventData) -> None:
        """Apply the entry of a leased batch to all its steps."""
        for step_id in data["steps"]:
            step = self.objects.setdefault(("step", step_id), ReplayedObject())
            step.fields.update({"phase": data["phase"], "state": data["state"]})
            if step.has_begun or not self.is_pruned:
                step.fields["attempts"] = step.fields.get("attempts", 0) + 1


@dataclass(frozen=True)
class StoredObject:
    """A row with the field names and values that the log uses."""

    object: str
    object_id: str
    fields: Mapping[str, FieldValue]
    version: int
    digest: str | None


def differences(replay: Replay, rows: Iterable[StoredObject]) -> tuple[list[Difference], int]:
    """Return all differences between log and rows, and the number of rows that can't be compared.

    Those rows have all their entries in the removed beginning of a pruned log.
    """
    found, pruned = list(replay.breaks), replay.is_pruned
    seen: set[tuple[str, str]] = set()
    beyond = 0
    for row in rows:
        seen.add((row.object, row.object_id))
        logged = replay.objects.get((row.object, row.object_id))
        if logged is None:
            untold = row.object == "step" and row.fields["request"] not in replay.opened
            if pruned and (row.version > 0 or untold):
                beyond += 1
            else:
                found.append(Difference(row.object, row.object_id, "row", None, "stored"))
            continue
        expected: dict[str, FieldValue] = dict(logged.fields)
        if logged.version or logged.has_begun or not pruned:
            expected |= {"version": logged.version, "entry_hash": logged.digest}
        actual = dict(row.fields) | {"version": row.version, "entry_hash": row.digest}
        # A complete history has all fields; one that began before a pruned log has only those that changed since.
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


def _state(state: str, reason: str | None = None) -> Fields:
    return {"state": state, "reason": reason}


def _submitted(data: EventData) -> Fields:
    # The entries' names are older than the column's, and exported logs keep them.
    duplicate_of = data.get("linked_to")
    return {
        **(_state(RequestState.IN_PROGRESS, Progress.DUPLICATE) if duplicate_of else _state(RequestState.OPEN)),
        "kind": data["kind"],
        "regime": data["regime"],
        "respond_by": data["respond_by"],
        "duplicate_of": duplicate_of,
        "reappearance_of": None,
        "plan_version": 0,
        "overdue": False,
        "extended": False,
        "sealed": False,
        "doubts_version": 0,
    }


def _set_aside(reason: str, data: EventData) -> Fields:
    # Entries of earlier versions of Expunge have no `doubts_version`, and their requests have none either.
    version = data.get("doubts_version")
    return _state(RequestState.IN_PROGRESS, reason) | ({} if version is None else {"doubts_version": version})


def _resumed(data: EventData) -> Fields:
    if data.get("reason") == Progress.LOCATING:
        return _state(RequestState.IN_PROGRESS, Progress.LOCATING)
    # The request to which it was linked covers it no longer, so it is processed on its own again.
    return _state(RequestState.OPEN) | {"duplicate_of": None}


def _frozen(data: EventData) -> Fields:
    return {"plan_version": data["plan"], **({"reason": Progress.AWAITING_APPROVAL} if data["needs_approval"] else {})}


def _step(data: EventData) -> Fields:
    return {"phase": data["phase"], "state": data["state"], "reason": data.get("reason")}


def _unparked(data: EventData) -> Fields:
    # The entry's reason is the human's; the row has a reason only if the next search depends on it.
    accepted = data.get("decision") == "accept_records"
    return _step(data) | {"reason": _RECORDS_ACCEPTED if accepted else None}


def _configured(data: EventData) -> Fields:
    return {"connector": data["connector"], "fingerprint": data["configuration_hash"], "state": "active"}


def _opened(entry: EntryMembers) -> Iterator[_Told]:
    unsearched = entry["data"].get("unsearched") or ()
    for step, system in zip(entry["data"]["steps"], entry["data"]["systems"], strict=True):
        fields: Fields = {
            "request": entry["object_id"],
            "system": system,
            "phase": Phase.LOCATE,
            "state": StepState.WAITING if system in unsearched else StepState.DUE,
            "reason": None,
            "attempts": 0,
        }
        yield True, "step", step, fields


def _released(entry: EntryMembers) -> Iterator[_Told]:
    told = entry["data"]
    for step, phase in zip(told.get("steps") or (), told.get("phases") or (), strict=True):
        yield False, "step", step, {"phase": phase, "state": StepState.DUE, "reason": None}


def _nothing(entry: EntryMembers) -> Iterator[_Told]:
    return iter(())


# Whether the object begins with this entry, its kind, its id, and its new fields.
_Told = tuple[bool, str, str, Fields]
_TOLD_BESIDE: Mapping[str, Callable[[EntryMembers], Iterator[_Told]]] = MappingProxyType(
    {"request_settled": _opened, "plan_frozen": _released, "plan_released": _released}
)
_EFFECTS: Mapping[str, Callable[[EventData], Fields]] = MappingProxyType(
    {
        "request_submitted": _submitted,
        "person_reappeared": lambda data: {"reappearance_of": data["origin"]},
        "request_extended": lambda data: {"respond_by": data["respond_by"], "extended": True},
        "request_settled": lambda data: _state(RequestState.IN_PROGRESS, Progress.LOCATING),
        "request_in_progress": lambda data: _set_aside(data["reason"], data),
        "request_linked": lambda data: (
            _state(RequestState.IN_PROGRESS, Progress.DUPLICATE) | {"duplicate_of": data["to"]}
        ),
        "request_resumed": _resumed,
        "request_denied": lambda data: _state(RequestState.DENIED, data["reason"]),
        "request_revoked": lambda data: _state(RequestState.REVOKED, data.get("reason")),
        "request_expired": lambda data: _state(RequestState.EXPIRED) | {"overdue": True},
        "request_fulfilled": lambda data: _state(RequestState.FULFILLED),
        "request_overdue": lambda data: {"overdue": True},
        "request_sealed": lambda data: {"sealed": True},
        "review_opened": lambda data: _set_aside(Progress.NEEDS_REVIEW, data),
        "plan_frozen": _frozen,
        "plan_approved": lambda data: {},
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
        "import_completed": lambda data: {"state": ImportState.COMPLETED},
        "import_reopened": lambda data: {"state": ImportState.RUNNING},
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
        "encryption_epoch_begun": lambda data: {"state": "begun"},
        "encryption_epoch_destroyed": lambda data: {"state": "destroyed"},
        "encryption_epoch_lost": lambda data: {"state": "lost"},
    }
)

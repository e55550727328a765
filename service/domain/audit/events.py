"""The table of the events that the audit log can hold. An event that isn't here can't be logged.

One row per event: the kinds of object that it can happen to, and its fields with their shapes. To add an event, add a
row. The object of an entry is the largest object that changed at once: the entry of a batch or request may record the
change of many steps, in parallel lists. Each change of a step has exactly one entry: the step's own, or that of the
batch or request with which it changed. A row may gain optional fields and `one_of` words; earlier entries stay valid,
because readers don't check entries against this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypedDict

from service.domain.audit.schema import (
    CODE,
    COUNT,
    FLAG,
    HEX,
    ID,
    INSTANT,
    KIND,
    UUID,
    EventRule,
    event,
    list_of,
    one_of,
    optional,
)
from service.domain.requests.states import RequestKind


class EventData(TypedDict, total=False):
    """The fields of all events, for code that reads entries: each name has one type in the whole table.

    A field that an event needn't have may also be None: read it with `get`.
    """

    about: list[list[int]]
    accepted: int
    after: str
    anchor: str
    answer: str
    attempt: int
    certificate_hash: str
    code: str
    configuration_hash: str
    conflict: str
    connector: str
    count: int
    decision: str
    decisions: list[str]
    doubts: list[str]
    doubts_version: int
    dropped: int
    due_at: str
    effective_at: str
    entries: int
    excluded: int
    expires_at: str
    fence: int
    final: bool
    format: str
    found: int
    hashes: int
    identifier_kinds: list[str]
    identifiers: int
    kind: str
    left: int
    lines: int
    linked_to: str
    look: str
    needs_approval: list[str]
    not_covered: list[str]
    origin: str
    outcome: str
    phase: str
    phases: list[str]
    plan: int
    plan_hash: str
    reason: str
    reasons: list[str]
    received_at: str
    records: int
    refused: int
    regime: str
    request: str
    respond_by: str
    roles: list[str]
    root: str
    scopes: list[str]
    second_person_for: list[str]
    size: int
    state: str
    steps: list[str]
    submission: str
    suppressed: int
    system: str
    systems: list[str]
    to: str
    unsearched: list[str]
    until: str
    verified: int
    version: int
    what: str


_KIND = one_of(*(kind.value for kind in RequestKind))

_STEP = {
    "phase": optional(CODE),
    "state": optional(CODE),
    "reason": optional(CODE),
    "due_at": optional(INSTANT),
}
_DOUBTS = {
    "count": optional(COUNT),
    "doubts": optional(list_of(CODE)),
    "about": optional(list_of(list_of(COUNT))),
}
_ANSWER_OR_ACT = {
    "attempt": optional(COUNT),
    "answer": optional(CODE),
    "code": optional(CODE),
    "records": optional(COUNT),
    "left": optional(COUNT),
    # The answer of the look that followed the erasing call in the same lease.
    "look": optional(CODE),
}
_ANSWER = _ANSWER_OR_ACT | {"attempt": COUNT, "answer": CODE}

EVENTS: Mapping[str, EventRule] = MappingProxyType(
    {
        # A request, in the order of its life.
        "request_submitted": event(
            "request",
            kind=_KIND,
            regime=CODE,
            received_at=optional(INSTANT),
            respond_by=INSTANT,
            identifier_kinds=list_of(KIND),
            verified=COUNT,
            submission=optional(ID),
            linked_to=optional(UUID),
            # Those of a suppression; an erasure's entries on the list all have the same one.
            scopes=optional(list_of(CODE)),
        ),
        # An erased person was seen again in a system, so the suppression sync opened the request. `origin` is the first
        # request of this person.
        "person_reappeared": event("request", origin=UUID, system=CODE, records=COUNT),
        "request_extended": event("request", respond_by=INSTANT, reason=CODE),
        "request_expedited": event("request"),
        # The request's steps begin with this entry: each is `due` in its search and has no entry of its own yet. Steps
        # of the `unsearched` systems need no search: they are `waiting` for the plan.
        "request_settled": event(
            "request",
            identifiers=COUNT,
            excluded=COUNT,
            doubts=list_of(CODE),
            steps=list_of(UUID),
            systems=list_of(CODE),
            unsearched=optional(list_of(CODE)),
        ),
        "request_in_progress": event("request", reason=CODE, doubts_version=optional(COUNT)),
        "request_linked": event("request", to=UUID),
        "request_resumed": event("request", reason=optional(CODE)),
        "request_denied": event("request", reason=CODE),
        "request_revoked": event("request", reason=optional(CODE)),
        "request_expired": event("request"),
        "request_fulfilled": event("request", certificate_hash=optional(HEX)),
        "request_overdue": event("request", respond_by=INSTANT),
        "request_sealed": event("request", certificate_hash=optional(HEX)),
        # Each doubt is a kind and the ordinals of its identifiers in the request, in parallel lists; `count` is the
        # number of all doubts, and the lists hold the first of them.
        "review_opened": event("request", reasons=list_of(CODE), doubts_version=optional(COUNT), **_DOUBTS),
        "review_decided": event(
            "request",
            decision=CODE,
            dropped=COUNT,
            doubts_version=optional(COUNT),
            decisions=optional(list_of(one_of("keep", "drop"))),
            second_person_for=optional(list_of(CODE)),
            **_DOUBTS,
        ),
        "plan_frozen": event(
            "request",
            plan=COUNT,
            plan_hash=HEX,
            identifiers=COUNT,
            records=COUNT,
            systems=list_of(CODE),
            needs_approval=list_of(CODE),
            # `suppressed`: the number of its identifiers that are new on the suppression list. A plan that needs no
            # approval also lists the steps that begin with it, as `plan_released` does. `scopes`: those of a
            # suppression, which covers identifiers in doubt as well.
            suppressed=optional(COUNT),
            scopes=optional(list_of(CODE)),
            steps=optional(list_of(UUID)),
            phases=optional(list_of(CODE)),
        ),
        "plan_approved": event("request", plan=COUNT, plan_hash=HEX),
        # The steps of the plan that begin now: each is `due` in its phase. A step that must not begin has its own
        # entry.
        "plan_released": event("request", steps=list_of(UUID), phases=list_of(CODE)),
        # A step: one system in one request's plan. Every event has the step's phase and state after the change.
        "step_due": event("step", **_STEP),
        "step_lease_expired": event("step", **_STEP),
        "step_answered": event("step", **_ANSWER, **_STEP),
        "step_answered_late": event("step", **_ANSWER, **_STEP),
        "step_parked": event("step", **_STEP),
        "step_unparked": event("step", decision=optional(CODE), **_STEP),
        "step_ended": event("step", outcome=CODE, **_ANSWER_OR_ACT, **_STEP),
        # A batch: steps of many people in one system. One lease is one change of all steps of the batch.
        "batch_leased": event("batch", system=CODE, phase=CODE, state=CODE, fence=COUNT, steps=list_of(UUID)),
        # Holds.
        "hold_placed": event(
            "hold", reason=CODE, effective_at=INSTANT, until=optional(INSTANT), request=optional(UUID)
        ),
        "hold_released": event("hold", reason=CODE),
        # Imports: many requests in one body.
        "import_begun": event("import", format=one_of("jsonl", "csv")),
        "import_received": event("import", lines=COUNT, accepted=COUNT, refused=COUNT),
        "import_paused": event("import"),
        "import_resumed": event("import"),
        "import_completed": event("import"),
        # A line of a completed import was repaired and accepted.
        "import_reopened": event("import"),
        "import_cancelled": event("import"),
        "import_ended": event("import"),
        # Access, systems, configuration.
        "key_created": event("key", roles=list_of(CODE), expires_at=optional(INSTANT)),
        "key_revoked": event("key", reason=optional(CODE)),
        # `not_covered`: the data that no erasure in this system reaches, as its connector declares.
        "system_added": event(
            "system", connector=CODE, configuration_hash=optional(HEX), not_covered=optional(list_of(CODE))
        ),
        "system_changed": event(
            "system", connector=optional(CODE), configuration_hash=HEX, not_covered=optional(list_of(CODE))
        ),
        "system_paused": event("system", reason=CODE),
        "system_resumed": event("system", reason=optional(CODE)),
        "system_removed": event("system", reason=optional(CODE)),
        "configuration_loaded": event("configuration", configuration_hash=HEX),
        "suppression_removed": event("suppression request", entries=COUNT, request=optional(UUID), reason=CODE),
        "export_made": event("export", entries=optional(COUNT)),
        "certificate_issued": event("request", certificate_hash=HEX, final=FLAG),
        # An epoch key wraps data keys and is stored outside the database. `lost`: the key disappeared, and a named
        # operator accepted that.
        "encryption_epoch_begun": event("encryption_epoch"),
        "encryption_epoch_destroyed": event("encryption_epoch"),
        "encryption_epoch_lost": event("encryption_epoch"),
        # A new secret of the keyed hashes: its version, and the number of hashes that were converted to it.
        "pepper_added": event("pepper", version=COUNT, hashes=COUNT),
        # The log itself: a human's acceptance of a restored store, its signing key, its removed prefix.
        "restored_store_accepted": event("reconciliation", anchor=CODE, conflict=CODE),
        "signing_key_announced": event("signing_key", after=HEX),
        "signing_key_taken": event("signing_key"),
        "log_pruned": event("pruning", size=COUNT, root=HEX),
        # A read that changes no row may be an object of its own, so that a reader doesn't wait for the request's lock.
        "evidence_read": event(
            "request key system export reading", what=CODE, found=optional(COUNT), request=optional(UUID)
        ),
    }
)

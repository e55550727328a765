"""Change the state of requests: each UPDATE of `requests` writes its audit entries with it.

Decides nothing; the caller holds the rows' locks and gives the data of each entry. Columns that the audit log doesn't
record change in `schedule.py`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Integer,
    LargeBinary,
    Uuid,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    null,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import NullType

from service.domain.identity.doubts import OpenDoubt
from service.domain.requests.states import NextAction, Progress, RequestKind, RequestState
from service.store.arrays import BinaryArray, array_parameter, int_array, uuid_array
from service.store.audit_log.log import append_with
from service.store.audit_log.record_change import Change, RowNotThere, chain_entries
from service.store.tables.requests import RequestRow

_Values: TypeAlias = dict[object, object]
"""Columns with their new values or expressions."""


class _Transition:
    """An UPDATE of one request and its twin for many.

    One row is named by plain values, because arrays cost more.
    """

    def __init__(self, values: _Values) -> None:
        self.one = (
            update(RequestRow)
            .where(RequestRow.id == bindparam("key"))
            .values({**values, RequestRow.version: bindparam("to_version"), RequestRow.entry_hash: bindparam("hash")})
        )
        self.many = (
            update(RequestRow)
            .where(RequestRow.id == _VERSIONS.c.id)
            .values({**values, RequestRow.version: _VERSIONS.c.version, RequestRow.entry_hash: _VERSIONS.c.hash})
        )


_VERSIONS = (
    func.unnest(
        array_parameter("keys", Uuid()),
        array_parameter("versions", Integer()),
        array_parameter("hashes", LargeBinary()),
    )
    .table_valued(column("id", Uuid), column("version", Integer), column("hash", LargeBinary))
    .render_derived(name="n")
)


def _write(
    connection: Connection,
    to: _Transition,
    changes: Sequence[Change],
    values: Mapping[str, object],
    *,
    actor: str,
    at: datetime,
) -> None:
    """Write what becomes of the requests that these entries are about. Raises RowNotThere."""
    if not changes:
        return
    entries, versions = chain_entries(changes, actor=actor, at=at)
    statement, of_rows = to.one, dict[str, object]()
    if len(versions) == 1:
        (((_, key), version),) = versions.items()
        of_rows = {"key": key, "to_version": version.number, "hash": version.entry_hash}
    else:
        statement = to.many
        of_rows = {
            "keys": BinaryArray([key for _, key in versions]),
            "versions": int_array(version.number for version in versions.values()),
            "hashes": BinaryArray([version.entry_hash for version in versions.values()]),
        }
    found = append_with(connection, entries, statement, {**values, **of_rows}).rowcount
    if found != len(versions):
        raise RowNotThere(f"{len(versions)} requests changed, {found} are there")


def _among(name: str) -> ColumnElement[bool]:
    """Return the condition that the request is one of the ids of this parameter."""
    return RequestRow.id == func.any(array_parameter(name, Uuid()))


def _instant(name: str) -> ColumnElement[datetime]:
    return cast(bindparam(name, type_=NullType()), DateTime(timezone=True))


_NO_DOUBTS = literal_column("'[]'", JSONB)
_NOTHING_NEXT: _Values = {RequestRow.next_action: null(), RequestRow.due_at: null(), RequestRow.lease_until: null()}
_IDENTIFY_NOW: _Values = {
    RequestRow.next_action: NextAction.IDENTIFY.value,
    RequestRow.due_at: _instant("now"),
    RequestRow.lease_until: null(),
    RequestRow.consecutive_attempts: 0,
}


def set_aside(
    connection: Connection,
    changes: Sequence[Change],
    *,
    reason: Progress,
    doubts: Sequence[OpenDoubt],
    actor: str,
    at: datetime,
) -> None:
    """Let a request wait for a person, with these doubts as the next version of its doubts."""
    values = {"reason": reason.value, "doubts": json.dumps([doubt.as_json() for doubt in doubts])}
    _write(connection, _SET_ASIDE, changes, values, actor=actor, at=at)


_SET_ASIDE = _Transition(
    {
        **_NOTHING_NEXT,
        RequestRow.state: RequestState.IN_PROGRESS.value,
        RequestRow.reason: bindparam("reason"),
        RequestRow.doubts: cast(bindparam("doubts", type_=NullType()), JSONB),
        RequestRow.doubts_version: RequestRow.doubts_version + 1,
        RequestRow.identity_reviewed: False,
    }
)


def link(
    connection: Connection, changes: Sequence[Change], *, to: UUID, by_person: bool, actor: str, at: datetime
) -> None:
    """Link a request to the one that covers it; `by_person`: a reviewer decided so."""
    values = {"covered_by": to, "by_person": by_person}
    _write(connection, _LINK, changes, values, actor=actor, at=at)


_LINK = _Transition(
    {
        **_NOTHING_NEXT,
        RequestRow.state: RequestState.IN_PROGRESS.value,
        RequestRow.reason: Progress.DUPLICATE.value,
        RequestRow.duplicate_of: bindparam("covered_by"),
        RequestRow.doubts: _NO_DOUBTS,
        RequestRow.identity_reviewed: bindparam("by_person"),
    }
)


def resume_reviewed(
    connection: Connection, changes: Sequence[Change], *, second_person_for: Sequence[str], actor: str, at: datetime
) -> None:
    """Search a request's identities again after a review."""
    values = {"now": at, "second_person_for": list(second_person_for)}
    _write(connection, _RESUME_REVIEWED, changes, values, actor=actor, at=at)


_RESUME_REVIEWED = _Transition(
    {
        **_IDENTIFY_NOW,
        RequestRow.identity_reviewed: True,
        RequestRow.state: RequestState.IN_PROGRESS.value,
        RequestRow.reason: Progress.LOCATING.value,
        RequestRow.second_person_for: bindparam("second_person_for"),
    }
)


def start_searches(
    connection: Connection, changes: Sequence[Change], *, located_until: datetime, actor: str, at: datetime
) -> None:
    """Let requests wait for the searches in their systems, at most until then."""
    _write(connection, _START_SEARCHES, changes, {"until": located_until}, actor=actor, at=at)


_START_SEARCHES = _Transition(
    {
        RequestRow.state: RequestState.IN_PROGRESS.value,
        RequestRow.reason: Progress.LOCATING.value,
        RequestRow.next_action: NextAction.FREEZE.value,
        RequestRow.due_at: _instant("until"),
        RequestRow.located_until: _instant("until"),
        RequestRow.lease_until: null(),
        RequestRow.consecutive_attempts: 0,
    }
)


def enter_plan_version(
    connection: Connection, changes: Sequence[Change], *, unapproved: Collection[UUID], actor: str, at: datetime
) -> None:
    """Write that the next version of these requests' plans is frozen; `unapproved` wait for approval.

    A request that was answered already stays answered, and gets no reason, while the new version is carried out.
    """
    _write(connection, _ENTER_PLAN, changes, {"unapproved": uuid_array(unapproved)}, actor=actor, at=at)


def enter_first_plan(
    connection: Connection, changes: Sequence[Change], *, unapproved: Collection[UUID], actor: str, at: datetime
) -> None:
    """Write the same for requests that need no search; they begin with it."""
    values = {"unapproved": uuid_array(unapproved), "now": at}
    _write(connection, _ENTER_FIRST_PLAN, changes, values, actor=actor, at=at)


_WORK = case(
    (RequestRow.kind == RequestKind.SUPPRESSION.value, Progress.SUPPRESSING.value), else_=Progress.ERASING.value
)
_IN_WORK = case((RequestRow.state == RequestState.IN_PROGRESS.value, _WORK))
_FROZEN: _Values = {
    RequestRow.plan_version: RequestRow.plan_version + 1,
    RequestRow.next_action: null(),
    RequestRow.due_at: null(),
    RequestRow.doubts: _NO_DOUBTS,
}
_ENTER_PLAN = _Transition(
    {**_FROZEN, RequestRow.reason: case((_among("unapproved"), Progress.AWAITING_APPROVAL.value), else_=_IN_WORK)}
)
_ENTER_FIRST_PLAN = _Transition(
    {
        **_FROZEN,
        RequestRow.state: RequestState.IN_PROGRESS.value,
        RequestRow.reason: case((_among("unapproved"), Progress.AWAITING_APPROVAL.value), else_=_WORK),
        RequestRow.located_until: _instant("now"),
        RequestRow.lease_until: null(),
        RequestRow.consecutive_attempts: 0,
    }
)


def release(connection: Connection, changes: Sequence[Change], *, actor: str, at: datetime) -> None:
    """Write that the plan of a request was released; an answered request stays answered."""
    _write(connection, _RELEASE, changes, {}, actor=actor, at=at)


_RELEASE = _Transition({RequestRow.reason: _IN_WORK})


def answer(
    connection: Connection,
    changes: Sequence[Change],
    *,
    sealing: Collection[UUID],
    seal_at: datetime,
    actor: str,
    at: datetime,
) -> None:
    """Fulfil requests; those of `sealing` are due for sealing at `seal_at`."""
    values = {"now": at, "seal_at": seal_at, "sealing": uuid_array(sealing)}
    _write(connection, _ANSWER, changes, values, actor=actor, at=at)


_ANSWER = _Transition(
    {
        RequestRow.state: RequestState.FULFILLED.value,
        RequestRow.reason: null(),
        RequestRow.answered_at: _instant("now"),
        RequestRow.next_action: case((_among("sealing"), NextAction.SEAL.value), else_=RequestRow.next_action),
        RequestRow.due_at: case((_among("sealing"), _instant("seal_at")), else_=RequestRow.due_at),
    }
)


def answer_duplicates(connection: Connection, changes: Sequence[Change], *, actor: str, at: datetime) -> None:
    """Fulfil linked requests together with the one that covers them; they stay linked to it."""
    _write(connection, _ANSWER_LINKED, changes, {"now": at}, actor=actor, at=at)


_ANSWER_LINKED = _Transition(
    {
        **_NOTHING_NEXT,
        RequestRow.state: RequestState.FULFILLED.value,
        RequestRow.reason: null(),
        RequestRow.answered_at: _instant("now"),
        RequestRow.consecutive_attempts: 0,
    }
)


def unlink(connection: Connection, changes: Sequence[Change], *, actor: str, at: datetime) -> None:
    """Open linked requests again, each for itself, because the other one doesn't cover them any more."""
    _write(connection, _UNLINK, changes, {"now": at}, actor=actor, at=at)


_UNLINK = _Transition(
    {
        **_IDENTIFY_NOW,
        RequestRow.state: RequestState.OPEN.value,
        RequestRow.reason: null(),
        RequestRow.duplicate_of: null(),
        RequestRow.answered_at: null(),
    }
)


def withdraw(
    connection: Connection,
    changes: Sequence[Change],
    *,
    state: RequestState,
    reason: str | None,
    actor: str,
    at: datetime,
) -> None:
    """Deny or revoke requests; leases of them are lost."""
    values = {"state": state.value, "reason": reason, "now": at}
    _write(connection, _WITHDRAW, changes, values, actor=actor, at=at)


_WITHDRAW = _Transition(
    {
        **_NOTHING_NEXT,
        RequestRow.state: bindparam("state"),
        RequestRow.reason: bindparam("reason"),
        RequestRow.fence: RequestRow.fence + 1,
        RequestRow.answered_at: _instant("now"),
    }
)


def extend(
    connection: Connection, change: Change, *, respond_by: datetime, reason: str, actor: str, at: datetime
) -> None:
    """Write a request's extended deadline and why it was extended."""
    values = {"respond_by": respond_by, "now": at, "reason": reason}
    _write(connection, _EXTEND, [change], values, actor=actor, at=at)


_EXTEND = _Transition(
    {
        RequestRow.respond_by: bindparam("respond_by"),
        RequestRow.extended_at: _instant("now"),
        RequestRow.extension_reason: bindparam("reason"),
    }
)


def expedite(connection: Connection, change: Change, *, actor: str, at: datetime) -> None:
    """Mark a request as urgent."""
    _write(connection, _EXPEDITE, [change], {}, actor=actor, at=at)


_EXPEDITE = _Transition({RequestRow.urgent: true()})


def write_overdue(
    connection: Connection, changes: Sequence[Change], *, expired: Collection[UUID], actor: str, at: datetime
) -> None:
    """Mark requests as overdue; those of `expired` end with it."""
    _write(connection, _MARK_OVERDUE, changes, {"now": at, "expired": uuid_array(expired)}, actor=actor, at=at)


_MARK_OVERDUE = _Transition(
    {
        RequestRow.overdue_at: _instant("now"),
        RequestRow.state: case((_among("expired"), RequestState.EXPIRED.value), else_=RequestRow.state),
        RequestRow.reason: case((_among("expired"), null()), else_=RequestRow.reason),
    }
)


def seal(connection: Connection, change: Change, *, actor: str, at: datetime) -> None:
    """Write that a request is sealed, and remove what an import's line is compared by."""
    _write(connection, _SEAL, [change], {"now": at}, actor=actor, at=at)


_SEAL = _Transition(
    {
        RequestRow.sealed_at: _instant("now"),
        RequestRow.next_action: null(),
        RequestRow.due_at: null(),
        RequestRow.import_fingerprint: null(),
    }
)

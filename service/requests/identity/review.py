"""Decide about a request that waits for a human: each doubt about who the person is, or whose request it repeats.

Decides what a reviewer may change, and that nothing goes on by default. Whom the remaining identifiers lead to is found
out anew by settle_identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text, update

from service.domain.access.api_key import Caller
from service.domain.errors import Invalid, NotFound, StaleDoubts, UndecidedDoubts, WrongState
from service.domain.identity.cluster import DoubtReason
from service.domain.identity.doubts import DoubtDecision, Mistake, OpenDoubt, mistakes_in, second_person_for
from service.domain.requests.states import UNFINISHED, Duty, Progress, RequestState
from service.requests.identity.explanations import StoredDecision, add_review
from service.requests.identity.review_entries import review_decided
from service.requests.locking import lock_requests, request_change
from service.store.audit_log.record_change import log_changes
from service.store.locking import check_again, database_now, lock_request
from service.store.stores import Stores
from service.store.tables.requests import RequestRow

_REVIEWABLE = frozenset({Progress.NEEDS_REVIEW, Progress.NEED_USER_VERIFICATION})


@dataclass(frozen=True)
class LateVerification:
    """An identifier of the request that was verified after it came in."""

    identifier_id: UUID
    method: str
    verified_at: datetime


@dataclass(frozen=True)
class Review:
    """A reviewer's word about one request.

    `decisions`: one for each open doubt, by the doubt's id. `doubts_version`: the version of the doubts that the
    reviewer looked at. `drop`: further identifiers that aren't the person's. `verify`: identifiers that were proven
    since. No decision has a default.
    """

    decisions: Sequence[tuple[str, DoubtDecision]] = ()
    doubts_version: int | None = None
    drop: Sequence[UUID] = ()
    verify: Sequence[LateVerification] = ()


def continue_request(stores: Stores, request_id: UUID, review: Review, *, caller: Caller) -> None:
    """Carry a review out: the request is settled anew without what was dropped.

    Raises NotFound, WrongState, StaleDoubts, UndecidedDoubts (naming each doubt and what it allows), Invalid.
    """
    with stores.engine.begin() as connection:
        row = lock_request(connection, request_id)
        _check_reviewable(row)
        decided = _decided(row, review)
        identifiers = _own_identifiers(connection, request_id)
        verified = {each.identifier_id for each in review.verify}
        _check_own([*review.drop], identifiers, "drop")
        _check_own([each.identifier_id for each in review.verify], identifiers, "verify")
        _check_kept(decided, {*review.drop}, verified)
        dropped = {*review.drop, *(r for doubt, word in decided if word is DoubtDecision.DROP for r in doubt.rows)}
        if dropped & verified:
            raise Invalid("an identifier can't be dropped and verified at once", field="/drop")
        _check_somebody_is_left(identifiers, dropped, verified)
        count = _drop(connection, sorted(dropped))
        _verify(connection, review.verify)
        _go_on(connection, row, decided, dropped, count, caller)


def _decided(row: Row[Any], review: Review) -> list[tuple[OpenDoubt, DoubtDecision]]:
    """The open doubts, each with its decision."""
    doubts = [OpenDoubt.of_json(stored) for stored in row.doubts]
    if review.doubts_version not in (None, row.doubts_version):
        raise StaleDoubts("the doubts have changed since: look at them again", field="/doubts_version")
    mistakes = mistakes_in(doubts, review.decisions)
    if doubts and review.doubts_version is None:
        asked = f"name the version of the doubts that was looked at; it is {row.doubts_version} by now"
        mistakes.append(Mistake("/doubts_version", asked))
    if mistakes:
        raise UndecidedDoubts(
            "every open doubt needs exactly one decision that it allows",
            errors=[(mistake.field, mistake.reason) for mistake in mistakes],
        )
    by_id = dict(review.decisions)
    return [(doubt, by_id[doubt.id]) for doubt in doubts]


def _check_kept(decided: Sequence[tuple[OpenDoubt, DoubtDecision]], drop: set[UUID], verified: set[UUID]) -> None:
    """What is kept isn't dropped beside it, and what was only claimed is kept by its proof alone."""
    for doubt, decision in decided:
        if decision is not DoubtDecision.KEEP:
            continue
        if drop & {*doubt.identifiers}:
            raise Invalid(f"{doubt.id} is kept, and one of its identifiers is dropped", field="/drop")
        if doubt.reason == DoubtReason.UNVERIFIED_IDENTIFIER and not verified.issuperset(doubt.rows):
            raise Invalid(f"{doubt.id} can be kept only with its proof", field="/verify")


def _go_on(
    connection: Connection,
    row: Row[Any],
    decided: Sequence[tuple[OpenDoubt, DoubtDecision]],
    dropped: set[UUID],
    count: int,
    caller: Caller,
) -> None:
    """Write the decisions, and let the walk begin again."""
    now = database_now(connection)
    second_person = second_person_for(decided, dropped)
    connection.execute(
        update(RequestRow)
        .where(RequestRow.id == row.id)
        .values(
            identity_reviewed=True,
            state=RequestState.IN_PROGRESS,
            reason=Progress.LOCATING,
            duty=Duty.IDENTIFY,
            due_at=now,
            tries=0,
            lease_until=None,
            second_person_for=sorted({*row.second_person_for, *second_person}),
        )
    )
    add_review(
        connection,
        row.id,
        [StoredDecision(doubt.id, doubt.reason, doubt.about, doubt.is_edge, word.value) for doubt, word in decided],
        doubts_version=row.doubts_version,
        decided_by=caller.key_id,
        decided_at=now,
        dropped=count,
    )
    said = review_decided(decided, version=row.doubts_version, dropped=count, second_person=second_person)
    changes = [
        request_change(row, "review_decided", **said),
        request_change(row, "request_resumed", reason=Progress.LOCATING.value),
    ]
    log_changes(connection, changes, actor=caller.actor, at=now)


def link_request(stores: Stores, request_id: UUID, *, to: UUID, actor: str) -> None:
    """The same person's earlier request covers this one: it ends as that one ends.

    Raises NotFound, WrongState, Invalid.
    """
    if to == request_id:
        raise Invalid("a request can't be linked to itself", field="/request_id")
    with stores.engine.begin() as connection:
        rows = lock_requests(connection, [request_id, to])
        if request_id not in rows:
            raise NotFound("there is no such request")
        row, other = rows[request_id], rows.get(to)
        _check_reviewable(row)
        if other is None:
            raise Invalid("there is no such request", field="/request_id")
        if other.state not in UNFINISHED or other.linked_to is not None or other.kind != row.kind:
            raise WrongState("only an unfinished request of the same kind, not linked itself, can be linked to")
        if _has_followers(connection, request_id):
            raise WrongState("other requests are linked to this one")
        now = database_now(connection)
        connection.execute(
            text(
                "UPDATE requests SET state = :state, reason = :reason, linked_to = :to, duty = NULL, due_at = NULL,"
                " lease_until = NULL, doubts = '[]', identity_reviewed = true WHERE id = :id"
            ),
            {"state": RequestState.IN_PROGRESS, "reason": Progress.LINKED, "to": to, "id": request_id},
        )
        changes = [
            request_change(row, "review_decided", decision="link", dropped=0),
            request_change(row, "request_linked", to=str(to)),
        ]
        log_changes(connection, changes, actor=actor, at=now)
        check_again(connection, [to])


def _check_reviewable(row: Row[Any]) -> None:
    if row.state != RequestState.IN_PROGRESS or row.reason not in _REVIEWABLE:
        raise WrongState("the request isn't waiting for a review")


def _own_identifiers(connection: Connection, request_id: UUID) -> dict[UUID, Row[Any]]:
    rows = connection.execute(
        text(
            "SELECT id, origin, use, verification_method FROM identifiers WHERE request_id = :id ORDER BY id"
            " FOR NO KEY UPDATE"
        ),
        {"id": request_id},
    )
    return {row.id: row for row in rows}


def _check_own(given: Sequence[UUID], own: dict[UUID, Row[Any]], field: str) -> None:
    for place, identifier_id in enumerate(given):
        if identifier_id not in own:
            raise Invalid("not an identifier of this request", field=f"/{field}/{place}")
    if len(set(given)) != len(given):
        raise Invalid("an identifier is named twice", field=f"/{field}")


def _check_somebody_is_left(own: dict[UUID, Row[Any]], dropped: set[UUID], verified: set[UUID]) -> None:
    """An erasure starts from something the requester proved to be theirs, never from what the graph adds to it."""
    for identifier_id, row in own.items():
        proven = row.verification_method is not None or identifier_id in verified
        if row.origin == "submitted" and row.use != "dropped" and identifier_id not in dropped and proven:
            return
    raise Invalid("one submitted identifier must stay and be verified", field="/verify")


def _drop(connection: Connection, drop: Sequence[UUID]) -> int:
    return connection.execute(
        text(
            "UPDATE identifiers SET use = 'dropped', exclusion = NULL"
            " WHERE id = ANY(CAST(:ids AS uuid[])) AND use <> 'dropped'"
        ),
        {"ids": list(drop)},
    ).rowcount


def _verify(connection: Connection, verify: Sequence[LateVerification]) -> None:
    connection.execute(
        text(
            "UPDATE identifiers i SET verification_method = n.method, verified_at = n.at FROM unnest("
            " CAST(:ids AS uuid[]), CAST(:methods AS text[]), CAST(:ats AS timestamptz[])) AS n(id, method, at)"
            " WHERE i.id = n.id"
        ),
        {
            "ids": [v.identifier_id for v in verify],
            "methods": [v.method for v in verify],
            "ats": [v.verified_at for v in verify],
        },
    )


def _has_followers(connection: Connection, request_id: UUID) -> bool:
    asked = text("SELECT EXISTS (SELECT 1 FROM requests WHERE linked_to = :id)")
    return bool(connection.execute(asked, {"id": request_id}).scalar_one())

"""Carry out a review of a request: a decision about each doubt, or a link to an earlier request.

Decides which changes a reviewer may make, and that no doubt has a default. Afterwards the remaining identifiers are
resolved again (`resolve.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from service.domain.access.api_key import Caller
from service.domain.errors import Invalid, NotFound, StaleDoubts, UndecidedDoubts, WrongState
from service.domain.identity.cluster import DoubtReason
from service.domain.identity.doubts import DoubtDecision, Mistake, OpenDoubt, mistakes_in, second_person_for
from service.domain.requests.states import UNFINISHED, Progress, RequestState
from service.requests.identity.explanations import StoredDecision, add_review
from service.requests.identity.review_entries import review_decided
from service.requests.identity.store import (
    OwnIdentifier,
    Verification,
    drop,
    lock_identifiers,
    write_verifications,
)
from service.requests.records.changes import link, resume_reviewed
from service.requests.records.rows import StoredRequest, request_change
from service.requests.records.store import followers, lock_request, lock_requests
from service.store.locking import database_now, request_check
from service.store.stores import Stores

_REVIEWABLE = frozenset({Progress.NEEDS_REVIEW, Progress.NEED_USER_VERIFICATION})


@dataclass(frozen=True)
class LateVerification:
    """An identifier of the request that was verified after it came in."""

    identifier_id: UUID
    method: str
    verified_at: datetime


@dataclass(frozen=True)
class Review:
    """The decisions of a reviewer about one request.

    `decisions`: one for each open doubt, by the doubt's id. `doubts_version`: the version of the doubts that the
    reviewer looked at. `drop`: further identifiers that aren't the person's. `verify`: identifiers that were proven
    since. No decision has a default.
    """

    decisions: Sequence[tuple[str, DoubtDecision]] = ()
    doubts_version: int | None = None
    drop: Sequence[UUID] = ()
    verify: Sequence[LateVerification] = ()


def continue_request(stores: Stores, request_id: UUID, review: Review, *, caller: Caller) -> None:
    """Carry a review out: the request is resolved again without the dropped identifiers.

    Raises NotFound, WrongState, StaleDoubts, UndecidedDoubts (naming each doubt and what it allows), Invalid.
    """
    with stores.engine.begin() as connection:
        row = lock_request(connection, request_id)
        _check_reviewable(row)
        decided = _decided(row, review)
        identifiers = lock_identifiers(connection, request_id)
        verified = {each.identifier_id for each in review.verify}
        _check_own([*review.drop], identifiers, "drop")
        _check_own([each.identifier_id for each in review.verify], identifiers, "verify")
        _check_kept(decided, {*review.drop}, verified)
        dropped = {*review.drop, *(r for doubt, word in decided if word is DoubtDecision.DROP for r in doubt.rows)}
        if dropped & verified:
            raise Invalid("an identifier can't be dropped and verified at once", field="/drop")
        _check_somebody_is_left(identifiers, dropped, verified)
        count = drop(connection, sorted(dropped))
        write_verifications(connection, [Verification(*astuple(each)) for each in review.verify])
        _go_on(connection, row, decided, dropped, count, caller)


def _decided(row: StoredRequest, review: Review) -> list[tuple[OpenDoubt, DoubtDecision]]:
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
    """Refuse to drop a kept identifier, and to keep an unverified one without its proof. Raises Invalid."""
    for doubt, decision in decided:
        if decision is not DoubtDecision.KEEP:
            continue
        if drop & {*doubt.identifiers}:
            raise Invalid(f"{doubt.id} is kept, and one of its identifiers is dropped", field="/drop")
        if doubt.reason == DoubtReason.UNVERIFIED_IDENTIFIER and not verified.issuperset(doubt.rows):
            raise Invalid(f"{doubt.id} can be kept only with its proof", field="/verify")


def _go_on(
    connection: Connection,
    row: StoredRequest,
    decided: Sequence[tuple[OpenDoubt, DoubtDecision]],
    dropped: set[UUID],
    count: int,
    caller: Caller,
) -> None:
    """Write the decisions, and make the request due for another search."""
    now = database_now(connection)
    second_person = second_person_for(decided, dropped)
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
    kept = sorted({*row.second_person_for, *second_person})
    resume_reviewed(connection, changes, second_person_for=kept, actor=caller.actor, at=now)


def link_request(stores: Stores, request_id: UUID, *, to: UUID, actor: str) -> None:
    """Link a request to the same person's earlier request, which covers it: it ends as that one ends.

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
        if other.state not in UNFINISHED or other.duplicate_of is not None or other.kind != row.kind:
            raise WrongState("only an unfinished request of the same kind, not linked itself, can be linked to")
        if followers(connection, [request_id]):
            raise WrongState("other requests are linked to this one")
        now = database_now(connection)
        changes = [
            request_change(row, "review_decided", decision="link", dropped=0),
            request_change(row, "request_linked", to=str(to)),
        ]
        link(connection, changes, to=to, by_person=True, actor=actor, at=now)
        request_check(connection, [to])


def _check_reviewable(row: StoredRequest) -> None:
    if row.state != RequestState.IN_PROGRESS or row.reason not in _REVIEWABLE:
        raise WrongState("the request isn't waiting for a review")


def _check_own(given: Sequence[UUID], own: dict[UUID, OwnIdentifier], field: str) -> None:
    for place, identifier_id in enumerate(given):
        if identifier_id not in own:
            raise Invalid("not an identifier of this request", field=f"/{field}/{place}")
    if len(set(given)) != len(given):
        raise Invalid("an identifier is named twice", field=f"/{field}")


def _check_somebody_is_left(own: dict[UUID, OwnIdentifier], dropped: set[UUID], verified: set[UUID]) -> None:
    """Refuse a review after which no submitted identifier is verified. Raises Invalid.

    An erasure starts from an identifier that the requester has proven, never from those that the graph adds.
    """
    for identifier_id, row in own.items():
        proven = row.verification_method is not None or identifier_id in verified
        if row.origin == "submitted" and row.use != "dropped" and identifier_id not in dropped and proven:
            return
    raise Invalid("one submitted identifier must stay and be verified", field="/verify")

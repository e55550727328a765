"""The sealed explanation of each request's cluster, and the reviews that were decided about it.

Knows the context that binds an explanation to its request. Reviews hold ordinals only, no personal data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from service.domain.identity.explanation import Explanation
from service.store.encryption.key_store import request_owner
from service.store.encryption.sealing import seal, unseal
from service.store.tables.requests import ExplanationRow, ReviewRow


@dataclass(frozen=True)
class StoredDecision:
    """One decision of a review: about which doubt, by its reason and the ordinals of its identifiers."""

    doubt: str
    reason: str
    about: tuple[int, ...]
    is_edge: bool
    decision: str


class _DecisionJson(TypedDict):
    """A decision as the column `decisions` holds it."""

    doubt: str
    reason: str
    about: list[int]
    is_edge: bool
    decision: str


@dataclass(frozen=True)
class StoredReview:
    """One review of a request. `doubts_version` is the version of the doubts that were decided."""

    number: int
    doubts_version: int
    decided_by: UUID
    decided_at: datetime
    dropped: int
    decisions: tuple[StoredDecision, ...]


def read_explanations(
    connection: Connection, request_ids: Iterable[UUID], keys: Mapping[str, bytes]
) -> dict[UUID, Explanation]:
    """The explanations of these requests, as far as they have one and their keys are here."""
    asked = select(ExplanationRow.request_id, ExplanationRow.sealed).where(
        ExplanationRow.request_id.in_(list(request_ids))
    )
    return {
        row.request_id: Explanation.of_json(unseal(keys[owner], row.sealed, _context(row.request_id)))
        for row in connection.execute(asked)
        if (owner := request_owner(row.request_id)) in keys
    }


def write_explanations(
    connection: Connection, explanations: Mapping[UUID, Explanation], keys: Mapping[str, bytes]
) -> None:
    """Seal and write them, one statement for any number; an earlier explanation of a request is replaced."""
    if not explanations:
        return
    statement = insert_or_update(ExplanationRow)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[ExplanationRow.request_id], set_={"sealed": statement.excluded.sealed}
        ),
        [
            {
                "request_id": request_id,
                "sealed": seal(keys[request_owner(request_id)], explanation.to_json(), _context(request_id)),
            }
            for request_id, explanation in explanations.items()
        ],
    )


def delete_explanation(connection: Connection, request_id: UUID) -> None:
    """Nothing of the explanation stays."""
    connection.execute(delete(ExplanationRow).where(ExplanationRow.request_id == request_id))


def add_review(
    connection: Connection,
    request_id: UUID,
    decisions: Sequence[StoredDecision],
    *,
    doubts_version: int,
    decided_by: UUID,
    decided_at: datetime,
    dropped: int,
) -> None:
    """Write the next review of a request, which the caller has locked."""
    asked = select(func.coalesce(func.max(ReviewRow.number), 0) + 1).where(ReviewRow.request_id == request_id)
    connection.execute(
        insert(ReviewRow).values(
            request_id=request_id,
            number=connection.execute(asked).scalar_one(),
            doubts_version=doubts_version,
            decided_by=decided_by,
            decided_at=decided_at,
            dropped=dropped,
            decisions=[_to_json(each) for each in decisions],
        )
    )


def read_reviews(connection: Connection, request_ids: Iterable[UUID]) -> dict[UUID, list[StoredReview]]:
    """The reviews of these requests, in their order; a request without one isn't in the answer."""
    asked = (
        select(ReviewRow.__table__)
        .where(ReviewRow.request_id.in_(list(request_ids)))
        .order_by(ReviewRow.request_id, ReviewRow.number)
    )
    found: dict[UUID, list[StoredReview]] = {}
    for row in connection.execute(asked):
        decisions = tuple(map(_of_json, row.decisions))
        review = StoredReview(row.number, row.doubts_version, row.decided_by, row.decided_at, row.dropped, decisions)
        found.setdefault(row.request_id, []).append(review)
    return found


def _to_json(decision: StoredDecision) -> _DecisionJson:
    return {
        "doubt": decision.doubt,
        "reason": decision.reason,
        "about": list(decision.about),
        "is_edge": decision.is_edge,
        "decision": decision.decision,
    }


def _of_json(stored: _DecisionJson) -> StoredDecision:
    return StoredDecision(
        stored["doubt"], stored["reason"], tuple(stored["about"]), stored["is_edge"], stored["decision"]
    )


def _context(request_id: UUID) -> str:
    return f"request/{request_id}/explanation"

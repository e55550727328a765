"""Show why each identifier of a request is in it: paths of links, the claims of each link, doubts.

Decides which parts the masked view and the revealed one have in common: all but the values. Identifiers are named by
their ordinals, which also distinguish two masks of one request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.values import Identifier
from service.domain.identity.doubts import OpenDoubt
from service.domain.identity.explanation import Ends, Explanation
from service.requests.identifiers import StoredIdentifier
from service.requests.identity.explanations import StoredReview, read_explanations, read_reviews
from service.requests.records.rows import StoredRequest


@dataclass(frozen=True)
class EvidenceView:
    """One claim of a link. Each field is None where the source doesn't tell it."""

    source: str | None
    confidence: float | None
    first_seen_at: datetime | None
    last_seen_at: datetime | None


@dataclass(frozen=True)
class EdgeView:
    """A link between two ordinals; `near` is the identifier that is nearer to a verified one."""

    near: int
    far: int
    evidence: list[EvidenceView]


@dataclass(frozen=True)
class DoubtView:
    """One doubt that waits for its decision.

    `about` are ordinals, `identifiers` the ids of those that are identifiers of the request. `leads_to`: the values of
    a one-per-person kind to which the link leads. `allowed` are the decisions among which the reviewer chooses;
    `takes_second_person`: going on with it needs a second person's approval.
    """

    id: str
    reason: str
    about: list[int]
    identifiers: list[UUID]
    edge: EdgeView | None
    leads_to: list[int]
    allowed: list[str]
    takes_second_person: bool
    meets_request: UUID | None = None


@dataclass(frozen=True)
class DecisionView:
    """One decision of a review."""

    doubt: str
    reason: str
    about: list[int]
    decision: str


@dataclass(frozen=True)
class ReviewView:
    """One review: whose key decided what, about which version of the doubts."""

    doubts_version: int
    decided_by: UUID
    decided_at: datetime
    dropped: int
    decisions: list[DecisionView]


@dataclass(frozen=True)
class Picture:
    """Why a request's identifiers are in it, as far as the values can be opened."""

    explanation: Explanation = field(repr=False)
    doubts: list[DoubtView]
    reviews: list[ReviewView]
    edges: list[EdgeView]
    beyond: Mapping[int, str]

    def ordinal(self, identifier: Identifier | None) -> int | None:
        """The ordinal of an identifier of this request; None where its value is gone."""
        return None if identifier is None else self.explanation.ordinals[identifier]

    def path_to(self, identifier: Identifier | None) -> list[EdgeView]:
        """Return the links from a verified identifier to this one; empty if it is verified or isn't used."""
        ordinal = self.ordinal(identifier)
        path = () if ordinal is None else self.explanation.path_to(ordinal)
        return [_edge(self.explanation, one, other) for one, other in pairwise(path)]


def read_picture(
    connection: Connection, row: StoredRequest, stored: Sequence[StoredIdentifier], keys: Mapping[str, bytes]
) -> Picture:
    """Return the picture of one request; without its key it has only ordinals and decisions.

    `stored`: its identifiers.
    """
    explanation = read_explanations(connection, [row.id], keys).get(row.id, Explanation())
    rows = [each.identifier for each in stored if each.identifier is not None]
    explanation = explanation.with_rows(rows)
    known = {explanation.ordinals[each] for each in rows}
    reviews = read_reviews(connection, [row.id]).get(row.id, [])
    return Picture(
        explanation=explanation,
        doubts=[_doubt(explanation, OpenDoubt.of_json(each)) for each in row.doubts],
        reviews=[_review(each) for each in reviews],
        edges=[_edge(explanation, *_by_nearness(explanation, ends)) for ends in sorted(explanation.edges)],
        beyond={n: why for n, why in sorted(explanation.excluded.items()) if n not in known},
    )


def _doubt(explanation: Explanation, doubt: OpenDoubt) -> DoubtView:
    edge = None
    if doubt.is_edge:
        one, other = doubt.about
        edge = _edge(explanation, *_by_nearness(explanation, (one, other)))
    return DoubtView(
        id=doubt.id,
        reason=doubt.reason,
        about=list(doubt.about),
        identifiers=[each for each in doubt.identifiers if each is not None],
        edge=edge,
        leads_to=list(doubt.leads_to),
        allowed=[decision.value for decision in doubt.allowed],
        takes_second_person=doubt.takes_a_second_person,
        meets_request=doubt.other,
    )


def _review(review: StoredReview) -> ReviewView:
    decisions = [DecisionView(each.doubt, each.reason, list(each.about), each.decision) for each in review.decisions]
    return ReviewView(review.doubts_version, review.decided_by, review.decided_at, review.dropped, decisions)


def _by_nearness(explanation: Explanation, ends: Ends) -> Ends:
    """The end first to which fewer links lead; an end that isn't reached comes last."""
    one, other = sorted(ends, key=lambda n: (not explanation.path_to(n), len(explanation.path_to(n)), n))
    return one, other


def _edge(explanation: Explanation, near: int, far: int) -> EdgeView:
    claims = explanation.edges.get((min(near, far), max(near, far)), ())
    evidence = [EvidenceView(c.source, c.confidence, c.first_seen_at, c.last_seen_at) for c in claims]
    return EdgeView(near, far, evidence)

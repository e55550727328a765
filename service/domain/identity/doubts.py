"""The doubts of one request, the reviewer's decision about each, and the approvals that follow.

Decides which identifiers and links each doubt of a walk is about, which decisions it allows, and which decisions need a
second person. Doubts name identifiers by their ordinals in the request, so they hold no personal data.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType
from typing import NotRequired, TypedDict
from uuid import UUID

from connectors.base.values import Identifier
from service.domain.identity.cluster import Cluster, Doubt, DoubtReason, link_of
from service.domain.requests.blast_radius import ApprovalReason
from service.domain.suppression.reappearance import REAPPEARED

NO_IDENTIFIER_LEFT = "no_identifier_left"
NO_SYSTEM_CONNECTED = "no_system_connected"
MEETS_OPEN_REQUEST = "meets_open_request"


class DoubtDecision(StrEnum):
    """A reviewer's decision about one doubt: the data in doubt is the person's (`keep`) or not (`drop`)."""

    KEEP = "keep"
    DROP = "drop"


_EITHER = (DoubtDecision.KEEP, DoubtDecision.DROP)
ALLOWED: Mapping[str, tuple[DoubtDecision, ...]] = MappingProxyType(
    {
        DoubtReason.SUPERNODE: _EITHER,
        DoubtReason.TWO_VALUES_OF_ONE_PER_PERSON_KIND: _EITHER,
        DoubtReason.LOW_CONFIDENCE: _EITHER,
        # The review must include a proof to keep it.
        DoubtReason.UNVERIFIED_IDENTIFIER: _EITHER,
        MEETS_OPEN_REQUEST: _EITHER,
        REAPPEARED: _EITHER,
        # An erasure by these would reach other people, because they belong to no single person.
        DoubtReason.PLACEHOLDER: (DoubtDecision.DROP,),
        DoubtReason.MALFORMED_IDENTIFIER: (DoubtDecision.DROP,),
        DoubtReason.SHARED_IDENTIFIER: (DoubtDecision.DROP,),
        # The walk never examined these identifiers, so they can only be left out.
        DoubtReason.TOO_LARGE: (DoubtDecision.DROP,),
        DoubtReason.TOO_DEEP: (DoubtDecision.DROP,),
        # These are about no identifier: the walk is repeated.
        NO_IDENTIFIER_LEFT: (DoubtDecision.KEEP,),
        NO_SYSTEM_CONNECTED: (DoubtDecision.KEEP,),
    }
)
"""Every reason of a review and the decisions that it allows."""

_TAKES_A_SECOND_PERSON: Mapping[str, ApprovalReason] = MappingProxyType(
    {
        DoubtReason.TWO_VALUES_OF_ONE_PER_PERSON_KIND: ApprovalReason.TWO_VALUES_KEPT,
        DoubtReason.SUPERNODE: ApprovalReason.SUPERNODE_KEPT,
        DoubtReason.LOW_CONFIDENCE: ApprovalReason.WEAK_EDGE_KEPT,
        DoubtReason.TOO_LARGE: ApprovalReason.CLUSTER_CUT_SHORT,
        DoubtReason.TOO_DEEP: ApprovalReason.CLUSTER_CUT_SHORT,
    }
)


class StoredDoubt(TypedDict):
    """A doubt as JSON in the request's row.

    Earlier versions of Expunge stored the reason and the rows only.
    """

    reason: str
    identifiers: Sequence[str | None]
    about: NotRequired[Sequence[int]]
    is_edge: NotRequired[bool]
    leads_to: NotRequired[Sequence[int]]
    request: NotRequired[str | None]


@dataclass(frozen=True)
class OpenDoubt:
    """One doubt that waits for its decision.

    `about` are ordinals: one identifier, the two ends of a link if `is_edge`, or several identifiers that the walk
    never examined. `identifiers` are their rows, None for one without a row. `leads_to` are, for two values of a
    one-per-person kind, the values to which the link leads. `other` is the open request with a common identifier.
    """

    reason: str
    about: tuple[int, ...] = ()
    is_edge: bool = False
    identifiers: tuple[UUID | None, ...] = ()
    leads_to: tuple[int, ...] = ()
    other: UUID | None = None

    @property
    def id(self) -> str:
        """Return the doubt's id; the same doubt of a request has the same id in a later round."""
        return self.reason if not 0 < len(self.about) <= 2 else f"{self.reason}.{'-'.join(map(str, self.about))}"

    @property
    def sign(self) -> tuple[str, tuple[int, ...]]:
        """Return the key by which a later walk recognises a decided doubt."""
        return self.reason, self.about

    @property
    def allowed(self) -> tuple[DoubtDecision, ...]:
        """Return the decisions among which the reviewer can choose."""
        if not self.about and self.reason == DoubtReason.TWO_VALUES_OF_ONE_PER_PERSON_KIND:
            # A doubt of an earlier version of Expunge has no links that a reviewer could cut. The walk is repeated.
            return (DoubtDecision.KEEP,)
        return ALLOWED[self.reason]

    @property
    def rows(self) -> tuple[UUID, ...]:
        """Return the rows that the decision `drop` removes.

        None for a link: identifiers that only this link reaches drop out of the next walk.
        """
        return () if self.is_edge else tuple(row for row in self.identifiers if row is not None)

    @property
    def takes_a_second_person(self) -> bool:
        """Return whether keeping the identifiers or link in doubt needs a second person's approval."""
        return self.reason in _TAKES_A_SECOND_PERSON

    def as_json(self) -> StoredDoubt:
        """Return the doubt as JSON for the request's row. Holds no personal data."""
        return {
            "reason": self.reason,
            "about": list(self.about),
            "is_edge": self.is_edge,
            "identifiers": [None if each is None else str(each) for each in self.identifiers],
            "leads_to": list(self.leads_to),
            "request": None if self.other is None else str(self.other),
        }

    @classmethod
    def of_json(cls, stored: StoredDoubt) -> OpenDoubt:
        """Read the output of `as_json`.

        A doubt of an earlier version of Expunge has its rows only; its walk is repeated.
        """
        other = stored.get("request")
        return cls(
            stored["reason"],
            tuple(stored.get("about", ())),
            bool(stored.get("is_edge", False)),
            tuple(None if each is None else UUID(each) for each in stored["identifiers"]),
            tuple(stored.get("leads_to", ())),
            None if other is None else UUID(other),
        )


def doubts_of(cluster: Cluster, ordinals: Mapping[Identifier, int], rows: Mapping[Identifier, UUID]) -> list[OpenDoubt]:
    """Return a walk's doubts in a stable order, one for each identifier or link to decide about.

    Two values of a one-per-person kind become a doubt for each link on the paths to them, because a dropped link
    removes only the identifiers that are reached through it alone.
    """

    def doubt(
        reason: str, about: Iterable[Identifier], *, leads_to: Iterable[Identifier] = (), edge: bool
    ) -> OpenDoubt:
        named = sorted((ordinals[each], rows.get(each)) for each in about)
        places, found = tuple(n for n, _ in named), tuple(row for _, row in named)
        return OpenDoubt(reason, places, edge, found, tuple(sorted(ordinals[each] for each in leads_to)))

    return sorted(_expanded(cluster, doubt), key=lambda each: each.sign)


def _expanded(cluster: Cluster, doubt: Callable[..., OpenDoubt]) -> Iterator[OpenDoubt]:
    two_values: set[Identifier] = set()
    for found in cluster.doubts:
        if found.reason is DoubtReason.TWO_VALUES_OF_ONE_PER_PERSON_KIND:
            two_values |= found.identifiers
        elif found.links:
            yield from (doubt(found.reason.value, pair, edge=True) for pair in found.links)
        elif found.reason in (DoubtReason.TOO_LARGE, DoubtReason.TOO_DEEP):
            yield doubt(found.reason.value, found.identifiers, edge=False)
        else:
            yield from (doubt(found.reason.value, [each], edge=False) for each in found.identifiers)
    yield from _along_the_paths(cluster, two_values, doubt)


def _along_the_paths(cluster: Cluster, values: set[Identifier], doubt: Callable[..., OpenDoubt]) -> Iterator[OpenDoubt]:
    reason = DoubtReason.TWO_VALUES_OF_ONE_PER_PERSON_KIND.value
    leads_to: dict[tuple[Identifier, Identifier], set[Identifier]] = {}
    for value in values:
        path = cluster.paths[value]
        for one, other in pairwise(path):
            leads_to.setdefault(link_of(one, other), set()).add(value)
        if len(path) == 1:
            # No link leads to this value, because it was submitted and verified itself.
            yield doubt(reason, [value], leads_to=[value], edge=False)
    yield from (doubt(reason, pair, leads_to=ends, edge=True) for pair, ends in leads_to.items())


def reasons_of(doubts: Collection[Doubt]) -> frozenset[ApprovalReason]:
    """Return why a cluster that keeps these doubts needs a second person."""
    return frozenset(_TAKES_A_SECOND_PERSON[d.reason] for d in doubts if d.reason in _TAKES_A_SECOND_PERSON)


@dataclass(frozen=True)
class Mistake:
    """One fault in a list of decisions, with its JSON pointer. Repeats no value that was sent."""

    field: str
    reason: str


def mistakes_in(doubts: Sequence[OpenDoubt], decisions: Sequence[tuple[str, DoubtDecision]]) -> list[Mistake]:
    """Return all faults of the decisions about these open doubts; empty if each has exactly one."""
    by_id = {doubt.id: doubt for doubt in doubts}
    seen: set[str] = set()
    found: list[Mistake] = []
    for place, (doubt_id, decision) in enumerate(decisions):
        doubt = by_id.get(doubt_id)
        if doubt is None:
            found.append(Mistake(f"/decisions/{place}/doubt", "not an open doubt of this request"))
        elif doubt_id in seen:
            found.append(Mistake(f"/decisions/{place}/doubt", f"{doubt_id} is decided twice"))
        elif decision not in doubt.allowed:
            allowed = f"{doubt_id} allows only: {_named(doubt)}"
            found.append(Mistake(f"/decisions/{place}/decision", allowed))
        if doubt is not None:
            seen.add(doubt_id)
    found += [
        Mistake("/decisions", f"{doubt.id} is undecided; allowed: {_named(doubt)}")
        for doubt in doubts
        if doubt.id not in seen
    ]
    return found


def _named(doubt: OpenDoubt) -> str:
    return ", ".join(decision.value for decision in doubt.allowed)


def second_person_for(
    decided: Sequence[tuple[OpenDoubt, DoubtDecision]], dropped_rows: Collection[UUID] = ()
) -> frozenset[ApprovalReason]:
    """Return why the decisions of one review need a second person; empty if they don't.

    In a cluster with two values of a one-per-person kind, a kept link needs no second person only if it leads to a
    value that stays, or touches one. Any other kept link keeps an identifier whose only connection to the person is a
    value that was dropped.
    """
    reasons = {_TAKES_A_SECOND_PERSON[doubt.reason] for doubt, decision in decided if _is_risky(doubt, decision)}
    about_values = [(doubt, choice) for doubt, choice in decided if doubt.leads_to]
    gone = {n for doubt, choice in decided if choice is DoubtDecision.DROP and not doubt.is_edge for n in doubt.about}
    gone |= {n for d, _ in decided for n, row in zip(d.about, d.identifiers, strict=False) if row in dropped_rows}
    values = {value for doubt, _ in about_values for value in doubt.leads_to}
    lost = {
        value
        for doubt, choice in about_values
        for value in doubt.leads_to
        if choice is DoubtDecision.DROP or gone & {*doubt.about, value}
    }
    stays = values - lost
    for doubt, choice in about_values:
        if choice is DoubtDecision.KEEP and not gone & {*doubt.about} and not stays & {*doubt.leads_to, *doubt.about}:
            reasons.add(ApprovalReason.TWO_VALUES_KEPT)
    return frozenset(reasons)


def _is_risky(doubt: OpenDoubt, decision: DoubtDecision) -> bool:
    """Return whether this decision alone needs a second person.

    False for a link towards two values, because `second_person_for` judges those links together.
    """
    if doubt.reason not in _TAKES_A_SECOND_PERSON or doubt.leads_to:
        return False
    return decision is DoubtDecision.KEEP or DoubtDecision.KEEP not in doubt.allowed

"""The doubts of one request as a reviewer decides them, one by one, and what follows from the decisions.

Decides which identifiers and links a walk's doubts ask about, which decisions each doubt allows, and which decisions
take a second person. Identifiers are named by their ordinals in the request, so nothing here is personal data.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType
from typing import Any
from uuid import UUID

from connectors.base.values import Identifier
from service.domain.identity.cluster import Cluster, Doubt, DoubtReason, link_of
from service.domain.requests.blast_radius import ApprovalReason
from service.domain.suppression.reappearance import REAPPEARED

NO_IDENTIFIER_LEFT = "no_identifier_left"
NO_SYSTEM_CONNECTED = "no_system_connected"
MEETS_OPEN_REQUEST = "meets_open_request"


class DoubtDecision(StrEnum):
    """What a reviewer decides about one doubt: what it is about is the person's, or isn't."""

    KEEP = "keep"
    DROP = "drop"


_EITHER = (DoubtDecision.KEEP, DoubtDecision.DROP)
ALLOWED: Mapping[str, tuple[DoubtDecision, ...]] = MappingProxyType(
    {
        DoubtReason.SUPERNODE: _EITHER,
        DoubtReason.TWO_VALUES_OF_ONE_PER_PERSON_KIND: _EITHER,
        DoubtReason.LOW_CONFIDENCE: _EITHER,
        # Kept only together with a proof, which the review brings along.
        DoubtReason.UNVERIFIED_IDENTIFIER: _EITHER,
        MEETS_OPEN_REQUEST: _EITHER,
        REAPPEARED: _EITHER,
        # These belong to nobody or to many: an erasure by them would reach other people.
        DoubtReason.PLACEHOLDER: (DoubtDecision.DROP,),
        DoubtReason.MALFORMED_IDENTIFIER: (DoubtDecision.DROP,),
        DoubtReason.SHARED_IDENTIFIER: (DoubtDecision.DROP,),
        # Never examined, so it can only be left out.
        DoubtReason.TOO_LARGE: (DoubtDecision.DROP,),
        DoubtReason.TOO_DEEP: (DoubtDecision.DROP,),
        # About no identifier: the walk begins again.
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


@dataclass(frozen=True)
class OpenDoubt:
    """One doubt that waits for its decision.

    `about` are ordinals: one identifier, the two ends of a link if `is_edge`, or several identifiers that were never
    examined. `identifiers` are their rows, None for one that isn't stored as a row. `leads_to` are, for two values of a
    one-per-person kind, the values to which the link leads. `other` is the open request that is met.
    """

    reason: str
    about: tuple[int, ...] = ()
    is_edge: bool = False
    identifiers: tuple[UUID | None, ...] = ()
    leads_to: tuple[int, ...] = ()
    other: UUID | None = None

    @property
    def id(self) -> str:
        """Stable within the request: the same doubt has the same id in a later round."""
        return self.reason if not 0 < len(self.about) <= 2 else f"{self.reason}.{'-'.join(map(str, self.about))}"

    @property
    def sign(self) -> tuple[str, tuple[int, ...]]:
        """By this a doubt is known that was decided before."""
        return self.reason, self.about

    @property
    def allowed(self) -> tuple[DoubtDecision, ...]:
        """The decisions among which the reviewer chooses."""
        if not self.about and self.reason == DoubtReason.TWO_VALUES_OF_ONE_PER_PERSON_KIND:
            # Of an earlier version of Expunge: without the links nobody can say where to cut. The walk is repeated.
            return (DoubtDecision.KEEP,)
        return ALLOWED[self.reason]

    @property
    def rows(self) -> tuple[UUID, ...]:
        """The rows that dropping it drops: none for a link, since what hangs on the link only falls out by itself."""
        return () if self.is_edge else tuple(row for row in self.identifiers if row is not None)

    @property
    def takes_a_second_person(self) -> bool:
        """Whether going on with what the doubt is about needs a second person's approval."""
        return self.reason in _TAKES_A_SECOND_PERSON

    def as_json(self) -> dict[str, Any]:
        """For the request's row. Holds no personal data."""
        return {
            "reason": self.reason,
            "about": list(self.about),
            "is_edge": self.is_edge,
            "identifiers": [None if each is None else str(each) for each in self.identifiers],
            "leads_to": list(self.leads_to),
            "request": None if self.other is None else str(self.other),
        }

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> OpenDoubt:
        """What `as_json` made. A doubt of an earlier version of Expunge names its rows only: its walk is repeated."""
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
    """A walk's doubts, one for each identifier or link about which a reviewer must decide; in a stable order.

    Two values of a one-per-person kind are in doubt link by link along the paths that lead to them: dropping a link
    drops what hangs on it only.
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
            # Submitted and verified itself: no link leads to it.
            yield doubt(reason, [value], leads_to=[value], edge=False)
    yield from (doubt(reason, pair, leads_to=ends, edge=True) for pair, ends in leads_to.items())


def reasons_of(doubts: Collection[Doubt]) -> frozenset[ApprovalReason]:
    """Why a cluster that goes on with these doubts needs a second person."""
    return frozenset(_TAKES_A_SECOND_PERSON[d.reason] for d in doubts if d.reason in _TAKES_A_SECOND_PERSON)


@dataclass(frozen=True)
class Mistake:
    """What is wrong with a list of decisions, and where. Repeats nothing that was sent."""

    field: str
    reason: str


def mistakes_in(doubts: Sequence[OpenDoubt], decisions: Sequence[tuple[str, DoubtDecision]]) -> list[Mistake]:
    """Everything that is wrong with the decisions about these open doubts; empty where each has exactly one."""
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
    """Why the decisions of one review take a second person.

    Of a cluster with two values, a kept link is plain only if it leads to a value that stays, or touches one. Any other
    kept link keeps an identifier of which only the value that was taken away said whose it is.
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
    """A link towards two values is judged with the others of its cluster, not alone."""
    if doubt.reason not in _TAKES_A_SECOND_PERSON or doubt.leads_to:
        return False
    return decision is DoubtDecision.KEEP or DoubtDecision.KEEP not in doubt.allowed

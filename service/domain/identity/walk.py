"""Decides which identifiers are one person's, from the identity graph's answers, round by round.

The graph is right about most people and badly wrong about a few: shared phones, placeholder emails, over-merged
profiles. So the walk never continues *through* an identifier that can't belong to one person, accepts no identifier
before its own neighbours were counted, and makes each uncertainty a doubt for a human. Each person has a breadth-first
walk of their own: answers to other requests of the batch are only a cache, so the result depends neither on the other
requests nor on the order of answers. Doesn't decide whether a cluster has an identifier of another open request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic

from connectors.base.identity_source import Edge, Neighbours
from connectors.base.values import Identifier
from service.domain.identity.cluster import (
    Cluster,
    Doubt,
    DoubtReason,
    Evidence,
    Exclusion,
    Link,
    Person,
    Ref,
    WalkRules,
    link_of,
)
from service.domain.identity.normalise import EMAIL, InvalidIdentifier, is_well_formed, normalise
from service.domain.identity.placeholders import is_placeholder

_DOUBT_ABOUT_SUBMITTED: Mapping[Exclusion, DoubtReason] = {
    Exclusion.PLACEHOLDER: DoubtReason.PLACEHOLDER,
    Exclusion.MALFORMED: DoubtReason.MALFORMED_IDENTIFIER,
    Exclusion.SHARED_KIND: DoubtReason.SHARED_IDENTIFIER,
    Exclusion.SUPERNODE: DoubtReason.SUPERNODE,
}
_Pending = dict[Identifier, set[Identifier]]


class WalkNotFinished(Exception):  # noqa: N818 - says what is true
    """The walk still has open questions to the graph; an incomplete cluster must never become a plan."""

    def __init__(self) -> None:
        super().__init__("the walk has open questions; learn the answers to its frontier first")


class Walk(Generic[Ref]):
    """The walk for many people at once.

    Ask the graph about `frontier` and pass the answers to `learn`, until `done`. Raises ValueError if two people have
    the same ref.
    """

    def __init__(self, people: Iterable[Person[Ref]], rules: WalkRules) -> None:
        self._people = tuple(people)
        if len({person.ref for person in self._people}) != len(self._people):
            raise ValueError("refs of a walk must be unique")
        self._rules = rules
        self._known = _Known(rules)
        self._clusters: dict[Ref, Cluster] = {}
        self._frontier: frozenset[Identifier] = frozenset()
        self._advance()

    def frontier(self) -> frozenset[Identifier]:
        """Return the identifiers to ask the graph about next, each once for all people.

        Mostly normal forms. A spelling that a source can't derive from the normal form (`(212) 555-0123` from
        `+12125550123`) is in the frontier as well; a source must ignore the case of an email itself.
        """
        return self._frontier

    def learn(self, asked: frozenset[Identifier], neighbours: Mapping[Identifier, Neighbours]) -> None:
        """Add the graph's answers about `asked`; an identifier without `neighbours` is unknown to the graph.

        `asked` may be a part of the frontier. A repeated call changes nothing. Raises ValueError for an identifier that
        was never in the frontier.
        """
        if not asked <= self._frontier | self._known.answers.keys() or not neighbours.keys() <= asked:
            raise ValueError("an answer about an identifier that was not asked")
        for identifier in asked - self._known.answers.keys():
            self._known.answers[identifier] = neighbours.get(identifier, Neighbours())
        self._advance()

    @property
    def done(self) -> bool:
        """Return whether the frontier is empty."""
        return not self._frontier

    def clusters(self) -> Mapping[Ref, Cluster]:
        """Return one cluster per person. Raises WalkNotFinished before `done`."""
        if not self.done:
            raise WalkNotFinished
        return MappingProxyType(self._clusters)

    def _advance(self) -> None:
        missing: set[Identifier] = set()
        for person in self._people:
            if person.ref in self._clusters:
                continue
            result = _walk_alone(person, self._rules, self._known)
            if isinstance(result, Cluster):
                self._clusters[person.ref] = result
            else:
                missing |= result
        self._frontier = frozenset(missing)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The rules' result for an identifier: its normal form, and why it can't be in any cluster."""

    node: Identifier
    barred: Exclusion | None


class _Known:
    """The graph's answers so far, and a cache of the readings of identifiers."""

    def __init__(self, rules: WalkRules) -> None:
        self._rules = rules
        self._readings: dict[Identifier, _Reading] = {}
        self.answers: dict[Identifier, Neighbours] = {}

    def read(self, found: Identifier) -> _Reading:
        if found not in self._readings:
            self._readings[found] = self._read(found)
        return self._readings[found]

    def _read(self, found: Identifier) -> _Reading:
        try:
            node = normalise(found, self._rules.default_region)
        except InvalidIdentifier:
            nobody = is_placeholder(found, self._rules.placeholders)
            return _Reading(found, Exclusion.PLACEHOLDER if nobody else Exclusion.MALFORMED)
        if is_placeholder(found, self._rules.placeholders) or is_placeholder(node, self._rules.placeholders):
            return _Reading(node, Exclusion.PLACEHOLDER)
        if node.kind in self._rules.shared_kinds:
            return _Reading(node, Exclusion.SHARED_KIND)
        return _Reading(node, None if is_well_formed(node) else Exclusion.MALFORMED)


def _walk_alone(person: Person[Ref], rules: WalkRules, known: _Known) -> Cluster | frozenset[Identifier]:
    """Return the person's cluster, or the identifiers to ask the graph about before it can be computed."""
    supernodes: set[Identifier] = set()
    while True:
        attempt = _Attempt(person, rules, known, frozenset(supernodes))
        attempt.run()
        if attempt.missing:
            return frozenset(attempt.missing)
        if not attempt.late_supernodes:
            return attempt.cluster()
        # A spelling that was found later shows that a member is a supernode. The walk is repeated without what was
        # reached through it.
        supernodes |= attempt.late_supernodes


class _Attempt:
    """One breadth-first walk of one person over the known answers; a level is settled only as a whole."""

    def __init__(self, person: Person[Ref], rules: WalkRules, known: _Known, supernodes: frozenset[Identifier]) -> None:
        self._rules = rules
        self._known = known
        self._supernodes = supernodes
        self._seeds = tuple((known.read(seed.identifier), seed) for seed in person.seeds)
        self._dropped = person.dropped | {known.read(identifier).node for identifier in person.dropped}
        self._members: set[Identifier] = set()
        self._excluded: dict[Identifier, Exclusion] = {}
        self._asked: dict[Identifier, set[Identifier]] = {}
        self._spellings: dict[Identifier, set[Identifier]] = {}
        self._neighbours: dict[Identifier, set[Identifier]] = {}
        self._person = person
        self._came_by: dict[Identifier, Identifier | None] = {}
        self._evidence: dict[Link, set[Evidence]] = {}
        self._weak: list[tuple[Identifier, Link, str | None]] = []
        self._crowded: set[Identifier] = set()
        self._doubts: list[Doubt] = []
        self.missing: set[Identifier] = set()
        self.late_supernodes: set[Identifier] = set()

    def run(self) -> None:
        pending: _Pending = {}
        for _, seed in self._seeds:
            if seed.verified:
                self._meet(seed.identifier, None, pending)
        for _ in range(self._rules.max_rounds):
            if len(self._members | pending.keys()) > self._rules.max_cluster:
                return self._stop(DoubtReason.TOO_LARGE, pending)
            # One by one, because the difference of a set and a dictionary's keys reads all keys: those of all people.
            known = self._known.answers
            self.missing = {asked for forms in pending.values() for asked in forms if asked not in known}
            if self.missing or not pending:
                return None
            pending = self._settle(pending)
            if self.late_supernodes:
                return None
        return self._stop(DoubtReason.TOO_DEEP, pending) if pending else None

    def cluster(self) -> Cluster:
        self._judge_weak_links()
        self._judge_seeds()
        self._judge_one_per_person()
        doubts = sorted(self._doubts, key=lambda doubt: (doubt.reason, sorted(doubt.identifiers)))
        return Cluster(
            members=frozenset(self._members),
            spellings=MappingProxyType({member: frozenset(self._spellings[member]) for member in self._members}),
            excluded=MappingProxyType(dict(self._excluded)),
            doubts=tuple(doubts),
            paths=MappingProxyType({member: self._path(member) for member in self._members}),
            evidence=MappingProxyType({pair: frozenset(claims) for pair, claims in self._explaining()}),
        )

    def _path(self, member: Identifier) -> tuple[Identifier, ...]:
        path = [member]
        while (before := self._came_by[path[-1]]) is not None:
            path.append(before)
        return tuple(reversed(path))

    def _explaining(self) -> Iterator[tuple[Link, set[Evidence]]]:
        doubtful = {pair for doubt in self._doubts for pair in doubt.links}
        for pair, claims in self._evidence.items():
            if pair in doubtful or self._members.issuperset(pair):
                yield pair, claims

    def _meet(self, found: Identifier, before: Identifier | None, pending: _Pending) -> None:
        """Exclude a found identifier, or add its open questions to the next level."""
        reading = self._known.read(found)
        node = reading.node
        barred = Exclusion.DROPPED if node in self._dropped else reading.barred
        if barred is None and node in self._supernodes - self._person.kept:
            barred = Exclusion.SUPERNODE
        if barred is not None:
            self._excluded[node] = barred
        if node in self._excluded:
            return
        self._came_by.setdefault(node, before)
        self._spellings.setdefault(node, set()).add(found)
        asked = self._asked.setdefault(node, set())
        questions = {node} if _a_source_finds(found, node) else {node, found}
        if questions - asked:
            pending.setdefault(node, set()).update(questions - asked)
            asked |= questions

    def _settle(self, pending: _Pending) -> _Pending:
        crowded = {node for node, forms in pending.items() if self._count_neighbours(node, forms)}
        self._crowded |= crowded | (pending.keys() & self._supernodes)
        self.late_supernodes = (crowded & self._members) - self._supernodes
        outside = crowded - self._person.kept
        self._excluded.update(dict.fromkeys(outside, Exclusion.SUPERNODE))
        settled = pending.keys() - outside
        self._members |= settled
        following: _Pending = {}
        # Sorted, so that the same one of several equally short paths to a member is shown in every walk.
        for node in sorted(settled - self._crowded):
            for form in pending[node]:
                for edge in self._known.answers[form].edges:
                    self._follow(node, edge, following)
        return following

    def _count_neighbours(self, node: Identifier, forms: set[Identifier]) -> bool:
        """Add the graph's answers about `node`; return True if it has too many neighbours for one person."""
        answers = [self._known.answers[form] for form in forms]
        spelled = {Identifier(node.kind, spelling) for answer in answers for spelling in answer.spellings}
        # A source with looser rules of comparison may report another person's spelling, which must never be used.
        self._spellings[node] |= {spelling for spelling in spelled if self._known.read(spelling).node == node}
        neighbours = self._neighbours.setdefault(node, set())
        neighbours |= {self._known.read(edge.other).node for answer in answers for edge in answer.edges} - {node}
        return max(len(neighbours), *(answer.degree for answer in answers)) > self._rules.max_neighbours

    def _follow(self, node: Identifier, edge: Edge, following: _Pending) -> None:
        reading = self._known.read(edge.other)
        pair = link_of(node, reading.node)
        if pair in self._person.cut:
            return
        evidence = Evidence(edge.source, edge.confidence, edge.first_seen_at, edge.last_seen_at)
        if node != reading.node:
            self._evidence.setdefault(pair, set()).add(evidence)
        if self._is_weak(evidence):
            if reading.barred is None and reading.node not in self._dropped:
                self._weak.append((reading.node, pair, edge.source))
            if pair not in self._person.followed:
                return
        self._meet(edge.other, node, following)

    def _is_weak(self, evidence: Evidence) -> bool:
        # This form of the comparison makes NaN weak.
        return not (evidence.confidence is None or evidence.confidence >= self._rules.min_confidence)

    def _stop(self, reason: DoubtReason, pending: _Pending) -> None:
        self._doubt(reason, pending)
        self._excluded.update(dict.fromkeys(pending.keys() - self._members, Exclusion.NOT_EXAMINED))

    def _judge_weak_links(self) -> None:
        """Add a doubt for the weak links that lead to no member, and for those that a reviewer kept."""
        doubtful = [
            (node, pair, source)
            for node, pair, source in self._weak
            if (node not in self._members and node not in self._excluded) or self._is_followed(node, pair)
        ]
        sources = frozenset(source for _, _, source in doubtful if source is not None)
        links = frozenset(pair for _, pair, _ in doubtful)
        self._doubt(DoubtReason.LOW_CONFIDENCE, {node for node, _, _ in doubtful}, sources, links)

    def _is_followed(self, far: Identifier, pair: Link) -> bool:
        if pair not in self._person.followed or not all(self._is_weak(claim) for claim in self._evidence[pair]):
            return False
        return far in self._members and self._came_by[far] in pair

    def _judge_seeds(self) -> None:
        for reading, _ in self._seeds:
            if reading.node in self._dropped:
                self._excluded[reading.node] = Exclusion.DROPPED
            elif reading.barred is not None:
                self._excluded[reading.node] = reading.barred
            elif reading.node not in self._members:
                self._excluded.setdefault(reading.node, Exclusion.UNVERIFIED)
        submitted = {reading.node: self._excluded.get(reading.node) for reading, _ in self._seeds}
        kept = {node for node in submitted if node in self._members and node in self._crowded}
        for exclusion, reason in _DOUBT_ABOUT_SUBMITTED.items():
            also = kept if exclusion is Exclusion.SUPERNODE else set()
            self._doubt(reason, {node for node, excluded in submitted.items() if excluded is exclusion} | also)
        verified = {reading.node for reading, seed in self._seeds if seed.verified}
        unreached = {n for n, why in submitted.items() if why in {Exclusion.UNVERIFIED, Exclusion.NOT_EXAMINED}}
        self._doubt(DoubtReason.UNVERIFIED_IDENTIFIER, unreached - verified)

    def _judge_one_per_person(self) -> None:
        for kind in self._rules.one_per_person_kinds:
            values = {member for member in self._members if member.kind == kind}
            if len(values) > 1:
                self._doubt(DoubtReason.TWO_VALUES_OF_ONE_PER_PERSON_KIND, values)

    def _doubt(
        self,
        reason: DoubtReason,
        about: Iterable[Identifier],
        sources: frozenset[str] = frozenset(),
        links: frozenset[Link] = frozenset(),
    ) -> None:
        identifiers = frozenset(about)
        if identifiers:
            self._doubts.append(Doubt(reason, identifiers, sources, links))


def _a_source_finds(found: Identifier, node: Identifier) -> bool:
    """Return whether a source finds this spelling by the normal form: sources ignore an email's case only."""
    return found == node or (found.kind == EMAIL and found.value.strip().lower() == node.value)

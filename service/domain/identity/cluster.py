"""The input and output of the walk over the identity graph: seeds, rules, clusters, doubts.

Decides nothing itself; `walk` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, TypeAlias, TypeVar

from connectors.base.values import Identifier
from service.domain.identity.placeholders import STANDARD_PLACEHOLDERS, PlaceholderRules

Ref = TypeVar("Ref")

Link: TypeAlias = tuple[Identifier, Identifier]
"""Two linked identifiers in normal form, sorted, because a link has no direction."""


def link_of(one: Identifier, other: Identifier) -> Link:
    """Return the link between two identifiers."""
    return (one, other) if one <= other else (other, one)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One source's claim of a link, with its confidence and when the source saw it; None if unknown."""

    source: str | None = None
    confidence: float | None = None
    first_seen_at: datetime | None = None
    last_seen_at: datetime | None = None


class Exclusion(StrEnum):
    """The reason why an identifier isn't a member of the cluster.

    No system is called with an excluded identifier, and the walk doesn't continue through it.
    """

    PLACEHOLDER = "placeholder"
    MALFORMED = "malformed"
    SHARED_KIND = "shared_kind"
    SUPERNODE = "supernode"
    DROPPED = "dropped"
    UNVERIFIED = "unverified"
    NOT_EXAMINED = "not_examined"


class DoubtReason(StrEnum):
    """The reason why a human must review the cluster before the plan."""

    SHARED_IDENTIFIER = "shared_identifier"
    SUPERNODE = "supernode"
    PLACEHOLDER = "placeholder"
    MALFORMED_IDENTIFIER = "malformed_identifier"
    UNVERIFIED_IDENTIFIER = "unverified_identifier"
    TWO_VALUES_OF_ONE_PER_PERSON_KIND = "two_values_of_one_per_person_kind"
    LOW_CONFIDENCE = "low_confidence"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"


@dataclass(frozen=True, slots=True)
class Doubt:
    """One reason for a review and the identifiers in doubt.

    `sources` names the tables that claim a link; `links` are the links in doubt, if the doubt is about links.
    """

    reason: DoubtReason
    identifiers: frozenset[Identifier]
    sources: frozenset[str] = frozenset()
    links: frozenset[Link] = field(default=frozenset(), repr=False)


@dataclass(frozen=True, slots=True)
class Seed:
    """An identifier as submitted.

    The walk doesn't start at an unverified one; it becomes a member only if the walk finds it from a verified one.
    """

    identifier: Identifier
    verified: bool


@dataclass(frozen=True, slots=True)
class Person(Generic[Ref]):
    """The data subject of one request: submitted identifiers and the decisions of reviewers.

    The walk never uses `dropped` identifiers and `cut` links. It uses `followed` links although they are weak. A `kept`
    identifier is a member although it is a supernode; the walk doesn't continue through it.
    """

    ref: Ref
    seeds: tuple[Seed, ...]
    dropped: frozenset[Identifier] = frozenset()
    cut: frozenset[Link] = field(default=frozenset(), repr=False)
    followed: frozenset[Link] = field(default=frozenset(), repr=False)
    kept: frozenset[Identifier] = field(default=frozenset(), repr=False)


@dataclass(frozen=True, slots=True)
class WalkRules:
    """The controller's configuration of its identity graph.

    `max_neighbours`: an identifier with more is a supernode. `max_cluster`: identifiers per person. `max_rounds`:
    rounds of questions per person; a member is fewer links than that away from a verified seed. `min_confidence`: 0 to
    1; the walk doesn't use weaker links (a link without a confidence is certain). `default_region`: the country of
    phone numbers without a country code.
    """

    shared_kinds: frozenset[str] = frozenset()
    one_per_person_kinds: frozenset[str] = frozenset()
    max_neighbours: int = 50
    max_cluster: int = 200
    max_rounds: int = 10
    min_confidence: float = 0.0
    default_region: str | None = None
    placeholders: PlaceholderRules = STANDARD_PLACEHOLDERS

    def __post_init__(self) -> None:
        if min(self.max_neighbours, self.max_cluster, self.max_rounds) < 1:
            raise ValueError("limits of the walk must be at least 1")
        if not 0.0 <= self.min_confidence <= 1.0:
            raise ValueError("min_confidence must be between 0 and 1")


@dataclass(frozen=True, slots=True)
class Cluster:
    """The identifiers of one person, as far as the rules allow certainty.

    `members` are in normal form. `spellings` has, for every member, each form in which it was submitted or stands in
    the warehouse; connectors search rows and records by these forms. A cluster with `doubts` waits for a human. `paths`
    leads from a verified seed to each member, both included, by the fewest links. `evidence` has every link that the
    walk found between members, and the weak links in doubt. A doubt stays in `doubts` after a reviewer kept its
    identifiers.
    """

    members: frozenset[Identifier]
    spellings: Mapping[Identifier, frozenset[Identifier]]
    excluded: Mapping[Identifier, Exclusion]
    doubts: tuple[Doubt, ...]
    paths: Mapping[Identifier, tuple[Identifier, ...]] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    evidence: Mapping[Link, frozenset[Evidence]] = field(default_factory=lambda: MappingProxyType({}), repr=False)

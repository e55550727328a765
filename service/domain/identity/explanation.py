"""The reason why each identifier is in its cluster: paths from a verified seed and claims of links.

Decides the ordinals: an identifier has the same ordinal for the request's life, so that a mask with its ordinal, a
doubt's id and a decision mean the same identifier in every round. The values are personal data; the store seals them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import TypeAlias

from connectors.base.values import Identifier
from service.domain.identity.cluster import Cluster, Evidence, Exclusion, Link

_Claim: TypeAlias = tuple[str | None, float | None, str | None, str | None]
"""A link's evidence as JSON: its source, its confidence, when it was first and last seen."""
Ends = tuple[int, int]
"""The ordinals of a link's ends, the smaller one first."""


@dataclass(frozen=True)
class Explanation:
    """Identifiers in the order of their ordinals, which begin at 1; the other fields hold ordinals.

    `normal_forms`: for each other spelling, the identifier in normal form. `paths`: from a verified seed to a member,
    both included. `edges`: every link between members, and the links in doubt.
    """

    identifiers: tuple[Identifier, ...] = field(default=(), repr=False)
    normal_forms: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))
    paths: Mapping[int, tuple[int, ...]] = field(default_factory=lambda: MappingProxyType({}))
    edges: Mapping[Ends, tuple[Evidence, ...]] = field(default_factory=lambda: MappingProxyType({}))
    excluded: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def ordinals(self) -> Mapping[Identifier, int]:
        """Return the ordinal of each identifier."""
        return {identifier: n for n, identifier in enumerate(self.identifiers, start=1)}

    def identifier(self, ordinal: int) -> Identifier:
        """Return the identifier with this ordinal."""
        return self.identifiers[ordinal - 1]

    def with_rows(self, rows: Iterable[Identifier]) -> Explanation:
        """Return the explanation with these identifiers added, in the given order, after the present ones."""
        more = tuple(dict.fromkeys(each for each in rows if each not in self.ordinals))
        if not more:
            return self
        return Explanation((*self.identifiers, *more), self.normal_forms, self.paths, self.edges, self.excluded)

    def path_to(self, ordinal: int) -> tuple[int, ...]:
        """Return the path from a verified seed to this identifier, in normal forms; empty for a non-member."""
        return self.paths.get(self.normal_forms.get(ordinal, ordinal), ())

    def to_json(self) -> bytes:
        """Return the bytes that the store seals."""
        plain = {
            "identifiers": [[each.kind, each.value] for each in self.identifiers],
            "normal_forms": [[form, node] for form, node in self.normal_forms.items()],
            "paths": [list(path) for path in self.paths.values()],
            "edges": [[*ends, [_evidence_to_json(each) for each in claims]] for ends, claims in self.edges.items()],
            "excluded": [[ordinal, why] for ordinal, why in self.excluded.items()],
        }
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")

    @classmethod
    def of_json(cls, plain: bytes) -> Explanation:
        """Read the output of `to_json`."""
        stored = json.loads(plain.decode("utf-8", "surrogatepass"))
        return cls(
            identifiers=tuple(Identifier(kind, value) for kind, value in stored["identifiers"]),
            normal_forms=dict(stored["normal_forms"]),
            paths={path[-1]: tuple(path) for path in stored["paths"]},
            edges={(a, b): tuple(map(_evidence_of_json, claims)) for a, b, claims in stored["edges"]},
            excluded=dict(stored["excluded"]),
        )


def explain(
    before: Explanation, rows: Sequence[Identifier], cluster: Cluster, order: Callable[[Identifier], bytes]
) -> Explanation:
    """Return the explanation of a new cluster; an identifier that had an ordinal `before` keeps it.

    `rows` are the request's identifiers as stored, in the order of their rows. New identifiers get ordinals by the
    length of their path, then by `order`, which must not reveal their values (a keyed hash).
    """
    doubted = {each for doubt in cluster.doubts for each in doubt.identifiers}
    ends = {each for pair in cluster.evidence for each in pair}
    spelled = {form for member in cluster.members for form in cluster.spellings.get(member, ())}
    new = (cluster.members | spelled | ends | doubted) - set(rows)
    furthest = 1 + max(map(len, cluster.paths.values()), default=0)
    ranked = sorted((len(cluster.paths.get(each, ())) or furthest, order(each), each) for each in new)
    named = before.with_rows(rows).with_rows(each for _, _, each in ranked)
    ordinals = named.ordinals
    return Explanation(
        identifiers=named.identifiers,
        normal_forms={
            ordinals[form]: ordinals[member]
            for member in sorted(cluster.members)
            for form in sorted(cluster.spellings.get(member, ()))
            if form != member
        },
        paths={ordinals[member]: tuple(ordinals[each] for each in path) for member, path in cluster.paths.items()},
        edges={_ends(pair, ordinals): tuple(sorted(claims, key=str)) for pair, claims in cluster.evidence.items()},
        excluded={ordinals[each]: why for each in sorted(ends | doubted) if (why := _why_out(each, cluster))},
    )


def _why_out(identifier: Identifier, cluster: Cluster) -> str | None:
    """Return why a shown identifier is no member; None for a member.

    An identifier behind a weak link is `not_examined`.
    """
    if identifier in cluster.members:
        return None
    return cluster.excluded.get(identifier, Exclusion.NOT_EXAMINED).value


def _ends(pair: Link, ordinals: Mapping[Identifier, int]) -> Ends:
    one, other = sorted(ordinals[each] for each in pair)
    return one, other


def _evidence_to_json(evidence: Evidence) -> _Claim:
    # JSON has no NaN and no infinity. None loses nothing, because the walk has already judged the link's confidence.
    confidence = evidence.confidence
    sure = None if confidence is None or not math.isfinite(confidence) else confidence
    first, last = (None if at is None else at.isoformat() for at in (evidence.first_seen_at, evidence.last_seen_at))
    return evidence.source, sure, first, last


def _evidence_of_json(stored: _Claim) -> Evidence:
    source, confidence, *seen = stored
    first, last = (None if at is None else datetime.fromisoformat(at) for at in seen)
    return Evidence(source, confidence, first, last)

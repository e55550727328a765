"""Who the machine's people are, what they are known by, and what the identity graph says of them.

Ada has two addresses and is easy. Ben and Cyd share a mailbox, which makes one cluster of two customers: a human must
part them. Dee is in no warehouse at all, and one system understands nothing that she is known by.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from connectors.base.errors import TemporarilyUnavailable
from connectors.base.identity_source import Edge, Neighbours
from connectors.base.values import Identifier

PEOPLE = ("ada", "ben", "cyd", "dee")


def email(local: str) -> Identifier:
    """An address that belongs to nobody outside these tests."""
    return Identifier("email", f"{local}@canary.test")


def customer(person: str) -> Identifier:
    """A customer number; no digits, since nothing may look like a telephone number."""
    return Identifier("customer_id", f"canary-customer-{person}")


SHARED_MAILBOX = email("family")
ADDRESSES: Mapping[str, tuple[Identifier, ...]] = {
    "ada": (email("ada"), email("ada.work")),
    "ben": (email("ben"), SHARED_MAILBOX),
    "cyd": (email("cyd"), SHARED_MAILBOX),
    "dee": (email("dee"),),
}
IDENTIFIERS: Mapping[str, tuple[Identifier, ...]] = {
    person: (*own, customer(person)) if person != "dee" else own for person, own in ADDRESSES.items()
}
ALL_IDENTIFIERS = tuple(dict.fromkeys(i for own in IDENTIFIERS.values() for i in own))
_EDGES = tuple((address, customer(person)) for person in PEOPLE[:3] for address in ADDRESSES[person])


class ModelGraph:
    """The identity graph in memory; `is_down` makes it unavailable."""

    def __init__(self) -> None:
        self.is_down = False
        self._edges: dict[Identifier, set[Identifier]] = defaultdict(set)
        for left, right in _EDGES:
            self._edges[left].add(right)
            self._edges[right].add(left)

    def neighbours(
        self, identifiers: Collection[Identifier], *, max_neighbours: int
    ) -> Mapping[Identifier, Neighbours]:
        """Direct neighbours of those that the graph knows."""
        if self.is_down:
            raise TemporarilyUnavailable("graph_down")
        return {
            i: Neighbours(
                edges=tuple(Edge(other, "model") for other in sorted(self._edges[i])),
                degree=len(self._edges[i]),
                spellings=frozenset({i.value}),
            )
            for i in identifiers
            if i in self._edges
        }

    def close(self) -> None:
        """Nothing to give back."""

    def is_known(self, identifier: Identifier) -> bool:
        """Whether the graph gives this identifier to anybody."""
        return identifier in self._edges

    def reached_from(self, seeds: Iterable[Identifier]) -> frozenset[Identifier]:
        """Everything that a walk could reach at most."""
        reached: set[Identifier] = set()
        frontier = set(seeds)
        while frontier:
            reached |= frontier
            frontier = {other for i in frontier for other in self._edges.get(i, ())} - reached
        return frozenset(reached)

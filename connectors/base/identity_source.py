"""Where the engine asks which identifiers are one person's: the interface of an identity graph.

The walk's rules (what is not walked through, what needs a human) are `service.domain.identity.walk`; a source
answers one round.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from connectors.base.values import Identifier


@dataclass(frozen=True, slots=True)
class Edge:
    """A link to another identifier.

    `other` is directly linked to the identifier asked for, and is spelled as the warehouse spells it.

    The instants say when the source first and last saw the link, as far as it tells; they are timezone-aware.
    """

    other: Identifier
    source: str | None = None
    confidence: float | None = None
    first_seen_at: datetime | None = None
    last_seen_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """One identifier's edges.

    `degree` is the number of distinct neighbours; when it exceeds the limit asked for, `edges` is empty: a supernode's
    neighbours are never fetched.
    """

    edges: tuple[Edge, ...] = ()
    degree: int = 0
    spellings: frozenset[str] = field(default_factory=frozenset, repr=False)


class IdentitySource(Protocol):
    """An identity graph. One set-based query per round, for the identifiers of many people at once."""

    def neighbours(
        self, identifiers: Collection[Identifier], *, max_neighbours: int
    ) -> Mapping[Identifier, Neighbours]:
        """Return the neighbours of each normalised identifier; an unknown identifier has no entry.

        Values are compared in normal form (emails without regard to case). `spellings` are the forms in which the
        warehouse holds the identifier itself. Raises TemporarilyUnavailable, CredentialsRefused, AnswerNotUnderstood.
        """

    def close(self) -> None:
        """Give back connections."""


OpenIdentitySource = Callable[[Mapping[str, Any]], IdentitySource]
"""What an entry point of the group `expunge.identity_sources` is: the `[identity_graph]` table -> a source."""

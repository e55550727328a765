"""The rule of the check at ingestion: what may be said about an identifier.

Fails closed: `not_suppressed` is said only of an identifier that a readable, fresh list would have, and every doubt is
`unknown`. Decides the freshness watermark. Knows keyed hashes and scopes only; doesn't normalise, hash or read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

MAX_ITEMS = 10_000
"""The most identifiers of one check."""


class Status(StrEnum):
    """The answer about one identifier.

    SUPPRESSED: on the list with exactly the named scopes. NOT_SUPPRESSED: the list was read and doesn't have it.
    UNKNOWN: the list can't say; the caller must treat the identifier as suppressed in every scope.
    """

    SUPPRESSED = "suppressed"
    NOT_SUPPRESSED = "not_suppressed"
    UNKNOWN = "unknown"


class Doubt(StrEnum):
    """The reason of an `unknown`.

    LIST_UNAVAILABLE: the list couldn't be read in time. LIST_STALE: it lags by more than the caller allows. MALFORMED:
    the value has no normal form. AMBIGUOUS: digits that are no whole telephone number, which may be several people's.
    HASH_NOT_MATCHABLE: entries that were made of plain values can't be compared with a hash without the pepper.
    """

    LIST_UNAVAILABLE = "list_unavailable"
    LIST_STALE = "list_stale"
    MALFORMED = "malformed"
    AMBIGUOUS = "ambiguous"
    HASH_NOT_MATCHABLE = "hash_not_matchable"


@dataclass(frozen=True)
class ListedScope:
    """A scope in force for an identifier, and the time of its earliest entry that wasn't removed."""

    scope: str
    since: datetime


@dataclass(frozen=True)
class Freshness:
    """How far the list had come when it was read, by the database's clock.

    Entries are written when a request's plan is frozen, so that the list lags behind the accepted requests.
    `oldest_unlisted_at` is the creation of the oldest request that the engine still has to bring onto the list.
    """

    read_at: datetime
    oldest_unlisted_at: datetime | None

    @property
    def as_of(self) -> datetime:
        """The watermark: every request that was accepted before it, and had to be on the list, is on it."""
        oldest = self.oldest_unlisted_at
        return self.read_at if oldest is None else min(oldest, self.read_at)

    def is_within(self, max_staleness: timedelta | None) -> bool:
        """Return True if the list lags by no more than `max_staleness`; None allows every lag."""
        return max_staleness is None or self.read_at - self.as_of <= max_staleness


@dataclass(frozen=True)
class Verdict:
    """The answer about one identifier. `doubt` is set if, and only if, the status is `unknown`.

    An unknown identifier has the scopes that were found, and may have others.
    """

    status: Status
    scopes: tuple[ListedScope, ...] = ()
    doubt: Doubt | None = None


def list_doubt(freshness: Freshness | None, max_staleness: timedelta | None) -> Doubt | None:
    """Return why nothing certain can be said of any identifier.

    None for a list that was read and is fresh enough. `freshness` is None if the list couldn't be read.
    """
    if freshness is None:
        return Doubt.LIST_UNAVAILABLE
    return None if freshness.is_within(max_staleness) else Doubt.LIST_STALE


def verdict_on(of_list: Doubt | None, of_item: Doubt | None, scopes: Sequence[ListedScope]) -> Verdict:
    """Return the answer about an identifier.

    `of_list` is the doubt about the whole list, and `of_item` the one about this identifier alone, which comes first
    because reading the list again doesn't help.
    """
    listed = tuple(sorted(scopes, key=lambda each: each.scope))
    doubt = of_item or of_list
    if doubt is not None:
        return Verdict(Status.UNKNOWN, listed, doubt)
    return Verdict(Status.SUPPRESSED if listed else Status.NOT_SUPPRESSED, listed)

"""Answers of the API that aren't the view of a use case."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from service.execution.systems.list import SystemView
from service.requests.holds.list import HoldView
from service.requests.identity.show import DoubtView, EdgeView, ReviewView
from service.requests.intake.submit import Receipt
from service.requests.reveal import Revealed, RevealedBeyond, RevealedIdentifier


@dataclass(frozen=True)
class ReceiptView:
    """The receipt of a submission, the same for every repetition with one Idempotency-Key.

    `duplicate_of` is null for a key that may not learn of other keys' requests.
    """

    id: UUID
    kind: str
    regime: str
    received_at: str
    respond_by: str
    acknowledge_by: str | None
    external_reference: str | None
    duplicate_of: UUID | None

    @classmethod
    def of(cls, receipt: Receipt, *, shows_link: bool) -> dict[str, str | None]:
        """Return the receipt as JSON; a header says whether it is a repetition."""
        view: dict[str, str | None] = {name: getattr(receipt, name) for name in cls.__dataclass_fields__}
        return view if shows_link else view | {"duplicate_of": None}


@dataclass(frozen=True)
class RevokedView:
    """A request that its submitter took back, for a key that may not read requests."""

    id: UUID
    state: Literal["revoked"] = "revoked"


@dataclass(frozen=True)
class RevealView:
    """A request's identifiers in clear, why each is in it, and what is in doubt: as in the request itself."""

    doubts_version: int
    doubts: list[DoubtView]
    reviews: list[ReviewView]
    identifiers: list[RevealedIdentifier] = field(repr=False)
    beyond: list[RevealedBeyond] = field(repr=False)
    edges: list[EdgeView]

    @classmethod
    def of(cls, revealed: Revealed) -> RevealView:
        """The same as an answer."""
        picture = revealed.picture
        return cls(
            revealed.doubts_version,
            picture.doubts,
            picture.reviews,
            revealed.identifiers,
            revealed.beyond,
            picture.edges,
        )


@dataclass(frozen=True)
class HoldsView:
    """The list of holds."""

    holds: list[HoldView]


@dataclass(frozen=True)
class SystemsView:
    """The list of systems."""

    systems: list[SystemView]


@dataclass(frozen=True)
class Alive:
    """The process answers."""

    status: Literal["alive"] = "alive"


@dataclass(frozen=True)
class Ready:
    """The stores answer, too."""

    status: Literal["ready"] = "ready"

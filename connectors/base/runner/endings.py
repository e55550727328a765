"""How a person's run can end, and what is told of it. Decides no ending itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from connectors.base.values import Left


class Outcome(StrEnum):
    """How a person's run ended.

    LOCATED and NOTHING_FOUND end a `locate`, or a `suppress` that found no record.
    """

    ERASED_VERIFIED = "erased_verified"
    ERASED_UNVERIFIED = "erased_unverified"
    ABSENT = "absent"
    SUPPRESSED = "suppressed"
    RETAINED = "retained"
    NOT_ADDRESSABLE = "not_addressable"
    AMBIGUOUS = "ambiguous"
    ACCEPTED = "accepted"
    PARKED = "parked"
    LOCATED = "located"
    NOTHING_FOUND = "nothing_found"


NEEDS_A_HUMAN = frozenset({Outcome.NOT_ADDRESSABLE, Outcome.AMBIGUOUS, Outcome.PARKED})


@dataclass(frozen=True, slots=True)
class Line:
    """One person's ending.

    `records` counts per object; `look_again_at` is set only while the vendor still works.

    After a `locate` in which the erasure was foreseen: what would go, what would be `left`, and the plan's hash.
    """

    subject: str
    outcome: Outcome
    reason: str | None = None
    records: Mapping[str, int] = field(default_factory=dict)
    left: tuple[Left, ...] = ()
    not_covered: tuple[str, ...] = ()
    look_again_at: datetime | None = None
    plan_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """A whole run: how many people ended how, the calls made and the seconds taken.

    `planned_calls`: after a `locate`, what erasing and confirming would take, by what the calls are for.
    """

    outcomes: Mapping[Outcome, int]
    calls: int
    seconds: float
    planned_calls: Mapping[str, int] = field(default_factory=dict)

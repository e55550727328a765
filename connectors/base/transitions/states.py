"""A step's states, phases and facts: the vocabulary of every rule about steps.

Decides which states end a step and what a transition may carry. Doesn't decide which transition follows: `decide` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


class Phase(StrEnum):
    """Where a step is on its way: the last two are those of a suppression request."""

    LOCATE = "locate"
    SUPPRESS = "suppress"
    ERASE = "erase"
    CONFIRM = "confirm"
    OPT_OUT = "opt_out"
    READ_OPT_OUT = "read_opt_out"


EFFECT_PHASES = frozenset({Phase.SUPPRESS, Phase.ERASE, Phase.OPT_OUT})
"""The phases whose calls change data in a system."""
LOOK_PHASES = frozenset({Phase.LOCATE, Phase.CONFIRM, Phase.READ_OPT_OUT})
OPT_OUT_PHASES = frozenset({Phase.OPT_OUT, Phase.READ_OPT_OUT})
LASTING_EFFECT_PHASES = frozenset({Phase.ERASE, Phase.OPT_OUT})
"""The phases after which a look must prove the effect."""


def look_after(phase: Phase) -> Phase:
    """Return the phase of the look that proves the effects of a step in this phase."""
    return Phase.READ_OPT_OUT if phase in OPT_OUT_PHASES else Phase.CONFIRM


class StepState(StrEnum):
    """The state of a step; a step ends exactly once."""

    WAITING = "waiting"
    DUE = "due"
    LEASED = "leased"
    ACCEPTED = "accepted"
    PARKED = "parked"
    ERASED_VERIFIED = "erased_verified"
    ERASED_UNVERIFIED = "erased_unverified"
    ABSENT = "absent"
    SUPPRESSED = "suppressed"
    SUPPRESSED_UNVERIFIED = "suppressed_unverified"
    RETAINED = "retained"
    NOT_ADDRESSABLE = "not_addressable"
    UNRESOLVED = "unresolved"


class ListedState(StrEnum):
    """The states that can be listed: each has an index that holds nothing that ended."""

    PARKED = "parked"
    DUE = "due"
    LEASED = "leased"
    ACCEPTED = "accepted"


ENDED = frozenset(
    {
        StepState.ERASED_VERIFIED,
        StepState.ERASED_UNVERIFIED,
        StepState.ABSENT,
        StepState.SUPPRESSED,
        StepState.SUPPRESSED_UNVERIFIED,
        StepState.RETAINED,
        StepState.NOT_ADDRESSABLE,
        StepState.UNRESOLVED,
    }
)
LEGAL_HOLD = "legal_hold"
WITHDRAWN = "withdrawn"
EARLIER_SYSTEM = "earlier_system_first"
SYSTEM_REMOVED = "system_removed"
KEY_GONE = "key_gone"
PROCESS_DIED = "process_died"
NOT_DONE_YET = frozenset({StepState.WAITING, StepState.DUE, StepState.ACCEPTED})


@dataclass(frozen=True)
class SystemRules:
    """The facts about a system that the rule reads, from its connector and configuration."""

    can_confirm: bool
    suppresses: bool
    erases_by_identifiers: bool
    accept_not_addressable: bool
    confirm_after: timedelta
    poll_every: timedelta
    max_plan_rounds: int = 3
    searches_first: bool = True
    reads_suppression: bool = False
    not_covered: tuple[str, ...] = ()

    def may_have_something(self, *, found: bool) -> bool:
        """False only if a search could have found something and did not."""
        return found or not self.can_confirm or not self.searches_first


@dataclass(frozen=True)
class StepFacts:
    """The facts of a step when an event comes; by default a leased one's.

    `held`, `withdrawn` and `awaiting_approval` speak of the request as it is now; `must_wait` says that an earlier
    system isn't done yet. `retained` is the reason why an earlier erasing call kept something on purpose.
    """

    phase: Phase
    consecutive_attempts: int
    plan_rounds: int
    effect_possible: bool
    frozen: bool
    held: bool = False
    withdrawn: bool = False
    must_wait: bool = False
    awaiting_approval: bool = False
    retained: str | None = None
    state: StepState = StepState.LEASED
    reason: str | None = None
    located: bool = True
    waits_for_order: bool = False
    due_at: datetime | None = None


@dataclass(frozen=True)
class Retry:
    """The retry policy's word on an error: try again at `due_at`, or park with `reason`.

    `is_attempt` is False where the system was not called: this counts as no attempt.
    """

    due_at: datetime | None = None
    reason: str | None = None
    is_attempt: bool = True


class Membership(StrEnum):
    """Whether a step stays in its batch, which keeps its batch key and resume token.

    `stays_if_open`: only if the batch hasn't ended and is of the step's phase.
    """

    LEAVES = "leaves"
    STAYS = "stays"
    STAYS_IF_OPEN = "stays_if_open"


@dataclass(frozen=True)
class Transition:
    """The step's next state.

    Exactly `due` and `accepted` have a `due_at`; `parked` and `retained` have a `reason`. `had_effect`: the system may
    have changed at this moment. `waits_for_order`: `None` where it stays as it is. `accepts_records`: a person said
    that the doubtful records are the data subject's. `discards_findings`: the search's findings aren't stored.
    """

    state: StepState
    phase: Phase
    due_at: datetime | None = None
    reason: str | None = None
    consecutive_attempts: int = 0
    plan_rounds: int = 0
    effect_possible: bool = False
    erased: Mapping[str, int] = field(default_factory=dict)
    remaining: Mapping[str, int] = field(default_factory=dict)
    retained: str | None = None
    membership: Membership = Membership.LEAVES
    had_effect: bool = False
    waits_for_order: bool | None = None
    accepts_records: bool = False
    discards_findings: bool = False

    @property
    def has_ended(self) -> bool:
        """True if this is an outcome."""
        return self.state in ENDED

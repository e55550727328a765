"""Events of a step: everything that may happen to it, as frozen values for `decide`.

Decides nothing. Each event carries what the rule needs to know beside the step's own facts; no event carries a row, a
connection or an identifier.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from connectors.base.errors import ConnectorError
from connectors.base.transitions.states import Retry
from connectors.base.values import Answer, Located

Result = Answer | Located | ConnectorError
"""What a connector said about one data subject in one call."""


class Decision(StrEnum):
    """A human's decision about a parked step."""

    RETRY = "retry"
    ACCEPT_RECORDS = "accept_records"
    RETAINED = "retained"
    NOT_ADDRESSABLE = "not_addressable"
    UNRESOLVED = "unresolved"


class Resolution(StrEnum):
    """The decisions that `resolve` takes. `retry` is an operation of its own, for one step or many."""

    ACCEPT_RECORDS = Decision.ACCEPT_RECORDS.value
    RETAINED = Decision.RETAINED.value
    NOT_ADDRESSABLE = Decision.NOT_ADDRESSABLE.value
    UNRESOLVED = Decision.UNRESOLVED.value


class ResolutionReason(StrEnum):
    """The reason of a resolution.

    `freedom_of_expression` to `legal_claims` are the grounds of Regulation (EU) 2016/679 Art. 17(3)(a)-(e).
    """

    CAUSE_FIXED = "cause_fixed"
    CHECKED_BY_HAND = "checked_by_hand"
    LEGAL_HOLD = "legal_hold"
    FREEDOM_OF_EXPRESSION = "freedom_of_expression"
    LEGAL_OBLIGATION = "legal_obligation"
    PUBLIC_HEALTH = "public_health"
    ARCHIVING_OR_RESEARCH = "archiving_or_research"
    LEGAL_CLAIMS = "legal_claims"
    VENDOR_REFUSES = "vendor_refuses"
    SYSTEM_GONE = "system_gone"
    NO_USABLE_IDENTIFIER = "no_usable_identifier"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ResultReceived:
    """A result that arrived while the lease was held.

    `look`: the answer of a look that followed the erasing call in the same lease. `retry`: the retry policy's answer
    for an error. `has_records`: the plan or an earlier search holds records of this system. `has_conflict`: a found
    record carries an identifier that the identity graph gives to another data subject. `adds_to_plan`: the frozen plan
    doesn't hold all findings. `plan_is_locked`: False if the plan was frozen while the search ran. `repeats_in_part`:
    the call failed for several data subjects alike and is repeated at once in a smaller batch. `batch_was_split`: the
    batch is a part of a split one. `system_is_removed`: the configuration doesn't have the system any more.
    """

    result: Result = field(repr=False)
    look: Answer | None = field(default=None, repr=False)
    retry: Retry | None = None
    has_records: bool = False
    has_conflict: bool = False
    adds_to_plan: bool = False
    plan_is_locked: bool = True
    repeats_in_part: bool = False
    batch_was_split: bool = False
    system_is_removed: bool = False


@dataclass(frozen=True, slots=True)
class LateResultReceived:
    """A result that arrived after the lease was lost: it counts for nothing but may have had an effect."""

    in_erase: bool


@dataclass(frozen=True, slots=True)
class LeaseExpired:
    """No worker renewed the lease. `batch_was_split`: the batch is a part of a split one."""

    batch_was_split: bool = False


@dataclass(frozen=True, slots=True)
class WorkersCrashed:
    """The step was alone in its last lease, and too many workers in a row crashed with it."""


@dataclass(frozen=True, slots=True)
class KeyMissing:
    """The key of the request's identifiers is destroyed or unreadable."""


@dataclass(frozen=True, slots=True)
class HoldPlaced:
    """A legal hold covers the data subject.

    `at_lease`: a lease found the hold, so that the step was about to continue.
    """

    at_lease: bool = False


@dataclass(frozen=True, slots=True)
class HoldLifted:
    """The last legal hold of the data subject was lifted."""


@dataclass(frozen=True, slots=True)
class RequestWithdrawn:
    """The request was denied or revoked.

    `look_at`: the end of the vendor's delay. `at_lease`: a lease found the withdrawal, so that the step was about to
    continue.
    """

    look_at: datetime
    at_lease: bool = False


@dataclass(frozen=True, slots=True)
class ApprovalMissing:
    """A lease found that the step's plan isn't approved."""


@dataclass(frozen=True, slots=True)
class LookTooEarly:
    """A lease found that the vendor's delay isn't over. `look_at`: when it is."""

    look_at: datetime


@dataclass(frozen=True, slots=True)
class PlanReleased:
    """The plan may start. `opts_out`: it is a suppression request's.

    `due_at`: now for a system in the first position, the end of the order timeout for a later one.
    """

    due_at: datetime
    waits_for_order: bool = False
    has_records: bool = False
    is_held: bool = False
    opts_out: bool = False


@dataclass(frozen=True, slots=True)
class EarlierSystemsDone:
    """No earlier system of the request can feed this one any more."""


@dataclass(frozen=True, slots=True)
class SystemRemoved:
    """The configuration doesn't have the system any more."""


@dataclass(frozen=True, slots=True)
class SystemReturned:
    """The configuration has the system again."""


@dataclass(frozen=True, slots=True)
class SystemRecovered:
    """The system answers again after its circuit breaker was open."""


@dataclass(frozen=True, slots=True)
class CallbackReceived:
    """The vendor reported progress. `look_at`: the earliest time at which a look may count."""

    look_at: datetime


@dataclass(frozen=True, slots=True)
class DecisionMade:
    """A human decided about a parked step. The flags describe its request and system at this moment."""

    decision: Decision
    reason: ResolutionReason
    is_held: bool = False
    is_withdrawn: bool = False
    system_is_removed: bool = False
    searches_first: bool = True


StepEvent = (
    ResultReceived
    | LateResultReceived
    | LeaseExpired
    | WorkersCrashed
    | KeyMissing
    | HoldPlaced
    | HoldLifted
    | RequestWithdrawn
    | ApprovalMissing
    | LookTooEarly
    | PlanReleased
    | EarlierSystemsDone
    | SystemRemoved
    | SystemReturned
    | SystemRecovered
    | CallbackReceived
    | DecisionMade
)

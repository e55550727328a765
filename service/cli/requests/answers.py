"""Describe the members of the API's answers that commands read; `--json` prints the others, too.

Decides nothing: a test compares each description with the API's own view. A member that an answer lacks ends the
command, because then another program answered (`service.cli.client`).
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict, final


class FieldErrorAnswer(TypedDict):
    """One wrong field of a problem."""

    field: str
    reason: str
    allowed: NotRequired[list[str] | None]
    did_you_mean: NotRequired[str | None]
    expected: NotRequired[str | None]


class ProblemAnswer(TypedDict):
    """The problem of a refused line, or the problem that ended an import."""

    code: str
    title: str
    detail: str | None
    errors: list[FieldErrorAnswer]


class ReceiptAnswer(TypedDict):
    """An accepted submission."""

    id: str
    respond_by: str
    duplicate_of: str | None


class SummaryAnswer(TypedDict):
    """A request in the list."""

    id: str
    state: str
    reason: str | None
    overdue: NotRequired[bool]
    respond_by: str
    steps: int
    steps_ended: int
    steps_parked: int
    external_reference: str | None


class RequestPageAnswer(TypedDict):
    """A page of the list of requests."""

    requests: list[SummaryAnswer]
    next_cursor: str | None


class FoundAnswer(TypedDict):
    """A request that a look-up found."""

    id: str
    state: str
    reason: str | None
    overdue: NotRequired[bool]
    received_at: str
    answered_at: str | None
    sealed: bool


class SubjectAnswer(TypedDict):
    """The result of a look-up."""

    requests: list[FoundAnswer]
    suppressed: bool


class EvidenceAnswer(TypedDict):
    """One source's claim of a link."""

    source: str | None
    confidence: float | None
    first_seen_at: str | None
    last_seen_at: str | None


class EdgeAnswer(TypedDict):
    """A link between two ordinals."""

    near: int
    far: int
    evidence: list[EvidenceAnswer]


class VerificationAnswer(TypedDict):
    """The proof of an identifier."""

    method: str


class IdentifierAnswer(TypedDict):
    """An identifier: `masked` in the view of a request, `value` in its reveal."""

    id: str
    ordinal: int | None
    kind: str
    masked: NotRequired[str | None]
    value: NotRequired[str]
    origin: str
    use: str
    exclusion: str | None
    verification: NotRequired[VerificationAnswer | None]
    path: list[EdgeAnswer]


class BeyondAnswer(TypedDict):
    """An identifier that the walk met and left out."""

    ordinal: int
    kind: str
    masked: NotRequired[str]
    value: NotRequired[str]
    exclusion: str


class DoubtAnswer(TypedDict):
    """A doubt that waits for its decision."""

    id: str
    reason: str
    about: list[int]
    edge: EdgeAnswer | None
    leads_to: list[int]
    allowed: list[str]
    takes_second_person: bool
    meets_request: str | None


class DecisionAnswer(TypedDict):
    """One decision of a review."""

    doubt: str
    decision: str


class ReviewAnswer(TypedDict):
    """A review that was decided."""

    decided_by: str
    decided_at: str
    decisions: list[DecisionAnswer]


class IdentityAnswer(TypedDict):
    """The identity of a request: the answer of `reveal`, and a part of `RequestAnswer`."""

    doubts_version: int
    doubts: list[DoubtAnswer]
    reviews: list[ReviewAnswer]
    identifiers: list[IdentifierAnswer]
    beyond: list[BeyondAnswer]
    edges: list[EdgeAnswer]


class PlanAnswer(TypedDict):
    """The newest plan of a request."""

    version: int
    hash: str
    approval_reasons: list[str]


class RequestStepAnswer(TypedDict):
    """A step in the view of its request."""

    id: str
    system: str
    phase: str
    state: str
    reason: str | None
    due_at: str | None
    look_again_at: str | None
    ended_at: str | None
    erased: dict[str, int]
    remaining: dict[str, int]


class RequestAnswer(IdentityAnswer):
    """The view of a request."""

    id: str
    kind: str
    scopes: list[str]
    regime: str
    state: str
    reason: str | None
    received_at: str
    respond_by: str
    extended: bool
    overdue: NotRequired[bool]
    duplicate_of: str | None
    reappearance_of: str | None
    plan: PlanAnswer | None
    steps: list[RequestStepAnswer]


@final
class RevokedAnswer(TypedDict):
    """A revoked request, for a key that may not read requests."""

    id: str
    state: Literal["revoked"]


class ExplanationAnswer(TypedDict):
    """The meaning of a parked step's reason."""

    means: str
    next: str


class StepAnswer(TypedDict):
    """A step in the list of steps."""

    id: str
    system: str
    phase: str
    state: str
    reason: str | None
    explanation: ExplanationAnswer | None
    respond_by: str
    overdue: bool
    attempts: int
    last_http_status: int | None


class StepPageAnswer(TypedDict):
    """A page of the list of steps."""

    steps: list[StepAnswer]
    next_cursor: str | None


class RetriedAnswer(TypedDict):
    """The steps of one call that retries the steps of a system."""

    retried: int
    held: int
    withdrawn: int
    next_after: str | None


class HoldAnswer(TypedDict):
    """A legal hold."""

    id: str
    reason: str
    until: str | None
    effective_at: str
    lifted_at: str | None
    identifiers: int
    kinds: list[str]


class HoldsAnswer(TypedDict):
    """The list of holds."""

    holds: list[HoldAnswer]


class ImportLineAnswer(TypedDict):
    """An import in the list of imports."""

    id: str
    state: str
    format: str
    created_at: str
    received_at: str | None
    accepted: int


class ImportPageAnswer(TypedDict):
    """A page of the list of imports."""

    imports: list[ImportLineAnswer]
    next_cursor: str | None


class StateCountAnswer(TypedDict):
    """The requests of an import in one state."""

    state: str
    reason: str | None
    requests: int


class ImportAnswer(ImportLineAnswer):
    """One import; a key that may not read requests gets no counts of them."""

    requests: NotRequired[list[StateCountAnswer]]
    overdue: NotRequired[int]
    refused: NotRequired[int]


class RefusedLineAnswer(TypedDict):
    """A refused line of an import."""

    line: int
    code: str
    errors: list[FieldErrorAnswer]


class RefusedPageAnswer(TypedDict):
    """A page of the refused lines of an import."""

    lines: list[RefusedLineAnswer]


@final
class VerdictAnswer(TypedDict):
    """The verdict of one line of an import; a refused line has a problem."""

    line: int
    status: str
    problem: NotRequired[ProblemAnswer]


ImportEndAnswer = TypedDict(
    "ImportEndAnswer",
    {
        "import": str,
        "complete": bool,
        "lines": int,
        "accepted": int,
        "duplicate": int,
        "replayed": int,
        "refused": int,
        "problem": ProblemAnswer | None,
    },
)
"""The last line of the answer to an import."""


class DeclarationAnswer(TypedDict):
    """The declaration of a system's connector."""

    level: str
    operations: list[str]
    not_covered: list[str]


class SystemAnswer(TypedDict):
    """A connected system."""

    name: str
    connector: str
    state: str
    checked_at: str | None
    check_result: str | None
    down_since: str | None
    cooldown_until: str | None
    cooldown_reason: str | None
    changes_error: str | None
    declaration: DeclarationAnswer | None


class SystemsAnswer(TypedDict):
    """The list of systems."""

    systems: list[SystemAnswer]

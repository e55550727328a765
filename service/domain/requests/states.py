"""States and reasons of a request, as in the Data Rights Protocol 1.0, and its next actions.

Source of the states and reasons: Data Rights Protocol 1.0, §3.02 (read 2026-11-22). Decides which states
are unfinished and which are withdrawn.
"""

from __future__ import annotations

from enum import StrEnum


class RequestState(StrEnum):
    """The state of a request."""

    OPEN = "open"
    IN_PROGRESS = "in_progress"
    FULFILLED = "fulfilled"
    DENIED = "denied"
    REVOKED = "revoked"
    EXPIRED = "expired"


class RequestKind(StrEnum):
    """The kinds of requests."""

    ERASURE = "erasure"
    SUPPRESSION = "suppression"
    ACCESS = "access"


class Progress(StrEnum):
    """Reasons of `in_progress`."""

    LOCATING = "locating"
    NEEDS_REVIEW = "needs_review"
    NEED_USER_VERIFICATION = "need_user_verification"
    AWAITING_APPROVAL = "awaiting_approval"
    ERASING = "erasing"
    SUPPRESSING = "suppressing"
    DUPLICATE = "duplicate"


class DenialReason(StrEnum):
    """Reasons of `denied`."""

    SUSPECTED_FRAUD = "suspected_fraud"
    INSUF_VERIFICATION = "insuf_verification"
    NO_MATCH = "no_match"
    CLAIM_NOT_COVERED = "claim_not_covered"
    OUTSIDE_JURISDICTION = "outside_jurisdiction"
    TOO_MANY_REQUESTS = "too_many_requests"
    OTHER = "other"


class ExtensionReason(StrEnum):
    """The reason of an extension; the first two are those of GDPR Art. 12(3)."""

    COMPLEXITY = "complexity"
    NUMBER_OF_REQUESTS = "number_of_requests"
    OTHER_NECESSITY = "other_necessity"


class NextAction(StrEnum):
    """The engine's next action for a request: settle the person's identifiers, freeze, answer, seal."""

    IDENTIFY = "identify"
    FREEZE = "freeze"
    ANSWER = "answer"
    SEAL = "seal"


def work_on(kind: str) -> Progress:
    """Return the reason of `in_progress` while the plan of a request of this kind is carried out."""
    return Progress.SUPPRESSING if kind == RequestKind.SUPPRESSION else Progress.ERASING


UNFINISHED = frozenset({RequestState.OPEN, RequestState.IN_PROGRESS})
WITHDRAWN_STATES = frozenset({RequestState.DENIED, RequestState.REVOKED})

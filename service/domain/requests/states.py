"""States and reasons of a request, as in the Data Rights Protocol 1.0 (§3.02, read 2026-11-22), and its duties.

A duty is what the engine owes a request next. Decides which verbs are allowed in which state.
"""

from __future__ import annotations

from enum import StrEnum


class RequestState(StrEnum):
    """Where a request stands."""

    OPEN = "open"
    IN_PROGRESS = "in_progress"
    FULFILLED = "fulfilled"
    DENIED = "denied"
    REVOKED = "revoked"
    EXPIRED = "expired"


class Progress(StrEnum):
    """Reasons of `in_progress`."""

    LOCATING = "locating"
    NEEDS_REVIEW = "needs_review"
    NEED_USER_VERIFICATION = "need_user_verification"
    AWAITING_APPROVAL = "awaiting_approval"
    ERASING = "erasing"
    LINKED = "linked"


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
    """Why more time is needed: the first two are those of Art. 12(3)."""

    COMPLEXITY = "complexity"
    NUMBER_OF_REQUESTS = "number_of_requests"
    OTHER_NECESSITY = "other_necessity"


class Duty(StrEnum):
    """What the engine owes a request: settle who it is about, freeze the plan, answer, seal."""

    IDENTIFY = "identify"
    FREEZE = "freeze"
    ANSWER = "answer"
    SEAL = "seal"


UNFINISHED = frozenset({RequestState.OPEN, RequestState.IN_PROGRESS})
WITHDRAWN_STATES = frozenset({RequestState.DENIED, RequestState.REVOKED})

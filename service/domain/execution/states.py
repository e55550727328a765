"""A step's states, phases and facts, under the name by which the service knows them.

The rule stands in `connectors.base.transitions`, because the connector runner uses it as well and must not import the
service.
"""

from connectors.base.transitions.states import (
    EARLIER_SYSTEM,
    ENDED,
    KEY_GONE,
    LEGAL_HOLD,
    NOT_DONE_YET,
    PROCESS_DIED,
    SYSTEM_REMOVED,
    WITHDRAWN,
    ListedState,
    Membership,
    Phase,
    Retry,
    StepFacts,
    StepState,
    SystemRules,
    Transition,
)

__all__ = [
    "EARLIER_SYSTEM",
    "ENDED",
    "KEY_GONE",
    "LEGAL_HOLD",
    "NOT_DONE_YET",
    "PROCESS_DIED",
    "SYSTEM_REMOVED",
    "WITHDRAWN",
    "ListedState",
    "Membership",
    "Phase",
    "Retry",
    "StepFacts",
    "StepState",
    "SystemRules",
    "Transition",
]

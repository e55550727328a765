"""Write the audit data of doubts and decisions: kinds and ordinals, in parallel lists.

Decides how much of a long list an entry holds: the first five hundred, and always how many there were.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from service.domain.audit.schema import LONGEST_LIST, AuditValue
from service.domain.identity.doubts import DoubtDecision, OpenDoubt


def review_opened(doubts: Sequence[OpenDoubt], version: int) -> dict[str, AuditValue]:
    """Return the data of a `review_opened` entry."""
    return {"reasons": sorted({doubt.reason for doubt in doubts}), "doubts_version": version, **_doubts(doubts)}


def review_decided(
    decided: Sequence[tuple[OpenDoubt, DoubtDecision]], *, version: int, dropped: int, second_person: Set[str]
) -> dict[str, AuditValue]:
    """Return the data of a `review_decided` entry after which the request continues."""
    return {
        "decision": "continue",
        "dropped": dropped,
        "doubts_version": version,
        "decisions": [decision.value for _, decision in decided[:LONGEST_LIST]],
        "second_person_for": sorted(str(reason) for reason in second_person),
        **_doubts([doubt for doubt, _ in decided]),
    }


def _doubts(doubts: Sequence[OpenDoubt]) -> dict[str, AuditValue]:
    shown = doubts[:LONGEST_LIST]
    return {
        "count": len(doubts),
        "doubts": [doubt.reason for doubt in shown],
        "about": [list(doubt.about[:LONGEST_LIST]) for doubt in shown],
    }

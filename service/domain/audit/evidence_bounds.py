"""The longest lag of the audit log behind the work; beyond it no new effect may start.

An effect without evidence can't be proven later, so effects wait if the log couldn't be signed or anchored for too
long. Decides the reasons only. `store.audit_log.evidence_lag` reads the figures; leases, `may_proceed`, readiness,
metrics and `expunge up` all call `audit.evidence_standing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class StopReason(StrEnum):
    """The reason why no new effect starts."""

    UNSEQUENCED = "audit_unsequenced"
    """Entries have waited for the signed tree for too long, or too many entries wait."""
    UNANCHORED = "audit_unanchored"
    """No anchor has stored a signed head for too long."""


@dataclass(frozen=True)
class EvidenceBounds:
    """The longest lags that are accepted. A lag that equals its bound is accepted."""

    unsequenced: timedelta
    unsequenced_entries: int
    unanchored: timedelta


@dataclass(frozen=True)
class EvidenceLag:
    """The lag of the log; zero if no entry and no head waits.

    Age and number of the entries that wait for the tree; age of the oldest signed head that no configured anchor has.
    """

    unsequenced: timedelta
    unsequenced_entries: int
    unanchored: timedelta


def why_effects_stop(lag: EvidenceLag, bounds: EvidenceBounds) -> tuple[StopReason, ...]:
    """Return the reasons why no new effect may start; none while the evidence keeps up."""
    reasons = []
    if lag.unsequenced > bounds.unsequenced or lag.unsequenced_entries > bounds.unsequenced_entries:
        reasons.append(StopReason.UNSEQUENCED)
    if lag.unanchored > bounds.unanchored:
        reasons.append(StopReason.UNANCHORED)
    return tuple(reasons)

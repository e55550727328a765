"""How far the audit log may lag behind the work before no new effect may start: one rule for all that ask.

An effect without evidence can't be proven later, so effects wait once the log can't be signed or anchored for too long.
Decides the reasons only. The figures are read in store.audit_log.evidence_lag; leases, `may_proceed`, readiness,
metrics and
`expunge up` all ask audit.evidence_standing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class StopReason(StrEnum):
    """Why no new effect starts."""

    UNSEQUENCED = "audit_unsequenced"
    """Entries have waited too long, or too many wait, for the signed tree."""
    UNANCHORED = "audit_unanchored"
    """No anchor has taken a signed head for too long."""


@dataclass(frozen=True)
class EvidenceBounds:
    """The longest lags that are accepted. A lag that equals its bound is accepted."""

    unsequenced: timedelta
    unsequenced_entries: int
    unanchored: timedelta


@dataclass(frozen=True)
class EvidenceLag:
    """How far the log is behind; zero where nothing waits.

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

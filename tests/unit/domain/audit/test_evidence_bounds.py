"""The rule about how far the evidence may lag: at the bound it is accepted, beyond it nothing new has an effect."""

from __future__ import annotations

from datetime import timedelta

import pytest

from service.domain.audit.evidence_bounds import EvidenceBounds, EvidenceLag, StopReason, why_effects_stop

BOUNDS = EvidenceBounds(timedelta(minutes=5), 100, timedelta(hours=6))
NONE = timedelta(0)
INSTANT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("lag", "reasons"),
    [
        (EvidenceLag(NONE, 0, NONE), ()),
        (EvidenceLag(BOUNDS.unsequenced, 100, BOUNDS.unanchored), ()),
        (EvidenceLag(BOUNDS.unsequenced + INSTANT, 1, NONE), (StopReason.UNSEQUENCED,)),
        (EvidenceLag(NONE, 101, NONE), (StopReason.UNSEQUENCED,)),
        (EvidenceLag(NONE, 0, BOUNDS.unanchored + INSTANT), (StopReason.UNANCHORED,)),
        (EvidenceLag(timedelta(1), 101, timedelta(1)), (StopReason.UNSEQUENCED, StopReason.UNANCHORED)),
    ],
)
def test_effects_stop_beyond_a_bound(lag: EvidenceLag, reasons: tuple[StopReason, ...]) -> None:
    assert why_effects_stop(lag, BOUNDS) == reasons

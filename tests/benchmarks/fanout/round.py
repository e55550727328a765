"""One measured round, per pair."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Round:
    """One round of the service or of its yardstick, per pair."""

    pairs: int
    cpu_ms: float
    wall_seconds: float
    calls: int
    parts: dict[str, float]
    audit_lag_seconds: tuple[float, ...] = ()

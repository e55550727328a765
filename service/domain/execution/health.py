"""The rules of the circuit breaker and of the number of workers that may call one system at once.

A pass is one batch's calls of its system. A pass is `silent` if no person of the batch got an answer because the system
didn't work at all: timeouts, 5xx, no connection. A call refused by the system's rate limit isn't silent, because the
system works.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from connectors.base.errors import ConnectorError, TemporarilyUnavailable
from connectors.base.pacing import RATE_GATE

LONGEST_PAUSE = timedelta(minutes=15)
SLOW_PASS = timedelta(seconds=10)

SYSTEM_DOWN = "system_down"
"""The code of a call that wasn't made, because earlier calls of the same pass were silent."""

_SILENCES = frozenset(
    {
        "timeout",
        "deadline_passed",
        "no_connection",
        "address_refused",
        "proxy_refused",
        "connection_lost",
        "vendor_unavailable",
        "tls_not_trusted",
        "warehouse_unreachable",
        SYSTEM_DOWN,
    }
)
_OURS = frozenset({RATE_GATE, "stopped", "identity_graph_unavailable"})


class CooldownReason(StrEnum):
    """The reason why no step of a system is leased for a while."""

    SYSTEM_DOWN = "system_down"
    RATE_LIMITED = "rate_limited"
    RATE_WINDOW = "rate_window"


class PassKind(StrEnum):
    """The meaning of a pass for the circuit breaker."""

    ANSWERED = "answered"
    SILENT = "silent"
    SAYS_NOTHING = "says_nothing"


@dataclass(frozen=True)
class BreakerState:
    """The circuit breaker of one system: silent passes in a row, and whether it is open."""

    failed_passes: int = 0
    is_down: bool = False


@dataclass(frozen=True)
class BreakerRules:
    """The limits of the circuit breaker.

    It opens after `passes` silent passes in a row; then one probe follows after `pause`, 2 x `pause`, 4 x ...
    """

    passes: int
    pause: timedelta


def is_silence(error: object) -> bool:
    """Return True for an error which means that the system doesn't work at all."""
    return isinstance(error, TemporarilyUnavailable) and (
        error.code in _SILENCES or (error.status is not None and error.status >= 500)
    )


def kind_of_pass(results: Iterable[object]) -> PassKind:
    """Return the kind of a pass with these results; one answer proves that the system works."""
    kinds = {_kind(result) for result in results}
    if PassKind.ANSWERED in kinds:
        return PassKind.ANSWERED
    return PassKind.SILENT if PassKind.SILENT in kinds else PassKind.SAYS_NOTHING


def _kind(result: object) -> PassKind:
    if not isinstance(result, ConnectorError):
        return PassKind.ANSWERED
    if is_silence(result):
        return PassKind.SILENT
    # Errors that this service caused, and people about whom no call was made.
    nothing = result.code in _OURS or result.code in ("not_addressable", "connector_failed")
    return PassKind.SAYS_NOTHING if nothing else PassKind.ANSWERED


def after_pass(health: BreakerState, kind: PassKind, rules: BreakerRules) -> tuple[BreakerState, timedelta | None]:
    """Return the breaker after a pass, and the pause before the next pass if it is open."""
    if kind is PassKind.ANSWERED:
        return BreakerState(), None
    if kind is PassKind.SAYS_NOTHING:
        return health, rules.pause if health.is_down else None
    failed = health.failed_passes + 1
    if failed < rules.passes and not health.is_down:
        return BreakerState(failed), None
    doublings = min(max(failed - rules.passes, 0), 16)
    return BreakerState(failed, is_down=True), min(rules.pause * 2**doublings, LONGEST_PAUSE)


def most_passes(slots: int, max_concurrency: int, *, is_slow: bool) -> int:
    """Return how many workers of `slots` may call one system at once; at least one.

    A system leaves one slot to the others, a slow one half of them. With two slots or fewer, a system that isn't slow
    may use all.
    """
    share = slots // 2 if is_slow else (slots - 1 if slots > 2 else slots)
    return max(1, min(max_concurrency, share))

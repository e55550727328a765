"""The rate of calls to a system: declared limits, the vendor's headers, the check before each call."""

from connectors.base.pacing.limits import LONG_WINDOW, RateLimit
from connectors.base.pacing.pacer import LocalPacer, Pacer
from connectors.base.pacing.rate_limit_headers import (
    LONGEST_RETRY_AFTER_SECONDS,
    RATE_GATE,
    VendorWord,
    retry_after_seconds,
    shut_seconds,
    vendor_word,
)
from connectors.base.pacing.window import SlidingWindow, guarded_seconds

__all__ = [
    "LONGEST_RETRY_AFTER_SECONDS",
    "LONG_WINDOW",
    "RATE_GATE",
    "LocalPacer",
    "Pacer",
    "RateLimit",
    "SlidingWindow",
    "VendorWord",
    "guarded_seconds",
    "retry_after_seconds",
    "shut_seconds",
    "vendor_word",
]

"""The reasons of legal holds. Decides nothing about which requests a hold stops."""

from __future__ import annotations

from enum import StrEnum


class HoldReason(StrEnum):
    """The reason why a person's data must be kept for now; the legal department's files name the case."""

    LITIGATION = "litigation"
    INVESTIGATION = "investigation"
    REGULATORY_REQUEST = "regulatory_request"
    AUDIT = "audit"
    DISPUTE = "dispute"
    OTHER = "other"


class LiftReason(StrEnum):
    """The reason why a human lifts a hold."""

    MATTER_CLOSED = "matter_closed"
    PLACED_IN_ERROR = "placed_in_error"
    OTHER = "other"

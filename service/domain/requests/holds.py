"""The reasons of legal holds. Decides nothing about which requests a hold stops."""

from __future__ import annotations

from enum import StrEnum


class HoldReason(StrEnum):
    """Why a person's data must be kept for now: a code; the legal department's own files name the case."""

    LITIGATION = "litigation"
    INVESTIGATION = "investigation"
    REGULATORY_REQUEST = "regulatory_request"
    AUDIT = "audit"
    DISPUTE = "dispute"
    OTHER = "other"


class LiftReason(StrEnum):
    """Why a hold is lifted by hand."""

    MATTER_CLOSED = "matter_closed"
    PLACED_IN_ERROR = "placed_in_error"
    OTHER = "other"

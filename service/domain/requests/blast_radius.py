"""Decides whether a plan affects so much data that a second person must approve it first.

High counts reveal an over-merged cluster or a loose search before it does damage. The rule only compares counts.
Doesn't decide which key may approve or that an approval is for one plan hash (`service.requests.planning.approve`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum


class ApprovalReason(StrEnum):
    """The reason why a plan needs a second person."""

    REAPPEARED = "reappeared"
    TWO_VALUES_KEPT = "two_values_kept"
    SUPERNODE_KEPT = "supernode_kept"
    WEAK_EDGE_KEPT = "weak_edge_kept"
    CLUSTER_CUT_SHORT = "cluster_cut_short"
    ALWAYS = "always"
    TOO_MANY_IDENTIFIERS = "too_many_identifiers"
    TOO_MANY_RECORDS_IN_A_SYSTEM = "too_many_records_in_a_system"
    TOO_MANY_RECORDS = "too_many_records"


_KEPT_IN_DOUBT = (
    ApprovalReason.TWO_VALUES_KEPT,
    ApprovalReason.SUPERNODE_KEPT,
    ApprovalReason.WEAK_EDGE_KEPT,
    ApprovalReason.CLUSTER_CUT_SHORT,
)


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """The size of one person's plan: identifiers, and found records per system (by the system's name)."""

    identifiers: int
    records_by_system: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.identifiers < 0 or any(count < 0 for count in self.records_by_system.values()):
            raise ValueError("counts of a plan can't be negative")


@dataclass(frozen=True, slots=True)
class BlastRadiusRules:
    """The largest counts of a plan that needs no approval; a count that equals its limit is allowed."""

    max_identifiers: int = 25
    max_records_per_system: int = 1000
    max_records: int = 5000
    always: bool = False

    def __post_init__(self) -> None:
        if any(getattr(self, limit.name) < 0 for limit in fields(self)):
            raise ValueError("limits of the blast radius can't be negative")


def needs_approval(
    radius: BlastRadius, rules: BlastRadiusRules, *, reappeared: bool = False, kept: Collection[str] = ()
) -> tuple[ApprovalReason, ...]:
    """Return all reasons that apply, in the order of ApprovalReason; empty if no approval is needed.

    `reappeared`: an erased person's data is in a system again, maybe because the person wanted that, so a human must
    decide. `kept`: the ApprovalReasons of the doubts about the person's identity that a reviewer kept; they apply
    whatever the counts are.
    """
    applies = {
        **{reason: reason in kept for reason in _KEPT_IN_DOUBT},
        ApprovalReason.REAPPEARED: reappeared,
        ApprovalReason.ALWAYS: rules.always,
        ApprovalReason.TOO_MANY_IDENTIFIERS: radius.identifiers > rules.max_identifiers,
        ApprovalReason.TOO_MANY_RECORDS_IN_A_SYSTEM: any(
            count > rules.max_records_per_system for count in radius.records_by_system.values()
        ),
        ApprovalReason.TOO_MANY_RECORDS: sum(radius.records_by_system.values()) > rules.max_records,
    }
    return tuple(reason for reason in ApprovalReason if applies[reason])

"""Decides whether a plan reaches so far that a second person has to look at it first.

An over-merged cluster or a loose search shows itself in the counts before it does damage. The rule only counts; who
may approve, and that the approval is for one plan hash, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum


class ApprovalReason(StrEnum):
    """Why a plan needs a second person."""

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
    """How far one person's plan reaches: identifiers, and records found per system (by the system's name)."""

    identifiers: int
    records_by_system: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.identifiers < 0 or any(count < 0 for count in self.records_by_system.values()):
            raise ValueError("counts of a plan can't be negative")


@dataclass(frozen=True, slots=True)
class BlastRadiusRules:
    """The most that a plan may reach without approval; each limit itself is still allowed."""

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
    """Every reason that applies, in the order of ApprovalReason; empty when nobody has to approve.

    `reappeared`: an erased person came back, maybe of their own will, and a human is to say what that means. `kept`:
    the ApprovalReasons of doubts about the person's identity with which a reviewer went on, whatever the counts are.
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

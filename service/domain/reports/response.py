"""The nature of the answer to a request, in one place, so that no two reports disagree.

Decides which answer is compliance in whole or in part. A request that was linked to an earlier one of the same person
was carried out by the steps of the earlier one.
"""

from __future__ import annotations

from service.domain.reports.cases import Case, Register

WHOLE = "complied"
PART = "complied_in_part"
FINISHING = "complied_finishing"
DENIED = "denied"
UNVERIFIED = "not_verified"
WITHDRAWN = "withdrawn_by_requester"
OPEN = "open"

COMPLIED = frozenset({WHOLE, PART, FINISHING})
"""`complied_finishing`: answered, but a system that accepted the erasure hasn't finished it yet."""

_WITHOUT_STEPS = {"denied": DENIED, "expired": UNVERIFIED, "revoked": WITHDRAWN, None: OPEN}


def nature_of(register: Register, case: Case) -> str:
    """Return the nature of the answer, one of the constants of this module."""
    if case.answer != "fulfilled":
        return _WITHOUT_STEPS[case.answer]
    steps = register.steps_of(case)
    if any(step.outcome is not None and not step.is_whole for step in steps):
        return PART
    return WHOLE if all(step.outcome is not None for step in steps) else FINISHING


def basis_of(register: Register, case: Case) -> list[str]:
    """Return the reasons of a denial in whole or in part.

    For a denial in part: `system:outcome:reason` of each step that didn't end complete.
    """
    nature = nature_of(register, case)
    if nature == DENIED:
        return [case.denial_reason or "other"]
    if nature == UNVERIFIED:
        return ["never_verified"]
    if nature != PART:
        return []
    kept = (step for step in register.steps_of(case) if step.outcome is not None and not step.is_whole)
    return sorted(":".join(filter(None, (step.system, step.outcome, step.reason))) for step in kept)

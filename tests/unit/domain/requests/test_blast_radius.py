"""When a second person has to look at a plan."""

import pytest

from service.domain.requests.blast_radius import ApprovalReason, BlastRadius, BlastRadiusRules, needs_approval

LIMITS = BlastRadiusRules()


@pytest.mark.parametrize(
    ("radius", "reasons"),
    [
        (BlastRadius(0), ()),
        (BlastRadius(25, {"crm": 1000}), ()),
        (BlastRadius(25, {f"system-{n}": 1000 for n in range(5)}), ()),
        (BlastRadius(26), (ApprovalReason.TOO_MANY_IDENTIFIERS,)),
        (BlastRadius(1, {"crm": 1001, "mail": 1}), (ApprovalReason.TOO_MANY_RECORDS_IN_A_SYSTEM,)),
        (BlastRadius(1, {**{f"system-{n}": 1000 for n in range(5)}, "mail": 1}), (ApprovalReason.TOO_MANY_RECORDS,)),
        (
            BlastRadius(26, {"crm": 5001}),
            (
                ApprovalReason.TOO_MANY_IDENTIFIERS,
                ApprovalReason.TOO_MANY_RECORDS_IN_A_SYSTEM,
                ApprovalReason.TOO_MANY_RECORDS,
            ),
        ),
    ],
)
def test_standard_limits(radius: BlastRadius, reasons: tuple[ApprovalReason, ...]) -> None:
    assert needs_approval(radius, LIMITS) == reasons


def test_always_means_also_the_smallest_plan() -> None:
    assert needs_approval(BlastRadius(0), BlastRadiusRules(always=True)) == (ApprovalReason.ALWAYS,)


def test_limits_are_the_controllers() -> None:
    rules = BlastRadiusRules(max_identifiers=0, max_records_per_system=0, max_records=1)
    assert needs_approval(BlastRadius(1, {"crm": 1}), rules) == (
        ApprovalReason.TOO_MANY_IDENTIFIERS,
        ApprovalReason.TOO_MANY_RECORDS_IN_A_SYSTEM,
    )


def test_negative_numbers_are_mistakes() -> None:
    for make in (
        lambda: BlastRadius(-1),
        lambda: BlastRadius(0, {"crm": -1}),
        lambda: BlastRadiusRules(max_identifiers=-1),
        lambda: BlastRadiusRules(max_records_per_system=-1),
        lambda: BlastRadiusRules(max_records=-1),
    ):
        with pytest.raises(ValueError, match="negative"):
            make()

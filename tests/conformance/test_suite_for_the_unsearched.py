"""The suite knows connectors that search nobody first: the right one passes, each wrong one fails its case."""

from __future__ import annotations

from dataclasses import replace

import pytest
from told_vendor import TOLD_BUGS, ToldConnector, ToldFixture

from connectors.base.interface import ErasesBy, Operation
from connectors.testing.conformance import Case, ConformanceSuite

_CAUGHT_BY = {
    "forgets_the_like": "test_look_alikes_alone_are_not_found",
    "tells_unasked": "test_asks_before_each_effect",
    "believes_at_once": "test_a_vendor_that_lies_is_not_believed",
    "declares_no_look": "test_declares_what_it_can",
    "can_not_search": "test_declares_what_it_can",
}


class TestTold(ConformanceSuite):
    vendor = ToldFixture()


def run_case(bug: str) -> None:
    vendor = ToldFixture(bug)
    with vendor.open() as running, Case(vendor, running) as case:
        try:
            getattr(ConformanceSuite(), _CAUGHT_BY[bug])(case)
        except pytest.skip.Exception:
            raise LookupError("the case was skipped") from None


@pytest.mark.parametrize("bug", TOLD_BUGS)
def test_each_bug_fails_its_case(bug: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run_case(bug)


@pytest.mark.parametrize("changes", [{"erases_by": ErasesBy.RECORDS}, {"can_confirm": False}])
def test_nobody_goes_unsearched_who_is_erased_by_records_or_never_looked_for(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="isn't searched first"):
        replace(ToldConnector.declaration, **changes)  # type: ignore[arg-type]  # one or the other


def test_whoever_is_asked_for_a_search_all_the_same_says_so() -> None:
    vendor = ToldFixture()
    with vendor.open() as running, Case(vendor, running) as case:
        ada = case.seed_with_neighbours()
        with pytest.raises(NotImplementedError):
            case.locate(case.connect(), ada)
        assert Operation.LOCATE not in case.connect().declaration.operations

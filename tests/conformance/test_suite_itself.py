"""The suite can pass and can fail: the right toy passes it whole, each wrong one fails the case named for it."""

from __future__ import annotations

import inspect
import logging

import pytest
from toy_vendor import BUGS, ToyFixture

from connectors.testing.conformance import Case, ConformanceSuite
from connectors.testing.conformance.cases_callbacks import SECRETS
from connectors.testing.sandbox.faults import FaultKind

_CAUGHT_BY: dict[str, tuple[str, dict[str, object]]] = {
    "trusts_200": ("test_a_vendor_that_lies_is_not_believed", {}),
    "fuzzy_match": ("test_look_alikes_alone_are_not_found", {}),
    "first_page_only": ("test_finds_a_person_on_the_last_page", {}),
    "any_404_is_absence": ("test_a_wrong_base_url_concludes_nothing", {}),
    "forgets_the_token": ("test_a_running_job_is_polled_and_not_opened_again", {}),
    "ignores_holds": ("test_a_stopped_person_is_not_touched_and_others_go_on", {}),
    "asks_once": ("test_asks_before_each_effect", {}),
    "root_first": ("test_a_crash_in_the_middle_of_a_person", {"kind": FaultKind.DROP_AFTER}),
    "no_control_record": ("test_a_credential_without_visibility_concludes_nothing", {}),
    "one_hold_stops_all": ("test_a_stopped_person_is_not_touched_and_others_go_on", {}),
    "swallows_lease_lost": ("test_a_lost_lease_stops_everything", {"moment": "ask"}),
    "loses_retry_after": ("test_rate_limited", {"form": "seconds"}),
    "erases_unplanned": ("test_records_outside_the_plan_are_not_touched", {}),
    "asks_about_neighbours": ("test_sends_no_foreign_identifier", {}),
    "calls_unpaced": ("test_counts_its_calls_and_asks_before_each", {}),
    "signature_unchecked": ("test_a_callback_that_the_vendor_did_not_sign_is_refused", {}),
    "body_written_again": ("test_a_genuine_callback_names_its_job", {"padding": "\n", "secret": SECRETS[0]}),
    "no_replay_window": ("test_a_callback_that_is_out_of_date_is_refused", {}),
    "newest_secret_only": ("test_a_genuine_callback_names_its_job", {"padding": "", "secret": SECRETS[1]}),
    "tells_twice": ("test_what_went_is_told_once", {}),
    "forgets_what_it_did": ("test_an_answer_that_nobody_recorded_is_told_again", {}),
    "tells_one_page": ("test_changes_tell_everybody_who_is_there", {}),
    "passes_over_the_next": ("test_changes_go_on_where_they_ended", {}),
    "cursor_names_people": ("test_a_cursor_holds_nothing_of_a_person", {}),
    "tells_the_erased": ("test_changes_tell_nobody_who_is_gone", {}),
    "names_no_job": ("test_callbacks_find_who_waits_for_the_job", {}),
}


class TestToy(ConformanceSuite):
    vendor = ToyFixture()


def _run_case(bug: str | None, test_name: str, arguments: dict[str, object]) -> None:
    vendor = ToyFixture(bug)
    with vendor.open() as running, Case(vendor, running) as case:
        try:
            getattr(ConformanceSuite(), test_name)(case, **arguments)
        except pytest.skip.Exception:
            raise AssertionError(f"{test_name} was skipped") from None


@pytest.mark.parametrize("bug", sorted(_CAUGHT_BY))
def test_each_bug_fails_its_case(bug: str) -> None:
    test_name, arguments = _CAUGHT_BY[bug]
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        _run_case(bug, test_name, arguments)


def test_a_logged_email_fails_any_case(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    vendor = ToyFixture("logs_the_email")
    with vendor.open() as running, Case(vendor, running) as case:
        ConformanceSuite().test_erases_every_record_of_a_person(case)
        with pytest.raises(AssertionError, match="was printed"):
            case.assert_silent(caplog.text)


def test_every_bug_has_a_case() -> None:
    assert set(BUGS) == set(_CAUGHT_BY) | {"logs_the_email"}


def test_every_case_says_what_it_checks() -> None:
    cases = [m for name, m in inspect.getmembers(ConformanceSuite, inspect.isfunction) if name.startswith("test_")]
    assert len(cases) > 30
    assert all(test.__doc__ for test in cases)

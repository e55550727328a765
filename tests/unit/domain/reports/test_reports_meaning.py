"""The meaning of the log's events for reports: compliance, lateness, recipients, and the form of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from service.domain.audit.schema import instant_text
from service.domain.reports.lateness import report_lateness
from service.domain.reports.metrics import report_metrics
from service.domain.reports.recipients import report_recipients
from service.domain.reports.report import (
    NoPeriod,
    Period,
    Question,
    Report,
    mean_text,
    median_text,
    parse_period,
    two_decimals,
)
from service.domain.reports.request_log import report_requests
from service.domain.reports.systems import report_systems
from tests.integration.audit.story import Story, ended, failed, name_of
from tests.unit.domain.reports.days import UTC_ZONE, asked, at


def row(report: Callable[[Question], Report], story: Story, **more: Any) -> Mapping[str, Any]:
    (found,) = report(asked(story, **more)).rows
    return found


# --- periods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026", "2026-01-01", "2026-12-31"),
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("2026-12", "2026-12-01", "2026-12-31"),
        ("2026-Q1", "2026-01-01", "2026-03-31"),
        ("2026-Q4", "2026-10-01", "2026-12-31"),
        ("2026-05-31..2026-06-01", "2026-05-31", "2026-06-01"),
        ("2026-06-01..2026-06-01", "2026-06-01", "2026-06-01"),
    ],
)
def test_periods(text: str, first: str, last: str) -> None:
    assert parse_period(text, UTC_ZONE) == Period(date.fromisoformat(first), date.fromisoformat(last), UTC_ZONE)


@pytest.mark.parametrize(
    "text",
    ["", "26", "2026-13", "2026-Q5", "2026-00", "2026-02-30..2026-03-01", "2026-06-02..2026-06-01", "0000", "２０２６"],
)
def test_a_malformed_period_is_refused(text: str) -> None:
    with pytest.raises(NoPeriod):
        parse_period(text, UTC_ZONE)


def test_a_year_begins_where_the_controller_is(story: Story) -> None:
    # Received 2025-12-31 23:30 UTC: New Year in Berlin, the old year in London.
    story.request("ada", datetime(2026, 1, 1, 23, 30, tzinfo=UTC))
    assert len(report_requests(asked(story, zone="Europe/Berlin")).rows) == 1
    assert report_requests(asked(story, zone="Europe/London")).rows == []
    assert row(report_requests, story, zone="Europe/Berlin")["requested_on"] == "2026-01-01"


# --- how a request was answered ---------------------------------------------------------------------------------------

WHOLE_OUTCOMES = ("erased_verified", "erased_unverified", "absent", "suppressed")


@pytest.mark.parametrize("outcome", [*WHOLE_OUTCOMES, "retained", "not_addressable", "unresolved"])
def test_one_outcome_that_leaves_something_makes_it_a_part(outcome: str, story: Story) -> None:
    story.request("ada", at(0))
    story.step("ada", "support", at(1), ended("erased_verified"))
    story.step("ada", "mail", at(1), ended(outcome, reason="legal_obligation"))
    story.about("ada", "request_fulfilled", at(2))
    whole = outcome in WHOLE_OUTCOMES
    found = row(report_requests, story)
    assert found["response"] == ("complied" if whole else "complied_in_part")
    assert found["basis_of_denial"] == (None if whole else f"mail:{outcome}:legal_obligation")


def test_records_that_are_left_make_it_a_part(story: Story) -> None:
    story.request("ada", at(0))
    story.step("ada", "support", at(1), ended("erased_unverified", left=1))
    story.about("ada", "request_fulfilled", at(2))
    assert row(report_requests, story)["response"] == "complied_in_part"


def test_a_system_that_has_only_accepted_is_still_finishing(story: Story) -> None:
    story.request("ada", at(0))
    story.step("ada", "support", at(1), ("step_answered", {"answer": "accepted", "state": "accepted"}))
    story.about("ada", "request_fulfilled", at(2))
    assert row(report_requests, story)["response"] == "complied_finishing"
    (year, every) = report_metrics(asked(story)).rows
    assert (year["complied"], year["complied_in_whole"], year["complied_finishing"]) == (1, 0, 1)
    assert every["complied"] == 1


def test_a_linked_request_is_answered_by_the_earlier_ones_steps(story: Story) -> None:
    story.request("ada", at(0))
    story.step("ada", "support", at(1), ended("retained", reason="legal_hold"))
    story.request("ada again", at(1), linked_to=name_of("ada"))
    story.about("ada", "request_fulfilled", at(2))
    story.about("ada again", "request_fulfilled", at(2))
    assert [r["response"] for r in report_requests(asked(story)).rows] == ["complied_in_part"] * 2
    second = report_recipients(asked(story)).rows[1]
    assert (second["request_id"], second["carried_out_by"]) == (name_of("ada again"), name_of("ada"))


def test_a_link_that_was_undone_counts_no_more(story: Story) -> None:
    story.request("ada", at(0))
    story.request("bob", at(0.1))
    story.about("bob", "request_linked", at(1), to=name_of("ada"))
    story.step("ada", "support", at(1), ended("retained", reason="policy"))
    story.about("bob", "request_resumed", at(2), reason="unlinked")
    story.step("bob", "support", at(2), ended("absent"))
    story.about("bob", "request_fulfilled", at(3))
    assert [r["response"] for r in report_requests(asked(story)).rows] == ["open", "complied"]


@pytest.mark.parametrize(
    ("event", "data", "response", "basis"),
    [
        ("request_denied", {"reason": "no_match"}, "denied", "no_match"),
        ("request_revoked", {}, "withdrawn_by_requester", None),
        ("request_expired", {}, "not_verified", "never_verified"),
    ],
)
def test_other_ends(event: str, data: dict[str, str], response: str, basis: str | None, story: Story) -> None:
    story.request("ada", at(0))
    story.step("ada", "support", at(1), ended("retained", reason="withdrawn"))
    story.about("ada", event, at(2), **data)
    found = row(report_requests, story)
    assert (found["response"], found["basis_of_denial"]) == (response, basis)
    assert found["responded_on"] == "2026-03-04"


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_denials_are_split_as_the_regulation_splits_them(story: Story) -> None:
    reasons = {
        "insuf_verification": "denied_unverifiable",
        "no_match": "denied_not_a_consumer",
        "outside_jurisdiction": "denied_not_a_consumer",
        "claim_not_covered": "denied_exempt",
        "suspected_fraud": "denied_other",
        "too_many_requests": "denied_other",
        "other": "denied_other",
    }
    for reason in reasons:
        story.request(reason, at(0))
        story.about(reason, "request_denied", at(1), reason=reason)
    story.request("never verified", at(0))
    story.about("never verified", "request_expired", at(40))
    found, _ = report_metrics(asked(story)).rows
    expected = [*reasons.values(), "denied_unverifiable"]
    assert found["denied"] == 8
    for group in set(expected):
        assert found[group] == expected.count(group)
    assert all(found[f"reason_{reason}"] == 1 for reason in (*reasons, "never_verified"))


def test_days_are_counted_from_receipt_and_only_for_answers(story: Story) -> None:
    # Received a day before they were accepted.
    for word, days, event in (
        ("a", 1, "request_fulfilled"),
        ("b", 3, "request_fulfilled"),
        ("c", 10, "request_denied"),
        ("d", 40, "request_revoked"),
        ("e", 44, "request_expired"),
    ):
        story.request(word, at(0))
        story.about(word, event, at(days), **({"reason": "other"} if event == "request_denied" else {}))
    story.request("open", at(0))
    found, _ = report_metrics(asked(story)).rows
    assert (found["median_days"], found["mean_days"]) == ("4.00", "5.67")
    assert (found["received"], found["withdrawn"], found["open"]) == (6, 1, 1)
    story.about("open", "request_fulfilled", at(4))
    assert report_metrics(asked(story)).rows[0]["median_days"] == "4.50"


def test_days_go_by_at_midnight(story: Story) -> None:
    # Accepted at 09:00, received a day before at the same hour; answered two hours after the third midnight.
    story.request("ada", at(0))
    story.about("ada", "request_fulfilled", at(2) - timedelta(hours=7))
    assert report_metrics(asked(story)).rows[0]["median_days"] == "3.00"


def test_every_kind_and_year_has_its_row_and_each_year_its_sum(story: Story) -> None:
    for number, (word, kind, days) in enumerate(
        (
            ("a", "erasure", 0),
            ("b", "suppression", 1),
            ("c", "erasure", 400),
            ("d", "access", 401),
            ("e", "erasure", 402),
        )
    ):
        story.request(f"{word}{number}", at(days), kind=kind)
    rows = report_metrics(asked(story, "2026-01-01..2027-12-31")).rows
    assert [(r["year"], r["kind"], r["received"]) for r in rows] == [
        ("2026", "erasure", 1),
        ("2026", "suppression", 1),
        ("2026", "all", 2),
        ("2027", "access", 1),
        ("2027", "erasure", 2),
        ("2027", "all", 3),
    ]
    assert rows[0]["median_days"] is None


def test_another_law_is_another_report(story: Story) -> None:
    story.request("ada", at(0), regime="gdpr")
    story.request("bob", at(0), regime="ccpa")
    assert [r["regime"] for r in report_requests(asked(story, regime="gdpr")).rows] == ["gdpr"]
    assert report_metrics(asked(story, regime="uk_gdpr")).rows == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(0), "0.00"),
        (Fraction(1, 3), "0.33"),
        (Fraction(2, 3), "0.67"),
        (Fraction(1, 200), "0.00"),
        (Fraction(3, 200), "0.02"),
        (Fraction(25, 2), "12.50"),
        (Fraction(199999, 100), "1999.99"),
    ],
)
def test_numbers_are_rounded_half_to_even(value: Fraction, text: str) -> None:
    assert two_decimals(value) == text


def test_nothing_has_no_median() -> None:
    assert (median_text([]), mean_text([])) == (None, None)
    assert (median_text([3, 1, 2, 10]), mean_text([1, 2])) == ("2.50", "1.50")


# --- recipients -------------------------------------------------------------------------------------------------------


def test_a_recipient_was_told_when_it_first_answered_a_call_to_erase(story: Story) -> None:
    story.request("ada", at(0))
    story.step(
        "ada",
        "support",
        at(1),
        failed(),
        ("step_answered", {"answer": "accepted", "state": "accepted", "records": 2}),
        ended("erased_verified", records=1),
    )
    found = row(report_recipients, story)
    # Leased at hour 1 (no answer) and at hour 2, which was answered half an hour later.
    assert found["told_at"] == instant_text(at(1) + timedelta(hours=2.5))
    assert (found["result"], found["result_at"]) == ("erased_verified", instant_text(at(1) + timedelta(hours=3.5)))
    assert (found["connector"], found["records_erased"]) == ("zendesk", 3)


def test_a_recipient_that_was_only_searched_was_not_told(story: Story) -> None:
    story.request("ada", at(0))
    story.step("ada", "support", at(1), ended("absent"), phase="locate")
    assert row(report_recipients, story)["told_at"] is None


def test_a_recipient_that_is_not_done_shows_where_it_stands(story: Story) -> None:
    story.request("ada", at(0))
    story.step("ada", "support", at(1), ("step_answered", {"answer": "credentials_refused", "state": "parked"}))
    found = row(report_recipients, story)
    assert (found["result"], found["result_at"], found["told_at"]) == ("parked", None, None)


# --- lateness ---------------------------------------------------------------------------------------------------------


def test_late_and_extended_requests_are_counted(story: Story) -> None:
    for word in ("in time", "late", "overdue", "extended", "expired"):
        story.request(word, at(0))
    story.about("in time", "request_fulfilled", at(44) - timedelta(seconds=1))
    story.about("late", "request_overdue", at(45), respond_by=instant_text(at(44)))
    story.about("late", "request_fulfilled", at(47))
    story.about("overdue", "request_overdue", at(45), respond_by=instant_text(at(44)))
    story.about("extended", "request_extended", at(40), respond_by=instant_text(at(89)), reason="complexity")
    story.about("extended", "request_fulfilled", at(80))
    story.about("expired", "request_expired", at(45))
    report = report_lateness(asked(story))
    found = {r["request_id"]: r for r in report.rows}
    assert set(found) == {name_of(word) for word in ("late", "overdue", "extended")}
    assert found[name_of("late")]["days_late"] == 3
    assert found[name_of("overdue")]["days_late"] is None
    extended = found[name_of("extended")]
    assert (extended["days_late"], extended["extension_reason"]) == (0, "complexity")
    assert (extended["first_due_by"], extended["due_by"]) == ("2026-04-15", "2026-05-30")
    assert [bar.written for bar in report.charts[0].bars] == ["3", "2", "1"]


def test_an_answer_after_the_date_is_late_without_a_mark(story: Story) -> None:
    story.request("ada", at(0))
    story.about("ada", "request_fulfilled", at(44) + timedelta(seconds=1))
    assert row(report_lateness, story)["days_late"] == 0


# --- systems ----------------------------------------------------------------------------------------------------------


def test_how_systems_did(story: Story) -> None:
    for word in ("a", "b", "c"):
        story.request(word, at(0))
    story.step("a", "support", at(1), failed(), failed("no_answer"), ended("erased_verified", records=5))
    story.step("b", "support", at(1), ended("retained", left=2, reason="policy"))
    story.step("c", "support", at(1), ("step_answered", {"answer": "request_refused", "state": "parked"}))
    story.step("a", "mail", at(1), ended("absent"))
    mail, support = report_systems(asked(story)).rows
    assert (mail["system"], mail["connector"], mail["absent"], mail["median_hours"]) == ("mail", "mailchimp", 1, "1.50")
    assert support["steps"] == 3
    assert (support["erased_verified"], support["retained"], support["open"], support["parked"]) == (1, 1, 1, 1)
    assert (support["attempts"], support["errors"]) == (5, 3)
    assert (support["records_erased"], support["records_left"]) == (5, 2)
    # One after 3.5 hours, one after 1.5.
    assert (support["median_hours"], support["mean_hours"]) == ("2.50", "2.50")


def test_a_late_answer_or_a_decision_keeps_the_count_of_left(story: Story) -> None:
    story.request("ada", at(0))
    story.step("ada", "support", at(1), ("step_answered", {"answer": "partial", "left": 4, "state": "parked"}))
    subject, key = name_of("subject of ada"), name_of("ada in support")
    late = {"phase": "erase", "attempt": 1, "answer": "erased"}
    story.tell("step_answered_late", at(2), "step", key, subject=subject, **late)
    done = {"outcome": "unresolved", "state": "unresolved", "reason": "impossible"}
    story.tell("step_ended", at(3), "step", key, subject=subject, actor=f"key:{name_of('k')}", **done)
    assert row(report_systems, story)["records_left"] == 4


# --- looks ------------------------------------------------------------------------------------------------------------


# --- people who re-appeared -------------------------------------------------------------------------------------------

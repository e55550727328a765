"""Mailchimp over real HTTP: what counts as absence, what an error means, who is suppressed, what is never said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_mailchimp import ADA, BOB, EVE, Lease, Stage, kind, member, only, person
from test_mailchimp import stage as stage  # a fixture

from connectors.base import operations
from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.interface import Operation
from connectors.base.values import Answer, AnswerKind, Batch, Located, Record
from connectors.mailchimp.connector import MailchimpConnector
from connectors.mailchimp.sandbox import subscriber_hash
from connectors.mailchimp.sandbox_wire import API_KEY
from connectors.testing.sandbox.faults import Fault, FaultKind


def test_an_audience_added_since_is_searched_as_well(stage: Stage) -> None:
    stage.seed(news=[member(ADA), member(EVE)])
    connector = stage.connect()
    batch = stage.frozen(connector, person(ADA))
    operations.erase(connector, batch, Lease())
    stage.seed(added=[member(ADA, "archived")])
    answer = only(operations.confirm_absence(connector, batch))
    assert kind(answer) is AnswerKind.PARTIAL
    assert answer.found.records == (Record("member", f"added/{subscriber_hash(ADA)}"),)


def test_a_lie_is_noticed(stage: Stage) -> None:
    stage.seed(news=[member(ADA, "archived"), member(EVE)])
    connector = stage.connect()
    batch = stage.frozen(connector, person(ADA))
    stage.breaks(Fault(FaultKind.LIE, methods=("POST",)))
    assert kind(only(operations.erase(connector, batch, Lease()))) is AnswerKind.ERASED
    answer = only(operations.confirm_absence(connector, batch))
    assert kind(answer) is AnswerKind.PARTIAL
    assert [left.reason for left in answer.left] == ["still_there"]


def test_what_the_search_still_shows_is_not_absent_until_it_is(stage: Stage) -> None:
    stage.sandbox.options["confirm_after"] = 60
    stage.seed(news=[member(ADA), member(EVE)])
    connector = stage.connect()
    batch = stage.frozen(connector, person(ADA))
    operations.erase(connector, batch, Lease())
    early = only(operations.confirm_absence(connector, batch))
    assert kind(early) is AnswerKind.PARTIAL
    assert [left.reason for left in early.left] == ["still_found_by_search"]
    stage.wait(61)
    assert kind(only(operations.confirm_absence(connector, batch))) is AnswerKind.ALREADY_ABSENT


def test_an_audience_that_cannot_be_seen_proves_nothing(stage: Stage) -> None:
    stage.seed(news=[member(EVE)])
    batch = Batch("b", (person(ADA, f"hidden/{subscriber_hash(ADA)}"), person(EVE)))
    for answers in (
        operations.confirm_absence(stage.connect(), batch),
        operations.erase(stage.connect(), batch, Lease()),
    ):
        hidden = answers[batch.subjects[0].ref]
        assert isinstance(hidden, AnswerNotUnderstood)
        assert hidden.code == "audience_not_visible"
        assert kind(answers[batch.subjects[1].ref]) is AnswerKind.PARTIAL


@pytest.mark.parametrize("path", [".*", "/lists$", "/members$"])
@pytest.mark.parametrize("skip", [0, 1])
def test_a_blind_credential_never_sees_absence(stage: Stage, path: str, skip: int) -> None:
    stage.seed(news=[member(ADA), member(EVE)])
    stage.breaks(Fault(FaultKind.BLIND, path=path, times=None, skip=skip))
    batch = Batch("b", (person(ADA, f"news/{subscriber_hash(ADA)}"),))
    for answers in (operations.locate(stage.connect(), batch), operations.confirm_absence(stage.connect(), batch)):
        answer = only(answers)
        assert not isinstance(answer, Located) or not answer.is_empty
        assert not isinstance(answer, Answer) or answer.kind is AnswerKind.PARTIAL


def test_members_that_are_counted_but_not_shown_are_a_blind_credential(stage: Stage) -> None:
    """The audiences can be seen, nobody in them can, and the search shows no archived member anyway."""
    stage.seed(news=[member(ADA, "archived"), member(EVE)])
    stage.breaks(Fault(FaultKind.BLIND, path="/members", times=None))
    answer = only(operations.confirm_absence(stage.connect(), Batch("b", (person(ADA),))))
    assert isinstance(answer, CredentialsRefused)
    assert answer.code == "no_visibility"


def test_erasing_blindly_is_refused(stage: Stage) -> None:
    stage.seed(news=[member(ADA)])
    stage.breaks(Fault(FaultKind.BLIND, times=None))
    answer = only(operations.erase(stage.connect(), Batch("b", (person(ADA),)), Lease()))
    assert isinstance(answer, CredentialsRefused)
    assert answer.code == "no_visibility"


def test_a_control_member_must_be_seen_on_the_path_that_proves_absence(stage: Stage) -> None:
    stage.seed(news=[member(EVE), member("control@example.test")])
    connector = stage.connect(control_email="control@example.test")
    assert connector.check_credentials().proof == "control_record"
    stage.breaks(Fault(FaultKind.BLIND, path="/members/", times=None))
    answer = only(operations.confirm_absence(connector, Batch("b", (person(ADA),))))
    assert isinstance(answer, CredentialsRefused)
    assert "control@" not in repr(connector.system)


# Errors


def test_a_wrong_base_url_is_never_absence(stage: Stage) -> None:
    stage.seed(news=[member(EVE)])
    connector = stage.connect(base_url=f"{stage.url}/elsewhere")
    for answers in (
        operations.locate(connector, Batch("b", (person(ADA),))),
        operations.confirm_absence(connector, Batch("b", (person(ADA),))),
        operations.erase(connector, Batch("b", (person(ADA),)), Lease()),
    ):
        assert only(answers).code == "wrong_url"


def test_the_version_in_the_base_url_is_optional(stage: Stage) -> None:
    stage.seed(news=[member(EVE)])
    assert stage.connect(base_url=f"{stage.url}/3.0").check_credentials().proof == "control_record"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (
            Fault(FaultKind.STATUS, path="/members/", status=404, body={"error": "no such page"}),
            "not_a_problem_document",
        ),
        (Fault(FaultKind.STATUS, path="/members/", status=404), "not_json"),
        (Fault(FaultKind.HTML, path="/members/"), "not_json"),
    ],
)
@pytest.mark.parametrize("methods", [("GET",), ("POST",)])
def test_a_not_found_of_another_make_is_not_absence(
    stage: Stage, fault: Fault, code: str, methods: tuple[str, ...]
) -> None:
    stage.seed(news=[member(ADA), member(EVE)])
    connector = stage.connect()
    batch = stage.frozen(connector, person(ADA))
    fault.methods, fault.times = methods, None
    stage.breaks(fault)
    if methods == ("GET",):
        answer = only(operations.confirm_absence(connector, batch))
    else:
        answer = only(operations.erase(connector, batch, Lease()))
    assert isinstance(answer, AnswerNotUnderstood)
    assert answer.code in (code, "unexpected_success")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (403, None, TemporarilyUnavailable),
        (403, {"title": "User Not Permitted", "status": 403}, CredentialsRefused),
        (401, {"title": "API Key Invalid", "status": 401}, CredentialsRefused),
        (429, {"title": "Too Many Requests", "status": 429}, TemporarilyUnavailable),
        (503, None, TemporarilyUnavailable),
        (400, {"title": "Bad Request", "status": 400}, RequestRefused),
    ],
)
def test_statuses_mean_what_the_vendor_means(stage: Stage, status: int, body: Any, error: type[ConnectorError]) -> None:
    stage.seed(news=[member(ADA), member(EVE)])
    connector = stage.connect()
    batch = stage.frozen(connector, person(ADA))
    for path in (".*", "/members/"):
        stage.breaks(Fault(FaultKind.STATUS, path=path, status=status, body=body, times=None))
        assert type(only(operations.erase(connector, batch, Lease()))) is error
        assert type(only(operations.confirm_absence(connector, batch))) is error
    assert stage.has("news", ADA)


def test_a_refused_key_is_refused(stage: Stage) -> None:
    stage.seed(news=[member(ADA)])
    stage.sandbox.options["api_key"] = "another-us1"
    with pytest.raises(CredentialsRefused):
        stage.connect().check_credentials()


# Suppressing


def test_suppresses_whoever_is_contacted_and_creates_nobody(stage: Stage) -> None:
    stage.seed(
        news=[member(ADA), member(EVE)], shop=[member(ADA, "pending")], old=[member(ADA, "archived"), member(BOB)]
    )
    ada, nobody, held = person(ADA), person("nobody@example.test"), person(EVE)
    lease = Lease(stopped=frozenset({held.ref}))
    answers = operations.suppress(stage.connect(), Batch("b", (ada, nobody, held)), lease)
    assert kind(answers[ada.ref]) is AnswerKind.SUPPRESSED
    assert kind(answers[nobody.ref]) is AnswerKind.ALREADY_ABSENT
    assert isinstance(answers[held.ref], TemporarilyUnavailable)
    statuses = [stage.member(name, ADA)["status"] for name in ("news", "shop", "old")]
    assert statuses == ["unsubscribed", "unsubscribed", "archived"]
    assert stage.member("news", EVE)["status"] == "subscribed"
    assert stage.member("old", BOB)["status"] == "subscribed"
    assert not stage.sandbox.residue({"nobody@example.test"})


# Secrecy


def test_nothing_personal_is_said_or_sent_about_anybody_else(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    stage.seed(news=[member(ADA, contact_id="c0ffee", merge_fields={"PHONE": "+12025550100"}), member(EVE)])
    connector = stage.connect()
    batch = stage.frozen(connector, person(ADA))
    stage.breaks(Fault(FaultKind.STATUS, path="delete-permanent", status=500, body={"detail": ADA}))
    said: list[object] = [batch, connector.system, vars(connector)]
    said += operations.locate(connector, batch).values()
    said += operations.erase(connector, batch, Lease()).values()
    said += operations.confirm_absence(connector, batch).values()
    for text in [caplog.text, *map(repr, said), *map(str, said)]:
        for secret in (ADA, subscriber_hash(ADA), "c0ffee", "+12025550100", API_KEY):
            assert secret not in text
    sent = json.dumps(stage.calls())
    assert EVE not in sent
    assert subscriber_hash(EVE) not in sent


def test_declares_what_it_does() -> None:
    declared = MailchimpConnector.declaration
    assert declared.operations == frozenset(Operation)
    assert declared.suppression_scopes == {"do_not_contact:email"}
    assert not declared.suppress_first
    assert declared.max_concurrency <= 10

"""Mailchimp over real HTTP: who is found, and what is erased directly.

`Stage`, `Lease` and the people here also serve the other test_mailchimp files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from connectors.base import operations
from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    TemporarilyUnavailable,
)
from connectors.base.values import Answer, AnswerKind, Batch, Identifier, Located, Record, Subject
from connectors.mailchimp.connector import MailchimpConnector
from connectors.mailchimp.sandbox import MailchimpSandbox, subscriber_hash
from connectors.mailchimp.sandbox_wire import API_KEY
from connectors.testing.sandbox import SandboxServer
from connectors.testing.sandbox.faults import Fault, FaultKind

ADA, EVE, BOB = "ada@example.test", "eve@example.test", "bob@example.test"


def person(email: str, *records: str, ref: str | None = None, contact_id: str | None = None) -> Subject:
    identifiers = [Identifier("email", email)]
    if contact_id:
        identifiers.append(Identifier("mailchimp_contact_id", contact_id))
    return Subject(
        ref or f"ref-{subscriber_hash(email)[:6]}", tuple(identifiers), tuple(Record("member", r) for r in records)
    )


def member(email: str, status: str = "subscribed", **more: Any) -> dict[str, Any]:
    return {"email_address": email, "status": status, **more}


class Lease:
    """Remembers what is saved; `stopped` people may not proceed."""

    def __init__(self, token: bytes | None = None, stopped: frozenset[str] = frozenset()) -> None:
        self.resume_token = token
        self.stopped = stopped
        self.asked: list[str] = []

    def save(self, resume_token: bytes) -> None:
        self.resume_token = resume_token

    def may_proceed(self, ref: str) -> bool:
        self.asked.append(ref)
        return ref not in self.stopped


class Stage:
    """One account behind HTTP and what a test does to it."""

    def __init__(self, sandbox: MailchimpSandbox, url: str) -> None:
        self.sandbox = sandbox
        self.url = url

    def connect(self, base_url: str | None = None, **policy: Any) -> MailchimpConnector:
        return MailchimpConnector(
            MailchimpConnector.parse_system(
                {
                    "name": "our-mailchimp",
                    "connector": "mailchimp",
                    "base_url": base_url or self.url,
                    "allow_private_hosts": ["127.0.0.1"],
                    "credentials": {"api_key": API_KEY},
                    "policy": policy,
                    "delays": {"confirm_after": 0, "poll_every": 0},
                }
            )
        )

    def seed(self, **lists: list[dict[str, Any]]) -> None:
        self.sandbox.seed({"lists": [{"id": name, "members": members} for name, members in lists.items()]})

    def member(self, list_id: str, email: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.sandbox.state["members"][list_id].get(subscriber_hash(email))
        return found

    def has(self, list_id: str, email: str) -> bool:
        return self.member(list_id, email) is not None

    def wait(self, seconds: float) -> None:
        self.sandbox.clock_offset += timedelta(seconds=seconds)

    def breaks(self, *faults: Fault) -> None:
        self.sandbox.faults = list(faults)

    def calls(self, method: str = "", path: str = "") -> list[dict[str, Any]]:
        return [c for c in self.sandbox.journal if method in c["method"] and path in c["path"]]

    def frozen(self, connector: MailchimpConnector, *people: Subject, key: str = "batch-1") -> Batch:
        """The people with what `locate` finds, as the engine freezes it."""
        found = operations.locate(connector, Batch(key, people))
        subjects = []
        for one in people:
            located = found[one.ref]
            assert isinstance(located, Located), located
            subjects.append(replace(one, records=located.records))
        return Batch(key, tuple(subjects))


@pytest.fixture
def stage() -> Iterator[Stage]:
    sandbox = MailchimpSandbox()
    with SandboxServer({"": sandbox}) as server:
        yield Stage(sandbox, server.url())


def kind(answer: Answer | ConnectorError) -> AnswerKind:
    assert isinstance(answer, Answer), repr(answer)
    return answer.kind


def only(answers: Any) -> Any:
    assert len(answers) == 1
    return next(iter(answers.values()))


# Finding


def test_locates_in_every_audience_and_status_and_says_what_else_the_members_carry(stage: Stage) -> None:
    stage.seed(
        news=[member(ADA, merge_fields={"FNAME": "Ada", "PHONE": "+12025550100"}, contact_id="c0ffee"), member(EVE)],
        shop=[member("Ada@Example.test", "archived", contact_id="c0ffee", sms_phone_number="+12025550101")],
        empty=[],
    )
    before = json.dumps(stage.sandbox.records())
    found = only(operations.locate(stage.connect(), Batch("b", (person(ADA),))))
    key = subscriber_hash(ADA)
    assert {r.id for r in found.records} == {f"news/{key}", f"shop/{key}"}
    assert found.counts == {"member": 2}
    assert set(found.identifiers) == {
        Identifier("phone", "+12025550100"),
        Identifier("phone", "+12025550101"),
        Identifier("mailchimp_contact_id", "c0ffee"),
    }
    assert json.dumps(stage.sandbox.records()) == before
    assert {c["method"] for c in stage.calls()} == {"GET"}


def test_finds_a_member_of_the_audience_on_the_last_page(stage: Stage) -> None:
    stage.sandbox.options["rows_per_page"] = 2
    stage.seed(a=[member(EVE)], b=[], c=[], d=[], last=[member(BOB), member(ADA)])
    found = only(operations.locate(stage.connect(), Batch("b", (person(ADA),))))
    assert [r.id for r in found.records] == [f"last/{subscriber_hash(ADA)}"]


def test_finds_phone_fields_on_the_last_page(stage: Stage) -> None:
    stage.sandbox.options["rows_per_page"] = 2
    fields = [{"tag": f"T{n}", "name": "text", "type": "text"} for n in range(4)]
    fields.append({"tag": "MOBILE", "name": "Mobile", "type": "phone"})
    ada = member(ADA, merge_fields={"T1": "no phone", "MOBILE": "+12025550100"})
    stage.sandbox.seed({"lists": [{"id": "news", "merge_fields": fields, "members": [ada]}]})
    found = only(operations.locate(stage.connect(), Batch("b", (person(ADA),))))
    assert Identifier("phone", "+12025550100") in found.identifiers
    assert Identifier("phone", "no phone") not in found.identifiers


DIFFICULT = {
    "o'brien+tag@example.test": ["o'brien@example.test", "obrien+tag@example.test", "o'brien+tags@example.test"],
    "zoë.ångström@example.test": ["zoe.angstrom@example.test", "zoë@example.test"],
    "ZOË@Example.test": ["zoe@example.test"],
    "ada/eve@example.test": ["ada@example.test", "eve@example.test"],
    "ada@example.te": ["ada@example.test", "grada@example.te"],
    # The first letter is the Kelvin sign, which lowers to an ordinary k.
    "\u212aelvin@example.test": ["ada@example.test"],
}


@pytest.mark.parametrize("email", DIFFICULT)
@pytest.mark.parametrize("threshold", [0, 20])
def test_erases_exactly_this_address(stage: Stage, email: str, threshold: int) -> None:
    stage.seed(news=[*(member(other) for other in DIFFICULT[email]), member(email, tags=["canary"])])
    connector = stage.connect(batch_threshold=threshold)
    batch = stage.frozen(connector, person(email))
    lease = Lease()
    answer = only(operations.erase(connector, batch, lease))
    if threshold == 0:
        assert answer.resumes
        answer = only(operations.erase(connector, batch, lease))
    assert answer == Answer.erased({"member": 1}, not_covered=answer.not_covered)
    assert kind(only(operations.confirm_absence(connector, batch))) is AnswerKind.ALREADY_ABSENT
    assert not stage.sandbox.residue({"canary"})
    assert not stage.has("news", email)
    assert all(stage.has("news", other) for other in DIFFICULT[email])


def test_another_spelling_of_the_same_hash_is_somebody_else(stage: Stage) -> None:
    """Lowered by Unicode's rules both addresses have one hash; only the letter k is the neighbour's."""
    stage.seed(news=[member("kelvin@example.test")])
    found = only(operations.locate(stage.connect(), Batch("b", (person("\u212aelvin@example.test"),))))
    assert found.is_empty


def test_finds_a_member_whose_address_was_changed_by_the_contact_id(stage: Stage) -> None:
    stage.seed(news=[member("ada.new@example.test", contact_id="c0ffee"), member(EVE)])
    old = person(ADA, f"news/{subscriber_hash(ADA)}", contact_id="c0ffee")
    answer = only(operations.confirm_absence(stage.connect(), Batch("b", (old,))))
    assert kind(answer) is AnswerKind.PARTIAL
    assert answer.found.records == (Record("member", f"news/{subscriber_hash('ada.new@example.test')}"),)
    assert Identifier("email", "ada.new@example.test") in answer.found.identifiers


def test_a_member_that_is_not_who_was_asked_for_is_not_understood(stage: Stage) -> None:
    stage.seed(news=[member(EVE)])
    wrong = {**stage.member("news", EVE)}
    stage.breaks(Fault(FaultKind.STATUS, path="/members/", status=200, body=wrong, times=None))
    answer = only(operations.locate(stage.connect(), Batch("b", (person(ADA),))))
    assert isinstance(answer, AnswerNotUnderstood)
    assert answer.code == "member_mismatch"


# Erasing


def test_erases_in_every_audience_and_leaves_only_a_hash(stage: Stage) -> None:
    mine = member(ADA, "archived", merge_fields={"FNAME": "Ada"}, tags=["vip"], notes=["called Ada"])
    stage.seed(news=[member(ADA), member(EVE)], shop=[mine, member(BOB)], other=[member(BOB)])
    connector = stage.connect()
    batch = stage.frozen(connector, person(ADA))
    stage.sandbox.journal.clear()
    answer = only(operations.erase(connector, batch, Lease()))
    assert answer.kind is AnswerKind.ERASED
    assert answer.records == {"member": 2}
    assert not stage.sandbox.residue({ADA, "Ada", subscriber_hash(ADA)})
    assert {r["list_id"] for r in stage.sandbox.records() if r["object"] == "forgotten"} == {"news", "shop"}
    assert stage.has("news", EVE)
    assert stage.has("shop", BOB)
    # One page of audiences, a deletion in two, a look in the third.
    assert len(stage.calls()) == 4
    again = httpx.post(
        f"{stage.url}/3.0/lists/news/members", auth=("x", API_KEY), json=member(ADA.upper()), trust_env=False
    )
    assert (again.status_code, again.json()["title"]) == (400, "Forgotten Email Not Subscribed")


def test_erasing_twice_is_absent(stage: Stage) -> None:
    stage.seed(news=[member(ADA), member(EVE)])
    connector = stage.connect()
    batch = stage.frozen(connector, person(ADA))
    assert kind(only(operations.erase(connector, batch, Lease()))) is AnswerKind.ERASED
    assert kind(only(operations.erase(connector, batch, Lease()))) is AnswerKind.ALREADY_ABSENT


def test_a_member_outside_the_plan_is_reported_and_not_touched(stage: Stage) -> None:
    stage.seed(news=[member(ADA)], shop=[])
    connector = stage.connect()
    batch = stage.frozen(connector, person(ADA))
    stage.seed(shop=[member(ADA, "archived", contact_id="c2", merge_fields={"PHONE": "+12025550100"})])
    answer = only(operations.erase(connector, batch, Lease()))
    assert kind(answer) is AnswerKind.PARTIAL
    assert [left.reason for left in answer.left] == ["not_in_plan"]
    assert answer.found.records == (Record("member", f"shop/{subscriber_hash(ADA)}"),)
    assert Identifier("phone", "+12025550100") in answer.found.identifiers
    assert not stage.has("news", ADA)
    assert stage.has("shop", ADA)


def test_an_unknown_person_is_absent_and_nothing_changes(stage: Stage) -> None:
    stage.seed(news=[member("ada+1@example.test"), member(EVE)])
    before = json.dumps(stage.sandbox.records())
    batch = Batch("b", (person(ADA),))
    assert kind(only(operations.erase(stage.connect(), batch, Lease()))) is AnswerKind.ALREADY_ABSENT
    assert kind(only(operations.confirm_absence(stage.connect(), batch))) is AnswerKind.ALREADY_ABSENT
    assert json.dumps(stage.sandbox.records()) == before


def test_without_a_usable_identifier_nobody_is_erased(stage: Stage) -> None:
    stage.seed(news=[member(ADA)])
    empty = Subject("r", (Identifier("email", ""),))
    for threshold in (0, 20):
        answer = only(operations.erase(stage.connect(batch_threshold=threshold), Batch("b", (empty,)), Lease()))
        assert kind(answer) is AnswerKind.NOT_ADDRESSABLE
    assert kind(only(operations.confirm_absence(stage.connect(), Batch("b", (empty,))))) is AnswerKind.NOT_ADDRESSABLE


@pytest.mark.parametrize("threshold", [0, 20])
def test_a_stopped_person_is_not_touched_and_stops_nobody_else(stage: Stage, threshold: int) -> None:
    stage.seed(news=[member(ADA), member(EVE)], shop=[member(EVE)])
    connector = stage.connect(batch_threshold=threshold)
    ada, eve = person(ADA), person(EVE)
    batch = stage.frozen(connector, ada, eve)
    lease = Lease(stopped=frozenset({eve.ref}))
    answers = operations.erase(connector, batch, lease)
    if threshold == 0:
        assert isinstance(answers[eve.ref], TemporarilyUnavailable)
        answers = operations.erase(connector, batch, lease)
    stopped = answers[eve.ref]
    assert isinstance(stopped, TemporarilyUnavailable)
    assert stopped.code == "stopped"
    assert kind(answers[ada.ref]) is AnswerKind.ERASED
    assert stage.has("news", EVE)
    assert stage.has("shop", EVE)


def test_what_the_vendor_refuses_is_left(stage: Stage) -> None:
    stage.seed(news=[member(ADA)])
    connector = stage.connect()
    batch = stage.frozen(connector, person(ADA))
    stage.sandbox.options["operation_errors"] = {"/actions/delete-permanent": 405}
    connector = stage.connect(batch_threshold=0)
    lease = Lease()
    operations.erase(connector, batch, lease)
    answer = only(operations.erase(connector, batch, lease))
    assert kind(answer) is AnswerKind.PARTIAL
    assert [(left.id, left.reason) for left in answer.left] == [(f"news/{subscriber_hash(ADA)}", "not_permitted")]


def test_one_persons_error_delays_nobody_else(stage: Stage) -> None:
    stage.seed(news=[member(ADA), member(EVE), member(BOB)])
    connector = stage.connect()
    people = [person(e) for e in (ADA, EVE, BOB)]
    batch = stage.frozen(connector, *people)
    stage.breaks(Fault(FaultKind.STATUS, path=subscriber_hash(EVE), methods=("POST",), status=500))
    answers = operations.erase(connector, batch, Lease())
    assert [type(answers[p.ref]) for p in people] == [Answer, TemporarilyUnavailable, Answer]
    assert answers[people[1].ref].effect_unknown
    assert not stage.has("news", ADA)
    assert not stage.has("news", BOB)


def test_a_throttle_ends_the_attempt_and_keeps_what_was_done(stage: Stage) -> None:
    stage.seed(news=[member(ADA), member(EVE), member(BOB)])
    connector = stage.connect()
    people = [person(e) for e in (ADA, EVE, BOB)]
    batch = stage.frozen(connector, *people)
    stage.sandbox.journal.clear()
    stage.breaks(Fault(FaultKind.STATUS, path="delete-permanent", skip=1, status=429))
    answers = operations.erase(connector, batch, Lease())
    assert kind(answers[people[0].ref]) is AnswerKind.ERASED
    assert [answers[p.ref].code for p in people[1:]] == ["rate_limited", "rate_limited"]
    assert len(stage.calls("POST")) == 2
    assert stage.has("news", BOB)


def test_a_blank_contact_id_is_nobodys(stage: Stage) -> None:
    """Looked up by a hash that two spellings share, a member without a contact id must not match a blank one."""
    stage.seed(news=[member("kelvin@example.test", contact_id="")])
    blank = Subject("r", (Identifier("email", "\u212aelvin@example.test"), Identifier("mailchimp_contact_id", "")))
    assert only(operations.locate(stage.connect(), Batch("b", (blank,)))).is_empty


@pytest.mark.parametrize("threshold", [0, 20])
def test_a_member_in_two_plans_is_for_a_human(stage: Stage, threshold: int) -> None:
    stage.seed(news=[member(ADA)])
    record = f"news/{subscriber_hash(ADA)}"
    batch = Batch("b", (person(ADA, record), person(EVE, record)))
    answers = operations.erase(stage.connect(batch_threshold=threshold), batch, Lease())
    assert {kind(answer) for answer in answers.values()} == {AnswerKind.AMBIGUOUS}
    assert stage.has("news", ADA)


def test_a_member_that_the_vendor_keeps_after_a_lost_answer_is_not_counted(stage: Stage) -> None:
    stage.seed(news=[member(ADA)])
    connector, lease = stage.connect(), Lease()
    batch = stage.frozen(connector, person(ADA))
    stage.breaks(Fault(FaultKind.DROP_BEFORE, methods=("POST",)))
    assert isinstance(only(operations.erase(connector, batch, lease)), TemporarilyUnavailable)
    stage.sandbox.options["operation_errors"] = {"/actions/delete-permanent": 405}
    in_a_job = stage.connect(batch_threshold=0)
    operations.erase(in_a_job, batch, lease)
    answer = only(operations.erase(in_a_job, batch, lease))
    assert (kind(answer), answer.records) == (AnswerKind.PARTIAL, {})
    del stage.sandbox.state["members"]["news"][subscriber_hash(ADA)]
    assert only(operations.erase(connector, batch, lease)) == Answer.already_absent()

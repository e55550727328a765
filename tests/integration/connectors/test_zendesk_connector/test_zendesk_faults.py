"""Crashes, lost answers and lies: nothing orphaned, nobody else touched, nothing called done that isn't."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from connectors.base.errors import AnswerNotUnderstood, ConnectorError, LeaseLost, TemporarilyUnavailable
from connectors.base.values import Answer, AnswerKind
from connectors.testing.sandbox.faults import Fault, FaultKind
from connectors.zendesk.account import ZendeskAccount
from connectors.zendesk.sandbox_account import Account

from .conftest import MemoryLease, World, person

ACCOUNT: dict[str, Any] = {
    "users": [
        {"id": 11, "email": "ada@example.test", "emails": ["countess@example.test"], "external_id": "C-7"},
        {"id": 12, "email": "ada.second@example.test"},
        {"id": 13, "email": "bob@example.test"},
        {"id": 14, "email": "neighbour@elsewhere.test"},
    ],
    "tickets": [
        {"id": 21, "requester_id": 11},
        {"id": 22, "requester_id": 11, "status": "closed"},
        {"id": 23, "requester_id": 12, "status": "solved"},
        {"id": 24, "requester_id": 13},
        {"id": 25, "requester_id": 14, "collaborator_ids": [11]},
    ],
    "suspended_tickets": [
        {"id": 31, "author": {"email": "ada@example.test"}},
        {"id": 32, "author": {"email": "neighbour@elsewhere.test"}},
    ],
}
NEIGHBOURS = (("user", 14), ("ticket", 25), ("suspended_ticket", 32))
PEOPLE = (person("ada", "ada@example.test", "ada.second@example.test"), person("bob", "bob@example.test"))
VALUES = {"ada@example.test", "countess@example.test", "ada.second@example.test", "bob@example.test", "C-7"}


def assert_clean(world: World, before: str, *people: Any) -> None:
    assert world.confirmed_absent(*people)
    assert not world.sandbox.residue(VALUES)
    own = {r["id"] for r in world.sandbox.records() if r["object"] == "ticket"}
    assert own == {25}
    assert world.stored(*NEIGHBOURS) == before
    assert "neighbour@elsewhere.test" not in world.sent()
    for call in world.sandbox.journal:
        if call["method"] == "DELETE":
            ids = set(dict(call["query"]).get("ids", call["path"].rsplit("/", 1)[1]).split(","))
            assert ids <= {"11", "12", "13", "21", "22", "23", "24", "31"}


def calls_of_an_erase(world: World, job_seconds: float = 0) -> int:
    world.reset(ACCOUNT, job_seconds=job_seconds)
    people = world.plan(*PEOPLE)
    world.sandbox.journal.clear()
    world.erase_to_end(*people)
    return len(world.sandbox.journal)


@pytest.mark.parametrize("kind", [FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER, FaultKind.HALF_BODY])
def test_a_crash_at_every_call(world: World, kind: FaultKind) -> None:
    total = calls_of_an_erase(world)
    assert total > 20
    for k in range(total):
        world.reset(ACCOUNT)
        people, before = world.plan(*PEOPLE), world.stored(*NEIGHBOURS)
        world.sandbox.journal.clear()
        world.sandbox.faults = [Fault(kind, skip=k)]
        lease = MemoryLease()
        answers = world.erase(*people, lease=lease)
        assert world.sandbox.faults[0].times == 0
        # Half of an answer without content is the whole of it.
        assert kind is FaultKind.HALF_BODY or any(isinstance(a, ConnectorError) for a in answers.values()), k
        done = world.erase_to_end(*people, lease=lease)
        assert {answer.kind for answer in done.values()} == {AnswerKind.ERASED}, k
        assert_clean(world, before, *people)


def test_death_between_an_effect_and_its_record(world: World) -> None:
    """The process dies at its n-th save: the token is the one before, the effects are done."""

    class Dying(MemoryLease):
        def __init__(self, saves: int) -> None:
            super().__init__()
            self.saves = saves

        def save(self, resume_token: bytes) -> None:
            if self.saves == 0:
                raise LeaseLost
            self.saves -= 1
            super().save(resume_token)

    survived = False
    for saves in range(20):
        world.reset(ACCOUNT)
        people, before = world.plan(*PEOPLE), world.stored(*NEIGHBOURS)
        world.sandbox.journal.clear()
        lease = Dying(saves)
        try:
            world.erase(*people, lease=lease)
            survived = True
        except LeaseLost:
            pass
        done = world.erase_to_end(*people, lease=MemoryLease(lease.token))
        assert {answer.kind for answer in done.values()} == {AnswerKind.ERASED}
        assert_clean(world, before, *people)
        if survived:
            break
    assert survived
    assert saves >= 6


def test_without_the_saved_ids_soft_deleted_tickets_would_be_lost(world: World) -> None:
    """Why the token matters: the same crash, its token thrown away, leaves a ticket that no search finds."""
    world.reset(ACCOUNT)
    people = tuple(person(s.ref, *s.values("email")) for s in PEOPLE)
    planned = tuple(
        type(s)(s.ref, s.identifiers, tuple(r for r in s.records if r.object == "user")) for s in world.plan(*people)
    )
    world.sandbox.faults = [Fault(FaultKind.DROP_BEFORE, path="/deleted_tickets/destroy_many")]
    world.erase(*planned, lease=MemoryLease())
    world.erase_to_end(*planned, lease=MemoryLease())
    assert {r["id"] for r in world.sandbox.records() if r["object"] == "ticket"} != {25}


@pytest.mark.parametrize(
    "path",
    [
        "/suspended_tickets/destroy_many",
        "/api/v2/tickets/destroy_many",
        "/deleted_tickets/destroy_many",
        "/users/destroy_many",
        "/deleted_users/11",
    ],
)
def test_a_lie_is_never_confirmed(world: World, path: str) -> None:
    world.reset(ACCOUNT)
    people = world.plan(*PEOPLE)
    world.sandbox.faults = [Fault(FaultKind.LIE, methods=("DELETE",), path=path, times=None)]
    lease = MemoryLease()
    for _ in range(4):
        world.erase(*people, lease=lease)
    seen = world.confirm(*people)["ada"]
    assert isinstance(seen, Answer)
    assert seen.kind is AnswerKind.PARTIAL
    world.sandbox.faults = []
    done = world.erase_to_end(*people, lease=lease)
    assert {answer.kind for answer in done.values()} == {AnswerKind.ERASED}
    assert world.confirmed_absent(*people)


def test_jobs_that_fail_as_a_whole_are_named_in_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.reset(ACCOUNT)
    people = world.plan(*PEOPLE)

    def fail(self: Account) -> None:
        for job in self.state["jobs"].values():
            job["status"] = "failed"

    monkeypatch.setattr(Account, "run_due_jobs", fail)
    lease = MemoryLease()
    answers = [world.erase(*people, lease=lease)["ada"] for _ in range(3)]
    assert [isinstance(a, TemporarilyUnavailable) for a in answers] == [True, True, False]
    assert isinstance(answers[2], Answer)
    assert {entry.id for entry in answers[2].left} == {"21", "22", "23"}
    monkeypatch.undo()
    assert world.erase_to_end(*people, lease=lease)["ada"].kind is AnswerKind.ERASED
    assert world.confirmed_absent(*people)


@pytest.mark.parametrize("work", ["_delete_ticket", "_purge_ticket", "_delete_user"])
def test_a_job_that_completes_without_doing_anything(world: World, work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world.reset(ACCOUNT)
    people = world.plan(*PEOPLE)
    monkeypatch.setattr(Account, work, lambda self, record_id: None)
    lease = MemoryLease()
    answers = [world.erase(*people, lease=lease)["ada"] for _ in range(3)]
    assert all(isinstance(a, TemporarilyUnavailable) or a.kind is AnswerKind.PARTIAL for a in answers)
    assert isinstance(answers[2], Answer)
    assert answers[2].reason == "refused_by_vendor"
    assert not world.confirmed_absent(*people)
    monkeypatch.undo()
    assert world.erase_to_end(*people, lease=lease)["ada"].kind is AnswerKind.ERASED


def test_a_purge_that_lied_is_seen_by_the_look_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.reset(ACCOUNT)
    people = world.plan(*PEOPLE)
    monkeypatch.setattr(Account, "_purge_ticket", lambda self, ticket_id: None)
    # The look into the bin that erasure makes; a confirmation looks without `since`.
    bin_of = ZendeskAccount.binned_tickets
    monkeypatch.setattr(
        ZendeskAccount, "binned_tickets", lambda self, since: (set(), True) if since else bin_of(self, since)
    )
    lease = MemoryLease()
    assert world.erase_to_end(*people, lease=lease)["ada"].kind is AnswerKind.ERASED
    seen = world.confirm(*people)["ada"]
    assert isinstance(seen, Answer)
    assert {entry.reason for entry in seen.left} == {"soft_deleted"}
    monkeypatch.undo()
    assert world.erase_to_end(*people, lease=lease)["ada"].kind in (AnswerKind.ERASED, AnswerKind.PARTIAL)
    done = world.erase_to_end(*people, lease=lease)
    assert done["ada"].kind is AnswerKind.ERASED
    assert world.confirmed_absent(*people)


@pytest.mark.parametrize("kind", [FaultKind.HTML, FaultKind.REDIRECT, FaultKind.HALF_BODY, FaultKind.DROP_AFTER])
def test_no_call_of_the_look_may_fail_and_prove_absence(world: World, kind: FaultKind) -> None:
    world.reset(ACCOUNT)
    people = world.plan(*PEOPLE)
    world.erase_to_end(*people)
    world.sandbox.journal.clear()
    assert world.confirmed_absent(*people)
    for k in range(len(world.sandbox.journal)):
        world.sandbox.faults = [Fault(kind, skip=k)]
        assert not world.confirmed_absent(*people), k


@pytest.mark.parametrize("path", ["/deleted_users/11", "/users/11/compliance_deletion_statuses"])
def test_only_the_vendors_own_not_found_is_one(world: World, path: str) -> None:
    world.reset(ACCOUNT)
    people = world.plan(*PEOPLE)
    world.erase_to_end(*people)
    world.sandbox.faults = [Fault(FaultKind.STATUS, path=path, status=404, body={"error": "NoSuchRoute"})]
    assert not world.confirmed_absent(*people)
    assert world.confirmed_absent(*people)


@pytest.mark.parametrize("retry_after", ["7", "Wed, 21 Oct 2099 07:28:00 GMT"])
def test_both_forms_of_retry_after(world: World, retry_after: str) -> None:
    world.reset(ACCOUNT)
    people = world.plan(*PEOPLE)
    world.sandbox.faults = [Fault(FaultKind.STATUS, methods=("DELETE",), status=429, retry_after=retry_after)]
    answer = world.erase(*people)["ada"]
    assert isinstance(answer, TemporarilyUnavailable)
    assert answer.retry_after_seconds == (7 if retry_after == "7" else 24 * 3600)


def test_an_unknown_step_of_the_vendors_record_is_not_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.reset(ACCOUNT)
    people = world.plan(*PEOPLE)
    world.erase_to_end(*people)
    rows = [
        {"id": 1, "action": "postponed", "application": "chat", "user_id": 11, "created_at": "2026-11-22T00:00:00Z"}
    ]
    monkeypatch.setattr(Account, "compliance_rows", lambda self, user_id: rows)
    seen = world.confirm(*people)["ada"]
    assert isinstance(seen, AnswerNotUnderstood)
    assert seen.code == "compliance_action"


@pytest.mark.parametrize("token", [b"no json", b"[]", b'{"v":1,"started_at":"x","people":{},"jobs":[]}'])
def test_a_token_of_another_make_is_refused(world: World, token: bytes) -> None:
    world.reset(ACCOUNT)
    answer = world.erase(*world.plan(*PEOPLE), lease=MemoryLease(token))["ada"]
    assert isinstance(answer, AnswerNotUnderstood)
    assert answer.code == "resume_token"
    assert not [c for c in world.sandbox.journal if c["method"] != "GET"]


def test_nothing_personal_in_logs_errors_and_reprs(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world.reset(ACCOUNT)
    texts = []
    for status in (400, 401, 403, 404, 409, 422, 500):
        people = world.plan(*PEOPLE)
        world.sandbox.faults = [Fault(FaultKind.STATUS, status=status, skip=2, body={"error": "ada@example.test"})]
        texts += [f"{a!r} {a}" for a in world.erase(*people).values()]
        texts += [repr(people), repr(world.locate(*PEOPLE))]
    snapshot = world.connector().look_at(PEOPLE)
    shown = " ".join(
        (*texts, repr(snapshot), *(record.getMessage() for record in caplog.records if "zendesk" in record.name))
    )
    assert not [value for value in (*VALUES, "sandbox-token") if value in shown]
    assert not [value for value in VALUES if value in caplog.text]

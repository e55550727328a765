"""What `erase` does, in which order, and to whom it does nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.base.errors import CredentialsRefused, LeaseLost, TemporarilyUnavailable
from connectors.base.values import Answer, AnswerKind, Record
from connectors.testing.sandbox.faults import Fault, FaultKind

from .conftest import MemoryLease, World, person

ACCOUNT: dict[str, Any] = {
    "organizations": [{"id": 5, "name": "Acme Ltd"}],
    "users": [
        {"id": 11, "email": "ada@example.test", "emails": ["ada.w@example.test"], "organization_id": 5},
        {"id": 12, "email": "ada.x@example.test", "name": "Look-alike", "organization_id": 5},
    ],
    "tickets": [
        {"id": 21, "requester_id": 11, "status": "open"},
        {"id": 22, "requester_id": 11, "status": "closed", "archived": True},
        {"id": 23, "requester_id": 12, "collaborator_ids": [11], "comments": [{"author_id": 11, "body": "me too"}]},
    ],
    "suspended_tickets": [
        {"id": 31, "author": {"email": "ada@example.test"}},
        {"id": 32, "author": {"email": "ada.x@example.test"}},
        {"id": 33, "author": {"id": 11, "email": "other@example.test"}},
    ],
}
NEIGHBOURS = (("user", 12), ("ticket", 23), ("suspended_ticket", 32), ("organization", 5), ("user", 1))
ADA = person("ada", "ada@example.test")


def kinds(answers: dict[str, Any]) -> dict[str, AnswerKind]:
    return {ref: answer.kind for ref, answer in answers.items()}


def test_everything_of_hers_goes_and_nothing_else(world: World) -> None:
    world.reset(ACCOUNT)
    before = world.stored(*NEIGHBOURS)
    people = world.plan(ADA)
    answer = world.erase_to_end(*people)["ada"]
    assert answer.kind is AnswerKind.ERASED
    assert answer.records == {"user": 1, "ticket": 2, "suspended_ticket": 2}
    assert world.stored(*NEIGHBOURS) == before
    left = {(r["object"], r["id"]) for r in world.sandbox.records()} - set(NEIGHBOURS)
    assert left == {("user", 11)}  # the vendor's own empty row
    assert not world.sandbox.residue({"ada@example.test", "ada.w@example.test"})
    assert world.confirmed_absent(*people)


def test_users_go_last_and_tickets_are_purged_before(world: World) -> None:
    world.reset(ACCOUNT)
    world.erase_to_end(*world.plan(ADA))
    effects = [c["path"] for c in world.sandbox.journal if c["method"] == "DELETE"]
    assert effects == [
        "/api/v2/suspended_tickets/destroy_many",
        "/api/v2/tickets/destroy_many",
        "/api/v2/deleted_tickets/destroy_many",
        "/api/v2/users/destroy_many",
        "/api/v2/deleted_users/11",
    ]


def test_erasing_twice_and_the_unknown_are_already_absent(world: World) -> None:
    world.reset(ACCOUNT)
    people = (*world.plan(ADA), person("nobody", "nobody@example.test"))
    world.erase_to_end(*people)
    world.sandbox.journal.clear()
    assert set(kinds(world.erase_to_end(*people)).values()) == {AnswerKind.ALREADY_ABSENT}
    assert [c for c in world.sandbox.journal if c["method"] != "GET"] == []


def test_250_tickets_take_few_calls(world: World) -> None:
    tickets = [{"id": 5000 + n, "requester_id": 11, "status": ("open", "closed")[n % 2]} for n in range(250)]
    world.reset({"users": [{"id": 11, "email": "ada@example.test"}], "tickets": tickets})
    people = world.plan(ADA)
    world.sandbox.journal.clear()
    answer = world.erase_to_end(*people)["ada"]
    assert answer.records == {"user": 1, "ticket": 250}
    assert len(world.sandbox.journal) <= 35
    assert world.confirmed_absent(*people)
    assert not [r for r in world.sandbox.records() if r["object"] == "ticket"]


def test_fifty_people_share_jobs(world: World) -> None:
    people_data = [{"id": 100 + n, "email": f"p{n}@example.test"} for n in range(50)]
    tickets = [{"id": 5000 + n, "requester_id": 100 + n} for n in range(50)]
    world.reset({"users": people_data, "tickets": tickets})
    people = world.plan(*(person(f"s{n}", f"p{n}@example.test") for n in range(50)))
    world.sandbox.journal.clear()
    answers = world.erase_to_end(*people)
    assert set(kinds(answers).values()) == {AnswerKind.ERASED}
    effects = [c for c in world.sandbox.journal if c["method"] == "DELETE"]
    assert len(effects) == 3 + 50
    assert world.sandbox.residue({"@example.test"}) == []


def test_running_jobs_are_accepted_and_resumed_by_another_process(world: World) -> None:
    world.reset(ACCOUNT, job_seconds=3600)
    (planned,) = world.plan(ADA)
    lease, path = MemoryLease(), []
    for _ in range(4):
        answer = world.erase(planned, lease=lease)["ada"]
        assert isinstance(answer, Answer)
        path.append(answer.kind)
        assert answer.resumes == (answer.kind is AnswerKind.ACCEPTED)
        world.sandbox.clock_offset += timedelta(hours=2)
    assert path == [AnswerKind.ACCEPTED] * 3 + [AnswerKind.ERASED]
    effects = [c["path"] for c in world.sandbox.journal if c["method"] == "DELETE"]
    assert len(effects) == len(set(effects)) == 5  # no job was opened twice


def test_one_persons_job_does_not_hold_up_the_others(world: World) -> None:
    world.reset(ACCOUNT, job_seconds=3600)
    people = world.plan(ADA, person("nobody", "nobody@example.test"))
    assert kinds(world.erase(*people)) == {"ada": AnswerKind.ACCEPTED, "nobody": AnswerKind.ALREADY_ABSENT}


def test_a_fresh_ticket_that_the_index_hides_keeps_the_user(world: World) -> None:
    world.reset(ACCOUNT)
    people = world.plan(ADA)
    world.sandbox.seed({"tickets": [{"id": 29, "requester_id": 11, "indexed_after_seconds": 600}]})
    lease = MemoryLease()
    answer = world.erase(*people, lease=lease)["ada"]
    assert isinstance(answer, TemporarilyUnavailable)
    assert answer.code == "user_not_deleted"
    world.sandbox.clock_offset = timedelta(minutes=11)
    assert world.erase_to_end(*people, lease=lease)["ada"].kind is AnswerKind.ERASED
    assert world.confirmed_absent(*people)
    assert "29" not in world.sandbox.state["tickets"]


def test_a_late_index_is_not_taken_for_residue_nor_for_absence(world: World) -> None:
    world.reset(ACCOUNT, confirm_after=600)
    people = world.plan(ADA)
    assert world.erase_to_end(*people)["ada"].kind is AnswerKind.ERASED
    answer = world.confirm(*people)["ada"]
    assert isinstance(answer, Answer)
    assert answer.kind is AnswerKind.ACCEPTED
    world.sandbox.clock_offset = timedelta(minutes=11)
    assert world.confirmed_absent(*people)


def test_the_vendors_own_record_is_waited_for(world: World) -> None:
    world.reset(ACCOUNT, purge_after=600)
    people = world.plan(ADA)
    world.erase_to_end(*people)
    answer = world.confirm(*people)["ada"]
    assert isinstance(answer, Answer)
    assert answer.kind is AnswerKind.ACCEPTED
    assert answer.look_again_at is not None
    assert answer.look_again_at > datetime.now(UTC)
    world.sandbox.clock_offset = timedelta(minutes=11)
    assert world.confirmed_absent(*people)


def test_roots_outside_the_plan_are_reported_and_left_alone(world: World) -> None:
    world.reset(ACCOUNT)
    people = world.plan(ADA)
    world.sandbox.seed(
        {
            "users": [{"id": 14, "email": "ada@example.test"}],
            "tickets": [{"id": 24, "requester_id": 14}],
            "suspended_tickets": [{"id": 34, "author": {"email": "ada@example.test"}}],
        }
    )
    before = world.stored(("user", 14), ("ticket", 24), ("suspended_ticket", 34))
    answer = world.erase_to_end(*people)["ada"]
    assert answer.kind is AnswerKind.PARTIAL
    assert answer.found is not None
    assert set(answer.found.records) == {Record("user", "14"), Record("ticket", "24"), Record("suspended_ticket", "34")}
    assert {(entry.id, entry.reason) for entry in answer.left} == {("14", "not_in_plan"), ("34", "not_in_plan")}
    assert world.stored(("user", 14), ("ticket", 24), ("suspended_ticket", 34)) == before
    assert world.sandbox.account.soft_deleted_user(11) is None
    seen = world.confirm(*people)["ada"]
    assert isinstance(seen, Answer)
    assert seen.found == answer.found
    widened = replace(people[0], records=(*people[0].records, *answer.found.records))
    assert world.erase_to_end(widened)["ada"].kind is AnswerKind.ERASED
    assert world.confirmed_absent(widened)


def test_staff_are_for_a_human(world: World) -> None:
    world.reset(ACCOUNT, {"users": [{"id": 15, "email": "agent@example.test", "role": "agent"}]})
    agent = person("agent", "agent@example.test")
    people = world.plan(agent, ADA)
    answers = world.erase_to_end(*people)
    assert kinds(answers) == {"agent": AnswerKind.AMBIGUOUS, "ada": AnswerKind.ERASED}
    assert answers["agent"].reason == "staff_account"
    assert world.sandbox.state["users"]["15"]["active"]
    assert not world.confirmed_absent(people[0])


def test_a_record_in_two_plans_is_for_a_human(world: World) -> None:
    world.reset(ACCOUNT)
    people = world.plan(ADA, person("twin", "ada.w@example.test"))
    before = json.dumps(world.sandbox.records())
    assert set(kinds(world.erase(*people)).values()) == {AnswerKind.AMBIGUOUS}
    assert json.dumps(world.sandbox.records()) == before


def test_retained_tickets_keep_their_user(world: World) -> None:
    world.reset(ACCOUNT)
    people = world.plan(ADA)
    answer = world.erase_to_end(*people, policy={"tickets": "retain"})["ada"]
    assert answer.kind is AnswerKind.RETAINED
    assert {(entry.object, entry.id) for entry in answer.left} == {("ticket", "21"), ("ticket", "22"), ("user", "11")}
    assert answer.records == {"suspended_ticket": 2}
    assert world.sandbox.state["users"]["11"]["active"]
    seen = world.confirm(*people, connector=world.connector(policy={"tickets": "retain"}))["ada"]
    assert isinstance(seen, Answer)
    assert seen.kind is AnswerKind.RETAINED


def test_a_ticket_that_changed_hands_is_somebody_elses(world: World) -> None:
    world.reset(ACCOUNT)
    people = world.plan(ADA)
    world.sandbox.state["tickets"]["21"]["requester_id"] = 12
    world.sandbox.account.reindex("ticket", 21, {"id": 21, "requester_id": 12})
    before = world.stored(("ticket", 21))
    assert world.erase_to_end(*people)["ada"].kind is AnswerKind.ERASED
    assert world.stored(("ticket", 21)) == before
    assert world.confirmed_absent(*people)


def test_a_ticket_that_an_agent_binned_meanwhile_is_purged(world: World) -> None:
    world.reset(ACCOUNT)
    people = world.plan(ADA)
    world.sandbox.state["tickets"]["21"]["deleted_at"] = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    world.sandbox.account.reindex("ticket", 21, None)
    assert world.erase_to_end(*people)["ada"].kind is AnswerKind.ERASED
    assert "21" not in world.sandbox.state["tickets"]


@pytest.mark.parametrize("scan", [True, False])
def test_somebody_elses_soft_delete_is_finished(world: World, scan: bool) -> None:
    world.reset({"users": [{"id": 11, "email": "ada@example.test", "deleted": True}]})
    people = world.plan(ADA)
    assert people[0].records == (Record("user", "11"),)
    assert not world.confirmed_absent(*people)
    assert world.erase_to_end(*people, policy={"scan_deleted_users": scan})["ada"].kind is AnswerKind.ERASED
    assert world.confirmed_absent(*people)


def test_a_stopped_person_is_untouched_and_the_others_go_on(world: World) -> None:
    world.reset(
        ACCOUNT, {"users": [{"id": 14, "email": "bob@example.test"}], "tickets": [{"id": 24, "requester_id": 14}]}
    )
    people = world.plan(ADA, person("bob", "bob@example.test"))
    before = world.stored(("user", 11), ("ticket", 21), ("ticket", 22), ("suspended_ticket", 31))
    answers = world.erase(*people, lease=MemoryLease(stopped={"ada"}))
    assert isinstance(answers["ada"], TemporarilyUnavailable)
    assert answers["ada"].code == "stopped"
    assert answers["bob"].kind is AnswerKind.ERASED  # type: ignore[union-attr]
    assert world.stored(("user", 11), ("ticket", 21), ("ticket", 22), ("suspended_ticket", 31)) == before


def test_a_stop_counts_before_every_single_effect(world: World) -> None:
    world.reset(ACCOUNT)
    people = world.plan(ADA)
    for already in range(6):
        world.reset(ACCOUNT)
        try:
            world.erase(*people, lease=MemoryLease(lost_after=already))
        except LeaseLost:
            assert len([c for c in world.sandbox.journal if c["method"] == "DELETE"]) == already
        else:
            assert already == 5


def test_the_permanent_delete_limit_is_surfaced_and_the_rest_waits(world: World) -> None:
    data = [{"id": 100 + n, "email": f"p{n}@example.test"} for n in range(3)]
    world.reset({"users": data}, permanent_deletes_per_10_minutes=2)
    people = world.plan(*(person(f"s{n}", f"p{n}@example.test") for n in range(3)))
    lease = MemoryLease()
    answers = world.erase(*people, lease=lease)
    done = [ref for ref, answer in answers.items() if isinstance(answer, Answer)]
    (waiting,) = [answer for answer in answers.values() if isinstance(answer, TemporarilyUnavailable)]
    assert len(done) == 2
    assert waiting.retry_after_seconds is not None
    assert 590 <= waiting.retry_after_seconds <= 600
    world.sandbox.options.clear()
    (last,) = [s for s in people if s.ref not in done]
    assert kinds(world.erase_to_end(last, lease=lease)) == {last.ref: AnswerKind.ERASED}  # fewer people, same token
    assert world.confirmed_absent(*people)


def test_the_job_limit_is_a_passing_error(world: World) -> None:
    world.reset(ACCOUNT, job_seconds=3600)
    people = world.plan(ADA)
    for _ in range(30):
        world.sandbox.account.open_job("delete_tickets", [1])
    answer = world.erase(*people)["ada"]
    assert isinstance(answer, TemporarilyUnavailable)
    assert answer.retry_after_seconds == 5


def test_a_vendor_that_keeps_refusing_is_named(world: World) -> None:
    world.reset({"users": [{"id": 11, "email": "ada@example.test"}]})
    people = world.plan(ADA)
    world.sandbox.seed({"tickets": [{"id": 29, "requester_id": 11, "indexed_after_seconds": 99999}]})
    answer = world.erase_to_end(*people)["ada"]
    assert answer.kind is AnswerKind.PARTIAL
    assert answer.reason == "refused_by_vendor"
    assert [entry.id for entry in answer.left] == ["11"]


def test_tickets_hidden_from_us_keep_their_user(world: World) -> None:
    world.reset(ACCOUNT)
    people = world.plan(ADA)
    world.sandbox.faults = [Fault(FaultKind.BLIND, path="/tickets/show_many", times=None)]
    answer = world.erase(*people)["ada"]
    assert isinstance(answer, TemporarilyUnavailable)
    assert answer.code == "tickets_not_visible"
    assert world.sandbox.state["users"]["11"]["active"]


def test_erase_needs_the_control_record_too(world: World) -> None:
    world.reset(ACCOUNT)
    people = world.plan(ADA)
    world.sandbox.faults = [Fault(FaultKind.BLIND, path="/users/show_many", times=None)]
    assert isinstance(world.erase(*people)["ada"], CredentialsRefused)
    assert not [c for c in world.sandbox.journal if c["method"] != "GET"]


def test_the_vendors_empty_row_is_not_the_person(world: World) -> None:
    world.reset(ACCOUNT)
    people = world.plan(person("ada", "ada@example.test", zendesk_user_id="11"))
    assert world.erase_to_end(*people)["ada"].kind is AnswerKind.ERASED
    assert ("user", 11) in {(r["object"], r["id"]) for r in world.sandbox.records()}
    assert world.confirmed_absent(*people)
    assert world.locate(person("ada", "ada@example.test", zendesk_user_id="11"))["ada"].is_empty


@pytest.mark.parametrize("value", ["o'brien+news@example.test", "j\u00fcrgen@example.test", "a b@example.test"])
def test_difficult_addresses(world: World, value: str) -> None:
    world.reset({"users": [{"id": 11, "email": value}], "tickets": [{"id": 21, "requester_id": 11}]})
    people = world.plan(person("s", value))
    assert world.erase_to_end(*people)["s"].kind is AnswerKind.ERASED
    assert world.confirmed_absent(*people)

"""A run without the service: every person ends once, nothing is called done that wasn't seen, waiting is bounded."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from connectors.base.config import ConfigurationError
from connectors.base.errors import CredentialsRefused, TemporarilyUnavailable
from connectors.base.interface import ErasesBy, Lease, Operation
from connectors.base.runner import MAX_ROUNDS, Line, Outcome, Summary, run
from connectors.base.values import Answer, Batch, Identifier, Left, Located, Record, Subject
from tests.unit.connectors.base.fake_connector import FakeClock, FakeConnector, person

FOUND = Located((Record("user", "1"),), {"user": 1})


def play(
    connector: FakeConnector,
    *people: Subject,
    operation: Operation = Operation.ERASE,
    wait: float | None = None,
    clock: FakeClock | None = None,
) -> tuple[dict[str, Line], Summary]:
    lines: list[Line] = []
    limit = None if wait is None else timedelta(seconds=wait)
    patience = (clock or FakeClock()).patience
    summary = run(connector, people or (person("ada"),), operation, limit, lines.append, patience=patience)
    assert len({line.subject for line in lines}) == len(lines), "somebody ended twice"
    assert len(lines) == len(people or (1,))
    return {line.subject: line for line in lines}, summary


def finds(located: Located = FOUND) -> Any:
    return lambda *_: located


def names(connector: FakeConnector) -> list[str]:
    return [name for name, _ in connector.log]


def in_turn(*answers: Any) -> Any:
    """A script that gives one answer after the other and then the last for ever."""
    left = list(answers)
    return lambda *_: left.pop(0) if len(left) > 1 else left[0]


def test_erased_and_seen_gone_after_the_delay() -> None:
    clock = FakeClock()
    connector = FakeConnector({"locate": finds()})
    lines, summary = play(connector, clock=clock)
    assert lines["ada"].outcome is Outcome.ERASED_VERIFIED
    assert lines["ada"].records == {"user": 1}
    assert names(connector) == ["locate", "erase", "confirm"]
    assert clock.slept == [30.0]
    assert summary.calls == 3
    assert summary.outcomes == {Outcome.ERASED_VERIFIED: 1}


def test_nothing_there_is_absent() -> None:
    connector = FakeConnector({"erase": lambda *_: Answer.already_absent()})
    assert play(connector)[0]["ada"].outcome is Outcome.ABSENT


def test_after_a_lost_answer_nobody_is_called_absent() -> None:
    lost = TemporarilyUnavailable("timeout", effect_unknown=True)
    connector = FakeConnector({"locate": finds(), "erase": in_turn(lost, Answer.already_absent())})
    line = play(connector)[0]["ada"]
    assert line.outcome is Outcome.ERASED_VERIFIED
    assert line.records == {"user": 1}


def test_a_vendor_without_a_look_is_unverified() -> None:
    operations = frozenset({Operation.ERASE})
    connector = FakeConnector(operations=operations, can_confirm=False, erases_by=ErasesBy.IDENTIFIERS)
    assert play(connector)[0]["ada"].outcome is Outcome.ERASED_UNVERIFIED
    assert names(connector) == ["erase"]


def test_who_needs_no_search_is_told_at_once() -> None:
    declared = {"erases_by": ErasesBy.IDENTIFIERS, "searches_first": False}
    for operations in (
        frozenset({Operation.ERASE, Operation.CONFIRM}),
        frozenset({Operation.LOCATE, Operation.ERASE, Operation.CONFIRM}),
    ):
        connector = FakeConnector(operations=operations, **declared)
        assert play(connector)[0]["ada"].outcome is Outcome.ERASED_VERIFIED
        assert names(connector) == ["erase", "confirm"]


def test_a_lying_vendor_is_parked_after_three_rounds() -> None:
    there = Answer.partial((Left("user", "1", "still_there"),))
    connector = FakeConnector({"locate": finds(), "confirm": lambda *_: there})
    line = play(connector)[0]["ada"]
    assert line.outcome is Outcome.PARKED
    assert line.left == (Left("user", "1", "still_there"),)
    assert names(connector).count("erase") == MAX_ROUNDS


def test_what_is_found_later_is_planned_under_a_new_key() -> None:
    new = Located((Record("user", "2"),))
    seen: list[tuple[str, ...]] = []
    answers = in_turn(Answer.partial((Left("user", "2", "not_in_plan"),), found=new), Answer.erased({"user": 2}))

    def erase(subject: Subject, batch: Batch, lease: Lease) -> Answer:
        seen.append(subject.record_ids("user"))
        answer: Answer = answers()
        return answer

    connector = FakeConnector({"locate": finds(), "erase": erase})
    assert play(connector)[0]["ada"].outcome is Outcome.ERASED_VERIFIED
    assert seen == [("1",), ("1", "2")]
    keys = [key for name, key in connector.batches if name == "erase"]
    assert len(set(keys)) == 2


def test_a_retry_has_the_same_key_and_token() -> None:
    tokens: list[bytes | None] = []
    answers = in_turn(TemporarilyUnavailable("rate_limited", retry_after_seconds=70), Answer.erased({"user": 1}))

    def erase(subject: Subject, batch: Batch, lease: Lease) -> Any:
        tokens.append(lease.resume_token)
        lease.save(b"step 1")
        return answers()

    clock = FakeClock()
    connector = FakeConnector({"locate": finds(), "erase": erase})
    assert play(connector, clock=clock)[0]["ada"].outcome is Outcome.ERASED_VERIFIED
    assert tokens == [None, b"step 1"]
    assert len({key for name, key in connector.batches if name == "erase"}) == 1
    assert clock.slept == [70.0, 30.0]


def test_retries_are_bounded_and_end_parked() -> None:
    connector = FakeConnector({"locate": lambda *_: TemporarilyUnavailable("vendor_unavailable", status=503)})
    line = play(connector)[0]["ada"]
    assert (line.outcome, line.reason) == (Outcome.PARKED, "vendor_unavailable")
    assert names(connector) == ["locate"] * 3


def test_other_errors_are_not_retried() -> None:
    connector = FakeConnector()
    connector.check_error = lambda _: CredentialsRefused("no_visibility")
    line = play(connector)[0]["ada"]
    assert (line.outcome, line.reason) == (Outcome.PARKED, "no_visibility")
    assert connector.log == []


def test_a_job_is_polled_and_then_looked_after() -> None:
    clock = FakeClock()

    def erase(subject: Subject, batch: Batch, lease: Lease) -> Answer:
        if clock.at < datetime.fromisoformat("2026-11-22T00:00:15+00:00"):
            return Answer.accepted(clock.at + timedelta(seconds=10), resumes=True)
        return Answer.erased({"user": 1})

    connector = FakeConnector({"locate": finds(), "erase": erase})
    assert play(connector, clock=clock)[0]["ada"].outcome is Outcome.ERASED_VERIFIED
    assert clock.slept == [10.0, 10.0, 30.0]


def test_a_suppression_job_is_done_before_anything_is_erased() -> None:
    clock = FakeClock()
    job = Answer.accepted(clock.at + timedelta(seconds=10), resumes=True)
    script = {"locate": finds(), "suppress": in_turn(job, Answer.suppressed())}
    connector = FakeConnector(script, operations=frozenset(Operation))
    assert play(connector, clock=clock)[0]["ada"].outcome is Outcome.ERASED_VERIFIED
    assert names(connector) == ["locate", "suppress", "suppress", "erase", "confirm"]
    assert len({key for name, key in connector.batches if name == "suppress"}) == 1


def test_a_job_of_looks_about_nobody_ends_absent() -> None:
    clock = FakeClock()
    job = Answer.accepted(clock.at + timedelta(seconds=1), resumes=True)
    connector = FakeConnector({"erase": in_turn(job, Answer.already_absent())})
    assert play(connector, clock=clock)[0]["ada"].outcome is Outcome.ABSENT


def test_without_time_to_wait_it_is_accepted_with_a_time_to_look() -> None:
    clock = FakeClock()
    connector = FakeConnector({"locate": finds()})
    line = play(connector, wait=29, clock=clock)[0]["ada"]
    assert line.outcome is Outcome.ACCEPTED
    assert line.look_again_at == clock.at + timedelta(seconds=30)
    assert clock.slept == []


def test_without_time_for_a_retry_the_error_stays() -> None:
    connector = FakeConnector({"erase": lambda *_: TemporarilyUnavailable("rate_limited", retry_after_seconds=60)})
    line = play(connector, wait=5)[0]["ada"]
    assert (line.outcome, line.reason) == (Outcome.PARKED, "rate_limited")


def test_people_who_share_a_root_are_both_ambiguous_and_untouched() -> None:
    connector = FakeConnector({"locate": lambda s, *_: FOUND if s.ref != "eve" else Located()})
    lines, _ = play(connector, person("ada"), person("bob"), person("eve"))
    assert lines["ada"].outcome is lines["bob"].outcome is Outcome.AMBIGUOUS
    assert lines["eve"].outcome is not Outcome.AMBIGUOUS
    assert ("erase", ("eve",)) in connector.log
    assert not any({"ada", "bob"} & set(refs) for name, refs in connector.log if name == "erase")


def test_a_record_that_carries_anothers_identifier_is_ambiguous() -> None:
    carried = Located((Record("user", "1"),), {}, (Identifier("email", "BOB@example.test"),))
    connector = FakeConnector({"locate": lambda s, *_: carried if s.ref == "ada" else Located()})
    lines, _ = play(connector, person("ada"), person("bob"))
    assert {line.outcome for line in lines.values()} == {Outcome.AMBIGUOUS}
    assert "erase" not in names(connector)


def test_a_shared_identifier_is_ambiguous_where_identifiers_are_erased() -> None:
    connector = FakeConnector({"locate": finds(Located(counts={"row": 1}))}, erases_by=ErasesBy.IDENTIFIERS)
    lines, _ = play(connector, person("ada", "shared@example.test"), person("bob", "Shared@example.test"))
    assert {line.outcome for line in lines.values()} == {Outcome.AMBIGUOUS}
    blind = FakeConnector(operations=frozenset({Operation.ERASE}), can_confirm=False, erases_by=ErasesBy.IDENTIFIERS)
    lines, _ = play(blind, person("ada", "shared@example.test"), person("bob", "shared@example.test"))
    assert {line.outcome for line in lines.values()} == {Outcome.AMBIGUOUS}
    assert blind.log == []


def test_a_root_found_later_that_is_anothers_is_ambiguous() -> None:
    def locate(subject: Subject, *_: object) -> Located:
        return Located((Record("user", subject.ref),))

    def erase(subject: Subject, *_: object) -> Answer:
        if subject.ref == "bob":
            return Answer.erased({"user": 1})
        return Answer.partial((Left("user", "bob", "not_in_plan"),), found=Located((Record("user", "bob"),)))

    lines, _ = play(FakeConnector({"locate": locate, "erase": erase}), person("ada"), person("bob"))
    assert lines["ada"].outcome is Outcome.AMBIGUOUS
    assert lines["bob"].outcome is Outcome.ERASED_VERIFIED


def test_suppress_goes_first_where_declared_so() -> None:
    operations = frozenset(Operation)
    connector = FakeConnector({"locate": finds()}, operations=operations)
    play(connector)
    assert names(connector) == ["locate", "suppress", "erase", "confirm"]
    late = FakeConnector({"locate": finds()}, operations=operations, suppress_first=False)
    play(late)
    assert names(late) == ["locate", "erase", "confirm"]


def test_a_failed_suppression_stops_the_erasure_of_that_person() -> None:
    script = {"suppress": lambda s, *_: CredentialsRefused("forbidden") if s.ref == "ada" else Answer.suppressed()}
    connector = FakeConnector(script, operations=frozenset(Operation))
    lines, _ = play(connector, person("ada"), person("bob"))
    assert lines["ada"].outcome is Outcome.PARKED
    assert ("erase", ("bob",)) in connector.log


@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [
        (Answer.retained("tax_law"), Outcome.RETAINED, "tax_law"),
        (Answer.ambiguous("staff_account"), Outcome.AMBIGUOUS, "staff_account"),
        (Answer.not_addressable(), Outcome.NOT_ADDRESSABLE, "no_usable_identifier"),
        (Answer.partial((Left("user", "1", "locked"),)), Outcome.PARKED, "locked"),
    ],
)
def test_answers_that_end_a_person(answer: Answer, outcome: Outcome, reason: str) -> None:
    line = play(FakeConnector({"locate": finds(), "erase": lambda *_: answer}))[0]["ada"]
    assert (line.outcome, line.reason) == (outcome, reason)
    assert line.left == answer.left


def test_what_was_kept_on_purpose_is_named_beside_the_findings_of_the_look() -> None:
    contract, user = Left("contract", "9", "activated"), Left("user", "1", "still_there")
    kept, look = Answer.retained("tax_law", left=(contract, user)), Answer.retained("policy", left=(user,))
    lines, _ = play(FakeConnector({"locate": finds(), "erase": in_turn(kept), "confirm": in_turn(look)}))
    assert lines["ada"].outcome is Outcome.RETAINED
    assert sorted(lines["ada"].left, key=lambda left: left.object) == [contract, user]


def test_batches_keep_the_declared_limits() -> None:
    people = [person(f"p{n}") for n in range(5)]
    connector = FakeConnector({"locate": lambda s, *_: Located((Record("user", s.ref),))})
    lines, summary = play(connector, *people)
    assert {line.outcome for line in lines.values()} == {Outcome.ERASED_VERIFIED}
    sizes = [(name, len(refs)) for name, refs in connector.log]
    assert [size for name, size in sizes if name == "erase"] == [2, 2, 1]
    assert summary.outcomes == {Outcome.ERASED_VERIFIED: 5}


def test_locate_counts_and_touches_nothing() -> None:
    connector = FakeConnector({"locate": lambda s, *_: FOUND if s.ref == "ada" else Located()})
    lines, _ = play(connector, person("ada"), person("bob"), operation=Operation.LOCATE)
    assert lines["ada"].outcome is Outcome.LOCATED
    assert lines["ada"].records == {"user": 1}
    assert lines["bob"].outcome is Outcome.NOTHING_FOUND
    assert names(connector) == ["locate"]


def test_confirm_looks_only() -> None:
    there = Answer.partial((Left("user", "1", "still_there"),))
    connector = FakeConnector({"confirm": lambda s, *_: there if s.ref == "ada" else Answer.already_absent()})
    lines, _ = play(connector, person("ada"), person("bob"), operation=Operation.CONFIRM)
    assert (lines["ada"].outcome, lines["ada"].reason) == (Outcome.PARKED, "still_there")
    assert lines["bob"].outcome is Outcome.ABSENT
    assert names(connector) == ["confirm"]


def test_an_operation_that_is_not_offered_is_a_usage_error() -> None:
    with pytest.raises(ConfigurationError, match="doesn't offer suppress"):
        play(FakeConnector(), operation=Operation.SUPPRESS)


def test_a_suppression_is_read_back() -> None:
    script = {
        "read_suppression": lambda s, *_: {
            "ada": Answer.suppressed(),
            "bob": Answer.not_suppressed(),
            "cem": Answer.already_absent(),
        }[s.ref]
    }
    declared = {"operations": frozenset(Operation), "max_subjects_per_call": dict.fromkeys(Operation, 10)}
    connector = FakeConnector(script, **declared)
    people = [person(name) for name in ("ada", "bob", "cem")]
    lines, _ = play(connector, *people, operation=Operation.READ_SUPPRESSION)
    assert lines["ada"].outcome is Outcome.SUPPRESSED
    assert (lines["bob"].outcome, lines["bob"].reason) == (Outcome.PARKED, "not_suppressed")
    assert lines["cem"].outcome is Outcome.NOTHING_FOUND
    assert connector.checks == 2, "the credential must see before and after the look"

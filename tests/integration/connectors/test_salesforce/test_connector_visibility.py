"""A call that sees nothing for once, or from then on: noticed by what it must have shown, and asked once more."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from connectors.base import operations
from connectors.base.errors import CredentialsRefused
from connectors.base.runner import Outcome
from connectors.base.values import Answer, AnswerKind
from connectors.salesforce.org.org import Subanswer, Subrequest
from connectors.salesforce.org.reading import Reader
from connectors.salesforce.org.schema import Schema
from connectors.salesforce.org.soql import quote
from connectors.salesforce.org.visibility import Control
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.sandbox.faults import Fault, FaultKind

from .connecting import Served, serving
from .gods_view import GodsView
from .persevering import Perseverance
from .world import Person, World, hard_world, ordinary_world, residue, tied_world

_MOST_CALLS = 60


def _erased_with_one_blind_call(org: Served, ref: str, call: int) -> int | None:
    """Calls that the erasure took more than it had to; None when there was no such call."""
    view, run = GodsView(org.sandbox, org.world.people[ref]), Perseverance(org, ref)
    batch = run.frozen()
    org.sandbox.journal.clear()
    org.sandbox.faults = [Fault(FaultKind.BLIND, path="/composite$", skip=call)]
    line = run.through(batch)
    if not any(each["fault"] for each in org.sandbox.journal):
        return None
    assert view.violations(line) == {}, f"blind at call {call}"
    assert line.outcome in (Outcome.ERASED_VERIFIED, Outcome.RETAINED)
    return len(org.sandbox.journal)


@pytest.mark.parametrize("call", [2, 3, 4])
def test_a_blind_look_of_the_discovery_is_repeated_and_nothing_else(call: int) -> None:
    with serving(ordinary_world(1)) as org:
        calls = _erased_with_one_blind_call(org, "p0", call)
        assert calls is not None
        assert calls <= 12 + 2, "15 less what locating took, and the five statements once more under control"


def test_what_hangs_on_a_relation_alone_is_found_in_spite_of_a_blind_look() -> None:
    for call in range(_MOST_CALLS):
        with serving(tied_world()) as org:
            if _erased_with_one_blind_call(org, "ada", call) is None:
                assert call > 6, "hardly a call was blind: the case shows nothing"
                return
    raise AssertionError("more calls than were tried")


@pytest.mark.long
@pytest.mark.parametrize("ref", ["ada", "zoe"])
def test_each_look_in_the_hard_world_may_be_blind(ref: str) -> None:
    for call in range(_MOST_CALLS):
        with serving(hard_world(tasks=3)) as org:
            if _erased_with_one_blind_call(org, ref, call) is None:
                return
    raise AssertionError("more calls than were tried")


@pytest.mark.long
@pytest.mark.parametrize("killed_at", range(3, 9))
def test_killed_and_then_blind(killed_at: int) -> None:
    """A process dies, and one look of the next one is blind: each, in turn."""
    for blind_at in range(_MOST_CALLS):
        with serving(ordinary_world(1)) as org:
            view = GodsView(org.sandbox, org.world.people["p0"])
            batch = Perseverance(org, "p0").frozen()
            lease = SuiteLease(is_dead=lambda sandbox=org.sandbox: any(c["fault"] for c in sandbox.journal))
            org.sandbox.journal.clear()
            org.sandbox.faults = [
                Fault(FaultKind.DROP_AFTER, skip=killed_at),
                Fault(FaultKind.DROP_BEFORE, skip=killed_at, times=None),
            ]
            operations.erase(org.connect(), batch, lease)
            org.sandbox.journal.clear()
            org.sandbox.faults = [Fault(FaultKind.BLIND, path="/composite$", skip=blind_at)]
            line = Perseverance(org, "p0", lease=SuiteLease(lease.resume_token)).through(batch)
            if not any(c["fault"] for c in org.sandbox.journal):
                return
            assert view.violations(line) == {}, f"killed at {killed_at}, blind at {blind_at}"
            assert line.outcome is Outcome.ERASED_VERIFIED
    raise AssertionError("more calls than were tried")


@pytest.mark.parametrize(
    "call",
    [1, 3, pytest.param(0, marks=pytest.mark.long), *(pytest.param(n, marks=pytest.mark.long) for n in (2, 4, 5))],
)
def test_who_stays_blind_is_refused_and_concludes_nothing(call: int) -> None:
    with serving(tied_world()) as org:
        before, batch = org.sandbox.snapshot({"ada"}), Perseverance(org, "ada").frozen()
        org.sandbox.faults = [Fault(FaultKind.BLIND, path="/composite$", times=None, skip=call)]
        answer = operations.erase(org.connect(), batch, SuiteLease())["ada"]
        assert isinstance(answer, CredentialsRefused), answer
        assert answer.code == "no_visibility"
        assert org.sandbox.changed_bystanders(before) == []


def test_a_person_of_whom_there_is_hardly_anything_takes_no_more_calls_than_the_target() -> None:
    world = World()
    world.people["ada"] = Person("ada", ("ada@example.test",))
    world.add("ada", "Contact", "ada", LastName="{c}", Email="ada@example.test")
    with serving(world) as org:
        org.connect().check_credentials()
        connector = org.connect()
        connector.check_credentials()
        done = org.erase_with(connector, "ada")
        assert done.lines["ada"].outcome is Outcome.ERASED_VERIFIED
        assert done.calls <= 15
        assert residue(org.sandbox, world.people["ada"]) == []


def test_an_answer_of_nothing_is_no_answer_where_a_right_was_taken_away() -> None:
    """Between two passes the right to see all is gone: the erasure's own looks say so."""
    with serving(ordinary_world(1)) as org:
        batch = Perseverance(org, "p0").frozen()
        org.sandbox.options["permissions"] = {"modify_all_data": False}
        answer = operations.erase(org.connect(), batch, SuiteLease())["p0"]
        assert not isinstance(answer, Answer) or answer.kind is not AnswerKind.ERASED


class _Dim:
    """An org that goes blind after so many statements of one call."""

    def __init__(self, sees: int) -> None:
        self.sees = sees
        self.calls = 0

    def composite(self, parts: Sequence[Subrequest]) -> list[Subanswer]:
        self.calls += 1
        sees = self.sees if self.calls == 1 else len(parts)
        rows = [{"Id": "x"}]
        return [Subanswer(200, {"records": rows if n < sees else [], "done": True}) for n in range(len(parts))]


def test_who_goes_blind_in_the_middle_of_a_call_is_noticed_too() -> None:
    """What is sure comes last in its call, and so does the control."""
    control = Control(Schema({}), "005000000000001")
    for sure, texts in (((), ["a", "b", "c"]), ((0,), ["a", "b", "c", "d", "e"])):
        for sees in range(len(texts)):
            org = _Dim(sees)
            answers = Reader(org, control).run([quote(text) for text in texts], sure)  # type: ignore[arg-type]
            assert all(answers), f"blind after {sees}"
            assert org.calls > 1

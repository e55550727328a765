"""A move for which nobody is asked to look lets nothing follow: tried with every neighbour that a step may have."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from connectors.base.transitions.states import EARLIER_SYSTEM, Phase, StepState, Transition
from service.execution.decide_results import load_context
from service.requests.planning import request_checks as asking
from service.requests.planning.next_transitions import DueTransitions, next_transitions
from service.requests.planning.request_checks import ask_to_look
from tests.company import Company
from tests.scenes import person_in, quicken, turn_until

# State, phase, reason, whether it waits for its turn.
NEIGHBOURS = (
    (StepState.DUE, Phase.ERASE, None, True),
    (StepState.DUE, Phase.SUPPRESS, None, False),
    (StepState.LEASED, Phase.LOCATE, None, False),
    (StepState.ACCEPTED, Phase.CONFIRM, EARLIER_SYSTEM, False),
    (StepState.ACCEPTED, Phase.CONFIRM, None, False),
    (StepState.PARKED, Phase.ERASE, "legal_hold", False),
    (StepState.ERASED_VERIFIED, Phase.CONFIRM, None, False),
)
REQUESTS = (("in_progress", "erasing"), ("revoked", None))


@pytest.fixture
def planned(company: Company) -> UUID:
    """A request with a plan and five steps; three of them are taken away."""
    quicken(company, locate_timeout_seconds=0.0)
    request = company.submit(person_in(company, "support"))
    turn_until(company, lambda: company.request(request).reason == "erasing", only=lambda name: False)
    with company.stores.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE steps SET state = 'absent', phase = 'confirm', waits_for_order = false, position = 5,"
                " due_at = NULL, plan_version = 1, located = true"
            )
        )
        connection.execute(text("DELETE FROM request_checks"))
    return request


def put(connection: Connection, step: UUID, **values: Any) -> None:
    given = ", ".join(f"{name} = :{name}" for name in values)
    connection.execute(text(f"UPDATE steps SET {given} WHERE id = :id"), values | {"id": step})


def _flags(following: list[DueTransitions]) -> set[str]:
    return {name for each in following for name, value in each._asdict().items() if value is True}


def unasked_that_follow(company: Company, request: UUID) -> list[Any]:
    """Moves of one step, beside one neighbour, after which something follows that didn't before, and nobody asked."""
    one, other, *_ = (step.id for step in company.steps(request).values())
    found = []
    with company.stores.engine.connect() as connection, connection.begin() as transaction:
        connection.execute(text("UPDATE steps SET due_at = clock_timestamp() + interval '1 hour'"))
        for (state, reason), position in itertools.product(REQUESTS, (1, 2, 3)):
            connection.execute(text("UPDATE requests SET state = :s, reason = :r"), {"s": state, "r": reason})
            for neighbour in NEIGHBOURS:
                values = dict(zip(("state", "phase", "reason", "waits_for_order"), neighbour, strict=True))
                put(connection, other, position=position, **values)
                for phase, then in itertools.product(Phase, Phase):
                    put(connection, one, state="leased", phase=phase, position=2)
                    before = next_transitions(connection, [request])
                    row: Any = SimpleNamespace(
                        id=one, request_id=request, phase=phase, plan_version=1, waits_for_order=False
                    )
                    put(connection, one, state="due", phase=then)
                    ask_to_look(connection, [(row, Transition(StepState.DUE, then))])
                    asked = connection.execute(text("DELETE FROM request_checks")).rowcount
                    after = next_transitions(connection, [request])
                    if not asked and _flags(after) - _flags(before):
                        found.append((state, position, neighbour, phase, then))
        transaction.rollback()
    return found


def test_nothing_follows_where_nobody_is_asked(company: Company, planned: UUID) -> None:
    assert unasked_that_follow(company, planned) == []


def test_without_asking_for_those_behind_their_turn_would_be_lost(
    company: Company, planned: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "steps_before_others", lambda connection, ids: set())
    lost = unasked_that_follow(company, planned)
    assert {(position, neighbour[0]) for _, position, neighbour, *_ in lost} == {
        (3, StepState.DUE),
        (3, StepState.ACCEPTED),
    }


MOVES = (
    (StepState.DUE, 1, False, 0),
    (StepState.DUE, None, False, 1),
    (StepState.DUE, 1, True, 1),
    (StepState.WAITING, 1, False, 1),
    (StepState.ACCEPTED, 1, False, 1),
    (StepState.PARKED, 1, False, 1),
    (StepState.RETAINED, 1, False, 1),
)


def test_who_is_asked_for(company: Company, planned: UUID) -> None:
    step = company.steps(planned)["support"]
    with company.stores.engine.begin() as connection:
        for state, plan_version, waits, expected in MOVES:
            row: Any = SimpleNamespace(
                id=step.id, request_id=planned, phase="suppress", plan_version=plan_version, waits_for_order=waits
            )
            ask_to_look(connection, [(row, Transition(state, Phase.ERASE))])
            asked = connection.execute(text("DELETE FROM request_checks")).rowcount
            assert asked == expected, (state, plan_version, waits)


LEFT = (
    (StepState.ERASED_VERIFIED, 1, 0),
    (StepState.ERASED_VERIFIED, None, 1),
    (StepState.ACCEPTED, 1, 1),
    (StepState.PARKED, 1, 1),
)


def test_only_the_asking_after_an_end_is_left_to_another_step(company: Company, planned: UUID) -> None:
    step = company.steps(planned)["support"]
    with company.stores.engine.begin() as connection:
        for state, plan_version, expected in LEFT:
            row: Any = SimpleNamespace(
                id=step.id, request_id=planned, phase="erase", plan_version=plan_version, waits_for_order=False
            )
            ask_to_look(connection, [(row, Transition(state, Phase.ERASE))], {planned})
            asked = connection.execute(text("DELETE FROM request_checks")).rowcount
            assert asked == expected, (state, plan_version)


# State, whether it waits for its turn, its reason, its plan; whether an end may be left to it.
OTHERS = (
    (StepState.DUE, False, None, 1, True),
    (StepState.DUE, True, None, 1, False),
    (StepState.DUE, False, EARLIER_SYSTEM, 1, False),
    (StepState.DUE, False, None, None, False),
    (StepState.LEASED, False, None, 1, False),
    (StepState.ACCEPTED, False, None, 1, False),
    (StepState.PARKED, False, "legal_hold", 1, False),
    (StepState.ERASED_VERIFIED, False, None, 1, False),
)


def test_to_whom_an_end_may_be_left(company: Company, planned: UUID) -> None:
    one, other, third, *_ = (step.id for step in company.steps(planned).values())
    with company.stores.engine.connect() as connection, connection.begin() as transaction:
        put(connection, one, state="leased", phase="erase")
        for state, waits, reason, plan_version, expected in OTHERS:
            values = {"state": state, "waits_for_order": waits, "reason": reason, "plan_version": plan_version}
            put(connection, other, phase="erase", **values)
            assert (planned in left_to_others(connection, one)) is expected, (state, waits, reason, plan_version)
        put(connection, other, state="due", waits_for_order=False, reason=None, plan_version=1)
        put(connection, third, state="due", phase="erase", waits_for_order=True)
        assert left_to_others(connection, one) == frozenset(), "a third one waits for its turn"
        transaction.rollback()


def left_to_others(connection: Connection, step: UUID) -> frozenset[UUID]:
    row = connection.execute(text("SELECT * FROM steps WHERE id = :id"), {"id": step}).one()
    return load_context(connection, row.system, {step: row}).left_to_others

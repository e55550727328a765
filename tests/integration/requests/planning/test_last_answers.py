"""Two last answers that are committed at once: whoever looks in between, the request is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from connectors.base.transitions.states import Phase, StepState, Transition
from service.execution.decide_results import load_context
from service.requests.planning import advance as advancing
from service.requests.planning.advance import advance_requests
from service.requests.planning.next_transitions import next_transitions
from service.requests.planning.request_checks import ask_to_look
from service.store import locking as rows
from tests.company import Company
from tests.scenes import person_in, quicken, turn_until, write


@pytest.fixture
def asked(company: Company) -> UUID:
    """A request all of whose steps are still looked at; nobody asks for it."""
    quicken(company, locate_timeout_seconds=0.0)
    request = company.submit(person_in(company, "support"))
    turn_until(company, lambda: company.request(request).reason == "erasing", only=lambda name: False)
    write(company, "UPDATE steps SET state = 'leased', phase = 'confirm', due_at = NULL, waits_for_order = false")
    write(company, "DELETE FROM request_checks")
    return request


def end(connection: Connection, steps: Iterable[Any], request: UUID) -> None:
    """What recording a last answer comes to, for who looks at requests."""
    connection.execute(
        text(
            "UPDATE steps SET state = 'erased_verified', ended_at = clock_timestamp()"
            " WHERE id = ANY(CAST(:ids AS uuid[]))"
        ),
        {"ids": [step.id for step in steps]},
    )
    rows.request_check(connection, [request])


def halves(company: Company, request: UUID) -> tuple[list[Any], list[Any]]:
    steps = list(company.steps(request).values())
    return steps[:1], steps[1:]


def test_whichever_is_committed_last_is_looked_at(company: Company, asked: UUID) -> None:
    one, others = halves(company, asked)
    with company.stores.engine.begin() as first:
        end(first, one, asked)
        with company.stores.engine.begin() as second:
            end(second, others, asked)
            assert advance_requests(company.stores, company.settings) == 0, "nothing is committed yet"
        assert advance_requests(company.stores, company.settings) == 1
        assert company.request(asked).state == "in_progress"
    assert advance_requests(company.stores, company.settings) == 1
    assert (company.request(asked).state, company.request(asked).next_action) == ("fulfilled", "seal")


def committed_while_somebody_looks(company: Company, request: UUID, patch: pytest.MonkeyPatch) -> str:
    """The first answer is being looked at when the other one is committed."""
    one, others = halves(company, request)
    with company.stores.engine.begin() as connection:
        end(connection, one, request)
    see = next_transitions

    def see_then_others(connection: Connection, ids: Iterable[UUID]) -> Any:
        seen = see(connection, ids)
        with company.stores.engine.begin() as another:
            end(another, others, request)
        return seen

    with patch.context() as looking:
        looking.setattr(advancing, "next_transitions", see_then_others)
        assert advance_requests(company.stores, company.settings) == 1
    assert company.request(request).state == "in_progress"
    while advance_requests(company.stores, company.settings):
        pass
    return str(company.request(request).state)


def test_what_is_committed_during_a_look_is_looked_at_again(
    company: Company, asked: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert committed_while_somebody_looks(company, asked, monkeypatch) == "fulfilled"


def test_if_the_asking_were_taken_after_the_look_it_would_be_lost(
    company: Company, asked: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = advancing._advance

    def first_look(connection: Connection, settings: Any, ids: Any) -> None:
        advance(connection, settings, ids)
        connection.execute(text("DELETE FROM request_checks WHERE request_id = ANY(:ids)"), {"ids": list(ids)})

    def only_read(connection: Connection, limit: int) -> list[UUID]:
        read = text("SELECT request_id FROM request_checks ORDER BY id LIMIT :n")
        return list(connection.execute(read, {"n": limit}).scalars())

    monkeypatch.setattr(advancing, "take_oldest_checks", only_read)
    monkeypatch.setattr(advancing, "_advance", first_look)
    assert committed_while_somebody_looks(company, asked, monkeypatch) == "in_progress"


def test_what_cannot_be_advanced_is_asked_for_again(
    company: Company, asked: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    with company.stores.engine.begin() as connection:
        end(connection, company.steps(asked).values(), asked)

    def refuse(*given: Any, **named: Any) -> None:
        raise ValueError("nobody expected this request")

    with monkeypatch.context() as patch:
        patch.setattr(advancing, "answer", refuse)
        assert advance_requests(company.stores, company.settings) == 0
    assert company.rows("SELECT 1 FROM request_checks WHERE request_id = :id", id=asked)
    assert advance_requests(company.stores, company.settings) == 1
    assert company.request(asked).state == "fulfilled"


def test_two_that_look_at_once_answer_once(company: Company, asked: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one saw the request before the first one's commit, and sees it again under its lock."""
    with company.stores.engine.begin() as connection:
        end(connection, company.steps(asked).values(), asked)
    lock: Callable[..., Any] = advancing._lock_with_duplicates

    def another_is_quicker(connection: Connection, ids: Any) -> Any:
        monkeypatch.setattr(advancing, "_lock_with_duplicates", lock)
        with company.stores.engine.begin() as other:
            rows.request_check(other, [asked])
        assert advance_requests(company.stores, company.settings) == 1
        return lock(connection, ids)

    monkeypatch.setattr(advancing, "_lock_with_duplicates", another_is_quicker)
    assert advance_requests(company.stores, company.settings) == 1
    entries = company.rows(
        "SELECT 1 FROM audit_pending WHERE convert_from(entry, 'UTF8')::jsonb->>'event' = 'request_fulfilled'"
    )
    assert len(entries) == 1


def record(connection: Connection, system: str, request: UUID) -> None:
    """What recording an end comes to: what is around it, the end, and the asking, as far as it isn't left to others."""
    row = connection.execute(
        text("SELECT * FROM steps WHERE request_id = :r AND system = :s"), {"r": request, "s": system}
    ).one()
    around = load_context(connection, system, {row.id: row})
    end_of = "UPDATE steps SET state = 'erased_verified', ended_at = clock_timestamp(), due_at = NULL WHERE id = :id"
    connection.execute(text(end_of), {"id": row.id})
    ask_to_look(connection, [(row, Transition(StepState.ERASED_VERIFIED, Phase.CONFIRM))], around.left_to_others)


def left_to_one_that_ends_first(company: Company, request: UUID) -> None:
    """The first of two steps leaves the asking to the second, which is leased and ends before the first commits."""
    first, second, *others = company.steps(request)
    with company.stores.engine.begin() as connection:
        end(connection, [company.steps(request)[name] for name in others], request)
        connection.execute(text("DELETE FROM request_checks"))
    write(company, "UPDATE steps SET state = 'due', due_at = clock_timestamp() WHERE system = :s", s=second)
    with company.stores.engine.begin() as slow:
        record(slow, first, request)
        assert slow.execute(text("SELECT count(*) FROM request_checks")).scalar_one() == 0, "it asked itself"
        write(company, "UPDATE steps SET state = 'leased', due_at = NULL WHERE system = :s", s=second)
        with company.stores.engine.begin() as quick:
            record(quick, second, request)
        assert advance_requests(company.stores, company.settings) == 1
        assert company.request(request).state == "in_progress"
    assert advance_requests(company.stores, company.settings) == 0, "nobody asks a second time"


def test_an_end_that_was_left_to_a_step_that_ended_first_is_looked_at_after_a_lease(
    company: Company, asked: UUID
) -> None:
    left_to_one_that_ends_first(company, asked)
    seconds = company.rows("SELECT extract(epoch FROM look_at - clock_timestamp()) AS left FROM request_checks")
    assert [0 < row.left <= company.settings.engine.lease_seconds for row in seconds] == [True]
    write(company, "UPDATE request_checks SET look_at = clock_timestamp()")
    assert advance_requests(company.stores, company.settings) == 1
    assert company.request(asked).state == "fulfilled"
    assert company.rows("SELECT 1 FROM request_checks") == []


def test_without_looking_later_it_would_be_lost(company: Company, asked: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advancing, "request_check_after", lambda *given: None)
    left_to_one_that_ends_first(company, asked)
    assert company.rows("SELECT 1 FROM request_checks") == []
    assert company.request(asked).state == "in_progress"


def test_of_many_systems_one_asks(company: Company, asked: UUID) -> None:
    systems = list(company.steps(asked))
    write(company, "UPDATE steps SET state = 'due', due_at = clock_timestamp()")
    asks = 0
    for system in systems:
        write(company, "UPDATE steps SET state = 'leased', due_at = NULL WHERE system = :s", s=system)
        with company.stores.engine.begin() as connection:
            record(connection, system, asked)
        asks += len(company.rows("SELECT 1 FROM request_checks"))
    assert (len(systems) > 2, asks) == (True, 1)
    assert advance_requests(company.stores, company.settings) == 1
    assert company.request(asked).state == "fulfilled"

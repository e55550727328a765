"""Two last answers that are committed at once: whoever looks in between, the request is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from service.storage import rows
from service.use_cases import advance_requests as advancing
from service.use_cases.advance_requests import advance_requests
from service.use_cases.see_what_follows import see_what_follows
from tests.company import Company
from tests.scenes import person_in, quicken, turn_until, write


@pytest.fixture
def asked(company: Company) -> UUID:
    """A request all of whose steps are still looked at; nobody asks for it."""
    quicken(company, locate_patience_seconds=0.0)
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
    rows.check_again(connection, [request])


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
    assert (company.request(asked).state, company.request(asked).duty) == ("fulfilled", "seal")


def committed_while_somebody_looks(company: Company, request: UUID, patch: pytest.MonkeyPatch) -> str:
    """The first answer is being looked at when the other one is committed."""
    one, others = halves(company, request)
    with company.stores.engine.begin() as connection:
        end(connection, one, request)
    see = see_what_follows

    def see_then_others(connection: Connection, ids: Iterable[UUID]) -> Any:
        seen = see(connection, ids)
        with company.stores.engine.begin() as another:
            end(another, others, request)
        return seen

    with patch.context() as looking:
        looking.setattr(advancing, "see_what_follows", see_then_others)
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

    monkeypatch.setattr(advancing, "_TAKE_OLDEST", text("SELECT request_id FROM request_checks ORDER BY id LIMIT :n"))
    monkeypatch.setattr(advancing, "_advance", first_look)
    assert committed_while_somebody_looks(company, asked, monkeypatch) == "in_progress"


def test_what_cannot_be_advanced_is_asked_for_again(
    company: Company, asked: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    with company.stores.engine.begin() as connection:
        end(connection, company.steps(asked).values(), asked)

    def refuse(*given: Any) -> None:
        raise ValueError("nobody expected this request")

    with monkeypatch.context() as patch:
        patch.setattr(advancing, "_answer", refuse)
        assert advance_requests(company.stores, company.settings) == 0
    assert company.rows("SELECT 1 FROM request_checks WHERE request_id = :id", id=asked)
    assert advance_requests(company.stores, company.settings) == 1
    assert company.request(asked).state == "fulfilled"


def test_two_that_look_at_once_answer_once(company: Company, asked: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one saw the request before the first one's commit, and sees it again under its lock."""
    with company.stores.engine.begin() as connection:
        end(connection, company.steps(asked).values(), asked)
    lock: Callable[..., Any] = advancing._lock_with_linked

    def another_is_quicker(connection: Connection, ids: Any) -> Any:
        monkeypatch.setattr(advancing, "_lock_with_linked", lock)
        with company.stores.engine.begin() as other:
            rows.check_again(other, [asked])
        assert advance_requests(company.stores, company.settings) == 1
        return lock(connection, ids)

    monkeypatch.setattr(advancing, "_lock_with_linked", another_is_quicker)
    assert advance_requests(company.stores, company.settings) == 1
    entries = company.rows(
        "SELECT 1 FROM audit_pending WHERE convert_from(entry, 'UTF8')::jsonb->>'event' = 'request_fulfilled'"
    )
    assert len(entries) == 1

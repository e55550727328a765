"""Submissions that are written together while something fails, ends or is revoked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from service.api import dependencies as doors
from service.api import micro_batching as gathering
from service.api.app import create_app
from service.domain.access.api_key import Scope
from service.requests.intake import duplicates as read_before
from service.requests.intake import submit as submitting
from tests.integration.api.conftest import EMAIL, Office, serving
from tests.integration.api.counter import (
    IN_USE,
    Counter,
    assert_a_key_for_each_request,
    counting,
    said,
    sent,
    until,
)


@pytest.fixture
def counter(office: Office, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    """No batch is late there: the calls that wait for the first one are one batch."""
    monkeypatch.setattr(gathering, "_PATIENCE_SECONDS", 60.0)
    with counting(office, monkeypatch) as counter:
        yield counter


def test_a_batch_with_an_unknown_commit_keeps_its_keys(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    office, real = counter.office, submitting._write

    def commit_and_lose_the_connection(*given: Any, **named: Any) -> None:
        real(*given, **named)
        if len(given[2]) > 1:
            raise OperationalError("COMMIT", {}, Exception(EMAIL))

    monkeypatch.setattr(submitting, "_write", commit_and_lose_the_connection)
    once = sent(office, EMAIL, key="k")
    answers = counter.together(once, sent(office))

    assert said(answers) == [(503, "unavailable")] * 2
    assert len(office.rows("SELECT 1 FROM requests")) == 3
    assert_a_key_for_each_request(office)
    again = counter.post(once[0], **once[1])
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
    printed = capfd.readouterr()
    assert EMAIL not in "".join(a.text for a in answers) + printed.out + printed.err


def test_a_group_is_not_written_to_another_server_than_its_keys_were_made_for(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = read_before._statement

    def moved(*given: bool) -> str:
        statement = real(*given)
        return statement.replace("pg_postmaster_start_time()", "now()") if given[0] else statement

    monkeypatch.setattr(read_before, "_statement", moved)
    answers = counter.together(sent(counter.office, key="a"), sent(counter.office, key="b"))

    assert said(answers) == [(503, "unavailable")] * 2
    assert len(counter.office.rows("SELECT 1 FROM requests")) == 1


def test_an_end_of_the_service_lets_a_group_finish(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_PATIENCE_SECONDS", 60.0)
    with counting(office, monkeypatch) as counter:
        first = counter.hold_one()
        answers = [counter.pool.submit(counter.post, sent(office)[0]) for _ in range(5)]
        until(lambda: len(counter.submissions._waiting) == 5)
        # Once it is told to end: nothing is let go before that.
        threading.Timer(0.2, counter.let.set).start()
    assert [answer.result(30).status_code for answer in (first, *answers)] == [202] * 6
    assert len(office.rows("SELECT 1 FROM requests")) == 6


def test_a_key_that_is_revoked_while_it_waits_is_refused(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_PATIENCE_SECONDS", 60.0)
    arrived, let = threading.Event(), threading.Event()
    real = doors.check_keys

    def held(*given: Any) -> Any:
        if not arrived.is_set():
            arrived.set()
            assert let.wait(20)
        return real(*given)

    monkeypatch.setattr(doors, "check_keys", held)
    app = create_app(office.stores, office.settings)
    revoked, lacking = office.new_key(), office.new_key(Scope.HOLDS_READ)
    wrong = f"{office.key.token[:-4]}{'AAAA' if not office.key.token.endswith('AAAA') else 'BBBB'}"
    with serving(app) as url, httpx.Client(base_url=url) as client, ThreadPoolExecutor(8) as pool:

        def get(token: str) -> int:
            return client.get("/v1/requests", headers={"Authorization": f"Bearer {token}"}).status_code

        first = pool.submit(get, office.key.token)
        assert arrived.wait(20)
        tokens = (office.key.token, revoked.token, lacking.token, wrong, "none", office.key.token)
        answers = [pool.submit(get, token) for token in tokens]
        until(lambda: len(app.state.context.keys._waiting) == len(tokens))
        office.write("UPDATE api_keys SET revoked_at = :at WHERE id = :id", at=datetime.now(UTC), id=revoked.id)
        let.set()
        assert [answer.result(30) for answer in (first, *answers)] == [200, 200, 401, 403, 401, 401, 200]


def test_many_at_once_with_repeats_of_all_kinds(office: Office) -> None:
    """No moment is arranged here: sixteen senders, each body four times, people and references twice."""
    bodies = [
        sent(office, f"p{n % 15}@example.test", key=f"k-{n}", external_reference=f"r-{n % 24}") for n in range(30)
    ]
    app = create_app(office.stores, office.settings)
    with (
        serving(app) as url,
        httpx.Client(base_url=url, timeout=30, verify=False) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        counter = Counter(office, client, None, pool)
        answers = list(
            pool.map(lambda each: (each[1]["Idempotency-Key"], counter.post(each[0], **each[1])), bodies * 4)
        )

    accepted: dict[str, set[str]] = {}
    for key, answer in answers:
        assert answer.status_code == 202 or said([answer]) == [IN_USE], answer.text
        if answer.status_code == 202:
            accepted.setdefault(key, set()).add(answer.json()["id"])
    assert all(len(ids) == 1 for ids in accepted.values())
    rows = {str(row.id): row for row in office.rows("SELECT id, external_reference, duplicate_of FROM requests")}
    assert rows.keys() == {request_id for ids in accepted.values() for request_id in ids}
    assert len(rows) == 24
    for key, answer in answers:
        assert (answer.status_code == 202) == (key in accepted)
    assert_a_key_for_each_request(office)

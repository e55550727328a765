"""Submissions that come together are written together, and each is promised what it would be promised alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from service.api import dependencies as doors
from service.api import micro_batching as gathering
from service.api.app import create_app
from service.domain.access.api_key import Scope
from service.requests.intake import duplicates as read_before
from service.requests.intake import submit as submitting
from service.store.arrays import BinaryArray, uuid_array
from service.store.encryption.key_store import request_owner
from tests.integration.api.conftest import EMAIL, Office, serving

IN_USE = (409, "reference_in_use")


@dataclass
class Counter:
    """A served application at which a first submission can be held, so that others meet behind it."""

    office: Office
    client: httpx.Client
    submissions: Any
    pool: ThreadPoolExecutor
    is_holding: bool = False
    sizes: list[int] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    let: threading.Event = field(default_factory=threading.Event)

    def post(self, body: Any, **headers: str) -> httpx.Response:
        given = {"Authorization": f"Bearer {self.office.key.token}"} | headers
        return self.client.post("/v1/requests", json=body, headers=given)

    def hold_one(self) -> Future[httpx.Response]:
        """A submission that isn't written before `let`."""
        self.is_holding = True
        first = self.pool.submit(self.post, self.office.submission("first@example.test"))
        assert self.arrived.wait(20)
        return first

    def behind_one(self, *sent: tuple[Any, dict[str, str]]) -> list[Future[httpx.Response]]:
        """Submissions that arrived in this order while another one was being written."""
        first = self.hold_one()
        answers = []
        for number, (body, headers) in enumerate(sent, 1):
            answers.append(self.pool.submit(self.post, body, **headers))
            _until(lambda n=number: len(self.submissions._waiting) == n)
        self.let.set()
        assert first.result(30).status_code == 202
        return answers

    def together(self, *sent: tuple[Any, dict[str, str]]) -> list[httpx.Response]:
        """Their answers."""
        answers = [answer.result(30) for answer in self.behind_one(*sent)]
        assert self.sizes[:2] == [1, len(sent)]
        return answers


def _until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


@contextmanager
def _counter(office: Office, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    app = create_app(office.stores, office.settings)
    with (
        serving(app) as url,
        httpx.Client(base_url=url, timeout=30, verify=False) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        counter = Counter(office, client, app.state.context.submissions, pool)

        def held(stores: Any, settings: Any, submissions: Sequence[Any]) -> Any:
            if counter.is_holding:
                counter.sizes.append(len(submissions))
            if counter.is_holding and not counter.arrived.is_set():
                counter.arrived.set()
                assert counter.let.wait(20)
            return submitting.submit_requests(stores, settings, submissions)

        monkeypatch.setattr(doors, "submit_requests", held)
        yield counter


@pytest.fixture
def counter(office: Office, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    """No batch is late there: the calls that wait for the first one are one batch."""
    monkeypatch.setattr(gathering, "_PATIENCE_SECONDS", 60.0)
    with _counter(office, monkeypatch) as counter:
        yield counter


def _sent(office: Office, *emails: str, key: str | None = None, **more: Any) -> tuple[Any, dict[str, str]]:
    body = office.submission(*(emails or (f"{uuid4().hex}@example.test",)), **more)
    return body, {} if key is None else {"Idempotency-Key": key}


def _said(answers: Sequence[httpx.Response]) -> list[tuple[int, str]]:
    return [(answer.status_code, answer.json().get("code", "")) for answer in answers]


def _assert_a_key_for_each_request(office: Office) -> None:
    """No request without its key, no key without its request: nothing was lost, nothing left behind."""
    owners = {request_owner(row.id) for row in office.rows("SELECT id FROM requests")}
    assert set(office.stores.keys.owners_older_than(-60, 5000)) == owners


def test_each_of_a_group_gets_its_own_receipt(counter: Counter) -> None:
    office = counter.office
    answers = counter.together(*(_sent(office, external_reference=f"case-{n}") for n in range(8)))

    assert [answer.status_code for answer in answers] == [202] * 8
    for number, answer in enumerate(answers):
        receipt = answer.json()
        assert receipt["external_reference"] == f"case-{number}"
        assert answer.headers["Location"] == f"/v1/requests/{receipt['id']}"
        shown = office.show(receipt["id"])
        assert (shown["state"], shown["external_reference"]) == ("open", f"case-{number}")
        assert office.events(receipt["id"])[0][:2] == ("request_submitted", f"key:{office.key.id}")
    created = office.rows(
        "SELECT external_reference AS r FROM requests WHERE external_reference > '' ORDER BY created_at"
    )
    assert [row.r for row in created] == [f"case-{n}" for n in range(8)]
    _assert_a_key_for_each_request(office)


def test_equal_idempotency_keys_in_one_group_are_one_request(counter: Counter) -> None:
    office = counter.office
    once, other = _sent(office, key="k-1"), _sent(office, key="k-1")
    answers = counter.together(once, once, other, _sent(office, key="k-2"))

    first, again, _, neighbour = answers
    assert _said(answers) == [(202, ""), (202, ""), (409, "idempotency_conflict"), (202, "")]
    assert first.json() == again.json()
    assert [a.headers.get("Idempotent-Replayed") for a in (first, again, neighbour)] == [None, "true", None]
    assert len(office.rows("SELECT 1 FROM requests")) == 3
    assert counter.post(once[0], **once[1]).json() == first.json()
    _assert_a_key_for_each_request(office)


def test_a_key_that_expired_is_used_anew_within_a_group(counter: Counter) -> None:
    office = counter.office
    body, headers = _sent(office, key="k-1")
    earlier = office.call("POST", "/v1/requests", body, headers=headers).json()
    office.write("UPDATE idempotency_keys SET expires_at = :at", at=datetime.now(UTC))

    anew, other = counter.together(_sent(office, key="k-1"), _sent(office))

    assert (anew.status_code, other.status_code) == (202, 202)
    assert anew.json()["id"] != earlier["id"]
    assert "Idempotent-Replayed" not in anew.headers


def test_a_reference_is_used_once_within_a_group_and_beside_it(counter: Counter) -> None:
    office = counter.office
    office.submit("earlier@example.test", external_reference="taken")
    answers = counter.together(
        _sent(office, external_reference="new"),
        _sent(office, external_reference="new"),
        _sent(office, external_reference="taken"),
        _sent(office),
    )

    assert _said(answers) == [(202, ""), IN_USE, IN_USE, (202, "")]
    assert answers[1].json()["errors"][0]["field"] == "/external_reference"
    _assert_a_key_for_each_request(office)


def test_a_group_holds_one_reference_of_two_keys(counter: Counter) -> None:
    office, other = counter.office, counter.office.new_key()
    body, headers = _sent(office, external_reference="shared")
    answers = counter.together(
        _sent(office, external_reference="shared"),
        (body, headers | {"Authorization": f"Bearer {other.token}"}),
        # The name of an Idempotency-Key is no reference.
        _sent(office, key="shared"),
    )

    assert _said(answers) == [(202, "")] * 3
    assert counter.sizes == [1, 3]
    _assert_a_key_for_each_request(office)


def test_two_submissions_of_one_person_in_one_group_are_linked(counter: Counter) -> None:
    office = counter.office
    earlier = office.submit("bob@example.test")
    answers = counter.together(
        _sent(office, EMAIL),
        _sent(office, EMAIL),
        _sent(office, EMAIL, "eve@example.test"),
        _sent(office, EMAIL, verified=False),
        _sent(office, "bob@example.test"),
    )

    first, *others = [answer.json() for answer in answers]
    assert [each["duplicate_of"] for each in (first, *others)] == [None, first["id"], None, None, str(earlier)]
    assert office.show(others[0]["id"])["reason"] == "duplicate"
    checks = office.rows("SELECT request_id FROM request_checks")
    assert {row.request_id for row in checks} == {earlier}


def test_a_refusal_reaches_its_own_sender_only(counter: Counter) -> None:
    office = counter.office
    answers = counter.together(
        _sent(office), _sent(office, "ada"), _sent(office, kind="access"), _sent(office), _sent(office, regime="ccpa")
    )

    assert _said(answers) == [(202, ""), (422, "invalid"), (422, "kind_not_available"), (202, ""), (202, "")]
    assert len(office.rows("SELECT 1 FROM requests")) == 4
    _assert_a_key_for_each_request(office)


def _taken_meanwhile(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another transaction commits the reference `taken` between the batch's read and its write."""
    real = submitting._write

    def write(*given: Any, **named: Any) -> None:
        new = given[2]
        if len(new) > 1 and any(each.row.external_reference == "taken" for each in new):
            office.write("UPDATE requests SET external_reference = 'taken' WHERE external_reference = 'free'")
        real(*given, **named)

    office.submit("rival@example.test", external_reference="free")
    monkeypatch.setattr(submitting, "_write", write)


def test_one_that_cannot_be_written_does_not_harm_its_neighbours(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = counter.office
    _taken_meanwhile(office, monkeypatch)
    answers = counter.together(_sent(office), _sent(office, external_reference="taken"), _sent(office, key="k"))

    assert _said(answers) == [(202, ""), IN_USE, (202, "")]
    assert sorted(counter.sizes) == [1, 1, 1, 1, 3]
    assert len(office.rows("SELECT 1 FROM requests")) == 4
    _assert_a_key_for_each_request(office)


def test_a_fault_of_ours_in_one_does_not_harm_its_neighbours(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    office, real = counter.office, submitting.new_request

    def new_request(settings: Any, sealed: Any, **named: Any) -> Any:
        if sealed.checked.submission.external_reference == "poison":
            raise ValueError(EMAIL)
        return real(settings, sealed, **named)

    monkeypatch.setattr(submitting, "new_request", new_request)
    answers = counter.together(_sent(office), _sent(office, EMAIL, external_reference="poison"), _sent(office))

    assert _said(answers) == [(202, ""), (500, "internal"), (202, "")]
    printed = capfd.readouterr()
    assert EMAIL not in answers[1].text + printed.out + printed.err
    _assert_a_key_for_each_request(office)


def test_without_coming_alone_the_neighbours_are_harmed(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitting, "is_certainly_not_written", lambda error: False)
    _taken_meanwhile(counter.office, monkeypatch)
    answers = counter.together(_sent(counter.office), _sent(counter.office, external_reference="taken"))

    assert [answer.status_code for answer in answers] == [500, 500]


def test_other_submissions_do_not_wait_for_a_transaction(counter: Counter) -> None:
    office = counter.office
    office.submit("rival@example.test", external_reference="free")
    with office.stores.engine.connect() as rival:
        rival.execute(text("UPDATE requests SET external_reference = 'wanted' WHERE external_reference = 'free'"))
        waits, *others = counter.behind_one(
            _sent(office, external_reference="wanted"), _sent(office), _sent(office, key="k")
        )
        assert [other.result(30).status_code for other in others] == [202, 202]
        assert not waits.done()
        rival.commit()
    assert _said([waits.result(30)]) == [IN_USE]
    _assert_a_key_for_each_request(office)


def test_without_patience_neighbours_wait_for_it(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitting, "_PATIENCE", None)
    office = counter.office
    office.submit("rival@example.test", external_reference="free")
    with office.stores.engine.connect() as rival:
        rival.execute(text("UPDATE requests SET external_reference = 'wanted' WHERE external_reference = 'free'"))
        answers = counter.behind_one(_sent(office, external_reference="wanted"), _sent(office))
        _until(lambda: bool(office.rows("SELECT 1 FROM pg_locks WHERE NOT granted")))
        time.sleep(0.5)
        assert not any(answer.done() for answer in answers)
        rival.rollback()
    assert [answer.result(30).status_code for answer in answers] == [202, 202]


def test_a_batch_with_an_unknown_commit_keeps_its_keys(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    office, real = counter.office, submitting._write

    def commit_and_lose_the_connection(*given: Any, **named: Any) -> None:
        real(*given, **named)
        if len(given[2]) > 1:
            raise OperationalError("COMMIT", {}, Exception(EMAIL))

    monkeypatch.setattr(submitting, "_write", commit_and_lose_the_connection)
    once = _sent(office, EMAIL, key="k")
    answers = counter.together(once, _sent(office))

    assert _said(answers) == [(503, "unavailable")] * 2
    assert len(office.rows("SELECT 1 FROM requests")) == 3
    _assert_a_key_for_each_request(office)
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
    answers = counter.together(_sent(counter.office, key="a"), _sent(counter.office, key="b"))

    assert _said(answers) == [(503, "unavailable")] * 2
    assert len(counter.office.rows("SELECT 1 FROM requests")) == 1


def test_an_end_of_the_service_lets_a_group_finish(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_PATIENCE_SECONDS", 60.0)
    with _counter(office, monkeypatch) as counter:
        first = counter.hold_one()
        answers = [counter.pool.submit(counter.post, _sent(office)[0]) for _ in range(5)]
        _until(lambda: len(counter.submissions._waiting) == 5)
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
        _until(lambda: len(app.state.context.keys._waiting) == len(tokens))
        office.write("UPDATE api_keys SET revoked_at = :at WHERE id = :id", at=datetime.now(UTC), id=revoked.id)
        let.set()
        assert [answer.result(30) for answer in (first, *answers)] == [200, 200, 401, 403, 401, 401, 200]


def test_many_at_once_with_repeats_of_all_kinds(office: Office) -> None:
    """No moment is arranged here: sixteen senders, each body four times, people and references twice."""
    sent = [_sent(office, f"p{n % 15}@example.test", key=f"k-{n}", external_reference=f"r-{n % 24}") for n in range(30)]
    app = create_app(office.stores, office.settings)
    with (
        serving(app) as url,
        httpx.Client(base_url=url, timeout=30, verify=False) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        counter = Counter(office, client, None, pool)
        answers = list(pool.map(lambda each: (each[1]["Idempotency-Key"], counter.post(each[0], **each[1])), sent * 4))

    accepted: dict[str, set[str]] = {}
    for key, answer in answers:
        assert answer.status_code == 202 or _said([answer]) == [IN_USE], answer.text
        if answer.status_code == 202:
            accepted.setdefault(key, set()).add(answer.json()["id"])
    assert all(len(ids) == 1 for ids in accepted.values())
    rows = {str(row.id): row for row in office.rows("SELECT id, external_reference, duplicate_of FROM requests")}
    assert rows.keys() == {request_id for ids in accepted.values() for request_id in ids}
    assert len(rows) == 24
    for key, answer in answers:
        assert (answer.status_code == 202) == (key in accepted)
    _assert_a_key_for_each_request(office)


def _plan(office: Office, statement: str) -> str:
    """How an empty store would do it: the plan that a connection may keep when it isn't empty any more."""
    names = [bytes(32)] * 8
    values = {"hashes": BinaryArray(names), "import": None, "api_keys": uuid_array([uuid4()] * 8)}
    values |= {
        "keys": BinaryArray(["k"] * 8),
        "references": BinaryArray(["r"] * 8),
        "reference_keys": uuid_array([uuid4()] * 8),
    }
    with office.stores.engine.connect() as connection:
        # PostgreSQL's own default, which makes reading whole tables look cheapest.
        connection.execute(text("SET LOCAL random_page_cost = 4"))
        rows = connection.exec_driver_sql(f"EXPLAIN {statement}", values)
        return "\n".join(row[0] for row in rows)


def test_the_reading_before_never_reads_whole_tables(office: Office) -> None:
    statement = read_before._statement(True, True)
    large = [f"Seq Scan on {table}" for table in ("identifiers", "requests", "idempotency_keys")]

    assert not any(each in _plan(office, statement) for each in large)
    assert any(each in _plan(office, statement.replace("OFFSET 0", "")) for each in large)

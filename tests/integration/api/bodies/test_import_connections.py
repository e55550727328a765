"""Imports whose connection breaks, waits or meets another one: accepted lines stay accepted."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest
from sqlalchemy.exc import IntegrityError
from starlette.types import Message

from service.api.bodies import stream_import as import_intake
from service.api.bodies.line_readers import JsonReader
from service.api.bodies.stream_import import ArrivingLines, ImportAnswer
from service.api.dependencies import AppContext
from service.api.routes.metrics import Metrics
from service.domain.access.api_key import Caller
from service.domain.requests.imports import ImportFormat
from service.requests.imports import accept_rows as accepting
from service.requests.imports.begin import begin_import
from tests.audit_replay import differences
from tests.integration.api.bodies.sent_imports import JSONL, read, reasons, send, verified
from tests.integration.api.conftest import Office


@pytest.fixture(autouse=True)
def replayed(office: Office) -> Iterator[None]:
    """The log tells of every import and of every request that came with one."""
    yield
    assert differences(office.stores.engine) == []


def _connect(office: Office, length: int, key: str) -> socket.socket:
    connection = socket.create_connection((office.client.base_url.host, office.client.base_url.port or 80))
    head = (
        f"POST /v1/requests/batch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {office.key.token}\r\n"
        f"Content-Type: {JSONL}\r\nIdempotency-Key: {key}\r\nContent-Length: {length}\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection


def test_accepted_lines_stay_when_the_connection_breaks(office: Office) -> None:
    lines = [verified(office, f"p{n}@example.test") for n in range(4)]
    body = "".join(f"{each}\n" for each in lines)
    with _connect(office, len(body), "broken") as connection:
        # Two lines and a half; the verdicts come although the body has no end yet.
        connection.sendall("".join(f"{each}\n" for each in lines[:2]).encode() + lines[2][:40].encode())
        heard = b""
        while heard.count(b'"status": "accepted"') < 2:
            heard += connection.recv(65536)

    verdicts, last = read(send(office, body, "broken"))

    assert [each["status"] for each in verdicts] == ["replayed", "replayed", "accepted", "accepted"]
    assert last["complete"] is True
    assert all(each["id"].encode() in heard for each in verdicts[:2])
    assert office.rows("SELECT count(*) AS n FROM requests")[0].n == 4


def test_accepting_lines_does_not_wait_for_the_client_to_read(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """As most HTTP clients do it: nothing is read before everything is sent. The first verdict blocks until then."""
    monkeypatch.setattr(import_intake, "LINES_PER_SET", 2)
    monkeypatch.setattr(import_intake, "_MEMORY_BYTES", 100)
    chunks = [f"{verified(office, f'p{n}@example.test')}\n".encode() for n in range(8)]
    caller = Caller(office.key.id, frozenset())
    importing = begin_import(office.stores, caller, "silent", ImportFormat.JSONL)
    sent: list[bytes] = []

    async def answer() -> None:
        everything_is_sent = anyio.Event()

        async def receive() -> Message:
            if not chunks:
                everything_is_sent.set()
                return {"type": "http.request", "body": b"", "more_body": False}
            return {"type": "http.request", "body": chunks.pop(0), "more_body": True}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                await everything_is_sent.wait()
                sent.append(message["body"])

        context = AppContext.of(office.stores, office.settings, Metrics(office.stores, office.settings))
        answering = ImportAnswer(
            context, importing, JsonReader(caller.key_id), ArrivingLines(receive), shows_links=True
        )
        with anyio.fail_after(30):
            await answering({}, receive, send)

    anyio.run(answer)

    lines = [json.loads(each) for each in b"".join(sent).splitlines()]
    assert [each.get("line") for each in lines] == [*range(1, 9), None]
    assert lines[-1]["complete"] is True


def test_more_than_one_set_and_two_connections_at_once(office: Office) -> None:
    body = "".join(
        verified(office, f"p{n % 700}@example.test", external_reference=f"r-{n}") + "\n" for n in range(1200)
    )
    answers: list[httpx.Response] = []

    def post() -> None:
        answers.append(send(office, (body[i : i + 7777].encode() for i in range(0, len(body), 7777)), "twice"))

    threads = [threading.Thread(target=post) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (one, _), (other, _) = map(read, answers)
    assert [each["line"] for each in one] == list(range(1, 1201))
    assert [each["id"] for each in one] == [each["id"] for each in other]
    rows = office.rows("SELECT count(*) AS n, count(duplicate_of) AS linked FROM requests")[0]
    assert (rows.n, rows.linked) == (1200, 500)
    assert len(office.stores.keys.owners_older_than(-60, 5000)) == 1200
    (shown,) = office.call("GET", "/v1/imports").json()["imports"]
    assert shown["accepted"] == 1200


def test_a_reference_that_is_taken_meanwhile_refuses_its_line_only(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = accepting.insert_requests
    raised: list[IntegrityError] = []

    def meanwhile(*args: Any) -> None:
        if not raised:
            office.submit("dee@example.test", external_reference="d-1")
        try:
            insert(*args)
        except IntegrityError as error:
            raised.append(error)
            raise

    monkeypatch.setattr(accepting, "insert_requests", meanwhile)
    verdicts, _ = read(
        send(office, f"{verified(office)}\n{verified(office, 'x@example.test', external_reference='d-1')}\n")
    )

    assert len(raised) == 1
    assert [each["status"] for each in verdicts] == ["accepted", "refused"]
    assert reasons(verdicts[1])[0] == "reference_in_use"
    assert len(office.stores.keys.owners_older_than(-60, 5000)) == 2


def test_a_store_that_fails_in_the_middle_is_said_in_the_last_line(
    office: Office, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(import_intake, "LINES_PER_SET", 2)
    accept = import_intake.accept_lines
    calls: list[int] = []

    def fail(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("ada@example.test")
        return accept(*args)

    monkeypatch.setattr(import_intake, "accept_lines", fail)
    body = "".join(verified(office, f"p{n}@example.test") + "\n" for n in range(6))
    verdicts, last = read(send(office, body))
    again, whole = read(send(office, body))

    assert [each["status"] for each in verdicts] == ["accepted", "accepted"]
    assert (last["complete"], last["problem"]["code"]) == (False, "internal")
    assert [each["status"] for each in again] == ["replayed"] * 2 + ["accepted"] * 4
    assert whole["complete"] is True
    printed = capfd.readouterr()
    assert "RuntimeError" in printed.out + printed.err
    assert "ada@example.test" not in printed.out + printed.err

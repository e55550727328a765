"""POST /v1/requests/batch: each line accepted for good or refused for itself, whatever happens to the others."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

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
from service.domain.requests.states import RequestState
from service.requests.imports import accept_rows as accepting
from service.requests.imports.begin import begin_import
from tests.audit_replay import differences
from tests.integration.api.conftest import Office

JSONL, CSV = "application/jsonl", "text/csv"
HEADER = "kind,regime,received_at,external_reference,verification_method,verified_at,identifier.email,identifier.phone"
AT = "2026-11-20T09:30:00Z"


@pytest.fixture(autouse=True)
def replayed(office: Office) -> Iterator[None]:
    """The log tells of every import and of every request that came with one."""
    yield
    assert differences(office.stores.engine) == []


def line(office: Office, *emails: str, **more: Any) -> str:
    return json.dumps(office.submission(*emails, received_at=AT, **more))


def verified(office: Office, *emails: str, **more: Any) -> str:
    """The same line each time it is asked for."""
    body = office.submission(*emails, received_at=AT, **more)
    for identifier in body["identifiers"]:
        identifier["verification"]["verified_at"] = AT
    return json.dumps(body)


def send(office: Office, body: str | bytes | Iterator[bytes], key: str = "import-1", **more: Any) -> httpx.Response:
    content = body.encode() if isinstance(body, str) else body
    headers = {
        "Authorization": f"Bearer {(more.get('by') or office.key).token}",
        "Content-Type": more.get("media_type", JSONL),
        "Idempotency-Key": key,
    }
    return office.client.post("/v1/requests/batch", content=content, headers=headers)


def read(answer: httpx.Response) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    assert answer.status_code == 202, answer.text
    *verdicts, last = [json.loads(each) for each in answer.text.splitlines()]
    return verdicts, last


def reasons(verdict: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    problem = verdict["problem"]
    return problem["code"], [(error["field"], error["reason"]) for error in problem["errors"]]


def test_every_line_is_judged_for_itself_and_in_order(office: Office) -> None:
    bad = {"kind": "email", "value": "not-a-mail"}
    lines = [
        verified(office, "ada@example.test", external_reference="a-1"),
        '{"kind": "erasure", "kind": "access"}',
        json.dumps(office.submission() | {"identifiers": [bad]}),
        "{broken ada@example.test",
        "",
        line(office, "bob@example.test"),
        line(office, "eve@example.test", kind="access"),
        line(office, "eve@example.test", external_reference="ada@example.test"),
        "\x00" + "x" * 70_000,
        line(office, "eve@example.test", kind="erasure\u00e9"),
        verified(office, "ada@example.test"),
        "[1]",
    ]

    answer = send(office, "\n".join(lines))
    verdicts, last = read(answer)

    assert answer.headers["Content-Type"] == JSONL
    assert answer.headers["Location"] == f"/v1/imports/{last['import']}"
    words = [(each["line"], each["status"]) for each in verdicts]
    good = {1: "accepted", 6: "accepted", 11: "duplicate"}
    assert words == [(n, good.get(n, "refused")) for n in range(1, 13) if n != 5]
    by_line = {each["line"]: each for each in verdicts}
    assert reasons(by_line[2]) == ("validation", [("", "duplicate_member")])
    assert reasons(by_line[3]) == ("invalid", [("/identifiers/0/value", "malformed_email")])
    assert reasons(by_line[4]) == ("malformed_json", [("", "not_json_in_utf_8")])
    assert reasons(by_line[7])[0] == "kind_not_available"
    assert reasons(by_line[8]) == ("validation", [("/external_reference", "string_pattern_mismatch")])
    assert reasons(by_line[9]) == ("too_large", [("", "line_too_long")])
    assert reasons(by_line[12])[0] == "validation"
    assert by_line[11]["duplicate_of"] == by_line[1]["id"]
    assert last == {
        "import": last["import"],
        "complete": True,
        "lines": 11,
        "accepted": 2,
        "duplicate": 1,
        "replayed": 0,
        "refused": 8,
        "problem": None,
    }
    assert "@" not in answer.text
    shown = office.show(by_line[1]["id"])
    assert (shown["state"], shown["external_reference"]) == ("open", "a-1")
    assert shown["identifiers"][0]["masked"] == "***@e***.test #1"
    assert office.events(by_line[1]["id"])[0][2]["submission"] == last["import"]


def test_a_repeated_import_gives_the_same_requests_and_takes_repaired_lines(office: Office) -> None:
    first, third = verified(office, "ada@example.test"), verified(office, "cy@example.test", external_reference="c-1")
    before, _ = read(send(office, f"{first}\n{{\n{third}\n"))

    # Line 2 is repaired; line 3 stands further down now, and is known by its reference.
    repaired = verified(office, "bob@example.test")
    after, last = read(send(office, f"{first}\n{repaired}\n\n{third}\n"))

    assert [each["status"] for each in before] == ["accepted", "refused", "accepted"]
    assert [each["status"] for each in after] == ["replayed", "accepted", "replayed"]
    assert (after[0]["id"], after[2]["id"]) == (before[0]["id"], before[2]["id"])
    assert (last["accepted"], last["replayed"]) == (1, 2)
    assert office.rows("SELECT count(*) AS n FROM requests")[0].n == 3
    assert office.call("GET", f"/v1/imports/{last['import']}/refused").json() == {"lines": [], "next_after": None}
    assert len(office.stores.keys.owners_older_than(-60, 100)) == 3


def test_another_body_under_a_known_line_is_refused(office: Office) -> None:
    ada = verified(office, "ada@example.test")
    referenced = verified(office, "cy@example.test", external_reference="c-1")
    office.submit("dee@example.test", external_reference="d-1")
    read(send(office, f"{ada}\n{referenced}\n"))

    lines = [
        verified(office, "bob@example.test"),
        verified(office, "eve@example.test", external_reference="c-1"),
        verified(office, "dee@example.test", external_reference="d-1"),
        verified(office, "fay@example.test", external_reference="f-1"),
        verified(office, "gus@example.test", external_reference="f-1"),
    ]
    verdicts, _ = read(send(office, "\n".join(lines)))
    other_format = send(office, f"{HEADER}\nerasure,gdpr,{AT},,,,x@example.test,\n", media_type=CSV)
    somebody_else, _ = read(send(office, f"{ada}\n", by=office.new_key()))

    assert [each["status"] for each in verdicts] == ["refused", "refused", "refused", "accepted", "refused"]
    codes = [reasons(each)[0] for each in verdicts if each["status"] == "refused"]
    assert codes == ["idempotency_conflict", "reference_in_use", "reference_in_use", "reference_in_use"]
    assert (other_format.status_code, other_format.json()["code"]) == (409, "idempotency_conflict")
    assert somebody_else[0]["status"] == "duplicate"


def test_a_line_of_a_sealed_request_is_not_called_the_same(office: Office) -> None:
    ada = verified(office, "ada@example.test")
    (before,), _ = read(send(office, ada))
    office.put(before["id"], import_fingerprint=None)

    (after,), _ = read(send(office, ada))

    assert reasons(after) == ("sealed", [("Idempotency-Key", "sealed")])


def test_csv_rows_are_the_same_requests(office: Office) -> None:
    rows = [
        HEADER,
        f"erasure,gdpr,{AT},c-1,email_link,{AT},ada@example.test,",
        f'erasure,ccpa,{AT},,,,"bob@example.test",+14155550123',
        f"erasure,gdpr,{AT},,,,not-a-mail,",
        f"erasure,gdpr,{AT},,,,,call me",
        "erasure,gdpr,yesterday,,email_link,,x@example.test,",
        "erasure,gdpr",
        "",
        f'erasure,gdpr,{AT},,,,"x@example.test\ny@example.test",',
        f'erasure,gdpr,{AT},,,,"x"@example.test,',
        f"erasure,gdpr,{AT},,,,cy@example.test,",
        f"erasure,gdpr,{AT},,,,da",
    ]

    answer = send(office, b"\xef\xbb\xbf" + "\r\n".join(rows).encode(), media_type=CSV)
    verdicts, last = read(answer)
    by_line = {each["line"]: each for each in verdicts}

    accepted = [2, 3, 12]
    assert [n for n, each in by_line.items() if each["status"] == "accepted"] == accepted
    assert reasons(by_line[4]) == ("invalid", [("identifier.email", "malformed_email")])
    assert reasons(by_line[5]) == ("invalid", [("identifier.phone", "malformed_phone")])
    assert set(reasons(by_line[6])[1]) == {("received_at", "not_rfc_3339"), ("verified_at", "missing")}
    assert reasons(by_line[7]) == ("invalid", [("", "wrong_number_of_columns")])
    assert reasons(by_line[9])[1] == [("identifier.email", "control_character")]
    assert reasons(by_line[11]) == ("invalid", [("", "malformed_row")])
    # Cut off, it would name somebody else.
    assert reasons(by_line[13]) == ("invalid", [("", "no_line_break_at_the_end")])
    assert last["complete"] is True
    assert "example.test" not in answer.text
    shown = office.show(by_line[3]["id"])
    assert (shown["regime"], [i["kind"] for i in shown["identifiers"]]) in (
        ("ccpa", ["email", "phone"]),
        ("ccpa", ["phone", "email"]),
    )


def test_a_wrong_header_begins_nothing(office: Office) -> None:
    for header, reason in (
        ("kind;regime;received_at", "columns_not_separated_by_commas"),
        (f"{HEADER},email", "unknown_column"),
        (f"{HEADER},kind", "column_twice"),
        ("kind,regime,identifier.email", "missing_column"),
        ("kind,regime,received_at", "missing_column"),
        ('"kind', "malformed_header"),
        ("kind\xff", "unknown_column"),
    ):
        answer = send(office, f"{header}\nerasure,gdpr,{AT},,,,ada@example.test,\n", media_type=CSV)

        assert (answer.status_code, answer.json()["code"]) == (422, "validation"), header
        assert reason in {error["reason"] for error in answer.json()["errors"]}, header
    assert office.rows("SELECT 1 FROM imports") == []


def test_a_malformed_import_is_refused_before_it_begins(office: Office) -> None:
    for body, media_type, key, status, code in (
        ("", JSONL, "k", 422, "validation"),
        ("\n \n\r\n", JSONL, "k", 422, "validation"),
        (f"{HEADER}\n", CSV, "k", 422, "validation"),
        ("{}", "application/json", "k", 415, "unsupported_media_type"),
        ("{}", "application/jsonl; charset=utf-16", "k", 415, "unsupported_media_type"),
        ("{}", JSONL, "not a key", 422, "validation"),
    ):
        answer = send(office, body, key, media_type=media_type)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (body, media_type)
    headers = {"Authorization": f"Bearer {office.key.token}", "Content-Type": JSONL}
    assert office.client.post("/v1/requests/batch", content=b"{}", headers=headers).status_code == 422
    assert office.client.post("/v1/requests/batch", content=b"{}").status_code == 401
    assert office.rows("SELECT 1 FROM imports") == []


def test_quotes_that_never_close_end_the_import_where_they_opened(office: Office) -> None:
    good = f"erasure,gdpr,{AT},,,,ada@example.test,"
    verdicts, last = read(send(office, f'{HEADER}\n{good}\nerasure,gdpr,{AT},,,,"bob\n{good}\n', media_type=CSV))

    assert [(each["line"], each["status"]) for each in verdicts] == [(2, "accepted")]
    assert last["complete"] is False
    assert reasons(last) == ("invalid", [("/lines/3", "quotes_not_closed")])


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


def test_too_many_lines_are_not_taken_in(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_intake, "MAX_LINES", 4)
    monkeypatch.setattr(import_intake, "LINES_PER_SET", 2)
    body = "".join(verified(office, f"p{n}@example.test") + "\n" for n in range(7))

    verdicts, last = read(send(office, body))

    assert len(verdicts) == 4
    assert (last["complete"], last["problem"]["code"]) == (False, "too_large")


def test_an_import_is_followed_by_its_requests_states(office: Office) -> None:
    office.submit("zoe@example.test")
    body = "".join(verified(office, f"p{n}@example.test") + "\n" for n in range(3)) + "{\n"
    verdicts, last = read(send(office, body))
    office.call("POST", f"/v1/requests/{verdicts[0]['id']}/revoke")
    office.put(verdicts[1]["id"], respond_by=AT)
    read(send(office, verified(office), "import-2"))

    shown = office.call("GET", f"/v1/imports/{last['import']}").json()
    listed = office.call("GET", "/v1/imports?limit=1").json()
    rest = office.call("GET", f"/v1/imports?cursor={listed['next_cursor']}").json()
    refused = office.call("GET", f"/v1/imports/{last['import']}/refused").json()
    requests = office.call("GET", f"/v1/requests?import_id={last['import']}").json()["requests"]
    metrics = office.call("GET", "/metrics").text

    assert shown["requests"] == [
        {"state": RequestState.OPEN, "reason": None, "requests": 2},
        {"state": RequestState.REVOKED, "reason": None, "requests": 1},
    ]
    assert (shown["state"], shown["format"], shown["accepted"], shown["refused"], shown["overdue"]) == (
        "running",
        "jsonl",
        3,
        1,
        1,
    )
    assert shown["received_at"] is not None
    assert [each["id"] for each in rest["imports"]] == [last["import"]]
    assert rest["next_cursor"] is None
    assert refused["lines"] == [
        {
            "line": 4,
            "code": "malformed_json",
            "errors": [{"field": "", "reason": "not_json_in_utf_8", "did_you_mean": None}],
        }
    ]
    assert {each["id"] for each in requests} == {each["id"] for each in verdicts[:3]}
    assert 'expunge_imports{state="running"} 2.0' in metrics
    assert 'expunge_import_lines_total{result="accepted"} 4.0' in metrics
    assert office.call("GET", f"/v1/imports/{uuid4()}").status_code == 404
    assert office.call("GET", f"/v1/imports/{uuid4()}/refused").status_code == 404

"""POST /v1/requests/batch: each line accepted for good or refused for itself, whatever happens to the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest

from service.api.bodies import stream_import as import_intake
from service.domain.requests.states import RequestState
from tests.audit_replay import differences
from tests.integration.api.bodies.sent_imports import AT, CSV, HEADER, JSONL, line, read, reasons, send, verified
from tests.integration.api.conftest import Office


@pytest.fixture(autouse=True)
def replayed(office: Office) -> Iterator[None]:
    """The log tells of every import and of every request that came with one."""
    yield
    assert differences(office.stores.engine) == []


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

"""One bad line of an import is refused for itself: the other lines go on, and the import becomes complete."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import DataError, OperationalError

from service.requests.imports import accept_rows as accepting
from service.requests.intake import validate as prepare_submission
from service.requests.records.insert import NewRequest
from tests.integration.api.bodies.sent_imports import CSV, line, read, reasons, send
from tests.integration.api.conftest import Office

BAD = "mallory.canary@example.test"


def key_owners(office: Office) -> set[str]:
    return set(office.stores.keys.owners_older_than(-60, 5000))


def request_owners(office: Office) -> set[str]:
    return {f"request/{row.id}" for row in office.rows("SELECT id FROM requests")}


def of_kind(office: Office, kind: str) -> str:
    body = office.submission("eve@example.test")
    body["identifiers"][0] |= {"kind": kind, "value": "7"}
    return json.dumps(body)


def test_a_kind_with_seven_digits_refuses_its_line_only(office: Office) -> None:
    body = "\n".join([line(office, "a@example.test"), of_kind(office, "id_1234567"), line(office, "b@example.test")])

    verdicts, last = read(send(office, body))

    assert [each["status"] for each in verdicts] == ["accepted", "refused", "accepted"]
    assert reasons(verdicts[1]) == ("validation", [("/identifiers/0/kind", "string_pattern_mismatch")])
    assert (last["complete"], last["refused"], last["problem"]) == (True, 1, None)
    assert key_owners(office) == request_owners(office)


def test_a_kind_with_seven_digits_is_refused_at_every_door(office: Office) -> None:
    identifier = {"kind": "id_1234567", "value": "7"}
    submission = office.submission() | {"identifiers": [identifier]}
    for path, body, place in (
        ("/v1/requests", submission, "/identifiers/0/kind"),
        ("/v1/holds", {"identifiers": [identifier], "reason": "litigation"}, "/identifiers/0/kind"),
        ("/v1/requests/lookup", {"identifier": identifier}, "/identifier/kind"),
    ):
        answer = office.call("POST", path, body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, place), path
    header = "kind,regime,received_at,identifier.email,identifier.id_1234567\n"
    answer = send(office, header + "erasure,gdpr,2026-11-20T09:30:00Z,a@example.test,\n", media_type=CSV)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "/columns/5")
    assert key_owners(office) == set()


def _failing_at(office: Office, real: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """The real function, but for the request about BAD."""
    bad = office.stores.pepper.of_identifier(prepare_submission.Identifier("email", BAD))

    def fail(*args: Any, **more: Any) -> Any:
        given = [one for each in args for one in (each if isinstance(each, list) else [each])]
        requests = [one for one in given if isinstance(one, NewRequest | accepting.SealedSubmission)]
        if any(identifier.keyed_hash == bad for request in requests for identifier in request.identifiers):
            raise error
        return real(*args, **more)

    return fail


def test_an_unexpected_error_of_one_line_is_that_lines_verdict(
    office: Office, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    emails = ["a@example.test", "b@example.test", BAD, "c@example.test"]
    body = "\n".join(line(office, email) for email in emails)
    faults: list[tuple[str, Exception]] = [
        ("new_request", RuntimeError(BAD)),
        ("insert_requests", DataError("INSERT", {}, Exception(BAD))),
    ]
    for number, (name, error) in enumerate(faults):
        with monkeypatch.context() as patched:
            patched.setattr(accepting, name, _failing_at(office, getattr(accepting, name), error))
            answer = send(office, body, f"import-{number}")
        verdicts, last = read(answer)

        assert [each["status"] == "refused" for each in verdicts] == [False, False, True, False], name
        assert reasons(verdicts[2])[0] == "internal"
        assert (last["complete"], last["refused"], last["problem"]) == (True, 1, None)
        assert key_owners(office) == request_owners(office)
        printed = capfd.readouterr()
        assert type(error).__name__ in printed.out + printed.err
        assert BAD not in answer.text + printed.out + printed.err
        (refused,) = office.call("GET", f"/v1/imports/{last['import']}/refused").json()["lines"]
        assert (refused["line"], refused["code"]) == (3, "internal")

    # Sent again, when the fault is gone, the line is taken.
    verdicts, last = read(send(office, body, "import-0"))
    assert [each["status"] for each in verdicts] == ["replayed", "replayed", "accepted", "replayed"]


def test_an_unexpected_error_while_a_line_is_checked_is_that_lines_verdict(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = accepting.check_submission

    def fail(pepper: Any, settings: Any, submission: Any) -> Any:
        if submission.identifiers[0].identifier.value == BAD:
            raise KeyError(BAD)
        return check(pepper, settings, submission)

    monkeypatch.setattr(accepting, "check_submission", fail)
    verdicts, last = read(send(office, f"{line(office, BAD)}\n{line(office, 'b@example.test')}\n"))

    assert [each["status"] for each in verdicts] == ["refused", "accepted"]
    assert reasons(verdicts[0]) == ("internal", [])
    assert last["complete"] is True


def test_a_store_that_does_not_answer_refuses_no_line(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        error = OperationalError("INSERT", {}, Exception("gone"))
        patched.setattr(accepting, "insert_requests", _failing_at(office, accepting.insert_requests, error))
        verdicts, last = read(send(office, f"{line(office, BAD)}\n{line(office, 'b@example.test')}\n"))

    assert verdicts == []
    assert (last["complete"], last["problem"]["code"]) == (False, "unavailable")


def test_a_set_that_is_not_written_leaves_no_key(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The import is cancelled between two sets."""
    lock = accepting.lock_open_import

    def cancelled(connection: Any, import_id: Any) -> Any:
        office.write("UPDATE imports SET state = 'cancelling' WHERE id = :id", id=import_id)
        return lock(connection, import_id)

    monkeypatch.setattr(accepting, "lock_open_import", cancelled)
    verdicts, last = read(send(office, line(office, "a@example.test")))

    assert (verdicts, last["complete"], last["problem"]["code"]) == ([], False, "wrong_state")
    assert key_owners(office) == set()


def test_sealing_that_fails_leaves_no_key(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> bytes:
        raise RuntimeError

    monkeypatch.setattr(prepare_submission, "seal_identifier", fail)

    assert office.call("POST", "/v1/requests", office.submission()).status_code == 500
    assert key_owners(office) == set()

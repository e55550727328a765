"""Submissions that come together are written together, and each is promised what it would be promised alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from service.api import micro_batching as gathering
from service.requests.intake import duplicates as read_before
from service.requests.intake import submit as submitting
from service.store.arrays import BinaryArray, uuid_array
from tests.integration.api.conftest import EMAIL, Office
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


def test_each_of_a_group_gets_its_own_receipt(counter: Counter) -> None:
    office = counter.office
    answers = counter.together(*(sent(office, external_reference=f"case-{n}") for n in range(8)))

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
    assert_a_key_for_each_request(office)


def test_equal_idempotency_keys_in_one_group_are_one_request(counter: Counter) -> None:
    office = counter.office
    once, other = sent(office, key="k-1"), sent(office, key="k-1")
    answers = counter.together(once, once, other, sent(office, key="k-2"))

    first, again, _, neighbour = answers
    assert said(answers) == [(202, ""), (202, ""), (409, "idempotency_conflict"), (202, "")]
    assert first.json() == again.json()
    assert [a.headers.get("Idempotent-Replayed") for a in (first, again, neighbour)] == [None, "true", None]
    assert len(office.rows("SELECT 1 FROM requests")) == 3
    assert counter.post(once[0], **once[1]).json() == first.json()
    assert_a_key_for_each_request(office)


def test_a_key_that_expired_is_used_anew_within_a_group(counter: Counter) -> None:
    office = counter.office
    body, headers = sent(office, key="k-1")
    earlier = office.call("POST", "/v1/requests", body, headers=headers).json()
    office.write("UPDATE idempotency_keys SET expires_at = :at", at=datetime.now(UTC))

    anew, other = counter.together(sent(office, key="k-1"), sent(office))

    assert (anew.status_code, other.status_code) == (202, 202)
    assert anew.json()["id"] != earlier["id"]
    assert "Idempotent-Replayed" not in anew.headers


def test_a_reference_is_used_once_within_a_group_and_beside_it(counter: Counter) -> None:
    office = counter.office
    office.submit("earlier@example.test", external_reference="taken")
    answers = counter.together(
        sent(office, external_reference="new"),
        sent(office, external_reference="new"),
        sent(office, external_reference="taken"),
        sent(office),
    )

    assert said(answers) == [(202, ""), IN_USE, IN_USE, (202, "")]
    assert answers[1].json()["errors"][0]["field"] == "/external_reference"
    assert_a_key_for_each_request(office)


def test_a_group_holds_one_reference_of_two_keys(counter: Counter) -> None:
    office, other = counter.office, counter.office.new_key()
    body, headers = sent(office, external_reference="shared")
    answers = counter.together(
        sent(office, external_reference="shared"),
        (body, headers | {"Authorization": f"Bearer {other.token}"}),
        # The name of an Idempotency-Key is no reference.
        sent(office, key="shared"),
    )

    assert said(answers) == [(202, "")] * 3
    assert counter.sizes == [1, 3]
    assert_a_key_for_each_request(office)


def test_two_submissions_of_one_person_in_one_group_are_linked(counter: Counter) -> None:
    office = counter.office
    earlier = office.submit("bob@example.test")
    answers = counter.together(
        sent(office, EMAIL),
        sent(office, EMAIL),
        sent(office, EMAIL, "eve@example.test"),
        sent(office, EMAIL, verified=False),
        sent(office, "bob@example.test"),
    )

    first, *others = [answer.json() for answer in answers]
    assert [each["duplicate_of"] for each in (first, *others)] == [None, first["id"], None, None, str(earlier)]
    assert office.show(others[0]["id"])["reason"] == "duplicate"
    checks = office.rows("SELECT request_id FROM request_checks")
    assert {row.request_id for row in checks} == {earlier}


def test_a_refusal_reaches_its_own_sender_only(counter: Counter) -> None:
    office = counter.office
    answers = counter.together(
        sent(office), sent(office, "ada"), sent(office, kind="access"), sent(office), sent(office, regime="ccpa")
    )

    assert said(answers) == [(202, ""), (422, "invalid"), (422, "kind_not_available"), (202, ""), (202, "")]
    assert len(office.rows("SELECT 1 FROM requests")) == 4
    assert_a_key_for_each_request(office)


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
    answers = counter.together(sent(office), sent(office, external_reference="taken"), sent(office, key="k"))

    assert said(answers) == [(202, ""), IN_USE, (202, "")]
    assert sorted(counter.sizes) == [1, 1, 1, 1, 3]
    assert len(office.rows("SELECT 1 FROM requests")) == 4
    assert_a_key_for_each_request(office)


def test_a_fault_of_ours_in_one_does_not_harm_its_neighbours(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    office, real = counter.office, submitting.new_request

    def new_request(settings: Any, sealed: Any, **named: Any) -> Any:
        if sealed.checked.submission.external_reference == "poison":
            raise ValueError(EMAIL)
        return real(settings, sealed, **named)

    monkeypatch.setattr(submitting, "new_request", new_request)
    answers = counter.together(sent(office), sent(office, EMAIL, external_reference="poison"), sent(office))

    assert said(answers) == [(202, ""), (500, "internal"), (202, "")]
    printed = capfd.readouterr()
    assert EMAIL not in answers[1].text + printed.out + printed.err
    assert_a_key_for_each_request(office)


def test_without_coming_alone_the_neighbours_are_harmed(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitting, "is_certainly_not_written", lambda error: False)
    _taken_meanwhile(counter.office, monkeypatch)
    answers = counter.together(sent(counter.office), sent(counter.office, external_reference="taken"))

    assert [answer.status_code for answer in answers] == [500, 500]


def test_other_submissions_do_not_wait_for_a_transaction(counter: Counter) -> None:
    office = counter.office
    office.submit("rival@example.test", external_reference="free")
    with office.stores.engine.connect() as rival:
        rival.execute(text("UPDATE requests SET external_reference = 'wanted' WHERE external_reference = 'free'"))
        waits, *others = counter.behind_one(
            sent(office, external_reference="wanted"), sent(office), sent(office, key="k")
        )
        assert [other.result(30).status_code for other in others] == [202, 202]
        assert not waits.done()
        rival.commit()
    assert said([waits.result(30)]) == [IN_USE]
    assert_a_key_for_each_request(office)


def test_without_patience_neighbours_wait_for_it(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitting, "_PATIENCE", None)
    office = counter.office
    office.submit("rival@example.test", external_reference="free")
    with office.stores.engine.connect() as rival:
        rival.execute(text("UPDATE requests SET external_reference = 'wanted' WHERE external_reference = 'free'"))
        answers = counter.behind_one(sent(office, external_reference="wanted"), sent(office))
        until(lambda: bool(office.rows("SELECT 1 FROM pg_locks WHERE NOT granted")))
        time.sleep(0.5)
        assert not any(answer.done() for answer in answers)
        rival.rollback()
    assert [answer.result(30).status_code for answer in answers] == [202, 202]


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

"""A key's access to requests and imports of other keys: to read them, and to end them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from service.access.create_key import CreatedKey
from service.domain.access.api_key import Scope
from tests.integration.api.bodies.sent_imports import read, reasons, send, verified
from tests.integration.api.conftest import EMAIL, Office

SUBMIT, READ, REVIEW = Scope.REQUESTS_SUBMIT, Scope.REQUESTS_READ, Scope.REQUESTS_REVIEW
STEERING = ("pause", "resume", "cancel")


@pytest.fixture
def desk(office: Office) -> CreatedKey:
    """A key that may only submit."""
    return office.new_key(SUBMIT)


def imported(office: Office, key: CreatedKey, *emails: str) -> UUID:
    _, last = read(send(office, "".join(verified(office, email) + "\n" for email in emails), by=key))
    return UUID(last["import"])


# --- learning ---------------------------------------------------------------------------------------------------------


def test_a_submission_tells_a_submitter_of_no_other_request(office: Office, desk: CreatedKey) -> None:
    office.submit(EMAIL)
    body, headers = office.submission(EMAIL), {"Idempotency-Key": "once"}

    unknown = office.call("POST", "/v1/requests", office.submission("nobody@example.test"), key=desk)
    known = office.call("POST", "/v1/requests", body, key=desk, headers=headers)
    again = office.call("POST", "/v1/requests", body, key=desk, headers=headers)

    assert office.show(known.json()["id"])["duplicate_of"] is not None
    for answer in (unknown, known, again):
        assert (answer.status_code, answer.json()["duplicate_of"]) == (202, None)
    assert known.json().keys() == unknown.json().keys()
    assert known.headers.keys() == unknown.headers.keys()


def test_a_reader_that_submits_is_told_of_the_request_that_covers_it(office: Office) -> None:
    first = office.submit(EMAIL)
    key = office.new_key(SUBMIT, READ)

    answer = office.call("POST", "/v1/requests", office.submission(EMAIL), key=key)

    assert answer.json()["duplicate_of"] == str(first)


def test_an_import_tells_a_submitter_of_no_other_request(office: Office, desk: CreatedKey) -> None:
    office.submit(EMAIL)
    body = "".join(verified(office, email) + "\n" for email in (EMAIL, "nobody@example.test", "nobody@example.test"))

    first, second = (send(office, body, by=desk) for _ in range(2))
    steered = office.call("POST", f"/v1/imports/{read(first)[1]['import']}/pause", key=desk)

    verdicts, last = read(first)
    assert [(each["status"], each["duplicate_of"]) for each in verdicts] == [("accepted", None)] * 3
    assert (last["accepted"], last["duplicate"]) == (3, 0)
    assert [each["duplicate_of"] for each in read(second)[0]] == [None] * 3
    # Counts by state would say how many are linked.
    assert steered.json().keys() == {"id", "state", "format", "created_at", "received_at", "accepted"}
    linked = office.rows("SELECT count(duplicate_of) AS n FROM requests WHERE import_id IS NOT NULL")
    assert linked[0].n == 2


def test_another_keys_reference_refuses_no_submission(office: Office, desk: CreatedKey) -> None:
    office.submit("ada@example.test", external_reference="case-1")

    unused, used = (
        office.call("POST", "/v1/requests", office.submission(email, external_reference=reference), key=desk)
        for email, reference in (("bob@example.test", "case-2"), ("cy@example.test", "case-1"))
    )
    again = office.call("POST", "/v1/requests", office.submission("dee@example.test", external_reference="case-1"))
    own = office.call(
        "POST", "/v1/requests", office.submission("eve@example.test", external_reference="case-1"), key=desk
    )

    assert (unused.status_code, used.status_code) == (202, 202), used.text
    volatile = {"id", "received_at", "respond_by", "external_reference"}
    told, told_of_unused = ({k: v for k, v in each.json().items() if k not in volatile} for each in (used, unused))
    assert told == told_of_unused
    assert used.json().keys() == unused.json().keys()
    assert used.headers.keys() == unused.headers.keys()
    assert used.json()["external_reference"] == "case-1"
    for refused in (again, own):
        assert (refused.status_code, refused.json()["code"]) == (409, "reference_in_use")


def test_another_keys_reference_refuses_no_line(office: Office, desk: CreatedKey) -> None:
    office.submit("ada@example.test", external_reference="case-1")
    read(send(office, verified(office, "bob@example.test", external_reference="case-2")))
    lines = (("bob@example.test", "case-2"), ("cy@example.test", "case-1"), ("dee@example.test", "case-3"))
    body = "".join(verified(office, email, external_reference=reference) + "\n" for email, reference in lines)

    verdicts, last = read(send(office, body, by=desk))
    repeated, _ = read(send(office, body, by=desk))
    other, _ = read(send(office, verified(office, "eve@example.test", external_reference="case-1"), "other", by=desk))

    assert [(each["status"], each["duplicate_of"]) for each in verdicts] == [("accepted", None)] * 3
    assert (last["accepted"], last["refused"]) == (3, 0)
    assert [(each["status"], each["id"]) for each in repeated] == [("replayed", each["id"]) for each in verdicts]
    assert [reasons(each) for each in other] == [("reference_in_use", [("/external_reference", "in_use")])]


def test_a_revocation_shows_a_submitter_nothing_of_the_request(office: Office, desk: CreatedKey) -> None:
    office.submit(EMAIL)
    own = office.submit(EMAIL, key=desk)

    answer = office.call("POST", f"/v1/requests/{own}/revoke", key=desk)

    assert (answer.status_code, answer.json()) == (200, {"id": str(own), "state": "revoked"})


def test_idempotency_keys_of_two_api_keys_are_two(office: Office, desk: CreatedKey) -> None:
    """Another key's body under the same Idempotency-Key is no conflict, which would tell that it was used."""
    headers, other = {"Idempotency-Key": "once"}, office.new_key(SUBMIT)
    one = office.call("POST", "/v1/requests", office.submission("a@example.test"), key=desk, headers=headers)
    two = office.call("POST", "/v1/requests", office.submission("b@example.test"), key=other, headers=headers)
    imports = {imported(office, key, "c@example.test") for key in (desk, other)}

    assert (one.status_code, two.status_code) == (202, 202)
    assert "Idempotent-Replayed" not in two.headers
    assert one.json()["id"] != two.json()["id"]
    assert len(imports) == 2


# --- ending -----------------------------------------------------------------------------------------------------------


def test_only_its_own_requests_are_revoked_by_a_submitter(office: Office, desk: CreatedKey) -> None:
    own, others = office.submit("a@example.test", key=desk), office.submit("b@example.test")

    missing = office.call("POST", f"/v1/requests/{uuid4()}/revoke", key=desk)
    refused = office.call("POST", f"/v1/requests/{others}/revoke", key=desk)

    assert refused.status_code == 404
    assert refused.json() == missing.json()
    assert office.show(others)["state"] == "open"
    assert office.call("POST", f"/v1/requests/{own}/revoke", key=desk).status_code == 200
    assert office.show(own)["state"] == "revoked"


@pytest.mark.parametrize("scopes", [(REVIEW,), (REVIEW, SUBMIT)])
def test_a_reviewer_revokes_everybodys_requests(office: Office, scopes: Any) -> None:
    others = office.submit("b@example.test")

    answer = office.call("POST", f"/v1/requests/{others}/revoke", key=office.new_key(*scopes))

    assert (answer.status_code, answer.json()["state"]) == (200, "revoked")
    assert "steps" in answer.json()


def test_reading_alone_ends_nothing_of_others(office: Office) -> None:
    others = office.submit("b@example.test")

    answer = office.call("POST", f"/v1/requests/{others}/revoke", key=office.new_key(SUBMIT, READ))

    assert answer.status_code == 404
    assert office.show(others)["state"] == "open"


def test_only_its_own_imports_are_steered_by_a_submitter(office: Office, desk: CreatedKey) -> None:
    own = imported(office, desk, "a@example.test")
    others = imported(office, office.new_key(SUBMIT), "b@example.test")

    for verb in STEERING:
        missing = office.call("POST", f"/v1/imports/{uuid4()}/{verb}", key=desk)
        refused = office.call("POST", f"/v1/imports/{others}/{verb}", key=desk)
        assert refused.status_code == 404
        assert refused.json() == missing.json()
        assert office.call("GET", f"/v1/imports/{others}").json()["state"] == "running"
        assert office.call("POST", f"/v1/imports/{own}/{verb}", key=desk).status_code == 200
    assert office.call("GET", f"/v1/imports/{own}").json()["state"] == "cancelling"


def test_a_reviewer_steers_everybodys_imports(office: Office, desk: CreatedKey) -> None:
    others, reviewer = imported(office, desk, "a@example.test"), office.new_key(REVIEW)

    states = [office.call("POST", f"/v1/imports/{others}/{verb}", key=reviewer).json()["state"] for verb in STEERING]

    assert states == ["paused", "running", "cancelling"]


def test_lines_go_into_the_import_of_their_own_key(office: Office, desk: CreatedKey) -> None:
    others = imported(office, office.new_key(SUBMIT), "b@example.test")
    _, last = read(send(office, json.dumps(office.submission("c@example.test")), by=desk))

    assert last["import"] != str(others)

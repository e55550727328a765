"""Legal holds: what they stop at once, what goes on when they are lifted or over, and that nobody is shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from service.requests.holds.lift import expire_holds
from tests.integration.api.conftest import EMAIL, Office


def _body(*emails: str, **more: Any) -> dict[str, Any]:
    identifiers = [{"kind": "email", "value": email} for email in emails or (EMAIL,)]
    return {"identifiers": identifiers, "reason": "litigation"} | more


def _hold(office: Office, *emails: str, **more: Any) -> UUID:
    answer = office.call("POST", "/v1/holds", _body(*emails, **more))
    assert answer.status_code == 201, answer.text
    return UUID(answer.json()["id"])


def _erasing(office: Office) -> tuple[UUID, UUID, UUID]:
    request_id = office.submit()
    office.put(request_id, state="in_progress", reason="erasing", next_action=None, due_at=None, plan_version=1)
    erase = office.add_step(request_id, "support")
    look = office.add_step(request_id, "support-eu", phase="confirm")
    return request_id, erase, look


def test_a_hold_parks_due_steps_of_its_person_only(office: Office) -> None:
    _, erase, look = _erasing(office)
    other = office.submit("somebody.else@example.test")
    stranger = office.add_step(other)

    answer = office.call("POST", "/v1/holds", _body(f" {EMAIL.upper()}"))

    assert answer.status_code == 201, answer.text
    hold = answer.json()
    assert (hold["identifiers"], hold["kinds"], hold["lifted_at"]) == (1, ["email"], None)
    assert hold["effective_at"] > hold["created_at"]
    assert (office.step(erase).state, office.step(erase).reason, office.step(erase).due_at) == (
        "parked",
        "legal_hold",
        None,
    )
    assert (office.step(look).state, office.step(stranger).state) == ("due", "due")
    assert office.events(erase)[-1][:2] == ("step_parked", f"key:{office.key.id}")
    assert office.events(hold["id"])[0][0] == "hold_placed"
    shown = office.call("GET", "/v1/holds")
    assert [each["id"] for each in shown.json()["holds"]] == [hold["id"]]
    assert EMAIL not in (answer.text + shown.text).lower()
    assert office.call("GET", answer.headers["Location"]).json() == hold


def test_only_the_last_hold_that_is_lifted_lets_go(office: Office) -> None:
    _, erase, _ = _erasing(office)
    first, second = _hold(office), _hold(office)

    assert office.call("DELETE", f"/v1/holds/{first}", params={"reason": "matter_closed"}).status_code == 200
    assert office.step(erase).state == "parked"
    retry = office.call("POST", f"/v1/steps/{erase}/retry", {"reason": "cause_fixed"})
    assert (retry.status_code, retry.json()["code"]) == (409, "legal_hold")
    lifted = office.call("DELETE", f"/v1/holds/{second}", params={"reason": "placed_in_error"})
    assert lifted.json()["lifted_at"] is not None
    assert (office.step(erase).state, office.step(erase).reason) == ("due", None)
    assert office.step(erase).due_at is not None
    assert [name for name, _, _ in office.events(erase)] == ["step_parked", "step_unparked"]
    assert office.events(second)[-1][2] == {"reason": "placed_in_error"}
    again = office.call("DELETE", f"/v1/holds/{second}", params={"reason": "other"})
    assert (again.status_code, again.json()["code"]) == (409, "wrong_state")
    assert office.call("GET", "/v1/holds").json()["holds"] == []
    assert len(office.call("GET", "/v1/holds", params={"include_lifted": "true"}).json()["holds"]) == 2


def test_a_hold_lapses_at_its_end(office: Office) -> None:
    _, erase, _ = _erasing(office)
    hold = _hold(office, until=(datetime.now(UTC) + timedelta(days=1)).isoformat())
    assert expire_holds(office.stores, datetime.now(UTC)) == 0
    office.write("UPDATE holds SET until = clock_timestamp() - interval '1 second'")

    assert expire_holds(office.stores, datetime.now(UTC)) == 1

    assert office.step(erase).state == "due"
    assert office.events(hold)[-1] == ("hold_released", "scheduler", {"reason": "lapsed"})
    assert expire_holds(office.stores, datetime.now(UTC)) == 0


def test_a_malformed_hold_is_refused(office: Office) -> None:
    for body, field in (
        (_body(until=(datetime.now(UTC) - timedelta(hours=1)).isoformat()), "/until"),
        (_body(until="9999-12-31T00:00:00Z"), "/until"),
        (_body(reason="because"), "/reason"),
        (_body("no-mail"), "/identifiers/0/value"),
        (_body() | {"identifiers": []}, "/identifiers"),
        (_body() | {"note": EMAIL}, "/note"),
    ):
        answer = office.call("POST", "/v1/holds", body)
        assert answer.status_code == 422, body
        assert answer.json()["errors"][0]["field"] == field
        assert EMAIL not in answer.text
    assert office.rows("SELECT 1 FROM holds") == []
    assert office.call("DELETE", f"/v1/holds/{UUID(int=0)}").status_code == 422

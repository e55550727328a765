"""Steps that wait for a human are listed, explained and retried, one by one or all of a system."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from service.cli.requests import request, steps
from service.domain.access.api_key import Scope
from service.domain.execution.parked_reasons import EXPLANATIONS
from service.execution.steps import retry as retry_steps
from tests.integration.api.conftest import Office

Parked = Callable[..., tuple[UUID, UUID]]


def listed(office: Office, **query: str) -> list[str]:
    answer = office.call("GET", "/v1/steps", params=query)
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["steps"]]


def test_parked_steps_are_listed_with_their_reasons_explained(office: Office, parked: Parked) -> None:
    request_id, refused = parked("credentials_refused:unauthorized")
    _, blind = parked("credentials_refused:no_visibility", system="support-eu")
    _, left = parked("still_there")
    due = office.add_step(office.submit("due@example.test"))
    office.add_step(request_id, system="support-eu", state="absent", due_at=None)
    office.write(
        "INSERT INTO attempts (step_id, batch_id, fence, phase, number, started_at, ended_at, code, http_status)"
        " VALUES (:id, gen_random_uuid(), 1, 'erase', 1, now(), now(), 'unauthorized', 401)",
        id=refused,
    )

    assert set(listed(office)) == {str(refused), str(blind), str(left)}
    for query, expected in (
        ({"system": "support"}, {refused, left}),
        ({"reason": "credentials_refused"}, {refused, blind}),
        ({"reason": "credentials_refused:no_visibility"}, {blind}),
        ({"reason": "credentials"}, set()),
        ({"state": "due"}, {due}),
        ({"state": "leased"}, set()),
        ({"state": "accepted"}, set()),
    ):
        assert set(listed(office, **query)) == {str(each) for each in expected}, query
    one = office.call("GET", f"/v1/steps/{refused}").json()
    assert one["request_id"] == str(request_id)
    assert one["explanation"]["means"] == EXPLANATIONS["credentials_refused"].means
    assert (one["last_code"], one["last_http_status"]) == ("unauthorized", 401)
    assert office.call("GET", f"/v1/steps/{due}").json()["explanation"] is None
    assert office.call("GET", f"/v1/steps/{uuid4()}").status_code == 404


def test_pages_neither_repeat_nor_miss(office: Office, parked: Parked) -> None:
    made = {str(parked("still_there", system=name)[1]) for name in ("support", "support-eu") for _ in range(3)}
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = office.call("GET", "/v1/steps", params={"limit": "2"} | ({"cursor": cursor} if cursor else {})).json()
        seen += [each["id"] for each in page["steps"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == 6
    assert set(seen) == made
    for query in ({"cursor": "AAAA"}, {"state": "absent"}, {"system": "A@B"}, {"limit": "0"}, {"email": "x"}):
        assert office.call("GET", "/v1/steps", params=query).status_code == 422


def test_one_step_goes_on_and_is_audited(office: Office, parked: Parked) -> None:
    _, step_id = parked("credentials_refused:unauthorized")
    reader = office.new_key(Scope.REQUESTS_READ)
    assert office.call("POST", f"/v1/steps/{step_id}/retry", {"reason": "cause_fixed"}, key=reader).status_code == 403

    answer = office.call("POST", f"/v1/steps/{step_id}/retry", {"reason": "cause_fixed"})
    assert (answer.status_code, answer.json()["state"]) == (200, "due")
    ((event, actor, data),) = office.events(step_id)
    assert (event, data["decision"], data["reason"]) == ("step_unparked", "retry", "cause_fixed")
    assert actor == f"key:{office.key.id}"
    why = {"reason": "cause_fixed"}
    assert office.call("POST", f"/v1/steps/{step_id}/retry", why).json()["code"] == "wrong_state"
    assert office.call("POST", f"/v1/steps/{uuid4()}/retry", why).status_code == 404
    unexplained = office.call("POST", f"/v1/steps/{step_id}/retry", {})
    assert (unexplained.status_code, unexplained.json()["errors"][0]["field"]) == (422, "/reason")


def test_a_system_is_retried_except_held_and_withdrawn_steps(
    office: Office, parked: Parked, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [parked("credentials_refused:unauthorized")[1] for _ in range(5)]
    withdrawn_request, withdrawn = parked("credentials_refused:unauthorized")
    office.put(withdrawn_request, state="revoked")
    _, other_reason = parked("still_there")
    _, other_system = parked("credentials_refused:unauthorized", system="support-eu")
    held_request, held = parked("legal_hold")

    body = {"system": "support", "parked_as": "credentials_refused", "reason": "cause_fixed"}
    real = retry_steps.retry_steps
    monkeypatch.setattr("service.api.routes.steps.retry_steps", lambda stores, **given: real(stores, limit=2, **given))
    totals = {"retried": 0, "withdrawn": 0}
    after = None
    while True:
        answer = office.call("POST", "/v1/steps/retry", body | {"after": after})
        assert answer.status_code == 200, answer.text
        totals = {name: count + answer.json()[name] for name, count in totals.items()}
        after = answer.json()["next_after"]
        if after is None:
            break
    assert totals == {"retried": 5, "withdrawn": 1}
    assert {office.step(each).state for each in many} == {"due"}
    assert {office.step(each).state for each in (withdrawn, other_reason, other_system)} == {"parked"}
    assert [event for event, _, _ in office.events(many[0])] == ["step_unparked"]
    assert len(office.rows("SELECT 1 FROM request_checks")) >= 5

    # Under a hold that is in force it stays; once that is lifted, the same command frees it.
    hashes = office.rows("SELECT keyed_hash FROM identifiers WHERE request_id = :id", id=held_request)
    office.write(
        "WITH h AS (INSERT INTO holds (id, reason, placed_by, created_at, effective_at) VALUES (gen_random_uuid(),"
        " 'audit', gen_random_uuid(), now(), now()) RETURNING id)"
        " INSERT INTO hold_hashes (hold_id, keyed_hash, kind) SELECT id, :hash, 'email' FROM h",
        hash=hashes[0].keyed_hash,
    )
    body = {"system": "support", "parked_as": "legal_hold", "reason": "cause_fixed"}
    assert office.call("POST", "/v1/steps/retry", body).json() | {"next_after": None} == {
        "retried": 0,
        "held": 1,
        "withdrawn": 0,
        "next_after": None,
    }
    office.write("UPDATE holds SET lifted_at = now()")
    assert office.call("POST", "/v1/steps/retry", body).json()["retried"] == 1
    assert office.step(held).state == "due"


def test_a_system_that_is_not_connected_is_refused(office: Office, parked: Parked) -> None:
    parked("system_removed")
    office.write("UPDATE systems SET state = 'removed' WHERE name = 'support'")
    body = {"system": "support", "parked_as": "system_removed", "reason": "cause_fixed"}
    assert office.call("POST", "/v1/steps/retry", body).json()["code"] == "wrong_state"
    assert office.call("POST", "/v1/steps/retry", body | {"system": "nowhere"}).status_code == 404


def test_the_commands_name_the_next_action_and_carry_it_out(office: Office, parked: Parked, tmp_path: Path) -> None:
    _, first = parked("credentials_refused:unauthorized")
    _, second = parked("credentials_refused:unauthorized")
    _, third = parked("request_refused:refused")
    key_file = tmp_path / "key"
    key_file.write_text(office.key.token)
    options = ["--url", office.url, "--key-file", str(key_file)]

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner(env={"COLUMNS": "240"}).invoke(steps.app, [*arguments, *options])
        return result.exit_code, result.output

    code, shown = run("list", "--system", "support")
    assert code == 0
    assert str(first) in shown
    assert EXPLANATIONS["credentials_refused"].next in shown
    assert json.loads(run("list", "--json", "--reason", "request_refused")[1])["steps"][0]["id"] == str(third)
    why = ("--reason", "cause_fixed")
    assert run("retry", str(first))[0] == 2, "no reason is a default"
    assert run("retry", str(first), *why) == (0, f"{first} due\n")
    assert run("retry", "--system", "support", "--parked-as", "credentials_refused", *why) == (
        0,
        "1 go on, 0 are held, 0 were withdrawn\n",
    )
    assert office.step(second).state == "due"
    assert run("retry", *why)[0] == run("retry", str(first), "--system", "support", *why)[0] == 2
    code, said = run("resolve", str(third), "--decision", "unresolved", "--reason", "vendor_refuses")
    assert (code, said) == (0, f"{third} unresolved (vendor_refuses)\n")
    assert office.events(third)[-1][0] == "step_ended"
    assert run("resolve", str(third), "--decision", "retained", "--reason", "other")[0] == 1
    assert run("resolve", str(third), "--decision", "erased_verified", "--reason", "other")[0] == 2


def test_a_request_names_the_step_that_waits_for_a_human(office: Office, parked: Parked, tmp_path: Path) -> None:
    request_id, step_id = parked("request_refused:refused")
    key_file = tmp_path / "key"
    key_file.write_text(office.key.token)
    assert [each["id"] for each in office.show(request_id)["steps"]] == [str(step_id)]
    options = ["--url", office.url, "--key-file", str(key_file)]
    result = CliRunner().invoke(request.app, ["show", str(request_id), *options])
    assert f"expunge steps resolve {step_id}" in result.stderr

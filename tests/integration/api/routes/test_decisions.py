"""Decisions of humans: review, approval, withdrawal, extension, revealing, parked steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from service.domain.identity.doubts import OpenDoubt
from service.store.encryption.key_store import request_owner
from tests.integration.api.conftest import EMAIL, Office

Parked = Callable[..., tuple[UUID, UUID]]


def _needs_review(office: Office, *emails: str, reason: str = "needs_review", **more: bool) -> UUID:
    request_id = office.submit(*emails, **more)
    ids = [UUID(each["id"]) for each in office.show(request_id)["identifiers"]] if reason == "needs_review" else []
    office.write(
        "UPDATE requests SET state = 'in_progress', reason = :reason, next_action = NULL, due_at = NULL,"
        " doubts = CAST(:doubts AS jsonb), doubts_version = 3 WHERE id = :id",
        reason=reason,
        doubts=json.dumps([OpenDoubt("supernode", (n,), identifiers=(i,)).as_json() for n, i in enumerate(ids, 1)]),
        id=request_id,
    )
    return request_id


def test_a_review_drops_and_goes_on(office: Office) -> None:
    request_id = _needs_review(office, "ada@example.test", "family@example.test")
    shown = office.show(request_id)
    assert shown["doubts"][0]["reason"] == "supernode"
    drop = shown["identifiers"][0]["id"]

    body = {"decision": "continue", **_decisions(shown, "drop", "keep")}
    answer = office.call("POST", f"/v1/requests/{request_id}/review", body)

    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["reason"]) == ("in_progress", "locating")
    assert [each["use"] for each in answer.json()["identifiers"] if each["id"] == drop] == ["dropped"]
    (row,) = office.rows("SELECT * FROM requests")
    assert (row.next_action, row.identity_reviewed) == ("identify", True)
    assert row.due_at is not None
    events = office.events(request_id)
    assert [name for name, _, _ in events[1:]] == ["review_decided", "request_resumed"]
    told = {"doubts_version": 3, "count": 2, "doubts": ["supernode", "supernode"], "about": [[1], [2]]}
    told |= {"decisions": ["drop", "keep"], "second_person_for": ["supernode_kept"]}
    assert events[1][1:] == (f"key:{office.key.id}", {"decision": "continue", "dropped": 1} | told)
    again = office.call("POST", f"/v1/requests/{request_id}/review", body)
    assert (again.status_code, again.json()["code"]) == (409, "wrong_state")


def _decisions(shown: Any, *words: str) -> dict[str, Any]:
    given = [{"doubt": d["id"], "decision": word} for d, word in zip(shown["doubts"], words, strict=True)]
    return {"doubts_version": shown["doubts_version"], "decisions": given}


def test_a_review_without_decisions_names_the_open_doubts(office: Office) -> None:
    request_id = _needs_review(office, "ada@example.test", "family@example.test")
    path, shown = f"/v1/requests/{request_id}/review", office.show(request_id)
    right = {"decision": "continue", **_decisions(shown, "drop", "keep")}

    bare = office.call("POST", path, {"decision": "continue"})
    assert (bare.status_code, bare.json()["code"]) == (422, "undecided_doubts")
    undecided = [(f"{d['id']} is undecided; allowed: keep, drop") for d in shown["doubts"]]
    version = "name the version of the doubts that was looked at; it is 3 by now"
    assert [each["reason"] for each in bare.json()["errors"]] == [*undecided, version]

    one, other = right["decisions"]
    for wrong, field in (
        ([one], "/decisions"),
        ([one, other, one], "/decisions/2/doubt"),
        ([one, other, {"doubt": "supernode.77", "decision": "keep"}], "/decisions/2/doubt"),
        ([one, other | {"decision": "maybe"}], "/decisions/1/decision"),
        ([one, {"decision": "keep"}], "/decisions/1/doubt"),
        ([one, {"doubt": "ada@example.test", "decision": "keep"}], "/decisions/1/doubt"),
    ):
        refused = office.call("POST", path, right | {"decisions": wrong})
        assert refused.status_code == 422, refused.text
        assert [each["field"] for each in refused.json()["errors"]] == [field]
        assert "ada@" not in refused.text
    stale = office.call("POST", path, right | {"doubts_version": 2})
    assert (stale.status_code, stale.json()["code"]) == (409, "stale_doubts")
    both = office.call("POST", path, right | {"drop": [shown["doubts"][1]["identifiers"][0]]})
    assert (both.status_code, both.json()["errors"][0]["field"]) == (422, "/drop")
    assert [name for name, _, _ in office.events(request_id)[1:]] == []
    assert office.call("POST", path, right).status_code == 200


def test_an_identifier_of_no_single_person_can_only_be_dropped(office: Office) -> None:
    request_id = _needs_review(office, "ada@example.test", "noreply@example.test")
    (kept, placeholder) = office.show(request_id)["doubts"]
    doubts = [
        OpenDoubt(reason, tuple(each["about"]), identifiers=(UUID(each["identifiers"][0]),)).as_json()
        for reason, each in (("supernode", kept), ("placeholder", placeholder))
    ]
    office.put(request_id, doubts=json.dumps(doubts))
    shown = office.show(request_id)

    path = f"/v1/requests/{request_id}/review"
    kept = office.call("POST", path, {"decision": "continue", **_decisions(shown, "keep", "keep")})

    assert [each["reason"] for each in kept.json()["errors"]] == ["placeholder.2 allows only: drop"]
    right = office.call("POST", path, {"decision": "continue", **_decisions(shown, "keep", "drop")})
    assert right.status_code == 200, right.text


def test_masks_of_one_request_differ_and_reveal_shows_the_same(office: Office) -> None:
    request_id = office.submit("paul.q@mail.test", "pam.qw@mars.test")
    shown = office.show(request_id)
    revealed = office.call("POST", f"/v1/requests/{request_id}/reveal").json()

    masks = {each["ordinal"]: each["masked"] for each in shown["identifiers"]}
    assert masks == {1: "p***@m***.test #1", 2: "p***@m***.test #2"}
    assert {each["id"]: each["ordinal"] for each in revealed["identifiers"]} == {
        each["id"]: each["ordinal"] for each in shown["identifiers"]
    }
    for name in ("doubts", "doubts_version", "reviews", "edges"):
        assert revealed[name] == shown[name]


def test_a_review_must_leave_a_verified_identifier(office: Office) -> None:
    request_id = _needs_review(office, reason="need_user_verification", verified=False)
    (identifier,) = office.show(request_id)["identifiers"]
    path = f"/v1/requests/{request_id}/review"

    unverified = office.call("POST", path, {"decision": "continue"})
    nobody = office.call("POST", path, {"decision": "continue", "drop": [identifier["id"]]})
    strange = office.call("POST", path, {"decision": "continue", "drop": [str(uuid4())]})
    proof = {"id": identifier["id"], "method": "document", "verified_at": datetime.now(UTC).isoformat()}
    verified = office.call("POST", path, {"decision": "continue", "verify": [proof]})

    assert [a.status_code for a in (unverified, nobody, strange, verified)] == [422, 422, 422, 200]
    assert strange.json()["errors"][0]["field"] == "/drop/0"
    assert verified.json()["identifiers"][0]["verification"]["method"] == "document"


def test_a_review_links_to_the_same_persons_request(office: Office) -> None:
    first = office.submit("ada@example.test")
    second = _needs_review(office, "other@example.test")
    path = f"/v1/requests/{second}/review"

    itself = office.call("POST", path, {"decision": "link", "request_id": str(second)})
    nothing = office.call("POST", path, {"decision": "link", "request_id": str(uuid4())})
    half = office.call("POST", path, {"decision": "link"})
    linked = office.call("POST", path, {"decision": "link", "request_id": str(first)})

    assert [a.status_code for a in (itself, nothing, half, linked)] == [422, 422, 422, 200]
    assert (linked.json()["reason"], linked.json()["duplicate_of"]) == ("duplicate", str(first))
    assert [name for name, _, _ in office.events(second)[1:]] == ["review_decided", "request_linked"]


def _awaiting_approval(office: Office, key: object = None) -> tuple[UUID, str]:
    request_id, plan_hash = office.submit(key=key), "ab" * 32  # type: ignore[arg-type]  # None means the office's
    office.put(
        request_id, state="in_progress", reason="awaiting_approval", next_action=None, due_at=None, plan_version=2
    )
    for version, digest in ((1, "cd" * 32), (2, plan_hash)):
        office.write(
            "INSERT INTO plans (request_id, version, hash, frozen_at, approval_reasons)"
            " VALUES (:id, :v, :hash, clock_timestamp(), ARRAY['too_many_records'])",
            id=request_id,
            v=version,
            hash=digest,
        )
    office.add_step(request_id, phase="locate", state="waiting", due_at=None, plan_version=2, counts='{"user": 1}')
    return request_id, plan_hash


def test_a_second_person_approves_the_plan_that_they_saw(office: Office) -> None:
    request_id, plan_hash = _awaiting_approval(office)
    path, second = f"/v1/requests/{request_id}/approve", office.new_key()
    assert office.show(request_id)["plan"]["approval_reasons"] == ["too_many_records"]

    same = office.call("POST", path, {"plan_hash": plan_hash})
    stale = office.call("POST", path, {"plan_hash": "cd" * 32}, key=second)
    assert {s["state"] for s in office.show(request_id)["steps"]} == {"waiting"}
    approved = office.call("POST", path, {"plan_hash": plan_hash}, key=second)
    again = office.call("POST", path, {"plan_hash": plan_hash}, key=second)

    assert (same.status_code, same.json()["code"]) == (403, "same_person")
    assert (stale.status_code, stale.json()["code"]) == (409, "stale_plan")
    assert approved.status_code == 200, approved.text
    assert (again.status_code, again.json()["code"]) == (409, "wrong_state")
    shown = approved.json()
    assert (shown["reason"], shown["steps"][0]["state"]) == ("erasing", "due")
    assert shown["plan"]["approved_at"] is not None
    assert ("plan_approved", f"key:{second.id}") in [(n, a) for n, a, _ in office.events(request_id)]


def test_a_denied_request_stops_and_its_effects_are_verified(office: Office) -> None:
    request_id = office.submit()
    follower = office.submit()
    assert office.show(follower)["duplicate_of"] == str(request_id)
    office.put(
        request_id, state="in_progress", reason="erasing", next_action=None, due_at=None, plan_version=1, fence=3
    )
    untouched = office.add_step(request_id, "support")
    touched = office.add_step(request_id, "support-eu", state="parked", due_at=None, effect_possible=True)
    office.write(
        "INSERT INTO suppression_entries (keyed_hash, request_id, scope, kind, added_at)"
        " SELECT keyed_hash, request_id, 'erased', kind, clock_timestamp() FROM identifiers WHERE request_id = :id",
        id=request_id,
    )

    answer = office.call("POST", f"/v1/requests/{request_id}/deny", {"reason": "claim_not_covered"})

    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["reason"]) == ("denied", "claim_not_covered")
    ended, looked_at = office.step(untouched), office.step(touched)
    assert (ended.state, ended.reason, ended.due_at) == ("retained", "withdrawn", None)
    assert ended.ended_at is not None
    assert (looked_at.state, looked_at.phase) == ("due", "confirm")
    assert looked_at.due_at is not None
    assert office.rows("SELECT 1 FROM suppression_entries WHERE removed_at IS NULL") == []
    freed = office.show(follower)
    assert (freed["state"], freed["reason"], freed["duplicate_of"]) == ("open", None, None)
    assert office.rows("SELECT next_action FROM requests WHERE id = :id", id=follower)[0].next_action == "identify"
    assert office.rows("SELECT fence FROM requests WHERE id = :id", id=request_id)[0].fence == 4
    assert office.rows("SELECT 1 FROM request_checks WHERE request_id = :id", id=request_id)
    assert [n for n, _, _ in office.events(request_id)[1:]] == ["request_denied", "suppression_removed"]
    assert [n for n, _, _ in office.events(untouched)] == ["step_ended"]
    assert [n for n, _, _ in office.events(touched)] == ["step_due"]
    assert office.events(follower)[-1][0] == "request_resumed"
    assert office.call("POST", f"/v1/requests/{request_id}/revoke").status_code == 409


def test_a_revoked_request_leaves_leased_and_accepted_steps_to_the_engine(office: Office) -> None:
    request_id = office.submit()
    later = datetime.now(UTC) + timedelta(hours=1)
    leased = office.add_step(request_id, "support", state="leased", due_at=None)
    accepted = office.add_step(request_id, "support-eu", state="accepted", phase="confirm", due_at=later)

    answer = office.call("POST", f"/v1/requests/{request_id}/revoke")

    assert (answer.json()["state"], answer.json()["reason"]) == ("revoked", None)
    assert (office.step(leased).state, office.step(accepted).state) == ("leased", "accepted")
    assert answer.json()["steps"][1]["look_again_at"] is not None
    assert office.events(leased) == office.events(accepted) == []


def test_an_extension_is_taken_once_and_in_time(office: Office) -> None:
    request_id = office.submit()
    step = office.add_step(request_id)
    before = office.show(request_id)["respond_by"]
    path = f"/v1/requests/{request_id}/extend"

    answer = office.call("POST", path, {"reason": "complexity"})
    again = office.call("POST", path, {"reason": "complexity"})

    assert answer.status_code == 200, answer.text
    assert answer.json()["extended"] is True
    assert answer.json()["respond_by"] > before
    assert office.step(step).respond_by.isoformat()[:10] == answer.json()["respond_by"][:10]
    assert (again.status_code, again.json()["code"]) == (409, "wrong_state")
    late = office.submit("late@example.test")
    office.put(late, respond_by=datetime.now(UTC) - timedelta(seconds=1))
    refused = office.call("POST", f"/v1/requests/{late}/extend", {"reason": "complexity"})
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")


def test_identifiers_are_revealed_on_record_and_not_after_sealing(office: Office) -> None:
    request_id = office.submit()
    path = f"/v1/requests/{request_id}/reveal"

    answer = office.call("POST", path)

    assert answer.json()["identifiers"][0]["value"] == EMAIL
    assert office.events(request_id)[-1] == (
        "evidence_read",
        f"key:{office.key.id}",
        {"what": "identifiers", "found": 1},
    )
    office.stores.keys.destroy([request_owner(request_id)])
    assert office.call("POST", path).status_code == 410
    office.put(request_id, sealed_at=datetime.now(UTC), state="fulfilled", next_action=None)
    office.write("UPDATE identifiers SET sealed = NULL")
    gone = office.call("POST", path)
    assert (gone.status_code, gone.json()["code"]) == (410, "sealed")
    (identifier,) = office.show(request_id)["identifiers"]
    assert (identifier["kind"], identifier["masked"]) == ("email", None)


def test_did_you_delete_me_is_answered_after_sealing_and_audited(office: Office) -> None:
    request_id = office.submit()
    office.put(
        request_id, sealed_at=datetime.now(UTC), state="fulfilled", next_action=None, answered_at=datetime.now(UTC)
    )
    office.write("UPDATE identifiers SET sealed = NULL")
    body = {"identifier": {"kind": "email", "value": f" {EMAIL.upper()} "}}

    found = office.call("POST", "/v1/requests/lookup", body)
    nobody = office.call("POST", "/v1/requests/lookup", {"identifier": {"kind": "email", "value": "x@example.test"}})

    assert found.status_code == 200, found.text
    (entry,) = found.json()["requests"]
    assert (entry["id"], entry["sealed"], found.json()["suppressed"]) == (str(request_id), True, False)
    assert nobody.json() == {"requests": [], "suppressed": False}
    assert [data for name, _, data in office.events(office.key.id) if name == "evidence_read"] == [
        {"what": "lookup", "found": 1},
        {"what": "lookup", "found": 0},
    ]
    wrong = office.call("POST", "/v1/requests/lookup", {"identifier": {"kind": "email", "value": "no-mail"}})
    assert wrong.json()["errors"] == [{"field": "/identifier/value", "reason": "malformed_email"}]


def _resolve(office: Office, step_id: UUID, decision: str, reason: str = "checked_by_hand") -> int:
    body = {"decision": decision, "reason": reason}
    return office.call("POST", f"/v1/steps/{step_id}/resolve", body).status_code


def _retry(office: Office, step_id: UUID) -> int:
    return office.call("POST", f"/v1/steps/{step_id}/retry", {"reason": "cause_fixed"}).status_code


def test_a_parked_step_is_tried_again_or_ended_by_a_human(office: Office, parked: Parked) -> None:
    _, step = parked("still_there", consecutive_attempts=7, plan_rounds=3)
    assert _retry(office, step) == 200
    row = office.step(step)
    assert (row.state, row.phase, row.reason, row.consecutive_attempts, row.plan_rounds) == ("due", "erase", None, 0, 0)
    assert row.due_at is not None
    assert office.events(step)[-1][0] == "step_unparked"
    assert _retry(office, step) == 409

    request_id, step = parked("refused")
    assert _resolve(office, step, "retained", "legal_obligation") == 200
    row = office.step(step)
    assert (row.state, row.reason) == ("retained", "legal_obligation")
    assert row.ended_at is not None
    assert office.events(step)[-1][:2] == ("step_ended", f"key:{office.key.id}")
    assert office.rows("SELECT 1 FROM request_checks WHERE request_id = :id", id=request_id)


def test_a_human_cannot_decide_an_outcome_that_needs_a_look(office: Office, parked: Parked) -> None:
    _, step = parked("not_addressable", effect_possible=True)
    assert _resolve(office, step, "erased_verified") == 422
    assert _resolve(office, step, "absent") == 422
    assert _resolve(office, step, "retry") == 422
    assert _resolve(office, uuid4(), "unresolved") == 404
    assert _resolve(office, step, "not_addressable") == 409
    assert _resolve(office, step, "accept_records") == 409
    assert _resolve(office, step, "unresolved", "vendor_refuses") == 200


def test_doubtful_records_are_accepted_for_the_next_search(office: Office, parked: Parked) -> None:
    _, step = parked("ambiguous:foreign_identifier", phase="locate", located=False)

    assert _resolve(office, step, "accept_records") == 200

    row = office.step(step)
    assert (row.state, row.phase, row.reason) == ("due", "locate", "records_accepted")


def test_a_step_of_a_removed_system_waits_for_the_system(office: Office, parked: Parked) -> None:
    _, step = parked("system_removed")
    office.write("UPDATE systems SET state = 'removed' WHERE name = 'support'")

    assert _retry(office, step) == 409
    assert _resolve(office, step, "unresolved", "system_gone") == 200


def test_a_parked_step_leaves_an_ended_batch_behind(office: Office, parked: Parked) -> None:
    batch = uuid4()
    office.write(
        "INSERT INTO batches (id, system, phase, ended_at) VALUES (:id, 'support', 'erase', clock_timestamp())",
        id=batch,
    )
    _, step = parked("still_there", batch_id=batch)

    assert _retry(office, step) == 200
    assert office.step(step).batch_id is None

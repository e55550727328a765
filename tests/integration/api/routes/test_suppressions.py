"""The check at ingestion: who is suppressed and with which scopes, how far the list has come, and what is refused."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from connectors.base.values import Identifier
from service.api.routes import suppressions
from service.domain.access.api_key import Scope
from service.domain.identity.normalise import normalise
from service.execution.worker_context import WorkerContext
from service.store.execute import compile_once
from service.suppression import check as checking
from service.suppression import check_store
from tests.drive import turn
from tests.integration.api.conftest import EMAIL, Office

PATH = "/v1/suppressions/check"
OTHER = "bob@example.test"
DAY = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)


def ask(office: Office, *items: Any, **more: Any) -> Any:
    """The answer to a check of emails, or of items as they are sent."""
    sent = [{"kind": "email", "value": each} if isinstance(each, str) else each for each in items]
    answer = office.call("POST", PATH, {"items": sent, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def statuses(office: Office, *items: Any, **more: Any) -> list[tuple[str, str | None]]:
    """Status and reason of each."""
    return [(each["status"], each["reason"]) for each in ask(office, *items, **more)["items"]]


def put_on_list(office: Office, identifier: Identifier, *scopes: str, at: datetime = DAY) -> UUID:
    """Write entries as a frozen plan does, for an answered request of somebody's."""
    request_id = office.submit(f"{len(office.rows('SELECT 1 FROM requests'))}@example.test")
    office.put(request_id, state="fulfilled", next_action=None, due_at=None, plan_version=1)
    keyed_hash = office.stores.pepper.of_identifier(normalise(identifier, None))
    for scope in scopes:
        office.write(
            "INSERT INTO suppression_entries (keyed_hash, request_id, scope, kind, added_at)"
            " VALUES (:hash, :request_id, :scope, :kind, :at)",
            hash=keyed_hash,
            request_id=request_id,
            scope=scope,
            kind=identifier.kind,
            at=at,
        )
    return request_id


# --- the list ---------------------------------------------------------------------------------------------------------


def test_a_check_names_every_scope_in_force_since_its_earliest_entry(office: Office) -> None:
    put_on_list(office, Identifier("email", EMAIL), "do_not_sell", "objection", at=DAY + timedelta(days=2))
    put_on_list(office, Identifier("email", EMAIL), "do_not_sell", at=DAY)
    put_on_list(office, Identifier("email", OTHER), "erased")

    found = ask(office, EMAIL, "nobody@example.test", OTHER)["items"]

    assert found == [
        {
            "status": "suppressed",
            "scopes": [
                {"scope": "do_not_sell", "since": "2026-11-20T09:30:00.000000Z"},
                {"scope": "objection", "since": "2026-11-22T09:30:00.000000Z"},
            ],
            "reason": None,
        },
        {"status": "not_suppressed", "scopes": [], "reason": None},
        {
            "status": "suppressed",
            "scopes": [{"scope": "erased", "since": "2026-11-20T09:30:00.000000Z"}],
            "reason": None,
        },
    ]


def test_a_removed_entry_does_not_count(office: Office) -> None:
    first = put_on_list(office, Identifier("email", EMAIL), "do_not_sell", at=DAY)
    put_on_list(office, Identifier("email", EMAIL), "do_not_sell", at=DAY + timedelta(days=1))

    office.write("UPDATE suppression_entries SET removed_at = now() WHERE request_id = :id", id=first)
    (found,) = ask(office, EMAIL)["items"]
    office.write("UPDATE suppression_entries SET removed_at = now()")
    (none,) = ask(office, EMAIL)["items"]

    assert [each["since"][:10] for each in found["scopes"]] == ["2026-11-21"]
    assert (none["status"], none["scopes"]) == ("not_suppressed", [])


def test_values_are_normalised_as_submissions_are(office: Office) -> None:
    put_on_list(office, Identifier("email", EMAIL), "erased")
    put_on_list(office, Identifier("phone", "+442079460000"), "erased")

    found = statuses(office, f" {EMAIL.upper()} ", {"kind": "phone", "value": "+44 (20) 7946-0000"})

    assert found == [("suppressed", None)] * 2


def test_one_kind_s_entry_is_no_other_kind_s(office: Office) -> None:
    put_on_list(office, Identifier("email", EMAIL), "erased")

    assert statuses(office, {"kind": "customer_id", "value": EMAIL}) == [("not_suppressed", None)]


def test_an_identifier_without_a_sure_normal_form_is_unknown(office: Office) -> None:
    put_on_list(office, Identifier("phone", "+442079460000"), "erased")

    found = statuses(office, "no address", {"kind": "phone", "value": "020 7946 0000"}, "\u200b@example.test")

    assert found == [("unknown", "malformed"), ("unknown", "ambiguous"), ("unknown", "malformed")]


def test_without_the_look_at_its_form_a_national_number_would_be_free(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_list(office, Identifier("phone", "+442079460000"), "erased")
    monkeypatch.setattr(checking, "is_well_formed", lambda normal: True)

    assert statuses(office, {"kind": "phone", "value": "020 7946 0000"}) == [("not_suppressed", None)]


def test_a_hash_is_never_free_and_shows_what_is_listed_under_it(office: Office) -> None:
    put_on_list(office, Identifier("email", EMAIL), "erased")
    listed = hashlib.sha256(b"listed").hexdigest()
    put_on_list(office, Identifier("email_sha256", listed), "do_not_sell")
    hashes = {"sha256": hashlib.sha256(EMAIL.encode()).hexdigest(), "md5": hashlib.md5(EMAIL.encode()).hexdigest()}
    items = [{"kind": "email", "hash": {"algorithm": name, "hex": each}} for name, each in hashes.items()]
    items += [{"kind": "email", "hash": {"algorithm": "sha256", "hex": listed.upper()}}]

    found = ask(office, *items)["items"]

    assert [(each["status"], each["reason"]) for each in found] == [("unknown", "hash_not_matchable")] * 3
    assert [[scope["scope"] for scope in each["scopes"]] for each in found] == [[], [], ["do_not_sell"]]


def test_ten_thousand_identifiers_are_answered_in_their_order(office: Office) -> None:
    put_on_list(office, Identifier("email", "person.with.a.long.name-7000@mail.example.test"), "erased")

    found = ask(office, *(f"person.with.a.long.name-{n}@mail.example.test" for n in range(10_000)))["items"]

    assert len(found) == 10_000
    assert [n for n, each in enumerate(found) if each["status"] == "suppressed"] == [7_000]
    assert {each["status"] for each in found} == {"suppressed", "not_suppressed"}


def test_checks_are_counted_by_result(office: Office) -> None:
    put_on_list(office, Identifier("email", EMAIL), "erased")
    ask(office, EMAIL, OTHER, OTHER, "no address")

    counted = office.call("GET", "/metrics").text

    assert 'expunge_suppression_checks_total{reason="none",status="suppressed"} 1.0' in counted
    assert 'expunge_suppression_checks_total{reason="none",status="not_suppressed"} 2.0' in counted
    assert 'expunge_suppression_checks_total{reason="malformed",status="unknown"} 1.0' in counted
    assert 'expunge_suppression_checks_total{reason="list_unavailable",status="unknown"} 0.0' in counted


# --- how far the list has come ----------------------------------------------------------------------------------------


def _created(office: Office, request_id: UUID) -> datetime:
    created: datetime = office.rows("SELECT created_at FROM requests WHERE id = :id", id=request_id)[0].created_at
    return created


def _as_of(office: Office) -> tuple[datetime, datetime]:
    found = ask(office, EMAIL)
    return datetime.fromisoformat(found["as_of"]), datetime.fromisoformat(found["checked_at"])


def test_a_list_that_waits_for_nothing_is_as_of_now(office: Office) -> None:
    before = office.rows("SELECT clock_timestamp() AS now")[0].now
    as_of, checked_at = _as_of(office)

    assert before <= as_of == checked_at


def test_an_accepted_request_holds_the_watermark_until_its_plan_is_on_the_list(office: Office) -> None:
    request_id = office.submit(EMAIL)
    later = office.submit(OTHER)
    assert _as_of(office)[0] == _created(office, request_id)
    assert statuses(office, EMAIL, max_staleness_seconds=0) == [("unknown", "list_stale")]
    assert statuses(office, EMAIL, max_staleness_seconds=3600) == [("not_suppressed", None)]

    runtime = WorkerContext(office.settings, office.stores)
    for _ in range(10):
        turn(runtime, only=lambda system: False)
    office.write("UPDATE requests SET due_at = now(), located_until = now() WHERE next_action = 'freeze'")
    for _ in range(10):
        turn(runtime, only=lambda system: False)
    runtime.close()

    assert [row.plan_version for row in office.rows("SELECT plan_version FROM requests")] == [1, 1]
    as_of, checked_at = _as_of(office)
    assert as_of == checked_at > _created(office, later)
    assert statuses(office, EMAIL, max_staleness_seconds=0) == [("suppressed", None)]


@pytest.mark.parametrize(
    ("columns", "counts"),
    [
        ({"next_action": "identify"}, True),
        ({"next_action": "freeze", "state": "in_progress", "reason": "locating"}, True),
        ({"next_action": "identify", "kind": "suppression"}, True),
        ({"next_action": "identify", "kind": "access"}, False),
        ({"next_action": "freeze", "plan_version": 1}, False),
        ({"next_action": "seal", "state": "fulfilled", "plan_version": 1}, False),
        ({"next_action": None, "state": "revoked"}, False),
        ({"next_action": None, "state": "in_progress", "reason": "needs_review"}, False),
        ({"next_action": None, "state": "in_progress", "reason": "need_user_verification"}, False),
        ({"next_action": None, "state": "in_progress", "reason": "duplicate"}, False),
    ],
)
def test_the_list_lags_by_what_the_engine_has_to_bring_onto_it(
    office: Office, columns: dict[str, Any], counts: bool
) -> None:
    request_id = office.submit(EMAIL)
    office.put(request_id, **columns)

    as_of, checked_at = _as_of(office)

    assert as_of == (_created(office, request_id) if counts else checked_at)


def test_scopes_of_a_stale_list_may_be_too_few_and_are_shown(office: Office) -> None:
    put_on_list(office, Identifier("email", EMAIL), "do_not_sell")
    office.submit(OTHER)

    (found,) = ask(office, EMAIL, max_staleness_seconds=0)["items"]

    assert (found["status"], found["reason"]) == ("unknown", "list_stale")
    assert [each["scope"] for each in found["scopes"]] == ["do_not_sell"]


def test_the_watermark_is_read_from_its_index(office: Office) -> None:
    office.write(
        "INSERT INTO requests (id, subject, kind, scopes, regime, state, next_action, due_at, received_at, respond_by,"
        " submitted_by) SELECT gen_random_uuid(), gen_random_uuid()::text, 'erasure', '{erased}', 'gdpr', 'open',"
        " 'identify', now(), now(), now(), gen_random_uuid() FROM generate_series(1, 5000)"
    )
    office.write("ANALYZE requests")
    with office.stores.engine.begin() as connection:
        words = compile_once(check_store._FRESHNESS).words
        plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {words}").scalars())

    assert "ix_requests_unlisted" in plan
    assert "Limit" in plan


# --- refusals ---------------------------------------------------------------------------------------------------------


def _refused(office: Office, body: Any) -> Any:
    answer = office.call("POST", PATH, body)
    assert answer.status_code == 422, answer.text
    return answer.json()


def test_wrong_items_are_named_by_their_places_and_not_repeated(office: Office) -> None:
    good = {"kind": "email", "value": EMAIL}
    sha = {"algorithm": "sha256", "hex": "a" * 64}
    wrong = [
        {"kind": "email"},
        good | {"hash": sha},
        {"kind": "customer_id", "hash": sha},
        {"kind": "email", "hash": sha | {"hex": "a" * 32}},
        {"kind": "email", "hash": sha | {"hex": "secret-value"}},
        {"kind": "email", "hash": sha | {"algorithm": "sha512"}},
        {"kind": "secret-value", "value": "x"},
        {"kind": "email", "value": "secret-value" * 50},
        good | {"valeu": "secret-value"},
    ]

    problem = _refused(office, {"items": [good, *wrong]})

    places = {each["field"]: each["reason"] for each in problem["errors"]}
    assert places == {
        "/items/1": "value_or_hash",
        "/items/2": "value_or_hash",
        "/items/3": "hash_of_email_or_phone_only",
        "/items/4/hash": "wrong_hash_length",
        "/items/5/hash/hex": "string_pattern_mismatch",
        "/items/6/hash/algorithm": "enum",
        "/items/7/kind": "string_pattern_mismatch",
        "/items/8/value": "string_too_long",
        "/items/9/valeu": "extra_forbidden",
    }
    assert "secret-value" not in str(problem)


def test_an_unknown_kind_is_refused_at_its_place(office: Office) -> None:
    items = [{"kind": "email", "value": EMAIL}, {"kind": "emial", "value": EMAIL}, {"kind": "fax", "value": "1"}]

    problem = _refused(office, {"items": items})

    assert problem["code"] == "unknown_kind"
    assert [each["field"] for each in problem["errors"]] == ["/items/1/kind", "/items/2/kind"]
    assert problem["errors"][0]["did_you_mean"] == "email"


@pytest.mark.parametrize(
    "more",
    [
        {"items": []},
        {"items": [{"kind": "email", "value": "a"}] * 10_001},
        {"max_staleness_seconds": -1},
        {"max_staleness_seconds": 1e12},
        {"extra": 1},
    ],
)
def test_a_check_out_of_bounds_is_refused(office: Office, more: Any) -> None:
    problem = _refused(office, {"items": [{"kind": "email", "value": EMAIL}], **more})

    assert [each["field"] for each in problem["errors"]] == [f"/{next(iter(more))}"]


def test_a_body_may_have_two_megabytes_here_and_no_more(office: Office) -> None:
    headers = {"Authorization": f"Bearer {office.key.token}", "Content-Type": "application/json"}
    body = b'{"items": [{"kind": "email", "value": "ada@example.test"}]}'
    most = suppressions.MAX_BODY_BYTES

    fits, long = (office.client.post(PATH, content=body.ljust(size), headers=headers) for size in (most, most + 1))
    elsewhere = office.client.post("/v1/requests/lookup", content=body.ljust(70_000), headers=headers)

    assert fits.status_code == 200, fits.text
    assert (long.status_code, long.json()["code"]) == (413, "too_large")
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("body", [b'{"items": [], "items": []}', b"[" * 30_000, b'{"items": NaN}'])
def test_a_large_body_is_read_as_strictly_as_others(office: Office, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {office.key.token}", "Content-Type": "application/json"}

    assert office.client.post(PATH, content=body, headers=headers).status_code in (400, 422)


def test_a_key_that_may_check_can_do_nothing_else(office: Office) -> None:
    key = office.new_key(Scope.SUPPRESSIONS_CHECK)
    body = {"items": [{"kind": "email", "value": EMAIL}]}

    assert office.call("POST", PATH, body, key=key).status_code == 200
    for method, path in (("GET", "/v1/requests"), ("POST", "/v1/requests/lookup"), ("GET", "/v1/holds")):
        assert office.call(method, path, {}, key=key).status_code == 403
    others = office.new_key(*(scope for scope in Scope if scope is not Scope.SUPPRESSIONS_CHECK))
    assert office.call("POST", PATH, body, key=others).status_code == 403

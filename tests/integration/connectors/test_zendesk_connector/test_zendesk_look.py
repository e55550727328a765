"""What `locate` and `check_credentials` find, and whom they don't mistake for somebody else."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.base import operations
from connectors.base.config import ConfigurationError
from connectors.base.errors import AnswerNotUnderstood, CredentialsRefused, RequestRefused
from connectors.base.values import Batch, Identifier, Record
from connectors.testing.sandbox.faults import Fault, FaultKind
from connectors.zendesk.connector import ZendeskConnector

from .conftest import SECRET, World, person

ADA: dict[str, Any] = {
    "users": [
        {
            "id": 11,
            "name": "Ada",
            "email": "ada@example.test",
            "emails": ["ada.work@example.test"],
            "phone": "+442079460000",
            "external_id": "C-7",
        }
    ],
    "tickets": [{"id": 21, "requester_id": 11}, {"id": 22, "requester_id": 11, "status": "closed", "archived": True}],
    "suspended_tickets": [{"id": 31, "author": {"email": "Ada@Example.Test"}}],
}


@pytest.mark.parametrize(
    "subject",
    [
        person("s", "ada@example.test"),
        person("s", "ADA.WORK@example.test"),
        person("s", phone="+44 20 7946-0000"),
        person("s", customer_id="c-7"),
        person("s", zendesk_user_id="11"),
    ],
    ids=["primary", "secondary", "phone", "external_id", "user_id"],
)
def test_any_identity_finds_the_user_and_archived_tickets(world: World, subject: Any) -> None:
    world.reset(ADA)
    found = world.locate(subject)["s"]
    users_and_tickets = [r for r in found.records if r.object != "suspended_ticket"]
    assert users_and_tickets == [Record("user", "11"), Record("ticket", "21"), Record("ticket", "22")]
    assert {i.kind for i in (*found.identifiers, *subject.identifiers)} >= {
        "email",
        "phone",
        "customer_id",
        "zendesk_user_id",
    }
    assert Identifier("email", "ada@example.test") in (*found.identifiers, *subject.identifiers) or subject.values(
        "email"
    )


def test_suspended_tickets_are_found_by_address_whatever_its_case(world: World) -> None:
    world.reset(ADA)
    assert Record("suspended_ticket", "31") in world.locate(person("s", "ada@example.test"))["s"].records


def test_a_secondary_address_of_somebody_else_is_reported(world: World) -> None:
    world.reset(ADA)
    found = world.locate(person("s", "ada@example.test"))["s"]
    assert Identifier("email", "ada.work@example.test") in found.identifiers


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("o'brien+news@example.test", "o.brien.news@example.test"),
        ("ann@example.test", "mary.ann@example.test"),
        ("ann@example.test", "ann@example.testing"),
        ("jürgen@example.test", "jurgen@example.test"),
        ("stra\u00dfe@example.test", "strasse@example.test"),
        ("\u5c71\u7530@example.test", "\u5c71\u7530.x@example.test"),
    ],
)
def test_a_look_alike_is_not_a_match(world: World, mine: str, theirs: str) -> None:
    world.reset({"users": [{"id": 11, "email": theirs, "notes": f"knows {mine}"}, {"id": 12, "email": mine}]})
    assert world.locate(person("s", mine))["s"].records == (Record("user", "12"),)


def test_a_shared_phone_number_proves_nobody(world: World) -> None:
    world.reset(
        {"users": [{"id": 11, "phone": "+442079460000", "shared_phone_number": True, "email": "x@example.test"}]}
    )
    found = world.locate(person("s", phone="+442079460000"))["s"]
    assert found.is_empty
    assert found.not_covered == ("shared_phone_number",)


def test_every_page_is_followed(world: World) -> None:
    crowd = [{"id": 100 + n, "email": f"u{n}@example.test", "notes": "ada@example.test"} for n in range(130)]
    tickets = [{"id": 5000 + n, "requester_id": 900, "status": "closed"} for n in range(250)]
    world.reset({"users": [*crowd, {"id": 900, "email": "ada@example.test"}], "tickets": tickets})
    found = world.locate(person("s", "ada@example.test"))["s"]
    assert found.counts == {"user": 1, "ticket": 250}


def test_two_users_of_one_person_and_a_soft_deleted_one(world: World) -> None:
    users = [{"id": 11, "email": "ada@example.test"}, {"id": 12, "email": "ada2@example.test"}]
    world.reset({"users": [*users, {"id": 13, "email": "ada3@example.test", "deleted": True}]})
    found = world.locate(person("s", "ada@example.test", "ada2@example.test", "ada3@example.test"))["s"]
    assert found.records == (Record("user", "11"), Record("user", "12"), Record("user", "13"))


def test_many_people_in_one_call_each_get_their_own(world: World) -> None:
    world.reset({"users": [{"id": 100 + n, "email": f"p{n}@example.test"} for n in range(50)]})
    found = world.locate(*(person(f"s{n}", f"p{n}@example.test") for n in range(50)))
    assert {ref: f.records for ref, f in found.items()} == {f"s{n}": (Record("user", str(100 + n)),) for n in range(50)}
    assert len(world.sandbox.journal) <= 3 + 2 * 50 + 6


def test_a_requester_is_compared_and_not_only_searched(world: World) -> None:
    users = [{"id": 11, "email": "ada@example.test"}, {"id": 110, "email": "x@example.test"}]
    world.reset({"users": users, "tickets": [{"id": 21, "requester_id": 110}, {"id": 22, "requester_id": 11}]})
    found = world.locate(person("s", "ada@example.test"))["s"]
    assert found.records == (Record("user", "11"), Record("ticket", "22"))


def test_a_soft_deleted_user_is_found_by_its_own_phone_only(world: World) -> None:
    own = {"id": 11, "phone": "+442079460000", "deleted": True}
    shared = {"id": 12, "phone": "+442079460000", "shared_phone_number": True, "deleted": True}
    world.reset({"users": [own, shared]})
    assert world.locate(person("s", phone="+442079460000"))["s"].records == (Record("user", "11"),)


def test_identities_that_were_not_side_loaded_hide_nobody(world: World) -> None:
    world.reset(ADA)
    shown = {"id": 1, "email": "admin@acme.example", "role": "admin", "active": True}
    world.sandbox.faults = [
        Fault(FaultKind.STATUS, path="/users/show_many", status=200, body={"users": [shown], "identities": []})
    ]
    answer = operations.locate(world.connector(), Batch("b", (person("s", "ada@example.test"),)))["s"]
    assert isinstance(answer, AnswerNotUnderstood)
    assert answer.code == "identities_incomplete"


def test_external_ids_with_commas_and_unsearchable_addresses(world: World) -> None:
    world.reset({"users": [{"id": 11, "external_id": "a,b"}, {"id": 12, "external_id": "a"}]})
    batch = Batch(
        "b", (person("ok", customer_id="A,B"), person("odd", '"odd"@example.test'), person("id", zendesk_user_id="x"))
    )
    found = operations.locate(world.connector(), batch)
    assert found["ok"].records == (Record("user", "11"),)  # type: ignore[union-attr]
    assert isinstance(found["odd"], RequestRefused)
    assert isinstance(found["id"], RequestRefused)


def test_another_kind_may_be_the_external_id(world: World) -> None:
    world.reset({"users": [{"id": 11, "external_id": "crm-1"}]})
    connector = world.connector(policy={"external_id_kind": "crm_id"})
    found = world.locate(person("s", crm_id="crm-1"), connector=connector)["s"]
    assert found.records == (Record("user", "11"),)


def test_oauth_works_and_the_control_record_is_found(world: World) -> None:
    world.reset(ADA)
    assert world.connector(credentials={"oauth_token": "sandbox-oauth"}).check_credentials().proof == "control_record"


@pytest.mark.parametrize(
    ("options", "changes", "error"),
    [
        ({"role": "agent"}, {}, CredentialsRefused("missing_scope")),
        ({}, {"credentials": {**SECRET, "api_token": "wrong"}}, CredentialsRefused("unauthorized", status=401)),
        ({}, {"path": "/wrong"}, AnswerNotUnderstood("not_found_here", status=404)),
    ],
    ids=["agent", "wrong_token", "wrong_base_url"],
)
def test_bad_credentials_are_named(world: World, options: Any, changes: Any, error: Exception) -> None:
    world.reset(**options)
    changes = dict(changes)
    if path := changes.pop("path", None):
        changes["base_url"] = world.server.url() + path
    with pytest.raises(type(error)) as caught:
        world.connector(**changes).check_credentials()
    assert str(caught.value) == str(error)


@pytest.mark.parametrize("path", ["/users/search", "/api/v2/search$", "/users/show_many"])
def test_a_blind_endpoint_never_means_absence(world: World, path: str) -> None:
    world.reset(ADA)
    people = world.plan(person("s", "ada@example.test"))
    world.sandbox.faults = [Fault(FaultKind.BLIND, path=path, times=None)]
    answer = world.confirm(*people)["s"]
    assert isinstance(answer, CredentialsRefused)
    assert answer.code == "no_visibility"


def test_credentials_are_one_form_and_never_shown() -> None:
    entry = {"name": "z", "connector": "zendesk", "base_url": "https://acme.zendesk.example"}
    for wrong in ({}, {"email": "admin@acme.example"}, {**SECRET, "oauth_token": "secret-token-value"}):
        with pytest.raises(ConfigurationError) as caught:
            ZendeskConnector.parse_system({**entry, "credentials": wrong})
        assert "secret-token-value" not in str(caught.value)
    parsed = ZendeskConnector.parse_system({**entry, "credentials": SECRET})
    assert "sandbox-token" not in repr(parsed)

"""The hard world is what it says, and the ground truth sees every kind of mistake in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby

import pytest

from connectors.salesforce.sandbox.server import SalesforceSandbox

from ..describes import DESCRIBES, needs_describes
from ..org_client import OrgClient, opened
from ..world import ADA_EMAIL, ORDINARY_DELETES, ORDINARY_RELATED, World, hard_world, ordinary_world, residue

ORDINARY_ORDER = (
    *(f"p0-mail{n}" for n in range(4)),
    *(f"p0-file{n}" for n in range(2)),
    *(f"p0-case{n}" for n in range(6)),
    "p0-pledge",
    "p0-card",
    "p0-chat",
    "p0-lead",
    "p0",
    "p0-individual",
)

ADA_ORDER = (
    *("ada-loose", "ada-by-task", "ada-file-sole", "ada-file-of-case", "ada-file-orphan"),
    *(f"ada-case{n}" for n in range(5)),
    *("ada-supplied", "ada-chat", "ada-web-chat", "ada-work", "ada-card", "ada-pledge", "ada-audit"),
)


@pytest.fixture
def small() -> World:
    return hard_world(tasks=5)


def _org(world: World) -> Iterator[OrgClient]:
    with opened() as client:
        client.sandbox.seed(world.seed)
        yield client


def test_an_ordinary_person_has_sixty_related_records_and_eighteen_deletions() -> None:
    world = ordinary_world(2)
    mine = [r for r in world.records if r.get("person") == "p0"]
    assert len(mine) - 1 == ORDINARY_RELATED
    with opened() as client:
        client.sandbox.seed(world.seed)
        before = client.sandbox.snapshot({"p0"})
        assert len(ORDINARY_ORDER) == ORDINARY_DELETES
        assert set(client.codes(*ORDINARY_ORDER)) == {"ok"}
        client.empty_bin(*map(client.id, ORDINARY_ORDER))
        assert residue(client.sandbox, world.people["p0"]) == []
        assert client.sandbox.changed_bystanders(before) == []
        for left_out in ORDINARY_ORDER:
            assert client.sandbox.store.row(client.id(left_out)) is None


def test_none_of_the_eighteen_can_be_left_out() -> None:
    world = ordinary_world(1)
    for left_out in ORDINARY_ORDER:
        with opened() as client:
            client.sandbox.seed(world.seed)
            client.delete(*(ref for ref in ORDINARY_ORDER if ref != left_out))
            client.empty_bin(*client.sandbox.state["bin"])
            assert residue(client.sandbox, world.people["p0"]), left_out


def test_residue_counts_no_look_alike_and_no_bystander(small: World) -> None:
    for client in _org(small):
        theirs = {r["id"] for r in residue(client.sandbox, small.people["ada"])}
        marked = {i for i, row in _marks(client).items() if row == "ada"}
        assert theirs <= marked
        assert {client.id(ref) for ref in ("ada", "ada-merged", "ada-supplied", "ada-user")} <= theirs


def _marks(client: OrgClient) -> dict[str, str | None]:
    return {row["Id"]: row.get("@person") for _, row in client.sandbox.store.rows()}


def test_deleting_in_a_naive_order_is_refused_and_leaves_orphans(small: World) -> None:
    for client in _org(small):
        assert client.codes("ada", "ada-twice", "ada-web") == ["DELETE_FAILED", "ok", "ok"]


def test_ada_can_be_erased_without_touching_anybody_else(small: World) -> None:
    ada = small.people["ada"]
    for client in _org(small):
        before = client.sandbox.snapshot({"ada"})
        for kind, ref, fields in (
            ("Order", "ada-order", {"BillToContactId": None, "ShipToContactId": None}),
            ("Contract", "ada-contract", {"CustomerSignedId": None}),
            ("ServiceContract", "ada-service", {"ContactId": None}),
            ("User", "ada-user", {"IsPortalEnabled": False}),
            ("User", "ada-user", {"Username": "erased@example.test", "Email": "erased@example.test", "LastName": "x"}),
        ):
            answer = client.call("PATCH", f"/sobjects/{kind}/{client.id(ref)}", json=fields)
            assert answer.status_code == 204, answer.text
        consents = client.ids(f"SELECT Id FROM AuthorizationFormConsent WHERE ConsentGiverId = '{client.id('ada')}'")
        individual = client.id("ada-individual")
        consents += client.ids(f"SELECT Id FROM CommSubscriptionConsent WHERE ConsentGiverId = '{individual}'")
        ids = [*consents, *map(client.id, ("shared-first-ada", *ADA_ORDER))]
        roots = map(client.id, ("ada-lead", "ada-web", "ada-twice", "ada", "ada-individual"))
        # No more than ten changes of object in one call: one call an object.
        groups = [list(group) for _, group in groupby(sorted(ids), key=lambda i: i[:3])]
        for group in [*groups, list(roots)]:
            rows = client.call("DELETE", "/composite/sobjects", params={"ids": ",".join(group)}).json()
            assert all(r["success"] for r in rows), rows
        answer = client.empty_bin(*client.sandbox.state["bin"])
        assert "<success>false</success>" not in answer.text

        assert residue(client.sandbox, ada) == []
        assert client.sandbox.changed_bystanders(before) == []
        assert all(client.sandbox.store.row(client.id(ref)) for ref in ada.kept)
        left = [r for r in client.sandbox.records() if r["object"] == "Task" and "shared" not in r["Subject"]]
        assert not [r for r in left if ada.canary in r["Subject"]]


@pytest.mark.parametrize(
    ("mistake", "refs"),
    [
        ("a shared file", ("shared-file",)),
        ("a shared task", ("shared-first",)),
        ("a shared event", ("shared-event",)),
        ("a household's deal", ("deal",)),
        ("a case with her as a role", ("bob-case",)),
        ("a look-alike", ("bob-case", "bob")),
    ],
)
def test_the_gods_view_sees_others_harmed(small: World, mistake: str, refs: tuple[str, ...]) -> None:
    for client in _org(small):
        before = client.sandbox.snapshot({"ada"})
        assert set(client.codes(*refs)) == {"ok"}, mistake
        assert client.id(refs[-1]) in {c["id"] for c in client.sandbox.changed_bystanders(before)}


def test_the_gods_view_sees_others_changed_and_what_hides_in_the_bin(small: World) -> None:
    for client in _org(small):
        before = client.sandbox.snapshot({"ada"})
        assert client.sandbox.changed_bystanders(before) == []
        client.call("PATCH", f"/sobjects/Contact/{client.id('bob')}", json={"HomePhone": None})
        assert [c["field"] for c in client.sandbox.changed_bystanders(before)] == ["HomePhone"]
        client.codes("ada-web")
        assert client.id("ada-web") in {r["id"] for r in client.sandbox.residue({ADA_EMAIL.upper()})}


def test_zoe_is_one_account_with_her_contact(small: World) -> None:
    for client in _org(small):
        assert client.codes("zoe-case", "zoe-consent", "zoe") == ["ok", "ok", "ok"]
        client.empty_bin(*client.sandbox.state["bin"])
        assert {r["id"] for r in residue(client.sandbox, small.people["zoe"])} == set()


def test_a_contact_with_2100_tasks_does_not_fit_on_a_page() -> None:
    for client in _org(hard_world(ordinary=0)):
        page = client.query(f"SELECT Id FROM Task WHERE WhoId = '{client.id('ada')}'").json()
        assert (page["totalSize"], page["done"], len(page["records"])) == (2_101, False, 2_000)
        shown = client.query(f"SELECT Id FROM Task WHERE WhoId = '{client.id('ada')}'", everything=False).json()
        assert shown["totalSize"] == 2_001


@needs_describes
def test_the_hard_world_also_lives_under_the_real_describes(small: World) -> None:
    with opened(describe_directory=str(DESCRIBES)) as client:
        client.sandbox.seed(small.seed)
        assert client.codes("ada") == ["DELETE_FAILED"]
        assert len(residue(client.sandbox, small.people["ada"])) > 30


def test_a_state_can_be_put_back(small: World) -> None:
    sandbox = SalesforceSandbox()
    empty = sandbox.records()
    sandbox.seed(small.seed)
    assert json.loads(json.dumps(sandbox.state)) == sandbox.state, "the control interface serves it as JSON"
    sandbox.state = sandbox.empty_state()
    assert [r["object"] for r in sandbox.records()] == [r["object"] for r in empty]

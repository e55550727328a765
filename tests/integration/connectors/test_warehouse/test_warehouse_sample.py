"""The sample world: the same people every time, whose ground truth the warehouse connector can be measured against."""

import json
from collections import Counter
from pathlib import Path

import duckdb
import pytest

from connectors.base import operations
from connectors.base.values import AnswerKind, Batch, Identifier, Located, Subject
from connectors.testing.sandbox.sample_warehouse import held_rows, remains
from connectors.testing.sandbox.sample_world import PLACEHOLDER_EMAIL, SampleWorld
from connectors.warehouse.connector import WarehouseConnector

from .conftest import FakeLease


@pytest.fixture
def world() -> SampleWorld:
    return SampleWorld(3, 200)


def _connector(world: SampleWorld, path: Path) -> WarehouseConnector:
    entry = {
        "name": "w",
        "connector": "warehouse",
        "base_url": f"duckdb://{path}",
        "policy": world.load_warehouse(path),
    }
    return WarehouseConnector(WarehouseConnector.parse_system(entry))


def test_the_same_seed_makes_the_same_people(world: SampleWorld) -> None:
    again = SampleWorld(3, 200)
    assert again.people == world.people
    assert list(again.edges()) == list(world.edges())
    assert again.zendesk_seed("support") == world.zendesk_seed("support")
    assert again.mailchimp_seed() == world.mailchimp_seed()
    assert SampleWorld(4, 200).people != world.people


def test_no_identifier_is_two_peoples_nor_part_of_anothers(world: SampleWorld) -> None:
    owners = Counter(value for person in world.people for value in person.residue_values)
    assert set(owners.values()) == {1}
    everything = "\n".join(owners)
    assert all(everything.count(value) == 1 for value in owners)
    assert {i.kind for person in world.people for i in person.identifiers} == {
        "email",
        "phone",
        "customer_id",
        "anonymous_id",
    }


def test_the_odd_ones_are_there(world: SampleWorld) -> None:
    assert len(world.over_merged) == 3
    assert world.households
    assert all(one.household_phone == other.household_phone for one, other in world.households)
    assert any(PLACEHOLDER_EMAIL in edge for edge in world.edges())
    odd = {*world.over_merged, *(p for pair in world.households for p in pair)}
    assert odd.isdisjoint(world.ordinary)


def test_seeds_for_vendors_are_plain_json_about_known_people(world: SampleWorld) -> None:
    refs = {person.ref for person in world.people}
    users = json.loads(json.dumps(world.zendesk_seed("support")))
    assert {user["person"] for user in users} < refs
    audiences = json.loads(json.dumps(world.mailchimp_seed()))
    assert {member["person"] for a in audiences for member in a["members"]} < refs


def test_ordinary_people_are_erased_without_a_trace_and_nobody_else(world: SampleWorld, tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    connector = _connector(world, path)
    chosen = world.ordinary[:40]
    others = [value for person in world.people if person not in chosen for value in person.residue_values]
    before = remains(path, others)
    people = Batch("b", tuple(Subject(p.ref, p.identifiers) for p in chosen))
    found = operations.locate(connector, people)
    assert all(isinstance(f, Located) and not f.records and f.counts for f in found.values())
    erased = operations.erase(connector, people, FakeLease())
    assert {getattr(answer, "kind", answer) for answer in erased.values()} == {AnswerKind.ERASED}
    absent = operations.confirm_absence(connector, people)
    assert {getattr(answer, "kind", answer) for answer in absent.values()} == {AnswerKind.ALREADY_ABSENT}
    assert remains(path, [value for person in chosen for value in person.residue_values]) == {}
    assert remains(path, others) == before


def test_a_value_with_an_apostrophe_is_found_where_it_remains(world: SampleWorld, tmp_path: Path) -> None:
    world.load_warehouse(tmp_path / "w.duckdb")
    obrien = next(person for person in world.people if person.number % 2 == 0 and "'" in person.emails[-1])

    assert remains(tmp_path / "w.duckdb", [obrien.emails[-1]])["newsletter"] == 1


def test_rows_are_counted_for_their_owners_also_those_without_an_identifier(world: SampleWorld, tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    connector = _connector(world, path)
    chosen = world.ordinary[:40]
    before = held_rows(path, chosen)
    seen = remains(path, [value for person in chosen for value in person.residue_values])
    assert {table: held.theirs for table, held in before.items() if table != "order_items"} == seen
    assert before["order_items"].theirs > 0

    operations.erase(connector, Batch("b", tuple(Subject(p.ref, p.identifiers) for p in chosen)), FakeLease())

    after = held_rows(path, chosen)
    assert {held.theirs for held in after.values()} == {0}
    assert {t: (h.others, h.others_hash) for t, h in after.items()} == {
        t: (h.others, h.others_hash) for t, h in before.items()
    }


def test_a_household_phone_is_reported_with_the_row_that_carries_it(world: SampleWorld, tmp_path: Path) -> None:
    connector = _connector(world, tmp_path / "w.duckdb")
    person = world.households[0][0]
    assert person.household_phone is not None
    found = operations.locate(connector, Batch("b", (Subject("h", person.identifiers),)))["h"]
    assert isinstance(found, Located)
    assert found.identifiers == (Identifier("phone", person.household_phone),)
    assert [record.object for record in found.records] == ["customers"]


def test_an_existing_file_is_not_written_over(world: SampleWorld, tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    duckdb.connect(str(path)).close()
    with pytest.raises(FileExistsError):
        world.load_warehouse(path)

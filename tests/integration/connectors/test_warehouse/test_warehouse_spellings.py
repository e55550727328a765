"""Values are found in every spelling that means the same, and no other value is."""

import unicodedata
from typing import Literal

import pytest

from connectors.base import operations
from connectors.base.values import Answer, Identifier, Located, Record, Subject

from .conftest import ADA, BOB, Bench, FakeLease, batch, planned

DIFFICULT = [
    "o'brien+tag@example.test",
    '"quoted part"@example.test',
    "x'; DROP TABLE customers; --@example.test",
    "x' OR '1'='1",
    "100%_sure@example.test",
    "a?b%s:c$1@example.test",
    "back\\slash@example.test",
    "zoë.ünïcode@example.test",
    "数据@example.test",
    "a b@example.test",
    "a@bücher.example",
]


def test_difficult_emails_are_found_exactly(bench: Bench) -> None:
    """All at once: each is found and erased by its own person, and by no other one."""
    before = bench.ids("customers")
    keys = {value: f"C-7{n}" for n, value in enumerate(DIFFICULT)}
    for value, key in keys.items():
        literal = value.replace("'", "''")
        bench.execute(f"INSERT INTO customers VALUES ('{key}', ' {literal.upper()}', NULL, 'Odd')")
    people = [Subject(key, (Identifier("email", value),)) for value, key in keys.items()]
    found = operations.locate(bench.shop(), batch(*people))
    plans = []
    for person in people:
        located = found[person.ref]
        assert isinstance(located, Located)
        assert located.records == (Record("customers", person.ref),)
        plans.append(planned(person, *located.records))
    answers = operations.erase(bench.shop(), batch(*plans), FakeLease())
    assert answers == dict.fromkeys(keys.values(), Answer.erased({"customers": 1}))
    assert bench.ids("customers") == before


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_composed_and_a_decomposed_spelling_are_one(bench: Bench, form: Literal["NFC", "NFD"]) -> None:
    stored = unicodedata.normalize(form, "zoë@example.test")
    bench.execute(f"INSERT INTO events VALUES (7, '{stored}', NULL, '/')")
    forms: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
    for asked in forms:
        subject = Subject("zoe", (Identifier("email", unicodedata.normalize(asked, "zoë@example.test")),))
        found = operations.locate(bench.shop(), batch(subject))["zoe"]
        assert isinstance(found, Located)
        assert found.counts == {"events": 1}


def test_an_email_domain_is_found_in_both_its_alphabets(bench: Bench) -> None:
    bench.execute(
        "INSERT INTO events VALUES (7, 'a@bücher.example', NULL, '/'), (8, 'a@xn--bcher-kva.example', NULL, '/')"
    )
    for asked in ("a@bücher.example", "a@xn--bcher-kva.example"):
        found = operations.locate(bench.shop(), batch(Subject("a", (Identifier("email", asked),))))["a"]
        assert isinstance(found, Located)
        assert found.counts == {"events": 2}
        assert found.identifiers == ()


def test_ids_are_compared_with_case_and_whole(bench: Bench) -> None:
    for value in ("c-1", "C-", "C-1 1", "%"):
        found = operations.locate(bench.shop(), batch(Subject("x", (Identifier("customer_id", value),))))["x"]
        assert isinstance(found, Located)
        assert found.is_empty, value
    found = operations.locate(bench.shop(), batch(Subject("x", (Identifier("customer_id", " C-2\t"),))))["x"]
    assert isinstance(found, Located)
    assert found.counts == {"order_items": 1, "orders": 1, "customers": 1, "edges": 1}


def test_values_that_no_database_can_hold_are_nobody(bench: Bench) -> None:
    odd = Subject(
        "odd",
        (Identifier("email", "a\x00b@example.test"), Identifier("customer_id", "\ud800"), Identifier("phone", " ")),
    )
    found = operations.locate(bench.shop(), batch(odd, BOB))
    assert isinstance(found["odd"], Located)
    assert found["odd"].is_empty
    assert isinstance(found["bob"], Located)
    assert not found["bob"].is_empty


def test_names_with_quotes_and_wildcards_stay_names(bench: Bench) -> None:
    bench.execute('CREATE SCHEMA "od.d"')
    bench.execute('CREATE TABLE "od.d"."t""; DROP TABLE customers; --%s?" ("e""m%s? ail" VARCHAR(90), id INTEGER)')
    bench.execute(
        'INSERT INTO "od.d"."t""; DROP TABLE customers; --%s?" '
        "VALUES ('ada@example.test', 1), ('b@example.test', 2)"
    )
    name = '"od.d"."t""; DROP TABLE customers; --%s?"'
    connector = bench.connector({"name": name, "identifiers": {"email": 'e"m%s? ail'}})
    assert operations.erase(connector, batch(ADA), FakeLease())["ada"] == Answer.erased({name: 1})
    assert len(bench.rows(name)) == 1
    assert len(bench.rows("customers")) == 4

"""The table stand-in refuses what would hide a fault: unknown tables, rows without ids, cursors that it never gave."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.testing.sandbox import ApiError, Table, TableSandbox


class _Shop(TableSandbox):
    name = "shop"
    tables = (Table("people", "person"), Table("orders", "order", id="number", owners="people"))
    control = (("people", {"id": "control", "email": "control@acme.example"}),)


@pytest.fixture
def shop() -> _Shop:
    shop = _Shop()
    shop.seed(
        {
            "people": [{"id": "1", "email": "ada@example.test"}, {"id": "2", "email": "eve@example.test"}],
            "orders": [
                {"number": 7, "people": ["1"]},
                {"number": 8, "people": ["2", "1"]},
                {"number": 9, "people": []},
            ],
        }
    )
    return shop


def test_control_rows_are_no_persons_records(shop: _Shop) -> None:
    assert "control" in shop.state["people"]
    assert [(row["object"], row["id"]) for row in shop.records()] == [
        ("person", "1"),
        ("person", "2"),
        ("order", "7"),
        ("order", "8"),
        ("order", "9"),
    ]


def test_rows_belong_to_the_people_of_their_owners(shop: _Shop) -> None:
    owned = [(row["object"], row["id"]) for row in shop.owned_by({"ADA@example.test"})]
    assert owned == [("person", "1"), ("order", "7"), ("order", "8")]


@pytest.mark.parametrize("data", [{"peopel": []}, {"people": [{"email": "ada@example.test"}]}])
def test_a_seed_that_does_not_fit_is_refused(shop: _Shop, data: Any) -> None:
    with pytest.raises(KeyError):
        shop.seed(data)


def test_a_seeded_row_is_a_copy(shop: _Shop) -> None:
    row = {"id": "3", "tags": ["a"]}
    shop.seed({"people": [row]})
    row["tags"].append("b")  # type: ignore[attr-defined]  # the list under "tags"
    assert shop.state["people"]["3"]["tags"] == ["a"]


def test_every_row_is_on_exactly_one_page(shop: _Shop) -> None:
    rows: list[Any] = [{"id": n} for n in range(5)]
    seen: list[Any] = []
    cursor = None
    for _ in range(3):
        page, cursor = shop.page(rows, cursor, 2, ApiError(400))
        seen += page
    assert (seen, cursor) == (rows, None)


@pytest.mark.parametrize("cursor", ["", "2", "after-", "after-0", "after-1", "after-02", "after--2", "after-x", 2])
def test_a_cursor_that_was_never_given_out_is_refused(shop: _Shop, cursor: Any) -> None:
    with pytest.raises(ApiError):
        shop.page([{"id": n} for n in range(5)], cursor, 2, ApiError(400))

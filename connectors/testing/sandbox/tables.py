"""A stand-in of tables: seeding, the god's view, pages. Each vendor adds its own rules.

A stand-in must never be kinder than its vendor, so this class answers no call by itself. A row without an id, a table
that the stand-in doesn't have and a cursor that it never gave out are errors, because each would hide a fault of a test
or of a connector.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from connectors.testing.sandbox.harness import ApiError, Sandbox

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of record.

    `name`: in the seed and in the state. `object`: in the records. `id`: the field with the id. `owners`: the field
    with the ids of rows of other tables; the row belongs to the people of those rows.
    """

    name: str
    object: str
    id: str = "id"
    owners: str | None = None


class TableSandbox(Sandbox):
    """Subclass it with `tables` and `control`.

    `control`: pairs of a table's name and a row that every account has. `state` has one dictionary per table, from the
    id as text to the row. A control row is no person's record.
    """

    tables: ClassVar[tuple[Table, ...]]
    control: ClassVar[tuple[tuple[str, Row], ...]] = ()

    def empty_state(self) -> dict[str, Any]:
        """The control rows only."""
        self.state = {table.name: {} for table in self.tables}
        for name, row in self.control:
            self.seed({name: [row]})
        return self.state

    def seed(self, data: Any) -> None:
        """Add rows by table. Raises KeyError for another table, and for a row without its id."""
        for name, rows in data.items():
            id_field = self.table(name).id
            self.state[name] |= {str(row[id_field]): copy.deepcopy(row) for row in rows}

    def table(self, name: str) -> Table:
        """Return the table of that name. Raises KeyError."""
        return {table.name: table for table in self.tables}[name]

    def records(self) -> list[Row]:
        """Every row but the control rows."""
        kept = {(name, str(row[self.table(name).id])) for name, row in self.control}
        return [
            {"object": table.object, **row, "id": key}
            for table in self.tables
            for key, row in self.state[table.name].items()
            if (table.name, key) not in kept
        ]

    def owned_by(self, values: set[str]) -> list[Row]:
        """Rows that hold one of the values, and rows that belong to one of those."""
        found = self.residue(values)
        keys, ids = {(row["object"], row["id"]) for row in found}, {row["id"] for row in found}
        owners = {table.object: table.owners for table in self.tables if table.owners}
        return [
            row
            for row in self.records()
            if (row["object"], row["id"]) in keys or ids.intersection(row.get(owners.get(row["object"], ""), ()))
        ]

    def page(self, rows: Sequence[Row], cursor: Any, size: int, refused: ApiError) -> tuple[Sequence[Row], str | None]:
        """Return one page of rows and the cursor of the next, None at the end.

        Raises `refused` for a cursor that no page gave out.
        """
        begin = 0
        if cursor is not None:
            number = cursor.removeprefix("after-") if isinstance(cursor, str) else ""
            begin = int(number) if number.isdecimal() else 0
            if cursor != f"after-{begin}" or begin == 0 or begin % size:
                raise refused
        end = begin + size
        return rows[begin:end], f"after-{end}" if end < len(rows) else None

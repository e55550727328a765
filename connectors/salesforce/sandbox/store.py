"""The stand-in org's rows: tables, look-ups by reference, an undo log, the recycle bin and its clock.

Decides what a stored row is and when it vanishes; not what may be deleted (`sandbox_deletion`) nor what may be written
(`sandbox_writes`). Marks of our own in a row begin with `@` and are never shown to a caller.

`state` keys: tables {object: {id: row}}, bin {id of a deleted top row: instant}, purged {id: instant}, numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from connectors.salesforce.sandbox.objects import FEED_VIEWS
from connectors.salesforce.sandbox.schema import Relation, Schema, SObject
from connectors.salesforce.sandbox.wire import instant, make_id, parse_instant

Row = dict[str, Any]
_MISSING = object()
_SAFE_IN_BIN = timedelta(hours=2)


class Store:
    """Rows of one `state`. Every change goes through `assign`, which keeps the look-ups and the undo log right."""

    def __init__(self, state: dict[str, Any], schema: Schema) -> None:
        self.state = state
        self.schema = schema
        self._undo: list[tuple[dict[str, Any], str, Any]] = []
        self._found_by: dict[tuple[str, str], dict[Any, dict[str, None]]] = {}

    def table(self, name: str) -> Iterable[Row]:
        """Rows of one object, deleted ones included; a feed shows the items under its kind of parent."""
        if name in FEED_VIEWS:
            parents = self._rows(FEED_VIEWS[name])
            return [row for row in self._rows("FeedItem").values() if row.get("ParentId") in parents]
        return self._rows(name).values()

    def _rows(self, name: str) -> dict[str, Row]:
        rows: dict[str, Row] = self.state["tables"].setdefault(name, {})
        return rows

    def row(self, record_id: str | None) -> Row | None:
        """A row by its 18-character id, deleted or not."""
        found = self.schema.of_id(record_id) if record_id else None
        return None if found is None or record_id is None else self._rows(found.name).get(record_id)

    def object_of(self, row: Row) -> SObject:
        """The object of a row."""
        found = self.schema.of_id(row["Id"])
        if found is None:
            raise LookupError("a row without an object")
        return found

    def by_reference(self, name: str, field: str, value: str) -> list[Row]:
        """Rows of one object whose field holds this value, deleted ones included, in the order of their making."""
        if name in FEED_VIEWS:
            return [row for row in self.table(name) if row.get(field) == value]
        known = self._found_by.get((name, field))
        if known is None:
            known = self._found_by[name, field] = {}
            for row in self._rows(name).values():
                known.setdefault(row.get(field), {})[row["Id"]] = None
        rows = self._rows(name)
        return [rows[i] for i in known.get(value, ()) if i in rows]

    def children(self, relation: Relation, parent: Row) -> list[Row]:
        """Rows under a parent by one relation; an account's person relations lead over its contact."""
        value: str | None = parent["Id"]
        if relation.parent == "Account" and self.is_persons(relation):
            value = parent.get("PersonContactId")
        return [] if value is None else self.by_reference(relation.child, relation.field, value)

    def is_persons(self, relation: Relation) -> bool:
        """True for what an account lists only because its person contact is the parent."""
        child = self.schema.get(relation.child)
        field = child.fields.get(relation.field.lower()) if child else None
        return relation.parent == "Account" and field is not None and "Account" not in field["referenceTo"]

    def assign(self, target: dict[str, Any], key: str, value: Any) -> None:
        """Set one key so that it can be undone; `_MISSING` takes it away."""
        old = target.get(key, _MISSING)
        if old is value:
            return
        self._undo.append((target, key, old))
        self._put(target, key, value)

    def forget_undo(self) -> None:
        """What was done until now stays."""
        self._undo.clear()

    def savepoint(self) -> Callable[[], None]:
        """Begin something that may have to be taken back; the answer takes it back."""
        mark = len(self._undo)

        def take_back() -> None:
            while len(self._undo) > mark:
                self._put(*self._undo.pop())

        return take_back

    def _put(self, target: dict[str, Any], key: str, value: Any) -> None:
        found = self.schema.of_id(target["Id"]) if "Id" in target else None
        known = self._found_by.get((found.name, key)) if found else None
        if known is not None:
            known.get(target.get(key), {}).pop(target["Id"], None)
            known.setdefault(None if value is _MISSING else value, {})[target["Id"]] = None
        if value is _MISSING:
            target.pop(key, None)
        else:
            target[key] = value

    def add(self, name: str, values: Row) -> Row:
        """Put a new row in; without an Id it gets the next one."""
        found = self.schema.get(name)
        if found is None:
            raise ValueError(f"no such object: {name}")
        if values.get("Id") is None:
            number = self.state["numbers"].get(name, 0) + 1
            self.assign(self.state["numbers"], name, number)
            values = {"Id": make_id(found.prefix, number), **{k: v for k, v in values.items() if k != "Id"}}
        self.assign(self._rows(name), values["Id"], values)
        for (object_name, field), known in self._found_by.items():
            if object_name == name:
                known.setdefault(values.get(field), {})[values["Id"]] = None
        return values

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Every row with its object's name."""
        for name, rows in self.state["tables"].items():
            for row in rows.values():
                yield name, row

    def mark_deleted(self, rows: list[Row], at: datetime) -> None:
        """Put the first row and those that go with it into the recycle bin."""
        top = rows[0]
        for row in rows:
            self.assign(row, "IsDeleted", True)
            self.assign(row, "@deleted_with", top["Id"])
            self.assign(row, "SystemModstamp", instant(at))
        self.assign(top, "@cascaded", [row["Id"] for row in rows[1:]])
        self.assign(self.state["bin"], top["Id"], instant(at))

    def purge(self, top: Row, at: datetime) -> None:
        """Empty the recycle bin of a row and of those that went with it; `expire` makes them vanish."""
        self.assign(self.state["bin"], top["Id"], _MISSING)
        self.assign(self.state["purged"], top["Id"], instant(at))
        self.assign(top, "@purged", True)
        for record_id in top.get("@cascaded", ()):
            row = self.row(record_id)
            if row is not None:
                self.assign(row, "@purged", True)

    def expire(self, now: datetime, bin_for: timedelta, shown_for: timedelta) -> None:
        """What was in the bin for too long is purged; what was purged long enough ago is no longer there."""
        for record_id, at in list(self.state["bin"].items()):
            row = self.row(record_id)
            if row is not None and parse_instant(at) + bin_for <= now:
                self.purge(row, parse_instant(at) + bin_for)
        for record_id, at in list(self.state["purged"].items()):
            top = self.row(record_id)
            if top is not None and parse_instant(at) + shown_for <= now:
                self.vanish(top)

    def evict(self, now: datetime, capacity: int) -> None:
        """A bin that is too full loses its oldest entries, but none younger than two hours."""
        oldest = sorted(self.state["bin"].items(), key=lambda entry: entry[1])
        for record_id, at in oldest[: max(0, len(oldest) - capacity)]:
            row = self.row(record_id)
            if row is not None and parse_instant(at) + _SAFE_IN_BIN <= now:
                self.purge(row, now)

    def vanish(self, top: Row) -> None:
        """Take a deleted row away for good, and those that went with it."""
        for record_id in (*top.get("@cascaded", ()), top["Id"]):
            row = self.row(record_id)
            if row is not None:
                self.assign(self._rows(self.object_of(row).name), record_id, _MISSING)
        self.assign(self.state["bin"], top["Id"], _MISSING)
        self.assign(self.state["purged"], top["Id"], _MISSING)

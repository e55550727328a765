"""Runs a parsed SOQL statement over the stand-in's rows, as one credential at one API version sees them.

Decides which rows match and how they are shown; pages are `sandbox_pages`'. `query` hides deleted rows and archived
activities, `queryAll` shows both. Source: SOQL and SOSL Reference (read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connectors.salesforce.sandbox.pages import Nested
from connectors.salesforce.sandbox.query.conditions import Filter, Match, conjunction, refuse_field
from connectors.salesforce.sandbox.query.paths import Path, resolve
from connectors.salesforce.sandbox.query.soql_parser import Among, Comparison, Select, malformed, parse
from connectors.salesforce.sandbox.schema import Relation, Schema, SObject
from connectors.salesforce.sandbox.store import Row, Store
from connectors.salesforce.sandbox.wire import RowError, full_id, parse_instant, refuse

_MOST_NESTED = 20
_MOST_LEVELS = 5
_DEEP_SINCE = 58.0


@dataclass(frozen=True)
class Found:
    """What a statement found: rendered records, or only their number."""

    records: Nested
    total: int


@dataclass(frozen=True)
class _Plan:
    """One SELECT, checked: resolved once although a nested one runs for every parent row."""

    matches: Match
    paths: list[Path]
    relations: list[tuple[Relation, Select]]


class Query:
    """One statement's run."""

    def __init__(
        self, store: Store, seen: Schema, version: str, *, include_all: bool, is_seen: Callable[[Row], bool]
    ) -> None:
        self._store = store
        self._is_seen = is_seen
        self._seen = seen
        self._version = version
        self._include_all = include_all
        self._plans: dict[int, _Plan] = {}

    def run(self, text: str) -> Found:
        """Parse, check and run. Raises ApiError in Salesforce's form."""
        select = parse(text)
        if sum(1 for _ in _all_nested(select)) > _MOST_NESTED:
            raise malformed("no more than 20 parent-to-child relationships can be specified in a query")
        levels = _depth(select)
        if levels > _MOST_LEVELS or (levels > 2 and float(self._version) < _DEEP_SINCE):
            raise malformed("relationship sub-selects are nested too deeply for this API version")
        found = self._object(select.source)
        _refuse_unfiltered_links(found, select)
        rows = self._rows(found, select, self._candidates(found, select))
        if select.is_count:
            return Found(Nested(), len(rows))
        shown = self._rendered(found, select, rows)
        return Found(Nested(shown), len(shown))

    def _object(self, name: str) -> SObject:
        found = self._seen.get(name)
        if found is None:
            raise refuse(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
        if not found.may("queryable"):
            raise refuse(400, "INVALID_TYPE_FOR_OPERATION", f"entity type {found.name} does not support query")
        return found

    def _candidates(self, found: SObject, select: Select) -> Iterable[Row]:
        """All rows of the object, or those that an Id or a reference in the condition leads to at once."""
        for term in conjunction(select.where):
            if isinstance(term, Comparison) and term.operator == "=":
                literals = [term.literal]
            elif isinstance(term, Among) and not term.is_negated:
                literals = list(term.literals)
            else:
                continue
            field = found.fields.get(term.path.lower())
            if field is None or field["type"] not in ("id", "reference") or any(x.kind != "text" for x in literals):
                continue
            try:
                ids = list(dict.fromkeys(full_id(x.value) for x in literals))
            except RowError:
                # The condition itself tells of a bad id, in its own words.
                return list(self._store.table(found.name))
            if field["type"] == "reference":
                return [r for i in ids for r in self._store.by_reference(found.name, field["name"], i)]
            return [r for r in (self._store.row(i) for i in ids) if r and self._store.object_of(r).name == found.name]
        return list(self._store.table(found.name))

    def _rows(self, found: SObject, select: Select, candidates: Iterable[Row]) -> list[Row]:
        matches = self._plan(found, select).matches
        rows = [row for row in candidates if self._is_shown(row) and matches(row)]
        for term in reversed(select.order):
            path = resolve(self._store, self._seen, found, term.path)
            if not path.field.get("sortable", True):
                raise refuse_field(f"field '{path.field['name']}' can not be sorted in a query call")
            filled = [r for r in rows if path.value(r) is not None]
            empty = [r for r in rows if path.value(r) is None]
            filled.sort(key=lambda r, p=path: _sortable(p, r), reverse=term.is_descending)  # type: ignore[misc]  # bound now
            rows = filled + empty if term.nulls_last else empty + filled
        rows = rows[select.offset :]
        return rows if select.limit is None else rows[: select.limit]

    def _is_shown(self, row: Row) -> bool:
        return (self._include_all or not (row.get("IsDeleted") or row.get("IsArchived"))) and self._is_seen(row)

    def _semi_join(self, outer: SObject, select: Select) -> set[str]:
        found = self._object(select.source)
        if found.name == outer.name:
            raise malformed("The inner and outer selects should not be on the same object type")
        if len(select.paths) != 1 or select.nested or select.order or select.limit is not None or select.offset:
            raise malformed("a semi join sub-select selects one field and neither sorts nor limits")
        path = resolve(self._store, self._seen, found, select.paths[0])
        if not path.is_direct or path.field["type"] not in ("id", "reference"):
            raise malformed("a semi join sub-select must query an Id or a reference field")
        rows = self._rows(found, select, self._candidates(found, select))
        return {value for value in map(path.value, rows) if value is not None}

    def _plan(self, found: SObject, select: Select) -> _Plan:
        plan = self._plans.get(id(select))
        if plan is None:
            matches = Filter(self._store, self._seen, found, self._semi_join).compiled(select.where)
            paths = [resolve(self._store, self._seen, found, text) for text in select.paths]
            relations = [(self._relation(found, inner), inner) for inner in select.nested]
            if len({relation.name for relation, _ in relations}) != len(relations):
                raise malformed("a relationship can be selected once")
            plan = self._plans[id(select)] = _Plan(matches, paths, relations)
        return plan

    def _rendered(self, found: SObject, select: Select, rows: list[Row]) -> list[dict[str, Any]]:
        plan = self._plan(found, select)
        return [self._shown(found, row, plan) for row in rows]

    def _relation(self, found: SObject, select: Select) -> Relation:
        for relation in found.children:
            if relation.name is not None and relation.name.lower() == select.source.lower():
                # A wrong sub-select is refused although no parent row matches.
                self._plan(self._object(relation.child), select)
                return relation
        message = f"Didn't understand relationship '{select.source}' in FROM part of query call."
        raise refuse(400, "INVALID_TYPE", message)

    def _shown(self, found: SObject, row: Row, plan: _Plan) -> dict[str, Any]:
        url = f"/services/data/v{self._version}/sobjects/{found.name}/{row['Id']}"
        shown: dict[str, Any] = {"attributes": {"type": found.name, "url": url}}
        for path in plan.paths:
            if path.is_direct:
                value = path.value(row)
                name = path.field["name"]
                shown[name] = f"{url}/{name}" if path.field["type"] == "base64" and value is not None else value
            else:
                self._put_parent(shown, row, found, path)
        for relation, inner in plan.relations:
            child = self._object(relation.child)
            rows = self._rows(child, inner, self._store.children(relation, row))
            shown[str(relation.name)] = Nested(self._rendered(child, inner, rows))
        return shown

    def _put_parent(self, shown: dict[str, Any], row: Row, found: SObject, path: Path) -> None:
        """A parent's field: nested objects, or null from the first parent that isn't there."""
        place, current, at = shown, row, found
        for step in path.steps[:-1]:
            field = next(f for f in at.fields.values() if f["type"] == "reference" and f["relationshipName"] == step)
            parent = self._store.row(current.get(field["name"]))
            if parent is None:
                place[step] = None
                return
            at, current = self._store.object_of(parent), parent
            kind = at.name if len(field["referenceTo"]) == 1 else "Name"
            url = f"/services/data/v{self._version}/sobjects/{at.name}/{parent['Id']}"
            place = place.setdefault(step, {"attributes": {"type": kind, "url": url}})
        place[path.steps[-1]] = path.value(row)


def _sortable(path: Path, row: Row) -> Any:
    value = path.value(row)
    if path.field["type"] in ("date", "datetime"):
        return parse_instant(value) if isinstance(value, str) else datetime.min.replace(tzinfo=UTC)
    return value.casefold() if isinstance(value, str) else value


def _all_nested(select: Select) -> Iterable[Select]:
    for inner in select.nested:
        yield inner
        yield from _all_nested(inner)


def _depth(select: Select) -> int:
    return 1 + max((_depth(inner) for inner in select.nested), default=0)


def _refuse_unfiltered_links(found: SObject, select: Select) -> None:
    """Links of files are only found by one of their two ends."""
    if found.name != "ContentDocumentLink":
        return
    for term in conjunction(select.where):
        path = getattr(term, "path", "").lower()
        is_equal = getattr(term, "operator", "=") == "=" and not getattr(term, "is_negated", False)
        if path in ("linkedentityid", "contentdocumentid") and is_equal:
            return
    raise malformed(
        "Implementation restriction: ContentDocumentLink requires a filter by a single Id on ContentDocumentId or "
        "LinkedEntityId using the equals operator or multiple Id's using the IN operator."
    )

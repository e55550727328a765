"""Everything that hangs on the roots: breadth first over the org's own relations, until nothing new is found.

Decides what is asked and how few statements ask it; what happens to the rows is planned in planning.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connectors.base.errors import AnswerNotUnderstood
from connectors.salesforce.org import MAX_HEAVY_SUBREQUESTS
from connectors.salesforce.reading import Reader
from connectors.salesforce.roots import person_fields
from connectors.salesforce.schema import CONTACT, PEOPLE, Relation, Schema
from connectors.salesforce.soql import MAX_SUBSELECTS, selects

Key = tuple[str, str]
DOCUMENT, LINK, MAIL, MAIL_RELATION = "ContentDocument", "ContentDocumentLink", "EmailMessage", "EmailMessageRelation"
VERSION = "ContentVersion"
_UP = {
    LINK: ("ContentDocumentId", DOCUMENT),
    VERSION: ("ContentDocumentId", DOCUMENT),
    MAIL_RELATION: ("EmailMessageId", MAIL),
}
_TELLING = ("IsDeleted", "ContentDocumentId", "LinkedEntityId", "EmailMessageId", "WhoId")
_MOST_LEVELS = 20


@dataclass
class Row:
    """A record that hangs on somebody's root. `parents`: by which relation on which record (None: reached upwards)."""

    object: str
    id: str = field(repr=False)
    values: dict[str, Any] = field(repr=False)
    parents: dict[tuple[Relation | None, Key], None] = field(default_factory=dict, repr=False)
    owners: set[str] = field(default_factory=set)

    @property
    def key(self) -> Key:
        """Object and id."""
        return self.object, self.id

    @property
    def is_deleted(self) -> bool:
        """True if it lies in the recycle bin already."""
        return self.values.get("IsDeleted") is True


_Found = tuple[str, Mapping[str, Any], Relation, Key]


class Expansion:
    """One look downwards from many roots."""

    def __init__(self, schema: Schema, reader: Reader, stops: frozenset[str]) -> None:
        """`stops`: objects that stay by policy; what hangs on them is not looked at."""
        self._schema = schema
        self._reader = reader
        self._stops = stops
        self._owners: dict[Key, set[str]] = {}
        self._due: dict[str, dict[Relation, list[str]]] = {}  # flat statements to come: child -> relation -> parents
        self.rows: dict[Key, Row] = {}

    def run(self, roots: Mapping[Key, set[str]]) -> dict[Key, Row]:
        """All rows below (and files and mails beside) these roots, each with the people whom it belongs to.

        May be called again with more roots; what is known by then isn't asked for anew.
        """
        for key, refs in roots.items():
            self._owners.setdefault(key, set()).update(refs)
        frontier = set(roots)
        for _ in range(_MOST_LEVELS):
            if not frontier and not self._due:
                return self.rows
            frontier = self._new(self._level(frontier))
        raise AnswerNotUnderstood("relations_too_deep")

    def _new(self, found: Sequence[_Found]) -> set[Key]:
        """Note what was found; what is new, or newly somebody's, is gone down from next."""
        frontier: set[Key] = set()
        for name, values, relation, parent in found:
            key = (name, str(values["Id"]))
            if key in self._owners and key not in self.rows:
                continue  # a root that hangs on another one
            row = self._note(name, values, relation, parent, self._owners[parent])
            reached = [row]
            up = _UP.get(name)
            if up is not None and row.values.get(up[0]) and up[1] in self._schema.objects:
                above = (up[1], str(row.values[up[0]]))
                if above not in self._owners or above in self.rows:
                    reached.append(self._note(up[1], {"Id": above[1]}, None, row.key, row.owners))
            for each in reached:
                known = self._owners.get(each.key, set())
                if not each.owners <= known:
                    self._owners[each.key] = known | each.owners
                    if each.object not in self._stops:
                        frontier.add(each.key)
        return frontier

    def _note(
        self, name: str, values: Mapping[str, Any], relation: Relation | None, parent: Key, owners: Iterable[str]
    ) -> Row:
        key = (name, str(values["Id"]))
        row = self.rows.setdefault(key, Row(name, key[1], {}))
        row.values.update({k: v for k, v in values.items() if not isinstance(v, dict)})
        row.parents[(relation, parent)] = None
        row.owners |= set(owners)
        return row

    def _level(self, frontier: Iterable[Key]) -> list[_Found]:
        """One round: all sub-selects, and as many flat statements as fit into the calls that those need anyway.

        The others wait for more ids; they go when nothing else is left to ask.
        """
        ids: dict[str, list[str]] = defaultdict(list)
        for name, record_id in sorted(frontier):
            ids[name].append(record_id)
        flat, nested = self._cover(ids)
        for child, pointing in flat.items():
            for relation in pointing:
                self._due.setdefault(child, {}).setdefault(relation, []).extend(ids[relation.parent])
        texts: list[str] = []
        readers: list[tuple[str | None, Sequence[Relation]]] = []
        for parent, some in nested:
            for text in self._nested(parent, some, ids[parent]):
                texts.append(text)
                readers.append((parent, some))
        # What leads on goes first.
        for child in sorted(self._due, key=lambda c: (c not in _UP, -len(self.usable(c)), c)):
            asked = self._flat(child, self._due[child])
            if nested and len(texts) % MAX_HEAVY_SUBREQUESTS + len(asked) > MAX_HEAVY_SUBREQUESTS:
                break
            if nested and len(texts) % MAX_HEAVY_SUBREQUESTS == 0:
                break
            texts += asked
            readers += [(None, list(self._due.pop(child)))] * len(asked)
        found: list[_Found] = []
        for (of, relations), rows in zip(readers, self._reader.run(texts), strict=True):
            for row in rows:
                found += _below(of, row, relations) if of is not None else _beside(row, relations, self._owners)
        return found

    def usable(self, parent: str) -> list[Relation]:
        """Relations worth asking: the child can be asked for, and isn't a person or a look at something else."""
        found = []
        for relation in self._schema.relations_of(parent):
            child = self._schema.objects[relation.child]
            points = child.fields.get(relation.field)
            is_loop = relation.child == parent and not relation.cascades
            tells = child.deletable or relation.restricts or relation.child in (VERSION, f"{parent}Relation")
            if (
                child.queryable
                and tells
                and relation.child not in PEOPLE
                and relation.child not in self._schema.views
                and points is not None
                and points.filterable
                and parent in points.refers_to
                and not is_loop
            ):
                found.append(relation)
        return found

    def _cover(
        self, ids: Mapping[str, Sequence[str]]
    ) -> tuple[dict[str, list[Relation]], list[tuple[str, list[Relation]]]]:
        """Statements that cover all relations: flat ones by child where a relation has no name (they then take that
        child's other relations too), sub-selects for the rest, or a flat one where that covers more parents at once."""
        by_child: dict[str, list[Relation]] = defaultdict(list)
        for parent in ids:
            for relation in self.usable(parent):
                by_child[relation.child].append(relation)
        flat = {c: rs for c, rs in by_child.items() if any(r.name is None for r in rs)}
        rest: dict[str, list[Relation]] = defaultdict(list)
        for child, relations in by_child.items():
            if child not in flat:
                for relation in relations:
                    rest[relation.parent].append(relation)
        for parent in sorted(rest, key=lambda p: len(rest[p])):
            # A parent with a single relation left costs a statement either way: a flat one may spare others theirs.
            if len(rest[parent]) == 1:
                child = rest[parent][0].child
                flat[child] = by_child[child]
                for other in rest:
                    rest[other] = [r for r in rest[other] if r.child != child]
        nested = [
            (parent, relations[start : start + MAX_SUBSELECTS])
            for parent, relations in rest.items()
            for start in range(0, len(relations), MAX_SUBSELECTS)
        ]
        return flat, nested

    def _columns(self, child: str) -> list[str]:
        known = self._schema.objects[child]
        return list(dict.fromkeys(["Id", *(n for n in _TELLING if known.has(n)), *person_fields(known)]))

    def _flat(self, child: str, due: Mapping[Relation, Sequence[str]]) -> list[str]:
        by_field: dict[str, list[str]] = defaultdict(list)
        for relation, ids in due.items():
            by_field[relation.field] += ids
        columns = list(dict.fromkeys([*self._columns(child), *by_field]))
        if child == LINK:
            # Must be filtered by one of its two fields alone (SOAP API, ContentDocumentLink, read 2026-11-22).
            return [text for f, values in by_field.items() for text in selects(columns, child, [(f, values)])]
        return selects(columns, child, list(by_field.items()))

    def _nested(self, parent: str, relations: Sequence[Relation], ids: Sequence[str]) -> list[str]:
        subs = [f"(SELECT {', '.join(self._columns(r.child))} FROM {r.name})" for r in relations]  # noqa: S608 - describe's
        return selects(["Id", *subs], parent, [("Id", ids)])


def _below(parent: str, row: Mapping[str, Any], relations: Sequence[Relation]) -> list[_Found]:
    key = (parent, str(row["Id"]))
    found = []
    for relation in relations:
        nested = row.get(str(relation.name)) or {}
        found += [(relation.child, child, relation, key) for child in nested.get("records") or ()]
    return found


def _beside(row: Mapping[str, Any], relations: Sequence[Relation], known: Mapping[Key, set[str]]) -> list[_Found]:
    return [
        (r.child, row, r, (r.parent, str(row[r.field])))
        for r in relations
        if row.get(r.field) and (r.parent, str(row[r.field])) in known
    ]


def with_halves(roots: Iterable[Any]) -> dict[Key, str]:
    """Keys of roots, and of the contacts of person accounts: their cases and tasks point at those."""
    found: dict[Key, str] = {}
    for root in roots:
        found[(root.object, root.id)] = root.id
        if root.twin:
            found[(CONTACT, root.twin)] = root.id
    return found

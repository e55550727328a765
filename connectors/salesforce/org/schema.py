"""The org's objects, fields and relations, as its describes list them.

Parses and keeps the facts; decides nothing about people. Facts about flags: SOAP API, DescribeSObjectResult and
ChildRelationship (read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from connectors.base.errors import AnswerNotUnderstood
from connectors.base.toolkit.http import field_of

CONTACT, LEAD, ACCOUNT, INDIVIDUAL, USER = "Contact", "Lead", "Account", "Individual", "User"
MAIL = "EmailMessage"
PEOPLE = (CONTACT, LEAD, ACCOUNT, USER, INDIVIDUAL)
"""The objects whose records are persons. An Account is one only where `IsPersonAccount` is true."""

HISTORY = "History"
_VIEW_SUFFIXES = ("Feed", HISTORY, "Share", "ChangeEvent", "OwnerSharingRule", "Tag")


@dataclass(frozen=True)
class Field:
    """One field; `choices` only where no other value is allowed."""

    name: str
    type: str
    length: int = 0
    nillable: bool = False
    updateable: bool = False
    filterable: bool = True
    external_id: bool = False
    unique: bool = False
    refers_to: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relation:
    """`child.field` points at `parent`. `name` is None where a sub-select can't use it."""

    parent: str
    child: str
    field: str
    name: str | None
    cascades: bool
    restricts: bool


@dataclass(frozen=True)
class ObjectType:
    """One object. `has_bin`: its deleted records go to the recycle bin (describe: undeletable)."""

    name: str
    prefix: str | None
    queryable: bool
    deletable: bool
    updateable: bool
    has_bin: bool
    fields: Mapping[str, Field] = field(default_factory=dict)
    relations: tuple[Relation, ...] = ()

    def has(self, name: str) -> bool:
        """True if we see a field of that name."""
        return name in self.fields


@dataclass(frozen=True)
class Schema:
    """The objects that can hold something of a person: the people's own and all that hangs on them."""

    objects: Mapping[str, ObjectType]
    views: frozenset[str] = frozenset()

    @cached_property
    def by_prefix(self) -> dict[str, str]:
        """Object names by the first three characters of their ids."""
        return {o.prefix: o.name for o in self.objects.values() if o.prefix}

    def object_of(self, record_id: str) -> str | None:
        """The object that an id is of, if we know it."""
        return self.by_prefix.get(record_id[:3])

    def relations_of(self, parent: str) -> tuple[Relation, ...]:
        """Whatever can hang on a record and can be asked for."""
        known = self.objects.get(parent)
        return tuple(r for r in known.relations if r.child in self.objects) if known else ()

    def to_json(self) -> dict[str, Any]:
        """For the cache."""
        return {"objects": [asdict(o) for o in self.objects.values()], "views": sorted(self.views)}

    @classmethod
    def from_json(cls, kept: Any) -> Schema:
        """From the cache. Raises KeyError, TypeError on another version's form."""
        objects = {}
        for row in kept["objects"]:
            fields = {
                n: Field(**{**f, "refers_to": tuple(f["refers_to"]), "choices": tuple(f["choices"])})
                for n, f in row["fields"].items()
            }
            relations = tuple(Relation(**r) for r in row["relations"])
            objects[row["name"]] = ObjectType(**{**row, "fields": fields, "relations": relations})
        return cls(objects, frozenset(kept["views"]))


def views_among(globals_: Iterable[Any]) -> frozenset[str]:
    """Names of objects that only show other objects' rows, or rows that go with them: feeds, histories, shares, events.

    Histories that may be deleted (permission "Delete From Field History") are records like others.
    Recognised by the documented naming of associated objects (`AccountHistory`, `acme__Pledge__Share`): the name less
    the suffix is an object of its own.
    """
    rows = list(globals_)
    names = {field_of(row, "name", str) for row in rows}
    ours = {row["name"] for row in rows if row["name"].endswith(HISTORY) and row.get("deletable") is True}
    bases = {name.removesuffix("__c") + ("__" if name.endswith("__c") else "") for name in names}
    return frozenset(
        name
        for name in names
        for suffix in _VIEW_SUFFIXES
        if name.endswith(suffix) and name.removesuffix(suffix) in bases and name != suffix and name not in ours
    )


def parse_object(body: Any) -> ObjectType:
    """One describe. Raises AnswerNotUnderstood."""
    name = field_of(body, "name", str)
    relations = tuple(
        Relation(
            parent=name,
            child=field_of(row, "childSObject", str),
            field=field_of(row, "field", str),
            name=row.get("relationshipName"),
            cascades=bool(row.get("cascadeDelete")),
            restricts=bool(row.get("restrictedDelete")),
        )
        for row in field_of(body, "childRelationships", list)
        if not (isinstance(row, dict) and row.get("deprecatedAndHidden"))
    )
    return ObjectType(
        name=name,
        prefix=body.get("keyPrefix"),
        queryable=field_of(body, "queryable", bool),
        deletable=field_of(body, "deletable", bool),
        updateable=field_of(body, "updateable", bool),
        has_bin=bool(body.get("undeletable")),
        fields={f.name: f for f in map(_parse_field, field_of(body, "fields", list))},
        relations=relations,
    )


def _parse_field(row: Any) -> Field:
    name = field_of(row, "name", str)
    choices: tuple[str, ...] = ()
    if row.get("restrictedPicklist"):
        values = [(field_of(v, "value", str), v.get("active", True)) for v in row.get("picklistValues") or ()]
        choices = tuple(value for value, active in values if active)
    return Field(
        name=name,
        type=field_of(row, "type", str),
        length=length if isinstance(length := row.get("length"), int) else 0,
        nillable=bool(row.get("nillable")),
        updateable=bool(row.get("updateable")),
        filterable=bool(row.get("filterable", True)),
        external_id=bool(row.get("externalId")),
        unique=bool(row.get("unique")),
        refers_to=tuple(row.get("referenceTo") or ()),
        choices=choices,
    )


def wanted_children(known: Mapping[str, ObjectType], globals_: Mapping[str, Any], views: frozenset[str]) -> list[str]:
    """Objects that hang on known ones, can hold rows that outlive or block their parent, and aren't known yet.

    Users are never gone down from: everything in an org hangs on a user.
    """
    wanted: dict[str, None] = {}
    for parent in known.values():
        if parent.name == USER:
            continue
        for relation in parent.relations:
            row = globals_.get(relation.child)
            # Relations of activities say who else takes part, and versions where a file was put first, even where
            # they can't be deleted.
            tells = relation.restricts or relation.child in ("ContentVersion", f"{parent.name}Relation")
            usable = row is not None and row.get("queryable") and (row.get("deletable") or tells)
            if usable and relation.child not in known and relation.child not in views:
                wanted[relation.child] = None
    return list(wanted)


def checked(schema: Schema) -> Schema:
    """Return the schema, if it can be worked with at all.

    Raises AnswerNotUnderstood without a single kind of person.
    """
    if CONTACT not in schema.objects and LEAD not in schema.objects and ACCOUNT not in schema.objects:
        raise AnswerNotUnderstood("schema_without_people")
    return schema

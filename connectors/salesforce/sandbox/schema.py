"""The stand-in org's schema in describe's own form: built from our notation, overlaid with real describes if given.

Decides nothing about records: it says which objects, fields and relations there are, and with which flags. Real
describes (`<Object>.json`, `_global*.json` in one folder) go before ours, unmodified; fields, objects and relations
that they don't have are added, and objects that they only mention are made of the relations that mention them.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectors.salesforce.sandbox.objects import ANYTHING, FEED_VIEWS, OBJECTS

Json = dict[str, Any]
_FLAGS = {"C": "createable", "U": "updateable", "D": "deletable", "Q": "queryable", "B": "undeletable"}
_MORE_FLAGS = {"S": "searchable", "M": "mergeable"}
_TARGET = re.compile(r"(?P<parent>\w+|\*)(?:\.(?P<name>\w+))?(?: (?P<flags>c|r|cr|x))?")
_AUDIT = (
    "IsDeleted boolean readonly",
    "CreatedDate datetime readonly",
    "CreatedById > User ro",
    "LastModifiedDate datetime readonly",
    "LastModifiedById > User ro",
    "SystemModstamp datetime readonly",
)
_TEXTS = {"string": 255, "textarea": 255, "email": 80, "phone": 40, "url": 255, "picklist": 255, "combobox": 255}
_SOAP_TYPES = {"boolean": "xsd:boolean", "date": "xsd:date", "datetime": "xsd:dateTime", "id": "tns:ID"}


@dataclass(frozen=True)
class Relation:
    """One row of a parent's childRelationships."""

    parent: str
    child: str
    field: str
    name: str | None
    cascades: bool
    restricts: bool


@dataclass
class SObject:
    """One object: its describe as answered, and the same looked up fast."""

    describe: Json
    prefix: str
    fields: dict[str, Json] = field(default_factory=dict)
    children: list[Relation] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The object's API name."""
        return str(self.describe["name"])

    def may(self, flag: str) -> bool:
        """One of describe's flags."""
        return bool(self.describe.get(flag))

    def index(self) -> None:
        """Renew what is looked up fast."""
        name = self.name
        self.fields = {f["name"].lower(): f for f in self.describe["fields"]}
        self.children = [
            Relation(
                name, r["childSObject"], r["field"], r["relationshipName"], r["cascadeDelete"], r["restrictedDelete"]
            )
            for r in self.describe["childRelationships"]
        ]


class Schema:
    """Objects by lower-case name and by key prefix."""

    def __init__(self, objects: Mapping[str, SObject]) -> None:
        self.objects = {name.lower(): found for name, found in objects.items()}
        self.by_prefix = {found.prefix: found for name, found in objects.items() if name not in FEED_VIEWS}

    def get(self, name: str) -> SObject | None:
        """An object by name, without regard to case."""
        return self.objects.get(name.lower())

    def of_id(self, record_id: str) -> SObject | None:
        """The object whose key prefix an id begins with."""
        return self.by_prefix.get(record_id[:3])

    def without(self, hidden: frozenset[str]) -> Schema:
        """As a credential sees it to whom objects (`Name`) and fields (`Object.Field`) are hidden."""
        hidden = frozenset(h.lower() for h in hidden)
        seen: dict[str, SObject] = {}
        for found in self.objects.values():
            if found.name.lower() in hidden:
                continue
            text = copy.copy(found.describe)
            text["fields"] = [f for f in text["fields"] if f"{found.name}.{f['name']}".lower() not in hidden]
            text["childRelationships"] = [
                r
                for r in text["childRelationships"]
                if not {r["childSObject"].lower(), f"{r['childSObject']}.{r['field']}".lower()} & hidden
            ]
            seen[found.name] = SObject(text, found.prefix)
            seen[found.name].index()
        return Schema(seen)


def field_describe(name: str, kind: str, length: int = 0, **marks: Any) -> Json:
    """One field in describe's form."""
    text = {
        "name": name,
        "label": name.removesuffix("__c").replace("_", " "),
        "type": kind,
        "length": length or _TEXTS.get(kind, 18 if kind in ("id", "reference") else 0),
        "soapType": _SOAP_TYPES.get(kind, "xsd:double" if kind in ("currency", "double") else "xsd:string"),
        "custom": name.endswith("__c"),
        "nillable": kind != "boolean",
        "createable": True,
        "updateable": True,
        "filterable": kind != "base64",
        "sortable": kind not in ("base64", "textarea"),
        "groupable": kind not in ("base64", "textarea"),
        "defaultedOnCreate": kind == "boolean",
        "calculated": False,
        "externalId": False,
        "idLookup": False,
        "unique": False,
        "caseSensitive": False,
        "nameField": False,
        "namePointing": False,
        "encrypted": False,
        "deprecatedAndHidden": False,
        "cascadeDelete": False,
        "restrictedDelete": False,
        "restrictedPicklist": False,
        "picklistValues": [],
        "referenceTo": [],
        "relationshipName": None,
        "relationshipOrder": None,
        "polymorphicForeignKey": False,
        "compoundFieldName": None,
        "permissionable": False,
        "precision": 0,
        "scale": 0,
        "digits": 0,
    }
    return text | marks


def object_describe(name: str, prefix: str | None, flags: str) -> Json:
    """One object in describe's form, with the fields that every object has."""
    text: Json = {
        "name": name,
        "label": name.removesuffix("__c").replace("_", " "),
        "labelPlural": name.removesuffix("__c").replace("_", " ") + "s",
        "keyPrefix": prefix,
        "custom": name.endswith("__c"),
        "customSetting": False,
        "deprecatedAndHidden": False,
        "retrieveable": "Q" in flags,
        "replicateable": "Q" in flags,
        "layoutable": "C" in flags,
        "triggerable": "C" in flags,
        "feedEnabled": name in ANYTHING,
        "childRelationships": [],
        "recordTypeInfos": [],
    }
    text |= {key: mark in flags for mark, key in {**_FLAGS, **_MORE_FLAGS}.items()}
    fixed = {"nillable": False, "createable": False, "updateable": False}
    text["fields"] = [field_describe("Id", "id", 18, **fixed, idLookup=True)]
    return text


def _relation(child: str, field_name: str, name: str | None, flags: str) -> Json:
    return {
        "childSObject": child,
        "field": field_name,
        "relationshipName": name,
        "cascadeDelete": "c" in flags,
        "restrictedDelete": "r" in flags,
        "deprecatedAndHidden": False,
        "junctionIdListNames": [],
        "junctionReferenceTo": [],
    }


def _targets(text: str) -> Iterator[tuple[str, str | None, str]]:
    for part in text.split(", "):
        match = _TARGET.fullmatch(part)
        if match is None:
            raise ValueError(f"not a target of a reference: {part}")
        parents = ANYTHING if match["parent"] == "*" else (match["parent"],)
        yield from ((parent, match["name"], match["flags"] or "") for parent in parents)


def _is_persons(field_name: str, relation: str | None, *, points_at_contact: bool) -> bool:
    """True if an account lists the child because its person contact is its parent: the field holds the contact's id."""
    if relation is None:
        return points_at_contact and "Contact" in field_name
    return relation.startswith("Person") or relation.endswith("__pr")


def _reference(child: str, line: str, relations: dict[str, list[Json]]) -> Json:
    name, _, rest = line.partition(" > ")
    is_readonly = rest.endswith(" ro")
    parents: list[str] = []
    for parent, relation, flags in _targets(rest.removesuffix(" ro")):
        if flags != "x":
            relations.setdefault(parent, []).append(_relation(child, name, relation, flags))
        if not (parent == "Account" and _is_persons(name, relation, points_at_contact="Contact" in parents)):
            parents.append(parent)
    up = name.removesuffix("__c") + "__r" if name.endswith("__c") else name.removesuffix("Id")
    audit = name in ("CreatedById", "LastModifiedById")
    marks = {"createable": not is_readonly, "updateable": not is_readonly, "nillable": not audit}
    return field_describe(
        name, "reference", 18, referenceTo=parents, relationshipName=up, polymorphicForeignKey=len(parents) > 1, **marks
    )


def _plain(line: str) -> Json:
    name, kind, *marks = line.split()
    length = int(marks.pop(0)) if marks and marks[0].isdigit() else 0
    text = field_describe(name, kind, length)
    for mark in marks:
        if mark == "required":
            text |= {"nillable": False}
        elif mark == "readonly":
            text |= {"createable": False, "updateable": False}
        elif mark == "nofilter":
            text |= {"filterable": False, "sortable": False}
        elif mark == "extid":
            text |= {"externalId": True, "idLookup": True}
        elif mark == "unique":
            text |= {"unique": True}
        elif mark.startswith("restricted="):
            values = [{"value": v, "label": v, "active": True} for v in mark.partition("=")[2].split("|")]
            text |= {"restrictedPicklist": True, "picklistValues": values}
        else:
            raise ValueError(f"not a mark of a field: {mark}")
    if name == "Name":
        text["nameField"] = True
    return text


def _own() -> dict[str, Json]:
    """Our describes, from the notation."""
    found: dict[str, Json] = {}
    relations: dict[str, list[Json]] = {}
    current: Json = {}
    for line in filter(str.strip, OBJECTS.replace(",\n    ", ", ").splitlines()):
        if not line.startswith("  "):
            name, prefix, flags = line.split()
            current = found[name] = object_describe(name, None if prefix == "-" else prefix, flags)
            audit = list(_AUDIT) + (["OwnerId > User"] if "O" in flags else [])
            current["fields"] += [_reference(name, a, relations) if " > " in a else _plain(a) for a in audit]
            continue
        line = line.strip()
        current["fields"].append(_reference(current["name"], line, relations) if " > " in line else _plain(line))
    for parent, rows in relations.items():
        found[parent]["childRelationships"] = rows
    return found


def _take_persons_away(found: dict[str, Json]) -> None:
    """Make an org without person accounts: an account has neither a contact's fields nor its children."""
    for name in ("Account", "Contact"):
        persons = re.compile("Person.*|IsPersonAccount" + ("|FirstName|LastName" if name == "Account" else ""))
        found[name]["fields"] = [f for f in found[name]["fields"] if not persons.fullmatch(f["name"])]
    references = {(n, f["name"]): f["referenceTo"] for n, text in found.items() for f in text["fields"]}
    found["Account"]["childRelationships"] = [
        r for r in found["Account"]["childRelationships"] if "Account" in references[r["childSObject"], r["field"]]
    ]
    found["Individual"]["childRelationships"] = [
        r for r in found["Individual"]["childRelationships"] if r["childSObject"] != "Account"
    ]


def _overlaid(own: dict[str, Json], folder: Path, person_accounts: bool) -> dict[str, Json]:
    """Real describes first; ours add what they lack."""
    paths = {p.stem: p for p in sorted(folder.glob("*.json")) if not p.name.startswith("_") and "." not in p.stem}
    if person_accounts:
        paths |= {p.stem.split(".")[0]: p for p in folder.glob("*.personaccounts.json")}
    known = dict(own)
    for name, path in paths.items():
        real = json.loads(path.read_text(encoding="utf-8"))
        mine = known.get(name)
        if mine is not None:
            there = {f["name"].lower() for f in real["fields"]}
            real["fields"] += [f for f in mine["fields"] if f["name"].lower() not in there]
            pairs = {(r["childSObject"], r["field"]) for r in real["childRelationships"]}
            real["childRelationships"] += [
                r for r in mine["childRelationships"] if (r["childSObject"], r["field"]) not in pairs
            ]
        known[name] = real
    flags: dict[str, Json] = {}
    for path in sorted(folder.glob("_global*.json"), key=lambda p: p.stat().st_size):
        flags |= {row["name"]: row for row in json.loads(path.read_text(encoding="utf-8"))["sobjects"]}
    # Account last: what it lists only for its person contact is recognised by the contact's own relations.
    for name in sorted(paths, key=lambda n: n == "Account"):
        for row in known[name]["childRelationships"]:
            _mention(known, flags, name, row)
    return known


def _mention(known: dict[str, Json], flags: Mapping[str, Json], parent: str, row: Json) -> None:
    """Make the child and the field that a real relation mentions, if nothing else described them."""
    child = row["childSObject"]
    if child not in known:
        known[child] = object_describe(child, None, "-" if child.endswith("ChangeEvent") else "CUDQ")
        known[child]["fields"] += [_plain(a) for a in _AUDIT if " > " not in a]
        known[child] |= {k: v for k, v in flags.get(child, {}).items() if k not in ("urls", "fields")}
    fields = {f["name"]: f for f in known[child]["fields"]}
    if row["field"] not in fields:
        up = row["field"].removesuffix("Id") if row["field"].endswith("Id") else None
        known[child]["fields"].append(
            field_describe(row["field"], "reference", 18, referenceTo=[parent], relationshipName=up)
        )
        return
    there = fields[row["field"]]["referenceTo"]
    is_persons = _is_persons(row["field"], row["relationshipName"], points_at_contact="Contact" in there)
    is_real = child in ("Contact", "Lead", "Account", "Case")
    if parent not in there and not is_real and not (parent == "Account" and is_persons):
        fields[row["field"]]["referenceTo"] = [*there, parent]


@functools.lru_cache(maxsize=8)
def load_schema(folder: str | None = None, person_accounts: bool = True) -> Schema:
    """The org's schema; the same one for the same arguments, so nobody may change it."""
    found = _own()
    if not person_accounts:
        _take_persons_away(found)
    if folder is not None:
        found = _overlaid(found, Path(folder), person_accounts)
    taken = {d["keyPrefix"] for d in found.values()}
    free = (f"z{a}{b}" for a in "0123456789abcdefghijklm" for b in "0123456789abcdefghijklmnopqrstuvwxyz")
    objects: dict[str, SObject] = {}
    for name, text in found.items():
        prefix = text["keyPrefix"] or next(p for p in free if p not in taken)
        objects[name] = SObject(text, prefix)
        objects[name].index()
    return Schema(objects)

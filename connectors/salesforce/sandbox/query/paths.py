"""Field paths of SOQL against the stand-in's schema: `Email`, `Account.Name`, `What.Type`, and how their values show.

Raises INVALID_FIELD where the org (as the credential sees it) has no such field, in Salesforce's words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from connectors.salesforce.sandbox.schema import Schema, SObject, field_describe
from connectors.salesforce.sandbox.store import Row, Store
from connectors.salesforce.sandbox.wire import refuse

_MOST_LEVELS = 5
# A polymorphic reference leads to the object Name.
_NAME_FIELDS = {
    "id": field_describe("Id", "id"),
    "name": field_describe("Name", "string"),
    "type": field_describe("Type", "string"),
    "email": field_describe("Email", "email"),
    "phone": field_describe("Phone", "phone"),
    "firstname": field_describe("FirstName", "string"),
    "lastname": field_describe("LastName", "string"),
}


@dataclass(frozen=True)
class Path:
    """A resolved path: the last field's describe, the way there in canonical names, and how to get the value."""

    field: dict[str, Any]
    steps: tuple[str, ...]
    value: Callable[[Row], Any]
    is_direct: bool


def resolve(store: Store, seen: Schema, found: SObject, text: str) -> Path:
    """Resolve a path that begins at one object, through what the credential sees."""
    parts = text.split(".")
    if len(parts) - 1 > _MOST_LEVELS:
        raise refuse(400, "MALFORMED_QUERY", "too many levels of relationships")
    hops: list[str] = []
    steps: list[str] = []
    current: SObject | None = found
    for part in parts[:-1]:
        field = _reference(found if current is None else current, part) if current is not None else None
        if field is None:
            raise refuse(400, "INVALID_FIELD", f"Didn't understand relationship '{part}' in field path.")
        hops.append(field["name"])
        steps.append(field["relationshipName"])
        targets = field["referenceTo"]
        current = seen.get(targets[0]) if len(targets) == 1 else None
        if len(targets) == 1 and current is None:
            raise refuse(400, "INVALID_FIELD", f"Didn't understand relationship '{part}' in field path.")
    last = _last_field(found if not hops else current, parts[-1], found.name)
    return Path(last, (*steps, last["name"]), _getter(store, tuple(hops), last), not hops)


def _reference(found: SObject, part: str) -> dict[str, Any] | None:
    for field in found.fields.values():
        if field["type"] == "reference" and (field["relationshipName"] or "").lower() == part.lower():
            return field
    return None


def _last_field(current: SObject | None, part: str, root: str) -> dict[str, Any]:
    fields = _NAME_FIELDS if current is None else current.fields
    field = fields.get(part.lower())
    if field is None:
        entity = "Name" if current is None else current.name
        message = (
            f"No such column '{part}' on entity '{entity}'. If you are attempting to use a custom field, be sure to "
            f"append the '__c' after the custom field name. Please reference your WSDL or the describe call for the "
            f"appropriate names. (query on {root})"
        )
        raise refuse(400, "INVALID_FIELD", message)
    return field


def _getter(store: Store, hops: tuple[str, ...], last: dict[str, Any]) -> Callable[[Row], Any]:
    name, is_flag = last["name"], last["type"] == "boolean"

    def get(row: Row) -> Any:
        current: Row | None = row
        for hop in hops:
            current = store.row(current.get(hop)) if current is not None else None
        if current is None:
            return None
        if name == "Type" and hops and "Type" not in current:
            return store.object_of(current).name
        value = current.get(name)
        return False if value is None and is_flag else value

    return get

"""Creating and updating one record in the stand-in: field by field, with Salesforce's refusals.

Decides which values a field takes, and what a change of one field means for others (names, a task's relations, a
portal user who is disabled). Source: Object Reference; SOAP API "StatusCode" (read 2026-11-22).
Unconfirmed: that disabling a portal user takes the contact off the user, and the code for a converted lead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from connectors.salesforce.sandbox.deletion import existing
from connectors.salesforce.sandbox.schema import SObject
from connectors.salesforce.sandbox.store import Row, Store
from connectors.salesforce.sandbox.wire import RowError, full_id, instant, parse_instant

_EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;]+")
_TEXTS = frozenset({"string", "textarea", "email", "phone", "url", "picklist", "combobox", "multipicklist"})
_SENT_MAIL_FIELDS = frozenset({"isexternallyvisible"})
_DRAFT = "5"


def update(store: Store, value: Any, fields: Mapping[str, Any], options: Mapping[str, Any], at: datetime) -> Row:
    """Change a live record, or raise RowError and change nothing."""
    row = existing(store, value)
    found = store.object_of(row)
    if not found.may("updateable"):
        raise RowError("INVALID_TYPE_FOR_OPERATION", f"entity type cannot be updated: {found.name}")
    _refuse_by_state(store, found, row, fields, options)
    checked = _checked(store, found, fields, "updateable", row)
    _refuse_by_rule(found, checked, options)
    before = row.get("WhoId")
    for name, new in checked.items():
        store.assign(row, name, new)
    store.assign(row, "LastModifiedDate", instant(at))
    store.assign(row, "SystemModstamp", instant(at))
    derive(store, found, row)
    if "WhoId" in checked and row["WhoId"] != before:
        _move_relation(store, found, row, before)
    if found.name == "User" and checked.get("IsPortalEnabled") is False:
        store.assign(row, "IsActive", False)
        store.assign(row, "ContactId", None)
    return row


def create(store: Store, found: SObject, fields: Mapping[str, Any], at: datetime) -> Row:
    """Make a record, or raise RowError and make nothing."""
    if not found.may("createable"):
        raise RowError("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", f"entity type cannot be inserted: {found.name}")
    checked = _checked(store, found, fields, "createable", None)
    given = {name.lower() for name, value in checked.items() if value is not None}
    missing = [
        f["name"]
        for key, f in found.fields.items()
        if not f["nillable"] and f["createable"] and not f["defaultedOnCreate"] and key not in given | {"ownerid"}
    ]
    if missing:
        raise RowError("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", tuple(missing))
    row = store.add(found.name, {"Id": None, **checked, "IsDeleted": False, **stamps(at)})
    derive(store, found, row)
    return row


def stamps(at: datetime) -> dict[str, str]:
    """The audit fields of a new row."""
    return {"CreatedDate": instant(at), "LastModifiedDate": instant(at), "SystemModstamp": instant(at)}


def derive(store: Store, found: SObject, row: Row) -> None:
    """Fields that Salesforce makes of others."""
    if found.name in ("Contact", "Lead", "Individual", "User") or row.get("IsPersonAccount"):
        store.assign(row, "Name", " ".join(str(p) for p in (row.get("FirstName"), row.get("LastName")) if p))
    if found.name == "Account" and row.get("IsPersonAccount"):
        contact = store.row(row.get("PersonContactId"))
        for mine, theirs in _PERSON_FIELDS.items():
            if contact is not None and contact.get(theirs) != row.get(mine):
                store.assign(contact, theirs, row.get(mine))
    for copy, (references, fields) in _COPIES.items():
        if found.name == copy:
            _copy(store, row, references, fields)
        for reference in references if found.name in ("Contact", "Lead") else ():
            for other in store.by_reference(copy, reference, row["Id"]):
                _copy(store, other, references, fields)


def _copy(store: Store, row: Row, references: tuple[str, ...], fields: Mapping[str, str]) -> None:
    """Fields that show the person that the row points at."""
    person = next((found for found in (store.row(row.get(name)) for name in references) if found is not None), {})
    for mine, theirs in fields.items():
        store.assign(row, mine, person.get(theirs))


_COPIES: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "Case": (("ContactId",), {"ContactEmail": "Email", "ContactPhone": "Phone"}),
    "CampaignMember": (
        ("LeadId", "ContactId"),
        {"Email": "Email", "Phone": "Phone", "FirstName": "FirstName", "LastName": "LastName"},
    ),
}


_PERSON_FIELDS = {
    "FirstName": "FirstName",
    "LastName": "LastName",
    "Name": "Name",
    "PersonEmail": "Email",
    "PersonMobilePhone": "MobilePhone",
    "PersonHomePhone": "HomePhone",
    "PersonBirthdate": "Birthdate",
    "PersonIndividualId": "IndividualId",
    "PersonMailingStreet": "MailingStreet",
    "PersonHasOptedOutOfEmail": "HasOptedOutOfEmail",
}


def _refuse_by_state(
    store: Store, found: SObject, row: Row, fields: Mapping[str, Any], options: Mapping[str, Any]
) -> None:
    if row["Id"] in options.get("locked", ()):
        raise RowError("ENTITY_IS_LOCKED", "the entity is locked for editing")
    conflicts = options.get("lock_conflicts", {})
    if conflicts.get(row["Id"], 0) > 0:
        conflicts[row["Id"]] -= 1
        raise RowError("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record or 1 records")
    if found.name == "Contact" and row.get("IsPersonAccount"):
        raise RowError("INSUFFICIENT_ACCESS_OR_READONLY", "a person account is changed by its account")
    if found.name == "Lead" and row.get("IsConverted"):
        raise RowError("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
    if found.name == "EmailMessage" and row.get("Status") != _DRAFT:
        fixed = [n for n in fields if n.lower() not in _SENT_MAIL_FIELDS and not n.lower().endswith("__c")]
        if fixed:
            raise RowError("INSUFFICIENT_ACCESS_OR_READONLY", "a sent message is read-only", tuple(fixed))


def _refuse_by_rule(found: SObject, checked: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Validation rules: option `validation_rules` {"Object.Field": pattern that a value must match}."""
    for key, pattern in options.get("validation_rules", {}).items():
        name, _, field = key.partition(".")
        if name == found.name and field in checked and not re.fullmatch(pattern, str(checked[field] or "")):
            raise RowError("FIELD_CUSTOM_VALIDATION_EXCEPTION", "a validation rule refuses this value", (field,))


def _checked(store: Store, found: SObject, fields: Mapping[str, Any], flag: str, row: Row | None) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for name, value in fields.items():
        if name.lower() in ("attributes", "id"):
            continue
        field = found.fields.get(name.lower())
        if field is None:
            raise RowError("INVALID_FIELD", f"No such column '{name}' on sobject of type {found.name}")
        if not field[flag]:
            message = f"Unable to create/update fields: {field['name']}. Please check the security settings"
            raise RowError("INVALID_FIELD_FOR_INSERT_UPDATE", message, (field["name"],))
        checked[field["name"]] = _value(store, found, field, value, row)
    return checked


def _value(store: Store, found: SObject, field: Mapping[str, Any], value: Any, row: Row | None) -> Any:
    name, kind = str(field["name"]), field["type"]
    if value is None or value == "":
        if kind == "boolean":
            raise RowError("INVALID_TYPE_ON_FIELD_IN_RECORD", f"{name}: value not of required type", (name,))
        if not field["nillable"]:
            raise RowError("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{name}]", (name,))
        return None
    if kind in _TEXTS:
        value = _text(field, value)
    elif kind == "boolean":
        _of_type(name, value, bool)
    elif kind in ("currency", "double", "int", "percent"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RowError("INVALID_TYPE_ON_FIELD_IN_RECORD", f"{name}: value not of required type", (name,))
    elif kind in ("date", "datetime"):
        _moment(name, kind, value)
    elif kind == "reference":
        value = _target(store, field, value)
    if field["unique"]:
        for other in store.by_reference(found.name, name, value):
            if other is not row and not other.get("IsDeleted"):
                message = f"duplicate value found: {name} duplicates value on record with id: {other['Id']}"
                raise RowError("DUPLICATE_VALUE", message)
    return value


def _of_type(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise RowError("INVALID_TYPE_ON_FIELD_IN_RECORD", f"{name}: value not of required type", (name,))


def _text(field: Mapping[str, Any], value: Any) -> str:
    name = str(field["name"])
    _of_type(name, value, str)
    if len(value) > field["length"] > 0:
        message = f"{field['label']}: data value too large (max length={field['length']})"
        raise RowError("STRING_TOO_LONG", message, (name,))
    if field["type"] == "email" and not _EMAIL.fullmatch(value):
        raise RowError("INVALID_EMAIL_ADDRESS", f"{field['label']}: invalid email address", (name,))
    values = [v["value"] for v in field["picklistValues"] if v["active"]]
    if field["restrictedPicklist"] and value not in values:
        message = f"{field['label']}: bad value for restricted picklist field"
        raise RowError("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, (name,))
    return str(value)


def _moment(name: str, kind: str, value: Any) -> None:
    try:
        is_fine = (len(value) == 10) == (kind == "date") and parse_instant(value) is not None
    except (TypeError, ValueError):
        is_fine = False
    if not is_fine:
        raise RowError("INVALID_TYPE_ON_FIELD_IN_RECORD", f"{name}: value not of required type", (name,))


def _target(store: Store, field: Mapping[str, Any], value: Any) -> str:
    name = str(field["name"])
    record_id = full_id(value)
    found = store.schema.of_id(record_id)
    target = store.row(record_id)
    if found is None or target is None:
        raise RowError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", (name,))
    if found.name not in field["referenceTo"]:
        raise RowError("FIELD_INTEGRITY_EXCEPTION", f"{name}: id value of incorrect type", (name,))
    if target.get("IsDeleted"):
        raise RowError("ENTITY_IS_DELETED", "entity is deleted", (name,))
    return record_id


def _move_relation(store: Store, found: SObject, row: Row, before: str | None) -> None:
    """A task's or event's first person changed: the relation row goes with it."""
    name = f"{found.name}Relation"
    for relation in store.by_reference(name, f"{found.name}Id", row["Id"]):
        if relation.get("RelationId") == before and before is not None:
            store.vanish(relation)

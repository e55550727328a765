"""What deleting one record does in the stand-in: who blocks it, what goes with it, whose reference is cleared.

Source: SOAP API Developer Guide, delete() and ChildRelationship (read 2026-11-22); the flags are describe's. Stricter
than known where nothing is known: a live child of a restricting relation blocks even if it would go with the parent
by another way. A relation with both flags (Order.AccountId) blocks when the child is activated and cascades otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from connectors.salesforce.sandbox.objects import FEED_VIEWS
from connectors.salesforce.sandbox.schema import Relation
from connectors.salesforce.sandbox.store import Row, Store
from connectors.salesforce.sandbox.wire import RowError, full_id

_CASCADE_LIMIT = 100_000
_ACTIVITY_OF = {"TaskRelation": "TaskId", "EventRelation": "EventId"}


@dataclass
class Closure:
    """All that deleting the first row means."""

    rows: list[Row]
    cleared: list[tuple[Row, str]] = field(default_factory=list)
    blockers: list[Row] = field(default_factory=list)


def existing(store: Store, value: Any) -> Row:
    """The live row of an id. Raises RowError as Salesforce tells a bad id from a gone and from a deleted record."""
    record_id = full_id(value)
    if store.schema.of_id(record_id) is None:
        raise RowError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", status=404)
    row = store.row(record_id)
    if row is None:
        raise RowError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", status=404)
    if row.get("IsDeleted"):
        raise RowError("ENTITY_IS_DELETED", "entity is deleted", status=404)
    return row


def delete(store: Store, value: Any, options: Mapping[str, Any], at: datetime, *, hard: bool = False) -> Row:
    """Delete one record with all that goes with it, or raise RowError and change nothing."""
    row = existing(store, value)
    _refuse_by_kind(store, row)
    _refuse_by_option(row["Id"], options)
    closure = closure_of(store, row, blocks_when_deleted=bool(options.get("deleted_children_block")))
    if closure.blockers:
        raise RowError("DELETE_FAILED", _blocked(store, row, closure.blockers))
    if len(closure.rows) - 1 > int(options.get("cascade_limit", _CASCADE_LIMIT)):
        raise RowError("DELETE_OPERATION_TOO_LARGE", "delete operation too large: too many records would be deleted")
    for child, name in closure.cleared:
        store.assign(child, name, None)
    store.mark_deleted(closure.rows, at)
    _pass_on_shared(store, row)
    if not store.object_of(row).may("undeletable"):
        # Such rows don't go to the bin and queryAll doesn't show them (Object Reference, TaskRelation.IsDeleted).
        store.vanish(row)
    elif hard:
        store.purge(row, at)
    return row


def _refuse_by_kind(store: Store, row: Row) -> None:
    found = store.object_of(row)
    if found.name == "Contact" and row.get("IsPersonAccount"):
        # Unconfirmed: that the person contact can't be deleted by itself, and with which code.
        raise RowError("INSUFFICIENT_ACCESS_OR_READONLY", "a person account is deleted by its account")
    if not found.may("deletable"):
        # Unconfirmed: the code. That such objects can't be deleted is in their describes.
        raise RowError("INVALID_TYPE_FOR_OPERATION", f"entity type cannot be deleted: {found.name}")


def _refuse_by_option(record_id: str, options: Mapping[str, Any]) -> None:
    conflicts = options.get("lock_conflicts", {})
    if conflicts.get(record_id, 0) > 0:
        conflicts[record_id] -= 1
        raise RowError("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record or 1 records")
    if record_id in options.get("locked", ()):
        raise RowError("ENTITY_IS_LOCKED", "the entity is locked for editing")
    if record_id in options.get("too_large", ()):
        raise RowError("DELETE_OPERATION_TOO_LARGE", "delete operation too large: too many records would be deleted")
    veto = options.get("vetoes", {}).get(record_id)
    if veto is not None:
        raise RowError(str(veto), "Trigger: execution of BeforeDelete refused")


def closure_of(store: Store, top: Row, *, blocks_when_deleted: bool = False) -> Closure:
    """Walk the relations downward: cascades are followed, restricts block, the rest is cleared."""
    closure = Closure([top])
    seen = {top["Id"]}
    position = 0
    while position < len(closure.rows):
        row = closure.rows[position]
        position += 1
        found = store.object_of(row)
        contact = store.row(row.get("PersonContactId")) if found.name == "Account" else None
        if contact is not None and contact["Id"] not in seen:
            seen.add(contact["Id"])
            closure.rows.append(contact)
        for relation in found.children:
            if relation.child in FEED_VIEWS or store.is_persons(relation):
                continue
            for child in store.children(relation, row):
                _settle(closure, seen, relation, child, blocks_when_deleted=blocks_when_deleted)
    closure.cleared = [(child, name) for child, name in closure.cleared if child["Id"] not in seen]
    return closure


def _settle(closure: Closure, seen: set[str], relation: Relation, child: Row, *, blocks_when_deleted: bool) -> None:
    is_deleted = bool(child.get("IsDeleted"))
    if is_deleted and not (blocks_when_deleted and relation.restricts and not child.get("@purged")):
        return
    is_activated = str(child.get("StatusCode") or child.get("Status") or "").startswith("Activated")
    if relation.restricts and (not relation.cascades or is_activated):
        closure.blockers.append(child)
    elif relation.cascades and child["Id"] not in seen:
        seen.add(child["Id"])
        closure.rows.append(child)
    elif not relation.cascades:
        closure.cleared.append((child, relation.field))


def _blocked(store: Store, row: Row, blockers: list[Row]) -> str:
    """Salesforce names the record and its blockers in the message. Unconfirmed: the exact words over REST."""
    kinds = sorted({str(store.object_of(b).describe["labelPlural"]).lower() for b in blockers})
    names = ", ".join(str(b.get("CaseNumber") or b.get("Name") or b["Id"]) for b in blockers[:5])
    name = row.get("Name") or row["Id"]
    return (
        f"Your attempt to delete {name} could not be completed because it is associated with the following "
        f"{' and '.join(kinds)}.: {names}\n"
    )


def _pass_on_shared(store: Store, row: Row) -> None:
    """Without its relation to the activity's first person, a shared activity belongs to the next one."""
    kind = store.object_of(row).name
    if kind not in _ACTIVITY_OF or row.get("IsWhat"):
        return
    shared = store.row(row.get(_ACTIVITY_OF[kind]))
    if shared is None or shared.get("IsDeleted") or shared.get("WhoId") != row.get("RelationId"):
        return
    others = store.by_reference(kind, _ACTIVITY_OF[kind], shared["Id"])
    whos = [o["RelationId"] for o in others if not o.get("IsDeleted") and not o.get("IsWhat") and o is not row]
    people = [who for who in whos if who[:3] in ("003", "00Q")]
    store.assign(shared, "WhoId", people[0] if people else None)

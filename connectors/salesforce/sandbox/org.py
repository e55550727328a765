"""One stand-in org: its state, how it is seeded, the clock of its recycle bin, and the ground truth of all of it.

Decides nothing about the API. The seed's form stands in `sandbox`; a row's `person` mark says whose it is and is never
shown to a caller.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from connectors.salesforce.sandbox.deletion import delete
from connectors.salesforce.sandbox.locks import lock_keys
from connectors.salesforce.sandbox.pages import Pages
from connectors.salesforce.sandbox.schema import Schema, SObject, load_schema
from connectors.salesforce.sandbox.store import Row, Store
from connectors.salesforce.sandbox.wire import RowError, full_id, instant
from connectors.salesforce.sandbox.writes import create, derive, stamps, update
from connectors.testing.sandbox import Sandbox

DAY_SECONDS = 86_400
BIN_SECONDS = 15 * DAY_SECONDS
_CLOCKED = frozenset({"SystemModstamp", "LastModifiedDate"})


class OrgSandbox(Sandbox):
    """Rows and rules, without routes."""

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(options)
        self._open_store: Store | None = None
        self._seen: tuple[Any, Schema] | None = None
        self.pages = Pages()
        self.locked_elsewhere: frozenset[str] | None = frozenset()

    def empty_state(self) -> dict[str, Any]:
        """An org with its organization, the user that the API runs as, and nobody in it."""
        state: dict[str, Any] = {
            "tables": {}, "bin": {}, "purged": {}, "numbers": {}, "refs": {}, "tokens": {}, "jobs": {}, "api_calls": 0,
            "marks": {}, "deletions": 0, "arrived": 0, "counted": {},
        }  # fmt: skip
        store = Store(state, self.schema)
        user = store.add("User", {"Username": "integration@example.test", "Name": "Integration", "IsActive": True})
        store.add("Organization", {"Name": "Example Org", "OrganizationType": "Enterprise Edition", "IsSandbox": True})
        state["running_user"] = user["Id"]
        return state

    @property
    def schema(self) -> Schema:
        """The org's whole schema."""
        folder = self.options.get("describe_directory")
        return load_schema(None if folder is None else str(folder), bool(self.options.get("person_accounts", True)))

    @property
    def visible(self) -> Schema:
        """The schema as the credential sees it: without what option `hidden` names."""
        hidden = frozenset(self.options.get("hidden", ()))
        if self._seen is None or self._seen[0] != (hidden, id(self.schema)):
            self._seen = ((hidden, id(self.schema)), self.schema.without(hidden) if hidden else self.schema)
        return self._seen[1]

    @property
    def store(self) -> Store:
        """The rows of the present `state`; another `state` means another store."""
        if self._open_store is None or self._open_store.state is not self.state:
            self._open_store = Store(self.state, self.schema)
        return self._open_store

    def permission(self, name: str) -> bool:
        """One of option `permissions`: bulk_hard_delete (off, as by default), modify_all_data (on) and, as long as
        nobody says otherwise, view_all_data with it."""
        given = {"bulk_hard_delete": False, "modify_all_data": True, **self.options.get("permissions", {})}
        return bool(given.get(name, given["modify_all_data"]))

    def is_seen(self, row: Row) -> bool:
        """Without view_all_data what somebody else owns isn't there for us. Sharing rules and roles aren't modelled."""
        return self.permission("view_all_data") or row.get("OwnerId") in (None, self.state["running_user"])

    def advance(self) -> None:
        """Let time do its work: the recycle bin's 15 days, and purged rows that queryAll still shows."""
        bin_for = timedelta(seconds=float(self.options.get("purge_after", BIN_SECONDS)))
        shown_for = timedelta(seconds=float(self.options.get("confirm_after", 0)))
        if "bin_capacity" in self.options:
            self.store.evict(self.now(), int(self.options["bin_capacity"]))
        self.store.expire(self.now(), bin_for, shown_for)
        access = {
            "PermissionsApiEnabled": True,
            "PermissionsBulkApiHardDelete": self.permission("bulk_hard_delete"),
            "PermissionsModifyAllData": self.permission("modify_all_data"),
            "PermissionsViewAllData": self.permission("view_all_data"),
        }
        rows = list(self.store.table("UserPermissionAccess"))
        row = rows[0] if rows else self.store.add("UserPermissionAccess", {"IsDeleted": False})
        for name, value in access.items():
            self.store.assign(row, name, value)

    def delete_row(self, value: Any, *, hard: bool = False) -> Row:
        """Delete one record, unless another call holds its locks. Raises RowError."""
        self._refuse_if_locked(value)
        row = delete(self.store, value, self.options, self.now(), hard=hard)
        self.state["deletions"] += 1
        return row

    def let_arrive(self) -> None:
        """Option `arrivals`: records that come in once so many were deleted, as they do between plan and deletion."""
        arrivals = self.options.get("arrivals", ())
        while self.state["arrived"] < len(arrivals):
            due = arrivals[self.state["arrived"]]
            if self.state["deletions"] < due["after_deletions"]:
                return
            self.state["arrived"] += 1
            self.seed({"records": due["records"]})

    def update_row(self, value: Any, fields: Mapping[str, Any]) -> Row:
        """Change one record, unless another call holds its locks. Raises RowError."""
        self._refuse_if_locked(value)
        take_back = self.store.savepoint()
        try:
            return update(self.store, value, fields, self.options, self.now())
        except RowError:
            take_back()
            raise

    def create_row(self, found: SObject, fields: Mapping[str, Any]) -> Row:
        """Make one record. Raises RowError."""
        row = create(self.store, found, fields, self.now())
        self._own(found, row)
        return row

    def locks_of_others(self) -> frozenset[str]:
        """What calls and jobs at the same time hold."""
        raise NotImplementedError

    def _refuse_if_locked(self, value: Any) -> None:
        if self.locked_elsewhere is None:
            # Found out only when something is written: a job of thousands of rows holds many locks.
            self.locked_elsewhere = self.locks_of_others()
        if self.locked_elsewhere and lock_keys(self.store, full_id(value)) & self.locked_elsewhere:
            message = "unable to obtain exclusive access to this record or 1 records"
            raise RowError("UNABLE_TO_LOCK_ROW", message)

    def seed(self, data: Any) -> None:
        """Put records in; `sandbox` documents the form. Raises ValueError for what the org has no place for."""
        entries = list(data.get("records", ()))
        made: list[tuple[SObject, Row, Mapping[str, Any]]] = []
        for entry in entries:
            found = self.schema.get(entry["object"])
            if found is None:
                raise ValueError(f"seed: no object {entry['object']}")
            row = self.store.add(found.name, {"Id": entry.get("id"), "IsDeleted": False, **stamps(self.now())})
            if entry.get("person") is not None:
                row["@person"] = entry["person"]
                self.state["marks"][row["Id"]] = entry["person"]
            if entry.get("ref") is not None:
                self.state["refs"][entry["ref"]] = row["Id"]
            made.append((found, row, entry))
            if entry.get("fields", {}).get("IsPersonAccount"):
                self._add_person_contact(row, entry)
        for found, row, entry in made:
            self._fill(found, row, entry)
        for found, row, entry in made:
            derive(self.store, found, row)
            if entry.get("deleted"):
                self.store.mark_deleted([row], self.now())
        self.store.forget_undo()
        self.state["counted"] = {
            name: sum(not row.get("IsDeleted") for row in rows.values()) for name, rows in self.state["tables"].items()
        }

    def _add_person_contact(self, account: Row, entry: Mapping[str, Any]) -> None:
        mark = {"@person": entry["person"]} if entry.get("person") is not None else {}
        values = {"AccountId": account["Id"], "IsPersonAccount": True, "IsDeleted": False, **mark}
        contact = self.store.add("Contact", {"Id": None, **values, **stamps(self.now())})
        self.store.assign(account, "PersonContactId", contact["Id"])
        if entry.get("ref") is not None:
            self.state["refs"][f"{entry['ref']}:contact"] = contact["Id"]

    def _fill(self, found: SObject, row: Row, entry: Mapping[str, Any]) -> None:
        for name, value in entry.get("fields", {}).items():
            field = found.fields.get(name.lower())
            if field is None:
                raise ValueError(f"seed: {found.name} has no field {name}")
            if isinstance(value, str) and value.startswith("@") and field["type"] == "reference":
                value = self.id_of(value[1:])
            self.store.assign(row, field["name"], value)
        self._own(found, row)

    def _own(self, found: SObject, row: Row) -> None:
        for name in ("OwnerId", "CreatedById", "LastModifiedById"):
            if name.lower() in found.fields and row.get(name) is None:
                self.store.assign(row, name, self.state["running_user"])

    def id_of(self, ref: str) -> str:
        """The id of a seeded record."""
        return str(self.state["refs"][ref])

    def records(self) -> list[dict[str, Any]]:
        """Every row: live, in the recycle bin, and purged but still shown by queryAll."""
        self.advance()
        return [{"object": name, "id": row["Id"], **_shown(row)} for name, row in self.store.rows()]

    def owned_by(self, values: set[str]) -> list[dict[str, Any]]:
        """All rows that were seeded for the persons whose values these are."""
        marks: Mapping[str, str] = self.state["marks"]
        people = {marks[row["id"]] for row in self.residue(values) if row["id"] in marks}
        return [row for row in self.records() if marks.get(row["id"]) in people]

    def snapshot(self, erased: Iterable[str] = ()) -> dict[str, Any]:
        """What belongs to everybody but the persons named: to be given to `changed_bystanders` later."""
        people = set(erased)
        theirs = [row["Id"] for _, row in self.store.rows() if row.get("@person") in people]
        others = {r["Id"]: _shown(r) for _, r in self.store.rows() if r.get("@person") not in people}
        return {"erased": theirs, "rows": copy.deepcopy(others)}

    def changed_bystanders(self, before: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Others' records that are gone or differ from a `snapshot`, field by field.

        A reference that led to an erased record and no longer does is no change: it was the erased person's.
        """
        gone = set(before["erased"])
        changed: list[dict[str, Any]] = []
        for record_id, old in before["rows"].items():
            row = self.store.row(record_id)
            found = self.schema.of_id(record_id)
            name = found.name if found else "?"
            if row is None or (row.get("IsDeleted") and not old.get("IsDeleted")):
                changed.append({"object": name, "id": record_id, "field": None})
                continue
            new = _shown(row)
            changed += [
                {"object": name, "id": record_id, "field": field}
                for field in sorted({*old, *new} - _CLOCKED)
                if old.get(field) != new.get(field) and old.get(field) not in gone
            ]
        return changed

    def advance_clock(self, **spans: float) -> None:
        """Move the org's clock: `days=15`, `seconds=3`."""
        self.clock_offset += timedelta(**spans)

    def stamp(self) -> str:
        """Now, as the API writes it."""
        return instant(self.now())


def _shown(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("@")}

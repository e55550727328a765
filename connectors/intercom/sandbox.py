"""A stand-in of an Intercom workspace: contacts, conversations and tickets, searched in pages."""

from __future__ import annotations

from typing import Any

from connectors.testing.sandbox import ApiError, Call, ManualSetup, Result, Table, TableSandbox, route

_CONTROL = "control@acme.example"
_SEARCHABLE = {"contacts": ("email", "external_id"), "conversations": ("contact_ids",), "tickets": ("contact_ids",)}
_MOST_PER_PAGE = 150


class IntercomSandbox(TableSandbox):
    """Options: `access_token`; `rows_per_page`, the most rows of a page; `search_lags`.

    With `search_lags` the search still lists deleted records.

    Seed: {"contacts": [{"id", "email", "external_id", "name", "phone"}], "conversations": [{"id", "contacts": [contact
    id], "body"}], "tickets": [likewise]}. A contact with `archived` is hidden from search and GET, as at Intercom; one
    with `merged` answers 410. Guess: conversations stay when their contact is deleted.
    """

    name = "intercom"
    manual = ManualSetup(
        entry={
            "credentials": {"access_token": "sandbox-token"},
            "policy": {"control_email": _CONTROL},
            "delays": {"confirm_after": 0},
            "rate_limits": [],
        }
    )
    tables = (
        Table("contacts", "contact"),
        Table("conversations", "conversation", owners="contacts"),
        Table("tickets", "ticket", owners="contacts"),
    )
    control = (("contacts", {"id": "control", "email": _CONTROL}),)

    def empty_state(self) -> dict[str, Any]:
        """The control contact, and by table what a search that lags still lists."""
        return super().empty_state() | {"listed": {table.name: [] for table in self.tables}}

    def authorize(self, call: Call) -> None:
        """Refuse a wrong token, and a version that this stand-in doesn't speak."""
        if call.headers.get("authorization") != f"Bearer {self.options.get('access_token', 'sandbox-token')}":
            raise _error(401, "unauthorized")
        if call.headers.get("intercom-version") != "2.16":
            raise _error(400, "intercom_version_invalid")

    def not_found(self, call: Call) -> Result:
        """Guess: an unknown path has the code of a missing record."""
        return _error(404, "not_found").result

    def blind(self, call: Call, result: Result) -> Result:
        """Show nothing to the credential."""
        if call.path.endswith("/search") and result.status == 200:
            empty: dict[str, Any] = {name: [] for name, value in result.body.items() if isinstance(value, list)}
            return Result(200, {**result.body, **empty, "total_count": 0, "pages": {"type": "pages", "next": None}})
        return self.not_found(call) if call.method == "GET" else result

    @route("POST", "/{table}/search")
    def search(self, call: Call) -> Result:
        """Compare exactly, with addresses in lower case; archived and merged contacts are never found."""
        table, body = call.path_values["table"], call.json()
        query, pagination = body.get("query", {}), body.get("pagination", {})
        if query.get("field") not in _SEARCHABLE.get(table, ()) or query.get("operator") != "=":
            raise _error(400, "invalid_field")
        size = pagination.get("per_page", 50)
        if not isinstance(size, int) or not 1 <= size <= _MOST_PER_PAGE:
            raise _error(400, "parameter_invalid")
        listed = [*self.state[table].values(), *self.state["listed"][table]]
        hits = [row for row in listed if not row.get("archived") and not row.get("merged")]
        hits = [row for row in hits if query["value"] in _values(row, query["field"])]
        size = min(size, self.options.get("rows_per_page", _MOST_PER_PAGE))
        rows, after = self.page(hits, pagination.get("starting_after"), size, _error(400, "parameter_invalid"))
        pages = {"type": "pages", "next": {"starting_after": after} if after else None, "per_page": size}
        name = "data" if table == "contacts" else table
        shown = [_shown(row) for row in rows]
        return Result(200, {"type": "list", name: shown, "total_count": len(hits), "pages": pages})

    @route("GET", "/{table}/{id}")
    def show(self, call: Call) -> Result:
        """One record; an archived contact isn't shown."""
        row = self._row(call)
        return self.not_found(call) if row.get("archived") else Result(200, _shown(row))

    @route("DELETE", "/{table}/{id}")
    def delete(self, call: Call) -> Result:
        """For good, an archived contact too."""
        table, row = call.path_values["table"], self._row(call)
        del self.state[table][row["id"]]
        if self.options.get("search_lags"):
            self.state["listed"][table].append(row)
        return Result(200, {"id": row["id"], "object": self.table(table).object, "deleted": True})

    def _row(self, call: Call) -> dict[str, Any]:
        table = call.path_values["table"]
        row = self.state[table].get(call.path_values["id"]) if table in _SEARCHABLE else None
        if row is None:
            raise _error(404, "ticket_not_found" if table == "tickets" else "not_found")
        if row.get("merged"):
            raise _error(410, "contact_merged")
        return dict(row)


def _values(row: dict[str, Any], field: str) -> list[Any]:
    value = row.get("contacts" if field == "contact_ids" else field)
    return value if isinstance(value, list) else [(value or "").lower() if field == "email" else value]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    if "contacts" not in row:
        return row
    contacts = [{"type": "contact", "id": contact} for contact in row["contacts"]]
    return {**row, "contacts": {"type": "contact.list", "contacts": contacts}}


def _error(status: int, code: str) -> ApiError:
    return ApiError(status, {"type": "error.list", "errors": [{"code": code, "message": "see the code"}]})

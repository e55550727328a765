"""A stand-in of an Intercom workspace: contacts, conversations and tickets, searched in pages, deleted for good."""

from __future__ import annotations

from typing import Any

from connectors.testing.sandbox import ApiError, Call, ManualSetup, Result, Sandbox, route

_CONTROL = "control@acme.example"
_SEARCHABLE = {"contacts": ("email", "external_id"), "conversations": ("contact_ids",), "tickets": ("contact_ids",)}
_MOST_PER_PAGE = 150


class IntercomSandbox(Sandbox):
    """Options: `access_token`, `rows_per_page` (the workspace sends at most so many rows a page), `search_lags` (the
    search still lists deleted records).

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

    def empty_state(self) -> dict[str, Any]:
        """The control contact only."""
        control = {"id": "control", "email": _CONTROL}
        return {"contacts": {"control": control}, "conversations": {}, "tickets": {}, "deleted": {}}

    def seed(self, data: Any) -> None:
        """Add rows."""
        for table, rows in data.items():
            self.state[table] |= {row["id"]: dict(row) for row in rows}

    def authorize(self, call: Call) -> None:
        """Refuse a wrong token, and a version that this stand-in doesn't speak."""
        if call.headers.get("authorization") != f"Bearer {self.options.get('access_token', 'sandbox-token')}":
            raise ApiError(401, _errors("unauthorized"))
        if call.headers.get("intercom-version") != "2.16":
            raise ApiError(400, _errors("intercom_version_invalid"))

    def not_found(self, call: Call) -> Result:
        """Guess: an unknown path has the code of a missing record."""
        return Result(404, _errors("not_found"))

    def records(self) -> list[dict[str, Any]]:
        """Everything but the control contact."""
        rows = [{"object": name[:-1], **row} for name in _SEARCHABLE for row in self.state[name].values()]
        return [row for row in rows if row["id"] != "control"]

    def owned_by(self, values: set[str]) -> list[dict[str, Any]]:
        """Contacts by their values, conversations and tickets by their contacts."""
        found = self.residue(values)
        ids, keys = {row["id"] for row in found}, {(row["object"], row["id"]) for row in found}
        return [r for r in self.records() if (r["object"], r["id"]) in keys or ids & set(r.get("contacts", ()))]

    def blind(self, call: Call, result: Result) -> Result:
        """Show nothing to the credential."""
        if call.path.endswith("/search") and result.status == 200:
            empty: dict[str, Any] = {name: [] for name, value in result.body.items() if isinstance(value, list)}
            return Result(200, {**result.body, **empty, "total_count": 0, "pages": {"type": "pages", "next": None}})
        return Result(404, _errors("not_found")) if call.method == "GET" else result

    @route("POST", "/{table}/search")
    def search(self, call: Call) -> Result:
        """Compare exactly, with addresses in lower case; archived and merged contacts are never found."""
        table, body = call.path_values["table"], call.json()
        query, pagination = body.get("query", {}), body.get("pagination", {})
        if query.get("field") not in _SEARCHABLE.get(table, ()) or query.get("operator") != "=":
            raise ApiError(400, _errors("invalid_field"))
        per_page = pagination.get("per_page", 50)
        if not isinstance(per_page, int) or not 1 <= per_page <= _MOST_PER_PAGE:
            raise ApiError(400, _errors("parameter_invalid"))
        listed = [
            *self.state[table].values(),
            *(row for key, row in self.state["deleted"].items() if key.startswith(table)),
        ]
        hits = [row for row in listed if not row.get("archived") and not row.get("merged")]
        hits = [row for row in hits if query["value"] in _values(row, query["field"])]
        per_page = min(per_page, self.options.get("rows_per_page", _MOST_PER_PAGE))
        begin = _offset(pagination.get("starting_after"))
        following = {"starting_after": f"after-{begin + per_page}"} if begin + per_page < len(hits) else None
        rows = [_shown(row) for row in hits[begin : begin + per_page]]
        name = "data" if table == "contacts" else table
        pages = {"type": "pages", "next": following, "per_page": per_page}
        return Result(200, {"type": "list", name: rows, "total_count": len(hits), "pages": pages})

    @route("GET", "/{table}/{id}")
    def show(self, call: Call) -> Result:
        """One record; an archived contact isn't shown."""
        row = self._row(call)
        if row.get("archived"):
            raise ApiError(404, _errors("not_found"))
        return Result(200, _shown(row))

    @route("DELETE", "/{table}/{id}")
    def delete(self, call: Call) -> Result:
        """For good, an archived contact too."""
        row = self._row(call)
        del self.state[call.path_values["table"]][row["id"]]
        if self.options.get("search_lags"):
            self.state["deleted"][f"{call.path_values['table']}/{row['id']}"] = row
        return Result(200, {"id": row["id"], "object": call.path_values["table"][:-1], "deleted": True})

    def _row(self, call: Call) -> dict[str, Any]:
        row = self.state.get(call.path_values["table"], {}).get(call.path_values["id"])
        if row is None:
            raise ApiError(404, _errors("ticket_not_found" if call.path_values["table"] == "tickets" else "not_found"))
        if row.get("merged"):
            raise ApiError(410, _errors("contact_merged"))
        return dict(row)


def _values(row: dict[str, Any], field: str) -> list[Any]:
    return (
        row["contacts"]
        if field == "contact_ids"
        else [(row.get(field) or "").lower() if field == "email" else row.get(field)]
    )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    if "contacts" not in row:
        return row
    contacts = [{"type": "contact", "id": contact} for contact in row["contacts"]]
    return {**row, "contacts": {"type": "contact.list", "contacts": contacts}}


def _offset(cursor: Any) -> int:
    if cursor is None:
        return 0
    if not isinstance(cursor, str) or not cursor.removeprefix("after-").isdigit():
        raise ApiError(400, _errors("parameter_invalid"))
    return int(cursor.removeprefix("after-"))


def _errors(code: str) -> dict[str, Any]:
    return {"type": "error.list", "errors": [{"code": code, "message": "see the code"}]}

"""A stateful stand-in of one Zendesk Support account: routes, authentication, paging and limits.

`sandbox_account` has the effects of calls. Options: `email`, `api_token`, `oauth_token`, `role` of the
credential; `job_seconds` a job takes; `confirm_after` the lag of the search index; `purge_after` until a permanent
deletion is recorded complete; `permanent_deletes_per_10_minutes`, `exports_per_minute`, `bin_reads_per_minute`,
`export_lag_seconds` and `export_rows` of the incremental export.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from connectors.testing.sandbox import ApiError, Call, ManualSetup, Result, Sandbox, route
from connectors.zendesk.sandbox_account import Account

ADMIN_ID = 1
_SEARCH_END = 10_000
_DEFAULTS = {"email": "admin@acme.example", "api_token": "sandbox-token", "oauth_token": "sandbox-oauth"}


class ZendeskSandbox(Sandbox):
    """Serves an account. `seed` takes `{"organizations": [{id, name}], "users": [...], "tickets": [...],
    "suspended_tickets": [...]}`; their keys are those of `Account.add_user`, `add_ticket` and `add_suspended`.
    """

    name = "zendesk"
    manual = ManualSetup(
        options={"job_seconds": 1, "confirm_after": 2, "purge_after": 2},
        entry={
            "credentials": {"email": _DEFAULTS["email"], "api_token": _DEFAULTS["api_token"]},
            "delays": {"confirm_after": 2, "poll_every": 1, "purge_after": 2},
            "rate_limits": [],
        },
    )

    def empty_state(self) -> dict[str, Any]:
        """Only the admin that owns the credential."""
        account = Account(Account.empty_state(), self.options, self.now)
        account.add_user(
            {
                "id": ADMIN_ID,
                "name": "Privacy Robot",
                "email": self._option("email"),
                "role": self.options.get("role", "admin"),
            }
        )
        return account.state

    @property
    def account(self) -> Account:
        """The account over the present state (which a lying call puts back)."""
        return Account(self.state, self.options, self.now)

    def seed(self, data: Any) -> None:
        """Add records; users before tickets, since tickets may name their requester by address."""
        for organization in data.get("organizations", ()):
            self.state["organizations"][str(organization["id"])] = dict(organization)
        for user in data.get("users", ()):
            self.account.add_user(user)
        for ticket in data.get("tickets", ()):
            self.account.add_ticket(ticket)
        for ticket in data.get("suspended_tickets", ()):
            self.account.add_suspended(ticket)

    def records(self) -> list[dict[str, Any]]:
        """Everything stored: soft-deleted users and tickets, and the empty rows of permanently deleted users."""
        tables = {"users": "user", "tickets": "ticket", "suspended_tickets": "suspended_ticket"}
        tables["organizations"] = "organization"
        return [{"object": name, **row} for table, name in tables.items() for row in self.state[table].values()]

    def owned_by(self, values: set[str]) -> list[dict[str, Any]]:
        """Users and suspended tickets by their values, tickets by their requester."""
        found = self.residue(values)
        keys = {(row["object"], row["id"]) for row in found}
        users = {row["id"] for row in found if row["object"] == "user"}
        return [row for row in self.records() if (row["object"], row["id"]) in keys or row.get("requester_id") in users]

    def authorize(self, call: Call) -> None:
        """Basic `email/token` or bearer. An anonymous caller may only ask for users/me."""
        header = call.headers.get("authorization", "")
        if header == f"Bearer {self._option('oauth_token')}":
            return
        if header.startswith("Basic "):
            try:
                text = base64.b64decode(header.removeprefix("Basic "), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                text = ""
            if text == f"{self._option('email')}/token:{self._option('api_token')}":
                return
        if header or call.path != "/api/v2/users/me":
            raise ApiError(401, {"error": "Couldn't authenticate you"})

    def handle(self, call: Call) -> Result:
        """As any stand-in, after the jobs that are due."""
        self.account.run_due_jobs()
        return super().handle(call)

    def not_found(self, call: Call) -> Result:
        """A path that the API doesn't have."""
        return Result(404, {"error": {"title": "Not Found", "message": "No such path"}})

    def blind(self, call: Call, result: Result) -> Result:
        """The credential is accepted and sees nobody's records."""
        if call.method != "GET" or call.path == "/api/v2/users/me" or not isinstance(result.body, dict):
            return result
        if not any(isinstance(value, list) for value in result.body.values()):
            return Result(404, {"error": "RecordNotFound", "description": "Not found"})
        emptied: dict[str, Any] = {k: [] if isinstance(v, list) else v for k, v in result.body.items()}
        emptied |= {"next_page": None} if "next_page" in emptied else {}
        emptied |= {"count": 0} if "count" in emptied else {}
        emptied |= {"meta": {"has_more": False, "after_cursor": None}} if "meta" in emptied else {}
        return Result(200, emptied)

    # Users

    @route("GET", "/api/v2/users/me")
    def show_me(self, call: Call) -> Result:
        """Answers anonymous callers too, with a user without id."""
        if not call.headers.get("authorization"):
            return Result(200, {"user": {"id": None, "name": "Anonymous user", "email": None, "role": "end-user"}})
        return Result(200, {"user": _public(self.state["users"][str(ADMIN_ID)])})

    @route("GET", "/api/v2/users/search")
    def search_users(self, call: Call) -> Result:
        """By `query` (fuzzy) or `external_id`; offset paging only, at most 10,000."""
        if "external_id" in call.query:
            wanted = call.query["external_id"].lower()
            users = [u for u in self._live_users() if (u["external_id"] or "").lower() == wanted]
        else:
            users = self.account.search_users(call.query.get("query", ""))
        return self._offset(call, "users", [_public(user) for user in users[:_SEARCH_END]])

    @route("GET", "/api/v2/users/show_many")
    def show_many_users(self, call: Call) -> Result:
        """By `ids` (soft-deleted ones come as inactive: guess) or `external_ids`; may side-load identities."""
        if "external_ids" in call.query:
            wanted = [v.lower() for v in call.query["external_ids"].split(",")]
            if len(wanted) > 100:
                raise ApiError(400, {"error": "TooManyValues"})
            users = [u for u in self._live_users() if (u["external_id"] or "").lower() in wanted]
        else:
            stored = (self.state["users"].get(str(i)) for i in _ids(call))
            users = [user for user in stored if user and not user["permanently_deleted"]]
        body: dict[str, Any] = {"users": [_public(user) for user in users], "next_page": None, "count": len(users)}
        if "identities" in call.query.get("include", "").split(","):
            body["identities"] = [identity for user in users if user["active"] for identity in user["identities"]]
        return Result(200, body)

    @route("GET", "/api/v2/incremental/users")
    def export_users(self, call: Call) -> Result:
        """By time: users changed at `start_time` or later, but not in the most recent minute; admins only.

        Deleted users are among them, permanently deleted ones too (guess). Option `export_rows`: users a page.
        """
        self._require_admin()
        try:
            start = int(call.query["start_time"])
        except (KeyError, ValueError):
            raise ApiError(400, {"error": "StartTimeMissing"}) from None
        now = int(self.now().timestamp())
        if start > now - 60:
            raise ApiError(422, {"error": "StartTimeTooRecent"})
        until = now - int(self.options.get("export_lag_seconds", 60))
        at = {i: int(datetime.fromisoformat(u["updated_at"]).timestamp()) for i, u in self.state["users"].items()}
        ids = sorted((i for i in at if start <= at[i] <= until), key=lambda i: (at[i], int(i)))
        most = int(self.options.get("export_rows", 1000))
        # Users of one second are never divided over two pages.
        rows = [i for n, i in enumerate(ids) if n < most or at[i] == at[ids[most - 1]]]
        users = [_public(self.state["users"][i]) for i in rows]
        end = at[rows[-1]] if rows else None
        body = {"users": users, "count": len(users), "end_time": end, "end_of_stream": len(rows) == len(ids)}
        return Result(200, {**body, "next_page": None})

    @route("DELETE", "/api/v2/users/destroy_many")
    def destroy_users(self, call: Call) -> Result:
        """Soft delete; admins only."""
        self._require_admin()
        return self._job("delete_users", _ids(call))

    @route("GET", "/api/v2/deleted_users")
    def list_deleted_users(self, call: Call) -> Result:
        """Permanently deleted ones included, without values."""
        users = [user for user in self.state["users"].values() if not user["active"]]
        return self._cursor(call, "deleted_users", [_public(user) for user in users])

    @route("GET", "/api/v2/deleted_users/{id}")
    def show_deleted_user(self, call: Call) -> Result:
        """Only those not yet permanently deleted."""
        user = self.account.soft_deleted_user(_path_id(call))
        return _missing() if user is None else Result(200, {"deleted_user": _public(user)})

    @route("DELETE", "/api/v2/deleted_users/{id}")
    def purge_user(self, call: Call) -> Result:
        """Permanent; 700 in 10 minutes; only after the soft delete."""
        self._require_admin()
        self._limit("permanent_deletes_per_10_minutes", 700, timedelta(minutes=10))
        user = self.account.purge_user(_path_id(call))
        return _missing() if user is None else Result(200, {"deleted_user": _public(user)})

    @route("GET", "/api/v2/users/{id}/compliance_deletion_statuses")
    def compliance(self, call: Call) -> Result:
        """The steps of a permanent deletion."""
        rows = self.account.compliance_rows(_path_id(call))
        return _missing() if rows is None else self._cursor(call, "compliance_deletion_statuses", rows)

    # Tickets

    @route("GET", "/api/v2/search")
    def search(self, call: Call) -> Result:
        """Offset paging; the type as a word of the query; at most 1,000 results."""
        kind, _, query = call.query.get("query", "").removeprefix("type:").partition(" ")
        if _number(call, "page", 1) > 10:
            raise ApiError(422, {"error": "invalid", "description": "Insufficient Resource"})
        return self._offset(call, "results", self._found(kind, query))

    @route("GET", "/api/v2/search/export")
    def export(self, call: Call) -> Result:
        """Cursor paging; the type only as a filter; 100 a minute; as late as the index."""
        self._limit("exports_per_minute", 100, timedelta(minutes=1))
        kind, query = call.query.get("filter[type]", ""), call.query.get("query", "")
        if kind not in ("ticket", "user") or "type:" in query:
            raise ApiError(422, {"error": "invalid", "description": "filter[type] is required, type: is not allowed"})
        return self._cursor(call, "results", self._found(kind, query), most=1000)

    def _found(self, kind: str, query: str) -> list[dict[str, Any]]:
        """Fuzzy for both types: an id matches as a prefix (guess)."""
        if kind == "user":
            return [{**_public(user), "result_type": "user"} for user in self.account.search_users(query)]
        key, _, value = query.partition(":")
        if kind != "ticket" or key != "requester_id":
            raise ApiError(422, {"error": "invalid", "description": "query not understood"})
        rows = [entry for entry in self.account.indexed("ticket") if str(entry["requester_id"]).startswith(value)]
        tickets = [self.state["tickets"].get(str(row["id"]), row) for row in rows]
        return [{**ticket, "result_type": "ticket"} for ticket in tickets]

    @route("GET", "/api/v2/tickets/show_many")
    def show_many_tickets(self, call: Call) -> Result:
        """Soft-deleted ones are not shown."""
        found = (self.state["tickets"].get(str(i)) for i in _ids(call))
        return self._offset(call, "tickets", [ticket for ticket in found if ticket and not ticket["deleted_at"]])

    @route("DELETE", "/api/v2/tickets/destroy_many")
    def destroy_tickets(self, call: Call) -> Result:
        """Soft delete."""
        return self._job("delete_tickets", _ids(call))

    @route("GET", "/api/v2/deleted_tickets")
    def list_deleted_tickets(self, call: Call) -> Result:
        """Without requester and without archived tickets; 10 a minute."""
        self._limit("bin_reads_per_minute", 10, timedelta(minutes=1))
        key, order = call.query.get("sort_by", "id"), call.query.get("sort_order", "asc")
        if key not in ("id", "subject", "deleted_at") or order not in ("asc", "desc"):
            raise ApiError(400, {"error": "InvalidValue", "description": "sort_by or sort_order"})
        binned = [t for t in self.state["tickets"].values() if t["deleted_at"] and not t["archived"]]
        binned.sort(key=lambda ticket: ticket[key], reverse=order == "desc")
        rows = [{"id": t["id"], "subject": t["subject"], "deleted_at": t["deleted_at"]} for t in binned]
        return self._offset(call, "deleted_tickets", rows)

    @route("DELETE", "/api/v2/deleted_tickets/destroy_many")
    def purge_tickets(self, call: Call) -> Result:
        """Permanent; only soft-deleted ones; one failure doesn't stop the others."""
        return self._job("purge_tickets", _ids(call))

    @route("GET", "/api/v2/suspended_tickets")
    def list_suspended(self, call: Call) -> Result:
        """Cursor paging, no filter."""
        return self._cursor(call, "suspended_tickets", list(self.state["suspended_tickets"].values()))

    @route("DELETE", "/api/v2/suspended_tickets/destroy_many")
    def destroy_suspended(self, call: Call) -> Result:
        """At once and for good."""
        for ticket_id in _ids(call):
            self.state["suspended_tickets"].pop(str(ticket_id), None)
        return Result(204)

    @route("GET", "/api/v2/job_statuses/show_many")
    def show_jobs(self, call: Call) -> Result:
        """Unknown jobs are left out."""
        jobs = (self.state["jobs"].get(job_id) for job_id in call.query.get("ids", "").split(","))
        return Result(200, {"job_statuses": [_job(job) for job in jobs if job]})

    def _live_users(self) -> list[dict[str, Any]]:
        return [user for user in self.state["users"].values() if user["active"]]

    def _option(self, name: str) -> str:
        return str(self.options.get(name, _DEFAULTS[name]))

    def _require_admin(self) -> None:
        if self.state["users"][str(ADMIN_ID)]["role"] != "admin":
            raise ApiError(403, {"error": "Forbidden", "description": "You do not have access to this page."})

    def _job(self, kind: str, ids: list[int]) -> Result:
        job = self.account.open_job(kind, ids)
        if job is None:
            raise ApiError(429, {"error": "TooManyJobs"}, {"retry-after": "5"})
        return Result(200, {"job_status": _job(job)})

    def _limit(self, name: str, default: int, window: timedelta) -> None:
        """Refuse with 429 and Retry-After once the window is full."""
        now, calls = self.now(), self.state["windows"].setdefault(name, [])
        calls[:] = [at for at in calls if now - datetime.fromisoformat(at) < window]
        if len(calls) >= int(self.options.get(name, default)):
            free_at = datetime.fromisoformat(calls[0]) + window
            wait = max(1, round((free_at - now).total_seconds()))
            raise ApiError(429, {"error": "RateLimited"}, {"retry-after": str(wait)})
        calls.append(now.isoformat())

    def _offset(self, call: Call, key: str, rows: Sequence[Mapping[str, Any]]) -> Result:
        page, size = _number(call, "page", 1), min(_number(call, "per_page", 100), 100)
        part = rows[(page - 1) * size : page * size]
        more = f"https://acme.zendesk.example{call.path}?page={page + 1}" if page * size < len(rows) else None
        return Result(200, {key: list(part), "count": len(rows), "next_page": more, "previous_page": None})

    def _cursor(self, call: Call, key: str, rows: Sequence[Mapping[str, Any]], most: int = 100) -> Result:
        if "page[size]" not in call.query:
            return self._offset(call, key, rows)
        size = _number(call, "page[size]", 100)
        if not 1 <= size <= most:
            raise ApiError(400, {"error": "InvalidPaginationParameter"})
        try:
            after = int(base64.urlsafe_b64decode(call.query.get("page[after]", "MA==")))
        except (binascii.Error, ValueError):
            raise ApiError(400, {"error": "InvalidPaginationParameter"}) from None
        rest = sorted((row for row in rows if row["id"] > after), key=lambda row: int(row["id"]))
        part = rest[:size]
        cursor = base64.urlsafe_b64encode(str(part[-1]["id"]).encode()).decode() if part else None
        return Result(200, {key: part, "meta": {"has_more": len(rest) > size, "after_cursor": cursor}})


def _public(user: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in user.items() if key not in ("identities", "permanently_deleted")}


def _job(job: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: job[key] for key in ("id", "status", "results")}
    return {**shown, "total": len(job["ids"]), "progress": None, "message": None}


def _missing() -> Result:
    return Result(404, {"error": "RecordNotFound", "description": "Not found"})


def _path_id(call: Call) -> int:
    value = call.path_values["id"]
    if not (value.isascii() and value.isdigit()):
        raise ApiError(400, {"error": "InvalidValue", "description": "id must be an integer"})
    return int(value)


def _ids(call: Call) -> list[int]:
    values = call.query.get("ids", "").split(",")
    if not all(value.isascii() and value.isdigit() for value in values) or len(values) > 100:
        raise ApiError(400, {"error": "InvalidValue", "description": "ids: 1 to 100 integers, comma-separated"})
    return [int(value) for value in values]


def _number(call: Call, name: str, default: int) -> int:
    text = call.query.get(name, str(default))
    if not text.isdigit():
        raise ApiError(400, {"error": "InvalidPaginationParameter"})
    return int(text)

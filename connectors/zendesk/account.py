"""Calls to Zendesk's Support API: paths, pages, limits of ids. Decides nothing about people.

Source of paths and limits: Support API 2.0.0 (read 2026-11-22). Side-loading of identities: Zendesk's answer in
support.zendesk.com community post 4410103990042 (read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import httpx

from connectors.base.errors import AnswerNotUnderstood, ConnectorError, CredentialsRefused, TemporarilyUnavailable
from connectors.base.kit.calls import VALUE, Call, Cursor, Gone, Listing, PageNumbers, Place, instant_of, text_of
from connectors.base.kit.look import Row
from connectors.base.kit.stages import StageState
from connectors.base.toolkit.http import VendorClient, field_of
from connectors.zendesk.users import by_id, chunks, optional, parse_deleted_user, parse_users

_GONE = Gone("error", ("RecordNotFound",))
_STATES = {"queued": StageState.RUNNING, "working": StageState.RUNNING, "completed": StageState.DONE}


def _numbered(path: str, rows: str, **params: str | Place) -> Listing:
    """Declare a list in numbered pages; 10,000 records are the vendor's end of a search."""
    call = Call("GET", f"/api/v2/{path}", params={**params, "per_page": "100"})
    return Listing(call, rows, PageNumbers("page", link="next_page"), most_pages=100)


def _cursored(rows: str, *path: str | Place, **params: str | Place) -> Listing:
    call = Call("GET", ("/api/v2", *path), params={**params, "page[size]": "100"})
    return Listing(call, rows, Cursor("meta.after_cursor", "page[after]", more="meta.has_more"), _GONE)


def _many(rows: str, ids: str = "ids") -> Listing:
    return Listing(Call("GET", f"/api/v2/{rows}/show_many", params={ids: VALUE}), rows)


_BY_TEXT, _BY_EXTERNAL_ID = (_numbered("users/search", "users", **{name: VALUE}) for name in ("query", "external_id"))
_BY_EXTERNAL_IDS, _JOBS, _TICKETS = _many("users", "external_ids"), _many("job_statuses"), _many("tickets")
_DELETED_USERS, _SUSPENDED = (
    _cursored("deleted_users", "deleted_users"),
    _cursored("suspended_tickets", "suspended_tickets"),
)
_COMPLIANCE = _cursored("compliance_deletion_statuses", "users", VALUE, "compliance_deletion_statuses")
_EXPORT = _cursored("results", "search", "export", query=VALUE, **{"filter[type]": "ticket"})
_BINNED = _numbered("deleted_tickets", "deleted_tickets", sort_by="deleted_at", sort_order="desc")
_SHOW_DELETED_USER, _PURGE_USER = (Call(verb, ("/api/v2/deleted_users", VALUE)) for verb in ("GET", "DELETE"))
_MOST_BINNED = 1000  # The list of deleted tickets takes 10 calls a minute.


def refine(response: httpx.Response) -> ConnectorError | None:
    """Name an unexpected 404 (a wrong base URL is no account) and a 409 (the vendor asks to try again)."""
    if response.status_code == 404:
        return AnswerNotUnderstood("not_found_here", status=404)
    if response.status_code == 409:
        return TemporarilyUnavailable("conflict", status=409, effect_unknown=response.request.method != "GET")
    return None


class ZendeskAccount:
    """One account. `me` is the credential's own user, the control record of every look at users."""

    def __init__(self, client: VendorClient) -> None:
        self.client = client
        self._me: Row | None = None

    def me(self, *, fresh: bool = False) -> Row:
        """Return the credential's own user. Raises CredentialsRefused for an anonymous caller, which has none."""
        if self._me is None or fresh:
            row = self.client.request("GET", "/api/v2/users/me", expect=(200,)).field("user", dict)
            if optional(row, "id", int) is None:
                raise CredentialsRefused("anonymous")
            self._me = {**row, "id": text_of(row["id"], "id")}
        return self._me

    def search_users(self, value: str) -> list[str]:
        """Return ids of users that hold the value somewhere; the search is fuzzy."""
        return list(by_id(_BY_TEXT.all(self.client, f'"{value}"')))

    def users_by_external_ids(self, values: Iterable[str]) -> dict[str, list[str]]:
        """Return user ids by external id in lower case. A value with a comma takes a call of its own."""
        every = list(values)
        found: dict[str, list[str]] = {
            v.lower(): list(by_id(_BY_EXTERNAL_ID.all(self.client, v))) for v in every if "," in v
        }
        for part in chunks([value for value in every if "," not in value]):
            for row in _BY_EXTERNAL_IDS.all(self.client, ",".join(part)):
                found.setdefault(str(row.get("external_id")).lower(), []).append(text_of(row.get("id"), "id"))
        return found

    def show_users(self, ids: Iterable[str]) -> dict[str, Row]:
        """Return users with all identities.

        Raises CredentialsRefused if a call doesn't show the credential's user.

        Shape: GET users/show_many?ids=1,2&include=identities -> {"users": [...], "identities": [...]}.
        """
        me, wanted, found = self.me()["id"], set(ids), dict[str, Row]()
        for part in chunks(sorted(wanted - {me}), 99) or ([[]] if me in wanted else []):
            params = {"ids": ",".join([me, *part]), "include": "identities"}
            reply = self.client.request("GET", "/api/v2/users/show_many", expect=(200,), params=params)
            users = by_id(parse_users(reply.field("users", list), reply.field("identities", list)))
            if me not in users:
                raise CredentialsRefused("no_visibility")
            found |= {i: user for i, user in users.items() if i in wanted}
        return found

    def active_users(self, ids: Iterable[str]) -> set[str]:
        """Return those of the users that aren't deleted."""
        return {i for i, user in self.show_users(ids).items() if user["active"]}

    def deleted_users(self) -> list[Row]:
        """Return every row of the deleted-users list, permanently deleted users included."""
        return [parse_deleted_user(row) for row in _DELETED_USERS.all(self.client)]

    def soft_deleted_user(self, user_id: str) -> Row | None:
        """Return the user while deleted but not for good, else None."""
        reply = _SHOW_DELETED_USER.send(self.client, user_id, also=(404,))
        return None if _GONE.says(reply) else parse_deleted_user(reply.field("deleted_user", dict))

    def compliance_actions(self, user_id: str) -> list[tuple[str, str]]:
        """Return (application, action) of a permanent deletion; none where the account doesn't know the user."""
        rows = _COMPLIANCE.all(self.client, user_id)
        return [(field_of(row, "application", str), field_of(row, "action", str)) for row in rows]

    def requested_tickets(self, user_id: str) -> set[str]:
        """Return tickets that the index knows by this requester: archived, but no soft-deleted ones.

        One page comes from the plain search; more come from the export search, which loses none while paging but takes
        100 calls a minute only. That `requester_id:` is a search property is unconfirmed, so it is compared here.
        """
        query = f"requester_id:{user_id}"
        params: dict[str, str | int] = {"query": f"type:ticket {query}", "per_page": 100}
        reply = self.client.request("GET", "/api/v2/search", expect=(200,), params=params)
        rows = by_id(reply.field("results", list))
        if optional(reply.body, "next_page", str) is not None:
            first, rows = set(rows), by_id(_EXPORT.all(self.client, query))
            if not first <= set(rows):
                raise TemporarilyUnavailable("searches_disagree")
        return {i for i, row in rows.items() if text_of(row.get("requester_id"), "requester_id") == user_id}

    def is_searchable(self, email: str, user_id: str) -> bool:
        """True if the search that finds tickets shows a user that exists."""
        params = {"query": f'type:user "{email}"'}
        reply = self.client.request("GET", "/api/v2/search", expect=(200,), params=params)
        return user_id in by_id(reply.field("results", list))

    def requesters(self, ticket_ids: Iterable[str]) -> dict[str, str]:
        """Return the requester of each ticket that isn't deleted, from the database."""
        rows: dict[str, Row] = {}
        for part in chunks(sorted(set(ticket_ids))):
            rows |= by_id(_TICKETS.all(self.client, ",".join(part)))
        return {i: text_of(row.get("requester_id"), "requester_id") for i, row in rows.items()}

    def binned_tickets(self, since: datetime | None) -> tuple[set[str], bool]:
        """Return ids of soft-deleted tickets, newest first, and whether the list was seen to its end.

        The look stops at tickets deleted before `since`. The list leaves archived tickets out. A row whose time can't
        be read counts as new, because the documented example's time is of a mixed form.
        """
        found: set[str] = set()
        for row in _BINNED.all(self.client):
            if since and (at := _deleted_at(row)) and at < since:
                return found, True
            found.add(text_of(row.get("id"), "id"))
            if len(found) == _MOST_BINNED:
                return found, False
        return found, True

    def suspended_tickets(self) -> dict[str, Row]:
        """Return every suspended ticket as {"author_id", "email"}: the vendor offers no filter."""
        rows = by_id(_SUSPENDED.all(self.client))
        authors = {i: optional(row, "author", dict) or {} for i, row in rows.items()}
        ids = {i: optional(author, "id", int) for i, author in authors.items()}
        return {i: {"author_id": str(ids[i]), "email": optional(a, "email", str)} for i, a in authors.items()}

    def destroy(self, path: str, ids: Sequence[str]) -> str | None:
        """Delete at most 100 records; return the job, or None if they are gone at once.

        Deleting what is deleted already does no harm.
        """
        params = {"ids": ",".join(ids)}
        reply = self.client.request("DELETE", f"/api/v2/{path}", expect=(200, 204), params=params)
        return None if reply.status == 204 else field_of(reply.field("job_status", dict), "id", str)

    def purge_user(self, user_id: str) -> str | None:
        """Delete a soft-deleted user for good, if there is one: 700 calls in 10 minutes."""
        _GONE.says(_PURGE_USER.send(self.client, user_id, also=(404,)))
        return None

    def jobs(self, ids: Collection[str]) -> dict[str, StageState]:
        """Return how far the jobs are that the vendor still knows.

        Another status than those documented has failed.
        """
        rows = [row for part in chunks(sorted(ids)) for row in _JOBS.all(self.client, ",".join(part))]
        return {field_of(row, "id", str): _STATES.get(field_of(row, "status", str), StageState.FAILED) for row in rows}


def _deleted_at(row: Row) -> datetime | None:
    try:
        return instant_of(row.get("deleted_at"), "deleted_at")
    except AnswerNotUnderstood:
        return None

"""Calls to Zendesk's Support API: paths, pages, limits of ids. Decides nothing about people.

Source of paths and limits: Support API 2.0.0 (read 2026-11-22). Side-loading of identities: Zendesk's answer in
support.zendesk.com community post 4410103990042 (read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import httpx

from connectors.base.errors import AnswerNotUnderstood, ConnectorError, CredentialsRefused, TemporarilyUnavailable
from connectors.base.kit.calls import (
    VALUE,
    ByIds,
    Call,
    Cursor,
    Gone,
    Listing,
    PageNumbers,
    Place,
    by_id,
    instant_of,
    text_of,
)
from connectors.base.kit.look import Row
from connectors.base.kit.stages import StageState
from connectors.base.toolkit.http import VendorClient, field_of

_GONE = Gone("error", ("RecordNotFound",))
_STATES = {"queued": StageState.RUNNING, "working": StageState.RUNNING, "completed": StageState.DONE}


def _numbered(path: str, rows: str, **params: str | Place) -> Listing:
    """Declare a list in numbered pages; 10,000 records are the vendor's end of a search."""
    call = Call("GET", f"/api/v2/{path}", params={**params, "per_page": "100"})
    return Listing(call, rows, PageNumbers("page", link="next_page"), most_pages=100)


def _cursored(rows: str, *path: str | Place, **params: str | Place) -> Listing:
    call = Call("GET", ("/api/v2", *path), params={**params, "page[size]": "100"})
    return Listing(call, rows, Cursor("meta.after_cursor", "page[after]", more="meta.has_more"), _GONE)


def _many(rows: str, ids: str = "ids") -> ByIds:
    return ByIds(Call("GET", f"/api/v2/{rows}/show_many", params={ids: VALUE}), rows)


_BY_TEXT, _BY_EXTERNAL_ID = (_numbered("users/search", "users", **{name: VALUE}) for name in ("query", "external_id"))
_BY_EXTERNAL_IDS, _JOBS, _TICKETS = _many("users", "external_ids"), _many("job_statuses"), _many("tickets")
_DELETED_USERS = _cursored("deleted_users", "deleted_users")
_SUSPENDED = _cursored("suspended_tickets", "suspended_tickets")
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

    def users_by_external_ids(self, values: Collection[str]) -> dict[str, list[str]]:
        """Return user ids by external id in lower case. A value with a comma takes a call of its own."""
        found: dict[str, list[str]] = {}
        for row in _BY_EXTERNAL_IDS.all(self.client, {value for value in values if "," not in value}):
            found.setdefault(str(row.get("external_id")).lower(), []).append(text_of(row.get("id"), "id"))
        alone = {value.lower(): value for value in values if "," in value}
        return found | {low: list(by_id(_BY_EXTERNAL_ID.all(self.client, value))) for low, value in alone.items()}

    def show_users(self, ids: Iterable[str]) -> dict[str, Row]:
        """Return users with all identities.

        Raises CredentialsRefused if a call doesn't show the credential's user.

        Shape: GET users/show_many?ids=1,2&include=identities -> {"users": [...], "identities": [...]}.
        """
        me, wanted, found = self.me()["id"], set(ids), dict[str, Row]()
        others = sorted(wanted - {me})
        for begin in range(0, len(others) or int(me in wanted), 99):
            query = {"ids": ",".join([me, *others[begin : begin + 99]]), "include": "identities"}
            reply = self.client.request("GET", "/api/v2/users/show_many", expect=(200,), params=query)
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
        rows = by_id(_TICKETS.all(self.client, ticket_ids))
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
        """Return every suspended ticket by id: the vendor offers no filter."""
        return by_id(_SUSPENDED.all(self.client))

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
        rows = by_id(_JOBS.all(self.client, ids))
        return {i: _STATES.get(field_of(row, "status", str), StageState.FAILED) for i, row in rows.items()}


def _deleted_at(row: Row) -> datetime | None:
    try:
        return instant_of(row.get("deleted_at"), "deleted_at")
    except AnswerNotUnderstood:
        return None


def optional(row: Row, name: str, kind: type[Any]) -> Any:
    """Return `row[name]` of the expected type, or None where it is absent or null.

    Raises AnswerNotUnderstood.
    """
    return None if row.get(name) is None else field_of(row, name, kind)


def parse_users(rows: Sequence[Any], identities: Sequence[Any]) -> list[Row]:
    """Return users with their side-loaded identities.

    A number that is only on the profile identifies no person.

    Raises AnswerNotUnderstood(`identities_incomplete`) for an active user whose own address is not among the
    identities, because that could hide another person's address.
    """
    values: dict[tuple[str, str], list[str]] = {}
    for one in identities:
        key = text_of(one.get("user_id"), "user_id"), field_of(one, "type", str)
        values.setdefault(key, []).append(field_of(one, "value", str))
    users: list[Row] = []
    for user_id, row in by_id(rows).items():
        emails, email = values.get((user_id, "email"), []), optional(row, "email", str)
        if field_of(row, "active", bool) and email and email.lower() not in {e.lower() for e in emails}:
            raise AnswerNotUnderstood("identities_incomplete")
        users.append(_user(row, emails, values.get((user_id, "phone_number"), [])))
    return users


def parse_deleted_user(row: Row) -> Row:
    """Return a row of the deleted-users list.

    Permanently deleted users have neither address nor phone there.
    """
    email, phone = optional(row, "email", str), optional(row, "phone", str)
    own_phone = phone and not row.get("shared_phone_number")
    return _user({**row, "active": False}, [email] if email else [], [phone] if own_phone else [])


def _user(row: Row, emails: list[str], phones: list[str]) -> Row:
    is_staff = field_of(row, "role", str) != "end-user"
    return {**row, "id": text_of(row.get("id"), "id"), "is_staff": is_staff, "emails": emails, "phones": phones}

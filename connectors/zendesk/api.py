"""The calls to Zendesk's Support API that Expunge makes: paths, paging, limits of ids. Decides nothing about people.

Every page is followed by our own counting or the vendor's cursor, never by a URL out of an answer. Source of all
paths and limits: Support API 2.0.0 (read 2026-11-22); side-loading of identities: Zendesk's answer in
support.zendesk.com community post 4410103990042 (read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

from connectors.base.errors import AnswerNotUnderstood, ConnectorError, CredentialsRefused, TemporarilyUnavailable
from connectors.base.toolkit.http import Reply, VendorClient, field_of
from connectors.zendesk.objects import (
    BinnedTicket,
    Job,
    SuspendedTicket,
    Ticket,
    User,
    id_of,
    optional,
    parse_binned,
    parse_deleted_user,
    parse_job,
    parse_suspended,
    parse_ticket,
    parse_users,
)

IDS_PER_CALL = 100
PAGE_SIZE = 100
MAX_SEARCH_PAGES = 100  # 10,000 records per query is the vendor's end of a user search


class _RecordNotFound(Exception):  # noqa: N818 - an answer, not a fault
    """The vendor answered that there is no such record."""


def refine(response: httpx.Response) -> ConnectorError | None:
    """Unexpected 404: not an account's API (a wrong base URL answers so). 409: the vendor asks to try again."""
    if response.status_code == 404:
        return AnswerNotUnderstood("not_found_here", status=404)
    if response.status_code == 409:
        return TemporarilyUnavailable("conflict", status=409, effect_unknown=response.request.method != "GET")
    return None


def chunks(ids: Sequence[str], size: int = IDS_PER_CALL) -> Iterator[list[str]]:
    """`ids` in pieces that one call takes."""
    for start in range(0, len(ids), size):
        yield list(ids[start : start + size])


class ZendeskApi:
    """One account. `me` is the credential's own user, the control record of every look at users."""

    def __init__(self, client: VendorClient) -> None:
        self.client = client
        self._me: User | None = None

    def me(self, *, fresh: bool = False) -> User:
        """The credential's own user. Raises CredentialsRefused when there is none: the path answers anonymous callers.

        Shape: GET /api/v2/users/me -> {"user": {"id", "email", "role", ...}}.
        """
        if self._me is None or fresh:
            row = self.client.request("GET", "/api/v2/users/me", expect=(200,)).field("user", dict)
            if optional(row, "id", int) is None:
                raise CredentialsRefused("anonymous")
            email = optional(row, "email", str)
            emails = frozenset({email} if email else ())
            self._me = User(id_of(row), field_of(row, "role", str), active=True, emails=emails)
        return self._me

    def search_users(self, value: str) -> list[str]:
        """Ids of users in any property of whom `value` stands, fuzzily: the caller compares.

        Shape: GET /api/v2/users/search?query="..." -> {"users": [...], "next_page": url|null}.
        """
        return [id_of(row) for row in self._offset("/api/v2/users/search", "users", {"query": f'"{value}"'})]

    def search_external_id(self, value: str) -> list[str]:
        """Ids of users with an external id; for those that can't stand in a comma-separated list."""
        return [id_of(row) for row in self._offset("/api/v2/users/search", "users", {"external_id": value})]

    def users_by_external_ids(self, values: Sequence[str]) -> dict[str, list[str]]:
        """User ids per external id in lower case (the vendor treats the id as case-insensitive)."""
        found: dict[str, list[str]] = {}
        for part in chunks(values):
            for row in self._list("/api/v2/users/show_many", "users", {"external_ids": ",".join(part)}):
                found.setdefault(str(optional(row, "external_id", str)).lower(), []).append(id_of(row))
        return found

    def show_users(self, ids: Sequence[str]) -> dict[str, User]:
        """Users with all their identities. Each call also asks for the credential's own user.

        Raises CredentialsRefused("no_visibility") when even that one isn't shown.
        Shape: GET /api/v2/users/show_many?ids=1,2&include=identities -> {"users": [...], "identities": [...]}.
        """
        me, found = self.me(), dict[str, User]()
        for part in chunks([i for i in dict.fromkeys(ids) if i != me.id], IDS_PER_CALL - 1):
            query = {"ids": ",".join([me.id, *part]), "include": "identities"}
            reply = self.client.request("GET", "/api/v2/users/show_many", expect=(200,), params=query)
            users = {u.id: u for u in parse_users(reply.field("users", list), reply.field("identities", list))}
            if me.id not in users:
                raise CredentialsRefused("no_visibility")
            found |= {u.id: u for u in users.values() if u.id in part}
        return found | ({me.id: me} if me.id in ids else {})

    def deleted_users(self) -> Iterator[User]:
        """Every row of the deleted-users list, permanently deleted ones included."""
        return (parse_deleted_user(row) for row in self._cursor("/api/v2/deleted_users", "deleted_users", {}))

    def soft_deleted_user(self, user_id: str) -> User | None:
        """The user while deleted but not for good, else None."""
        path = f"/api/v2/deleted_users/{quote(user_id, safe='')}"
        reply = self.client.request("GET", path, expect=(200, 404))
        return None if _is_absent(reply) else parse_deleted_user(reply.field("deleted_user", dict))

    def purge_user(self, user_id: str) -> bool:
        """Delete a soft-deleted user for good; False if there is none. One per call, 700 in 10 minutes."""
        path = f"/api/v2/deleted_users/{quote(user_id, safe='')}"
        return not _is_absent(self.client.request("DELETE", path, expect=(200, 404)))

    def compliance_rows(self, user_id: str) -> list[tuple[str, str]] | None:
        """(application, action) rows of a permanent deletion, or None where the account doesn't know the user."""
        path = f"/api/v2/users/{quote(user_id, safe='')}/compliance_deletion_statuses"
        try:
            rows = list(self._cursor(path, "compliance_deletion_statuses", {}, expect=(200, 404)))
        except _RecordNotFound:
            return None
        return [(field_of(row, "application", str), field_of(row, "action", str)) for row in rows]

    def requested_tickets(self, user_id: str) -> list[Ticket]:
        """Tickets that the search index knows by this requester, archived ones included, soft-deleted ones not.

        One page comes from the plain search; more come from the export search, which repeats and loses none while
        paging but takes 100 calls a minute only. That `requester_id:` is a search property is unconfirmed (in wide
        use, not in the specification), so the requester is compared here.
        Shape: GET /api/v2/search?query=type:ticket ... -> {"results": [...], "next_page": url|null}.
        """
        query = f"requester_id:{user_id}"
        params: dict[str, str | int] = {"query": f"type:ticket {query}", "per_page": PAGE_SIZE}
        reply = self.client.request("GET", "/api/v2/search", expect=(200,), params=params)
        rows = list(reply.field("results", list))
        if optional(reply.body, "next_page", str) is not None:
            first = {id_of(row) for row in rows}
            rows = list(self._cursor("/api/v2/search/export", "results", {"query": query, "filter[type]": "ticket"}))
            if not first <= {id_of(row) for row in rows}:
                raise TemporarilyUnavailable("searches_disagree")
        return [ticket for ticket in map(parse_ticket, rows) if ticket.requester_id == user_id]

    def is_user_searchable(self, user: User) -> bool:
        """True if the search that tickets are looked for with shows a user who is known to exist: it sees at all."""
        params = {"query": f'type:user "{next(iter(user.emails))}"'}
        rows = self.client.request("GET", "/api/v2/search", expect=(200,), params=params).field("results", list)
        return any(id_of(row) == user.id for row in rows)

    def show_tickets(self, ids: Sequence[str]) -> dict[str, Ticket]:
        """Those of the tickets that are there and not soft-deleted, from the database rather than the index."""
        found: dict[str, Ticket] = {}
        for part in chunks(list(dict.fromkeys(ids))):
            rows = self._list("/api/v2/tickets/show_many", "tickets", {"ids": ",".join(part)})
            found |= {ticket.id: ticket for ticket in map(parse_ticket, rows)}
        return found

    def binned_tickets(self, *, since: datetime | None, max_pages: int) -> tuple[set[str], bool]:
        """Ids in the list of soft-deleted tickets, newest first, and whether the look was complete.

        It stops at tickets deleted before `since`. Limit: 10 calls a minute. The list leaves archived tickets out.
        """
        found: set[str] = set()
        query = {"sort_by": "deleted_at", "sort_order": "desc"}
        for number, row in enumerate(self._offset("/api/v2/deleted_tickets", "deleted_tickets", query, max_pages)):
            ticket: BinnedTicket = parse_binned(row)
            if since and ticket.deleted_at and ticket.deleted_at < since:
                return found, True
            found.add(ticket.id)
            if number + 1 == max_pages * PAGE_SIZE:
                return found, False
        return found, True

    def suspended_tickets(self) -> list[SuspendedTicket]:
        """Every suspended ticket: the vendor offers no filter."""
        return [parse_suspended(row) for row in self._cursor("/api/v2/suspended_tickets", "suspended_tickets", {})]

    def delete_suspended(self, ids: Sequence[str]) -> None:
        """Delete at most 100 suspended tickets, at once and for good."""
        self.client.request("DELETE", "/api/v2/suspended_tickets/destroy_many", expect=(204,), params=_joined(ids))

    def open_job(self, path: str, ids: Sequence[str]) -> Job:
        """Start a deletion job for at most 100 ids. Deleting what is deleted already does no harm."""
        reply = self.client.request("DELETE", path, expect=(200,), params=_joined(ids))
        return parse_job(reply.field("job_status", dict))

    def show_jobs(self, ids: Sequence[str]) -> dict[str, Job]:
        """The jobs that the vendor still knows."""
        found: dict[str, Job] = {}
        for part in chunks(ids):
            rows = self._list("/api/v2/job_statuses/show_many", "job_statuses", {"ids": ",".join(part)})
            found |= {job.id: job for job in map(parse_job, rows)}
        return found

    def _list(self, path: str, key: str, query: dict[str, str]) -> list[Any]:
        return self.client.request("GET", path, expect=(200,), params=query).field(key, list)

    def _offset(self, path: str, key: str, query: dict[str, str], max_pages: int = 0) -> Iterator[Any]:
        """Rows page by page; past `max_pages` it stops, past the vendor's own end it raises."""
        page = 1
        while True:
            params: dict[str, str | int] = {**query, "page": page, "per_page": PAGE_SIZE}
            reply = self.client.request("GET", path, expect=(200,), params=params)
            yield from reply.field(key, list)
            if optional(reply.body, "next_page", str) is None or page == max_pages:
                return
            if page == MAX_SEARCH_PAGES:
                raise AnswerNotUnderstood("too_many_results")
            page += 1

    def _cursor(self, path: str, key: str, query: dict[str, str], expect: tuple[int, ...] = (200,)) -> Iterator[Any]:
        params: dict[str, str | int] = {**query, "page[size]": PAGE_SIZE}
        seen: set[str] = set()
        while True:
            reply = self.client.request("GET", path, expect=expect, params=params)
            if _is_absent(reply):
                raise _RecordNotFound
            yield from reply.field(key, list)
            meta = reply.field("meta", dict)
            if not field_of(meta, "has_more", bool):
                return
            cursor = field_of(meta, "after_cursor", str)
            if cursor in seen:
                raise AnswerNotUnderstood("cursor_repeats")
            seen.add(cursor)
            params["page[after]"] = cursor


def _is_absent(reply: Reply) -> bool:
    """True for the vendor's own form of "not found" only; any other 404 proves nothing."""
    if reply.status == 404 and reply.field("error", str) != "RecordNotFound":
        raise AnswerNotUnderstood("not_found_here", status=404)
    return reply.status == 404


def _joined(ids: Sequence[str]) -> dict[str, str]:
    return {"ids": ",".join(ids)}

"""One Mailchimp account over HTTP: audiences, single members, the look-up by search, and what an error there means.

Decides which answers count as "this member is not there". Does not decide what happens to a person.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import httpx

from connectors.base.config import SystemConfig
from connectors.base.errors import (
    AnswerNotUnderstood,
    ConnectorError,
    CredentialsRefused,
    RequestRefused,
    TemporarilyUnavailable,
)
from connectors.base.toolkit.http import Reply, VendorClient, field_of
from connectors.base.toolkit.letters import in_one_case
from connectors.base.toolkit.vendor_json import parse_vendor_json

API_VERSION = "3.0"
PAGE_SIZE = 1000
NOT_FOUND_TITLE = "Resource Not Found"
_MEMBER_FIELDS = "id,list_id,contact_id,email_address,status,merge_fields,sms_phone_number"
_SEARCH_FIELDS = ",".join(
    f"{part}.{name}"
    for part in ("exact_matches", "full_search")
    for name in ("total_items", "members.id", "members.list_id", "members.email_address")
)
_HASH = re.compile(r"[0-9a-f]{32}")


def subscriber_hashes(email: str) -> tuple[str, ...]:
    """Under which hashes Mailchimp may keep an address: the MD5 of its lower-case form.

    Unconfirmed: how letters outside ASCII are lowered, so each way is looked up where they differ; the address that
    comes back decides.
    Source: spec 3.0.55, `subscriber_hash` (read 2026-11-22).
    """
    ascii_lower = "".join(c.lower() if c.isascii() else c for c in email)
    return tuple(dict.fromkeys(md5(form) for form in (in_one_case(email), ascii_lower, email.lower())))


def md5(text: str) -> str:
    """As Mailchimp uses it: a name for an address, not a protection of it."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class Verb(StrEnum):
    """What is done to one member of one audience."""

    LOOK = "look"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class MemberCall:
    """One call about one person in one audience. `key` is a subscriber hash, or for a look also a contact id."""

    ref: str
    verb: Verb
    list_id: str = field(repr=False)
    key: str = field(repr=False)

    @property
    def record_id(self) -> str:
        """The member's, as records are named."""
        return f"{self.list_id}/{self.key}"

    @property
    def path(self) -> str:
        """The path under the API's root."""
        member = f"/lists/{quote(self.list_id, safe='')}/members/{quote(self.key, safe='')}"
        return member if self.verb is Verb.LOOK else f"{member}/actions/delete-permanent"


@dataclass(frozen=True, slots=True)
class Member:
    """A member as far as we need to know them."""

    list_id: str = field(repr=False)
    hash: str = field(repr=False)
    email: str = field(repr=False)
    contact_id: str = field(repr=False)
    status: str
    merge_fields: Mapping[str, Any] = field(repr=False)
    sms_phone: str = field(repr=False)

    @property
    def record_id(self) -> str:
        """Our record id: a hash alone says nothing, since each audience has a member of its own."""
        return f"{self.list_id}/{self.hash}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A documented answer to a MemberCall: 200 (look), 204, 405 (delete) or 404. `body` only with 200."""

    status: int
    body: Any = field(default=None, repr=False)


def member_of(body: Any, list_id: str) -> Member:
    """The member in an answer about `list_id`. Raises AnswerNotUnderstood if it isn't one of that audience."""
    member = Member(
        list_id=field_of(body, "list_id", str),
        hash=field_of(body, "id", str),
        email=field_of(body, "email_address", str),
        contact_id=str(body.get("contact_id") or ""),
        status=field_of(body, "status", str),
        merge_fields=body.get("merge_fields") if isinstance(body.get("merge_fields"), dict) else {},
        sms_phone=str(body.get("sms_phone_number") or ""),
    )
    if member.list_id != list_id:
        raise AnswerNotUnderstood("member_of_other_audience")
    if not member.email or not _HASH.fullmatch(member.hash):
        # Contacts without an address have no subscriber hash, and delete-permanent takes nothing else.
        raise RequestRefused("member_without_email")
    return member


def outcome_of(verb: Verb, status: int, body: Any) -> Outcome:
    """What a status and a problem document say about one member, the same in a direct answer and in a job's result.

    A 404 counts only with Mailchimp's own problem document. That document is the same for an unknown audience, so
    callers ask only about audiences that they saw listed in the same pass.
    Source: error glossary, https://mailchimp.com/developer/marketing/docs/errors/ (read 2026-11-22).
    """
    changes = verb is Verb.DELETE
    if status == 404:
        if field_of(body, "title", str) != NOT_FOUND_TITLE:
            raise AnswerNotUnderstood("not_found_of_unknown_kind", status=404)
        return Outcome(404)
    if (verb is Verb.LOOK and status == 200) or (changes and status == 204):
        return Outcome(status, body)
    if changes and status == 405:
        return Outcome(405)
    if status == 429 or status >= 500:
        raise TemporarilyUnavailable("operation_failed", status=status, effect_unknown=changes)
    if status in (401, 403):
        raise CredentialsRefused("operation_forbidden", status=status)
    if 400 <= status < 500:
        raise RequestRefused("operation_refused", status=status)
    raise AnswerNotUnderstood("unexpected_success", status=status, effect_unknown=changes)


def _is_json_object(response: httpx.Response) -> bool:
    if "json" not in response.headers.get("content-type", "").lower():
        return False
    try:
        return isinstance(parse_vendor_json(response.content), dict)
    except AnswerNotUnderstood:
        return False


def refine(response: httpx.Response) -> ConnectorError | None:
    """Mailchimp's own meanings of unexpected statuses.

    A 403 without a JSON document is the throttle at high volume, not a refused key. There is no Retry-After.
    Source: https://mailchimp.com/developer/marketing/docs/fundamentals/, quoted by api-evangelist/mailchimp,
    rate-limits (read 2026-11-22).
    """
    changes = response.request.method not in ("GET", "HEAD")
    if response.status_code == 403 and not _is_json_object(response):
        return TemporarilyUnavailable("throttled", status=403, effect_unknown=changes)
    if response.status_code == 404:
        return AnswerNotUnderstood("wrong_url", status=404)
    return None


class MailchimpApi:
    """Calls to one account. Raises the four errors; nothing of a path or a body gets into them."""

    def __init__(self, system: SystemConfig, api_key: str) -> None:
        root = system.base_url.rstrip("/").removesuffix(f"/{API_VERSION}")
        self.root = f"{root}/{API_VERSION}"
        self.client = VendorClient.for_system(system, base_url=self.root, auth=("expunge", api_key), refine=refine)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def pages(self, path: str, items: str, fields: str) -> Iterator[dict[str, Any]]:
        """Every item of a collection, all pages (`count`, `offset`, `total_items`). Raises if a page is missing."""
        seen = 0
        while True:
            reply = self.client.request(
                "GET",
                path,
                expect=(200,),
                params={"count": PAGE_SIZE, "offset": seen, "fields": f"{fields},total_items"},
            )
            page = reply.field(items, list)
            yield from page
            seen += len(page)
            if seen >= reply.field("total_items", int):
                return
            if not page:
                raise AnswerNotUnderstood("page_missing")

    def audiences(self) -> tuple[str, ...]:
        """The ids of all audiences of the account. None at all is a blind credential: absence couldn't be seen."""
        ids = tuple(dict.fromkeys(field_of(a, "id", str) for a in self.pages("/lists", "lists", "lists.id")))
        if not ids:
            raise CredentialsRefused("no_visibility")
        return ids

    def phone_tags(self, list_id: str) -> frozenset[str]:
        """The merge tags of an audience that hold phone numbers."""
        path = f"/lists/{quote(list_id, safe='')}/merge-fields"
        rows = self.pages(path, "merge_fields", "merge_fields.tag,merge_fields.type")
        return frozenset(field_of(r, "tag", str) for r in rows if r.get("type") == "phone")

    def call(self, call: MemberCall) -> Outcome:
        """Carry out one call about one member."""
        if call.verb is Verb.LOOK:
            params = {"fields": _MEMBER_FIELDS}
            reply = self.client.request("GET", call.path, expect=(200, 404), params=params)
        else:
            reply = self.client.request("POST", call.path, expect=(204, 404, 405))
        return self._outcome(call.verb, reply)

    def _outcome(self, verb: Verb, reply: Reply) -> Outcome:
        if reply.status >= 400 and not reply.headers.get("content-type", "").startswith("application/problem+json"):
            raise AnswerNotUnderstood("not_a_problem_document", status=reply.status)
        return outcome_of(verb, reply.status, reply.body)

    def search(self, email: str) -> tuple[str, ...]:
        """Record ids of all members, in any audience, whose address *is* `email` (case aside).

        Mailchimp's matches are loose, and there is no paging: more exact matches than shown proves nothing.
        Source: spec 3.0.55, GET /search-members (read 2026-11-22).
        """
        reply = self.client.request(
            "GET", "/search-members", expect=(200,), params={"query": email, "fields": _SEARCH_FIELDS}
        )
        found: dict[str, None] = {}
        for part in ("exact_matches", "full_search"):
            matches = reply.field(part, dict)
            members = field_of(matches, "members", list)
            for row in members:
                if in_one_case(field_of(row, "email_address", str)) == in_one_case(email):
                    found[f"{field_of(row, 'list_id', str)}/{field_of(row, 'id', str)}"] = None
            shown_all = field_of(matches, "total_items", int) <= len(members)
            if part == "exact_matches" and not shown_all and not found:
                raise AnswerNotUnderstood("search_truncated")
        return tuple(found)

    def unsubscribe(self, member: Member) -> None:
        """Set an existing member to `unsubscribed`; never creates one (that would be PUT)."""
        path = MemberCall("", Verb.LOOK, member.list_id, member.hash).path
        reply = self.client.request("PATCH", path, expect=(200,), json_body={"status": "unsubscribed"})
        if reply.field("status", str) != "unsubscribed":
            raise AnswerNotUnderstood("still_subscribed", effect_unknown=True)

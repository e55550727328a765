"""Mailchimp's calls about one member of one audience, and what their answers mean.

Sources, read 2026-11-22: Marketing API specification 3.0.55; error glossary,
mailchimp.com/developer/marketing/docs/errors/.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import quote

import httpx

from connectors.base.errors import AnswerNotUnderstood, ConnectorError, RequestRefused, TemporarilyUnavailable
from connectors.base.kit.calls import Gone
from connectors.base.kit.look import Row
from connectors.base.kit.record_operations import Effect, Outcome, RecordOperation, error_of
from connectors.base.toolkit.http import Reply, field_of
from connectors.base.toolkit.letters import in_one_case
from connectors.base.toolkit.vendor_json import is_vendor_json
from connectors.base.values import Record

OBJECT = "member"
# The problem document is the same for an unknown audience: only audiences of the same pass are asked for.
NOT_FOUND = Gone("title", ("Resource Not Found",))
FIELDS = {"fields": "id,list_id,contact_id,email_address,status,merge_fields,sms_phone_number"}
RECORD_ID = re.compile(r"([^/]+)/([0-9a-f]{32})")


def subscriber_hashes(email: str) -> tuple[str, ...]:
    """Return the hashes under which Mailchimp may keep an address: the MD5 of its lower-case form.

    Unconfirmed: how letters outside ASCII are lowered. Each form is looked up; the returned address decides.
    """
    ascii_lower = "".join(c.lower() if c.isascii() else c for c in email)
    forms = (in_one_case(email), ascii_lower, email.lower())
    # MD5 is Mailchimp's name for an address, not a protection of it.
    return tuple(dict.fromkeys(hashlib.md5(form.encode(), usedforsecurity=False).hexdigest() for form in forms))


def path_of(record: Record) -> str:
    """Return a member's path. Its id is `<audience>/<hash>`, in a look also `<audience>/<contact id>`."""
    audience, _, key = record.id.partition("/")
    return f"/lists/{quote(audience, safe='')}/members/{quote(key, safe='')}"


def method_and_path(operation: RecordOperation) -> tuple[str, str]:
    """Return an operation's call: GET, or POST delete-permanent. DELETE would only archive."""
    path = path_of(operation.record)
    return ("POST", f"{path}/actions/delete-permanent") if operation.erases else ("GET", path)


def outcome_of(operation: RecordOperation, status: int, body: Any) -> Outcome:
    """Return what a status and its body say about one member, the same for a call and for a job's result."""
    if NOT_FOUND.says(Reply(status, body, {})):
        return Effect.ABSENT
    if operation.erases and status in (204, 405):
        return Effect.ERASED if status == 204 else Effect.KEPT
    if not operation.erases and status == 200 and isinstance(body, dict):
        return body
    raise error_of(status, erases=operation.erases)


def record_of(row: Row, asked: Record) -> Record:
    """Return the record of a member that a look showed.

    Raises AnswerNotUnderstood for a member of another audience, and RequestRefused for a contact without an address,
    because delete-permanent takes a hash only.
    """
    record = Record(OBJECT, f"{field_of(row, 'list_id', str)}/{field_of(row, 'id', str)}")
    if row["list_id"] != asked.id.partition("/")[0]:
        raise AnswerNotUnderstood("member_of_other_audience")
    if not field_of(row, "email_address", str) or not RECORD_ID.fullmatch(record.id):
        raise RequestRefused("member_without_email")
    return record


def refine(response: httpx.Response) -> ConnectorError | None:
    """Return the error of a status with a meaning of its own, else None.

    A 403 without a JSON document is the throttle at high volume, not a refused key; there is no Retry-After.
    Source: mailchimp.com/developer/marketing/docs/fundamentals/, quoted by api-evangelist/mailchimp (2026-11-22).
    """
    is_json = "json" in response.headers.get("content-type", "").lower() and is_vendor_json(response.content)
    if response.status_code == 403 and not is_json:
        changes = response.request.method not in ("GET", "HEAD")
        return TemporarilyUnavailable("throttled", status=403, effect_unknown=changes)
    return AnswerNotUnderstood("wrong_url", status=404) if response.status_code == 404 else None

"""Zendesk's objects as far as Expunge reads them, parsed at the door. Decides their form, not what they mean.

Ids are texts here and integers on the wire. Shapes: Support API 2.0.0, developer.zendesk.com/zendesk/oas.yaml
(read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from connectors.base.errors import AnswerNotUnderstood
from connectors.base.toolkit.http import field_of

END_USER = "end-user"


@dataclass(frozen=True, slots=True)
class User:
    """A user with every identity. `phones` holds identities only: a shared number on the profile proves nobody."""

    id: str = field(repr=False)
    role: str
    active: bool
    emails: frozenset[str] = field(default=frozenset(), repr=False)
    phones: frozenset[str] = field(default=frozenset(), repr=False)
    external_id: str | None = field(default=None, repr=False)
    has_shared_phone: bool = False

    @property
    def is_staff(self) -> bool:
        """Agents and admins; Expunge never deletes them."""
        return self.role != END_USER


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket and the user who requested it."""

    id: str = field(repr=False)
    requester_id: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SuspendedTicket:
    """A mail that Zendesk held back, by its own id (not the ticket's)."""

    id: str = field(repr=False)
    author_id: str | None = field(repr=False)
    author_email: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class BinnedTicket:
    """A soft-deleted ticket in the list of deleted tickets; `deleted_at` is None when it can't be read."""

    id: str = field(repr=False)
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Job:
    """A background job. `refused` are the ids that the job says it failed on."""

    id: str
    status: str
    refused: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def is_running(self) -> bool:
        """True while it may still act. Statuses: queued, working, failed, completed [spec]; killed is unconfirmed."""
        return self.status in ("queued", "working")


def id_of(row: Any, name: str = "id") -> str:
    """An integer id as text. Raises AnswerNotUnderstood."""
    return str(field_of(row, name, int))


def optional(row: Any, name: str, kind: type[Any]) -> Any:
    """`row[name]` of the expected type, or None where it is absent or null."""
    if not isinstance(row, dict):
        raise AnswerNotUnderstood("row_not_an_object")
    return None if row.get(name) is None else field_of(row, name, kind)


def parse_users(rows: Sequence[Any], identities: Sequence[Any]) -> list[User]:
    """Users with their side-loaded identities.

    An active user whose own e-mail address is not among the identities means that the side-load was not complete, and
    an incomplete one would hide somebody else's address from the review.
    """
    values: dict[str, dict[str, set[str]]] = {}
    for identity in identities:
        kinds = values.setdefault(id_of(identity, "user_id"), {})
        kinds.setdefault(field_of(identity, "type", str), set()).add(field_of(identity, "value", str))
    users = [_parse_user(row, values) for row in rows]
    for user, row in zip(users, rows, strict=True):
        email = optional(row, "email", str)
        if user.active and email and email.lower() not in {e.lower() for e in user.emails}:
            raise AnswerNotUnderstood("identities_incomplete")
    return users


def _parse_user(row: Any, identities: Mapping[str, Mapping[str, set[str]]]) -> User:
    user_id = id_of(row)
    own = identities.get(user_id, {})
    return User(
        id=user_id,
        role=field_of(row, "role", str),
        active=field_of(row, "active", bool),
        emails=frozenset(own.get("email", ())),
        phones=frozenset(own.get("phone_number", ())),
        external_id=optional(row, "external_id", str),
        has_shared_phone=bool(optional(row, "shared_phone_number", bool)),
    )


def parse_deleted_user(row: Any) -> User:
    """A row of the deleted-users list; permanently deleted people have neither e-mail address nor phone there."""
    email, phone = optional(row, "email", str), optional(row, "phone", str)
    return User(
        id=id_of(row),
        role=field_of(row, "role", str),
        active=False,
        emails=frozenset({email} if email else ()),
        phones=frozenset({phone} if phone and not row.get("shared_phone_number") else ()),
    )


def parse_ticket(row: Any) -> Ticket:
    """A ticket of a list or of a search."""
    return Ticket(id_of(row), id_of(row, "requester_id"))


def parse_suspended(row: Any) -> SuspendedTicket:
    """A suspended ticket; its author may be unknown to the account."""
    author = optional(row, "author", dict) or {}
    author_id = optional(author, "id", int)
    return SuspendedTicket(id_of(row), None if author_id is None else str(author_id), optional(author, "email", str))


def parse_binned(row: Any) -> BinnedTicket:
    """A row of the deleted-tickets list. The documented example's time is of a mixed form, so unreadable is allowed."""
    try:
        deleted_at = datetime.fromisoformat(field_of(row, "deleted_at", str))
    except ValueError:
        return BinnedTicket(id_of(row), None)
    return BinnedTicket(id_of(row), deleted_at if deleted_at.tzinfo else deleted_at.replace(tzinfo=UTC))


def parse_job(row: Any) -> Job:
    """A job status; `results` is null, an object for the whole, or one object per id."""
    results = row.get("results") if isinstance(row, dict) else None
    refused = frozenset(
        id_of(result) for result in results or () if isinstance(results, list) and not field_of(result, "success", bool)
    )
    return Job(field_of(row, "id", str), field_of(row, "status", str), refused)

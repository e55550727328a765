"""Zendesk's users as rows of the kit, and which user has which identifiers. Pure.

Zendesk's search is fuzzy, so each found user is only a candidate. Addresses and external ids are equal without regard
to case (as the vendor treats them), phone numbers as E.164 numbers. Shapes: Support API 2.0.0 (read 2026-11-22).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from connectors.base.errors import AnswerNotUnderstood
from connectors.base.kit.calls import text_of
from connectors.base.kit.look import Row
from connectors.base.toolkit.http import field_of
from connectors.base.toolkit.letters import in_one_case
from connectors.base.values import Identifier, Subject

EMAIL, PHONE, USER_ID = "email", "phone", "zendesk_user_id"
_PHONE_PUNCTUATION = str.maketrans("", "", " -().\u00a0")


def optional(row: Row, name: str, kind: type[Any]) -> Any:
    """Return `row[name]` of the expected type, or None where it is absent or null.

    Raises AnswerNotUnderstood.
    """
    return None if row.get(name) is None else field_of(row, name, kind)


def parse_users(rows: Sequence[Any], identities: Sequence[Any]) -> list[Row]:
    """Return users with their side-loaded identities.

    A number that is only on the profile identifies no person. Raises AnswerNotUnderstood(`identities_incomplete`) for
    an active user whose own address is not among the identities, because that could hide another person's address.
    """
    values: dict[str, dict[str, list[str]]] = {}
    for identity in identities:
        of_user = values.setdefault(text_of(identity.get("user_id"), "user_id"), {})
        of_user.setdefault(field_of(identity, "type", str), []).append(field_of(identity, "value", str))
    users: list[Row] = []
    for row in rows:
        own, email = values.get(text_of(row.get("id"), "id"), {}), optional(row, "email", str)
        emails, active = sorted(own.get("email", ())), field_of(row, "active", bool)
        if active and email and email.lower() not in {address.lower() for address in emails}:
            raise AnswerNotUnderstood("identities_incomplete")
        users.append(_user(row, emails, sorted(own.get("phone_number", ())), active=active))
    return users


def parse_deleted_user(row: Row) -> Row:
    """Return a row of the deleted-users list.

    Permanently deleted users have neither address nor phone there.
    """
    email, phone = optional(row, "email", str), optional(row, "phone", str)
    own_phone = phone and not row.get("shared_phone_number")
    return _user(row, [email] if email else [], [phone] if own_phone else [], active=False)


def _user(row: Row, emails: list[str], phones: list[str], *, active: bool) -> Row:
    return {
        "id": text_of(row.get("id"), "id"),
        "is_staff": field_of(row, "role", str) != "end-user",
        "active": active,
        "emails": emails,
        "phones": phones,
        "external_id": optional(row, "external_id", str),
        "shares_phone": bool(optional(row, "shared_phone_number", bool)),
    }


def normalised(identifier: Identifier) -> tuple[str, str]:
    """Return a form in which equal identifiers are equal: not across alphabets, not by case folding."""
    value = identifier.value.strip()
    if identifier.kind == PHONE:
        return PHONE, value.translate(_PHONE_PUNCTUATION)
    return identifier.kind, value if identifier.kind == USER_ID else in_one_case(value)


def identifiers_of(user: Row, external_id_kind: str) -> tuple[Identifier, ...]:
    """Return every identifier that a user carries, the user's id last."""
    found = [Identifier(EMAIL, value) for value in user["emails"]]
    found += [Identifier(PHONE, value) for value in user["phones"]]
    found += [Identifier(external_id_kind, user["external_id"])] if user["external_id"] else []
    return (*found, Identifier(USER_ID, user["id"]))


def is_match(subject: Subject, identifiers: Sequence[Identifier]) -> bool:
    """True if one of the identifiers is the person's."""
    own = {normalised(identifier) for identifier in subject.identifiers}
    return any(normalised(identifier) in own for identifier in identifiers)


def chunks(ids: Sequence[str], size: int = 100) -> list[Sequence[str]]:
    """Return the ids in pieces that one call takes."""
    return [ids[begin : begin + size] for begin in range(0, len(ids), size)]


def by_id(rows: Iterable[Row]) -> dict[str, Row]:
    """Return rows by their id as text."""
    return {text_of(row.get("id"), "id"): row for row in rows}

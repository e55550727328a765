"""Which Zendesk user is whose: exact comparison of identifiers. Pure.

Zendesk's search is fuzzy, so what it returns is only a candidate. E-mail addresses are equal without regard to case,
phone numbers as E.164 numbers, external ids without regard to case (as the vendor treats them).
"""

from __future__ import annotations

from collections.abc import Iterable

from connectors.base.toolkit.letters import in_one_case
from connectors.base.values import Identifier, Subject
from connectors.zendesk.objects import User

EMAIL = "email"
PHONE = "phone"
USER_ID = "zendesk_user_id"
_PHONE_PUNCTUATION = str.maketrans("", "", " -().\u00a0")


def normalised(identifier: Identifier) -> tuple[str, str]:
    """A form in which equal identifiers are equal.

    Without regard to case, but neither across alphabets nor by case folding (`toolkit.letters`).
    """
    value = identifier.value.strip()
    if identifier.kind == PHONE:
        return PHONE, value.translate(_PHONE_PUNCTUATION)
    if identifier.kind == USER_ID:
        return USER_ID, value
    return identifier.kind, in_one_case(value)


def identifiers_of(user: User, external_id_kind: str) -> tuple[Identifier, ...]:
    """Every identifier that a user carries, of the kinds that Expunge knows."""
    found = [Identifier(EMAIL, value) for value in sorted(user.emails)]
    found += [Identifier(PHONE, value) for value in sorted(user.phones)]
    if user.external_id:
        found.append(Identifier(external_id_kind, user.external_id))
    return (*found, Identifier(USER_ID, user.id))


def is_match(subject: Subject, user: User, external_id_kind: str) -> bool:
    """True if the user carries one of the person's identifiers."""
    wanted = {normalised(i) for i in subject.identifiers}
    return any(normalised(i) in wanted for i in identifiers_of(user, external_id_kind))


def has_value_of(subject: Subject, user: User, external_id_kind: str) -> bool:
    """True if the user still carries a *value* of the person's; the id alone outlives a permanent deletion."""
    wanted = {normalised(i) for i in subject.identifiers}
    return any(i.kind != USER_ID and normalised(i) in wanted for i in identifiers_of(user, external_id_kind))


def carried(subject: Subject, users: Iterable[User], external_id_kind: str) -> tuple[Identifier, ...]:
    """Identifiers of the found users that are not among the person's own."""
    own = {normalised(i) for i in subject.identifiers}
    other: dict[tuple[str, str], Identifier] = {}
    for user in users:
        for identifier in identifiers_of(user, external_id_kind):
            if normalised(identifier) not in own:
                other.setdefault(normalised(identifier), identifier)
    return tuple(other.values())


def has_email(subject: Subject, address: str | None) -> bool:
    """True if `address` is one of the person's own."""
    wanted = {normalised(i) for i in subject.identifiers}
    return address is not None and normalised(Identifier(EMAIL, address)) in wanted

"""The fields of a person's records that hold identifiers, their spellings, and when two are equal.

Pure. Salesforce compares text without regard to case, so returned values are compared here once more, one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import phonenumbers

from connectors.base.toolkit.letters import in_one_case
from connectors.base.values import Identifier, Subject
from connectors.salesforce.org.schema import ACCOUNT, CONTACT, INDIVIDUAL, LEAD, PEOPLE, USER, ObjectType, Schema

EMAIL, PHONE, EXTERNAL_ID = "email", "phone", "external_id"
ID_KINDS: Mapping[str, str] = {
    "salesforce_contact_id": CONTACT,
    "salesforce_account_id": ACCOUNT,
    "salesforce_lead_id": LEAD,
    "salesforce_individual_id": INDIVIDUAL,
    "salesforce_user_id": USER,
}
_TEXT_TYPES = frozenset({"string", "email", "phone", "url", "combobox", "picklist"})
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


@dataclass(frozen=True)
class Rules:
    """The configured kinds of fields (`Object.Field`), and the region of national phone numbers."""

    kinds: Mapping[str, str]
    home_region: str | None = None

    @property
    def all_kinds(self) -> frozenset[str]:
        """Every kind that can be looked for."""
        return frozenset({EMAIL, PHONE, EXTERNAL_ID, *ID_KINDS, *self.kinds.values()})

    def kind_of(self, known: ObjectType, name: str) -> str | None:
        """The kind of identifier that a field holds, if any."""
        field = known.fields[name]
        configured = self.kinds.get(f"{known.name}.{name}")
        if configured is not None:
            return configured
        if field.type == "email":
            return EMAIL
        if field.type == "phone":
            return PHONE
        return EXTERNAL_ID if field.external_id and field.type in _TEXT_TYPES else None

    def fields_of(self, known: ObjectType) -> dict[str, str]:
        """Fields that hold identifiers and can be filtered by, with their kinds."""
        found = {}
        for name, field in known.fields.items():
            kind = self.kind_of(known, name)
            if kind is not None and field.filterable:
                found[name] = kind
        return found

    def unsearchable(self, schema: Schema) -> tuple[str, ...]:
        """List people's identifier fields that can't be filtered by (encrypted ones): no search covers them."""
        return tuple(
            f"unfilterable_field:{name}.{field}"
            for name in PEOPLE
            if name in schema.objects
            for field, facts in schema.objects[name].fields.items()
            if not facts.filterable and self.kind_of(schema.objects[name], field) is not None
        )

    def spellings(self, identifier: Identifier) -> tuple[str, ...]:
        """The forms in which a value may stand in the org. Other spellings of a phone number aren't found."""
        value = identifier.value.strip()
        if not value:
            return ()
        if identifier.kind != PHONE:
            return (value,)
        number = _phone(value, self.home_region)
        if number is None:
            return (value,)
        formats = phonenumbers.PhoneNumberFormat
        e164 = phonenumbers.format_number(number, formats.E164)
        international = phonenumbers.format_number(number, formats.INTERNATIONAL)
        forms = [value, e164, international, phonenumbers.format_number(number, formats.RFC3966), e164[1:]]
        forms += ["00" + e164[1:], international.replace("-", " "), international.replace(" ", "-")]
        if self.home_region and phonenumbers.region_code_for_number(number) == self.home_region:
            national = phonenumbers.format_number(number, formats.NATIONAL)
            digits = "".join(c for c in national if c.isdigit())
            forms += [national, digits, national.replace("(", "").replace(") ", "-"), national.replace(" ", "-")]
        return tuple(dict.fromkeys(forms))

    def normal(self, identifier: Identifier) -> tuple[str, str]:
        """Return a form in which equal identifiers are equal.

        Lower case, not case folding: ß and ss are two mailboxes.
        """
        value = identifier.value.strip()
        if identifier.kind in ID_KINDS:
            return identifier.kind, long_id(value) or value
        if identifier.kind == PHONE:
            number = _phone(value, self.home_region)
            formatted = number and phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
            return PHONE, formatted or value
        return identifier.kind, in_one_case(value)


def wanted(rules: Rules, subjects: Iterable[Subject]) -> dict[str, list[str]]:
    """All spellings of all subjects' values, per kind."""
    found: dict[str, dict[str, None]] = {}
    for subject in subjects:
        for identifier in subject.identifiers:
            for spelling in rules.spellings(identifier):
                found.setdefault(identifier.kind, {})[spelling] = None
    return {kind: list(values) for kind, values in found.items()}


def carried(rules: Rules, known: ObjectType, row: Mapping[str, object]) -> tuple[Identifier, ...]:
    """Every identifier that stands in a row, its own id not included."""
    fields = rules.fields_of(known)
    return tuple(Identifier(kind, str(row[name])) for name, kind in fields.items() if row.get(name))


def long_id(value: str) -> str | None:
    """Return the 18-character form of an id, or None if it is no id.

    The last three characters say which letters are capitals.

    Source: help.salesforce.com 000385585 (read 2026-11-22).
    """
    if not (value.isascii() and value.isalnum() and len(value) in (15, 18)):
        return None
    short = value[:15]
    if len(value) == 18 and value[15:].upper() != _suffix(short):
        return None
    return short + _suffix(short)


def _suffix(short: str) -> str:
    groups = (short[i : i + 5] for i in (0, 5, 10))
    return "".join(_LETTERS[sum(1 << n for n, c in enumerate(group) if "A" <= c <= "Z")] for group in groups)


def _phone(value: str, region: str | None) -> phonenumbers.PhoneNumber | None:
    text = value if value.startswith("+") or region else ("+" + value[2:] if value.startswith("00") else value)
    try:
        return phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        digits = value.lstrip("+")
        if region is None and digits.isdigit() and len(digits) > 9:
            try:
                return phonenumbers.parse("+" + digits, None)
            except phonenumbers.NumberParseException:
                return None
        return None

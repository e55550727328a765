"""Values without a person in them, for records that stay: what a field's type, length, uniqueness and rules allow.

Decides values only. A rule that no value of ours satisfies is the system's to answer, by `policy.values`; a refusal is
named in `left`, never passed over. Source: Object Reference, "Field Types" (read 2026-11-22).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from connectors.salesforce.org.schema import Field, Schema

_TEXT = "Anonymised"
_DOMAIN = "anonymised.invalid"  # RFC 2606: no mail ever reaches it
_TEXT_TYPES = frozenset({"string", "textarea", "phone", "url", "encryptedstring", "combobox"})
_NUMBERS = frozenset({"double", "int", "location"})
# Lists that say something of a person, and parts of an address that aren't text: emptied where that is possible.
_TELLING = ("salutation", "genderidentity", "pronouns", "statecode", "countrycode", "geocodeaccuracy", "birth")
_UNIQUE_ANYWAY = frozenset({"CommunityNickname", "FederationIdentifier"})  # describe doesn't always say so
_PLACES = ("latitude", "longitude")


def anonymised(schema: Schema, name: str, record_id: str, given: Mapping[str, str] | None = None) -> dict[str, Any]:
    """New values for every field of a record that can tell of a person and can be written.

    `given`: "Object.Field" -> the value that a validation rule of the org asks for.
    """
    values: dict[str, Any] = {}
    for field_name, facts in schema.objects[name].fields.items():
        if not facts.updateable:
            continue
        fixed = (given or {}).get(f"{name}.{field_name}")
        if fixed is not None:
            values[field_name] = fixed[: facts.length or None]
        elif _tells(facts):
            values[field_name] = None if facts.nillable else _filler(facts, record_id)
    return values


def _tells(facts: Field) -> bool:
    """True for text, addresses and whatever its name gives away; what can't be emptied must be text."""
    low = facts.name.lower().removesuffix("__c")
    if facts.type in _TEXT_TYPES and not facts.choices:
        return True
    if facts.type == "email":
        return True
    if not facts.nillable:
        return False
    if facts.type in _NUMBERS:
        return low.endswith(_PLACES)
    return facts.type in ("picklist", "multipicklist", "date") and any(part in low for part in _TELLING)


def _filler(facts: Field, record_id: str) -> str:
    """The shortest valid text. One that must be unique is made from the record's id, which says nothing."""
    most = facts.length or 255
    if facts.type == "email":
        return f"{_unique(record_id, max(1, most - len(_DOMAIN) - 1))}@{_DOMAIN}"[:most]
    if facts.unique or facts.external_id or facts.name in _UNIQUE_ANYWAY:
        return _unique(record_id, most)
    text = f"https://{_DOMAIN}" if facts.type == "url" else _TEXT
    return text[:most]


def _unique(record_id: str, most: int) -> str:
    """As unique as that many letters allow, whatever the case: the beginnings of ids are all alike."""
    digest = hashlib.sha256(record_id.encode()).digest()
    return base64.b32encode(digest).decode().lower().rstrip("=")[: min(most, 32)]

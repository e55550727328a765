"""Decides when two spellings are the same identifier: the strict rule by which persons are found.

Strict means: two values are different if a mailbox provider or a phone company may distinguish them. Dots and plus tags
of an email stay, ids keep their case, an extension stays part of a phone number. Vendors hash and compare by looser
rules of their own; their connectors have those rules. `placeholders` decides whether a value identifies no person at
all.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

import idna
import phonenumbers

from connectors.base.values import Identifier, is_identifier_kind

MAX_VALUE_CHARACTERS = 512
EMAIL = "email"
PHONE = "phone"

_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, lone surrogates, line and paragraph separators
_DOMAIN_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_DOMAIN_LABEL}(?:\.{_DOMAIN_LABEL})*")
_UNQUOTED_LOCAL_PART = re.compile(r"[^\s@()<>,;:\\\[\]\"]+")
_QUOTED_LOCAL_PART = re.compile(r'"[^"]+"')
_PHONE = re.compile(
    r"(?P<plus>\(?\+)?(?P<number>[\d\s()./\-\u2010-\u2015]+?)"
    r"(?:(?:;ext=|\bext(?:ension)?\b\.?|x|#)\s*(?P<extension>\d{1,7}))?\s*",
    re.IGNORECASE,
)
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


class InvalidIdentifier(ValueError):  # noqa: N818 - says what is true
    """The value can't be an identifier. The message has the field and a reason code, never the value."""

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"invalid identifier: {field} is {reason}")


def normalise(identifier: Identifier, default_region: str | None) -> Identifier:
    """Return the normal form, by which identifiers are compared; normalising it again changes nothing.

    `default_region` (two letters, such as `DE`) is the country of phone numbers without a country code; without it only
    numbers with a plus become E.164. Digits that are no phone number keep the form digits-and-plus, and
    `is_well_formed` returns False for them. Raises InvalidIdentifier, and ValueError for a region that doesn't exist.
    """
    if default_region is not None and default_region not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("unknown default region for phone numbers")
    if not is_identifier_kind(identifier.kind):
        raise InvalidIdentifier("kind", "malformed")
    text = identifier.value.strip()
    _check_text(text)
    value = _RULES.get(identifier.kind, _opaque)(text, default_region)
    _check_text(value)
    return Identifier(identifier.kind, value)


def is_well_formed(normalised: Identifier) -> bool:
    """Return False for a phone number that isn't plain E.164, True for every other identifier.

    Two people in two countries may have the same national digits, and all people behind a switchboard have its number.
    """
    if normalised.kind != PHONE:
        return True
    return _as_e164(normalised.value, None) == normalised.value


def _check_text(text: str) -> None:
    if not text:
        raise InvalidIdentifier("value", "empty")
    if len(text) > MAX_VALUE_CHARACTERS:
        raise InvalidIdentifier("value", "too_long")
    # A printable text has none of them: asking for all at once takes 0.1 us, and for each 10 us.
    if not text.isprintable() and any(unicodedata.category(each) in _FORBIDDEN_CATEGORIES for each in text):
        raise InvalidIdentifier("value", "control_character")


def _opaque(text: str, _default_region: str | None) -> str:
    return unicodedata.normalize("NFC", text)


def _email(text: str, _default_region: str | None) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).strip().lower())
    if not folded.isprintable() and any(unicodedata.category(character) == "Cf" for character in folded):
        raise InvalidIdentifier("value", "invisible_character")
    local_part, _, domain = folded.rpartition("@")
    if not (_UNQUOTED_LOCAL_PART.fullmatch(local_part) or _QUOTED_LOCAL_PART.fullmatch(local_part)):
        raise InvalidIdentifier("value", "malformed_email")
    return f"{local_part}@{_ascii_domain(domain)}"


def _ascii_domain(domain: str) -> str:
    # Plain ASCII is only checked for shape: underscores occur in real domains, and IDNA refuses them.
    if not domain.isascii():
        try:
            domain = idna.encode(domain).decode("ascii")
        except idna.IDNAError:
            raise InvalidIdentifier("value", "malformed_email") from None
    if not _DOMAIN.fullmatch(domain):
        raise InvalidIdentifier("value", "malformed_email")
    return domain


def _phone(text: str, default_region: str | None) -> str:
    # Invisible characters mean nothing here: a number that was copied from a phone's address book may contain them.
    visible = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf").strip()
    match = _PHONE.fullmatch(visible)
    if match is None:
        raise InvalidIdentifier("value", "malformed_phone")
    digits = "".join(str(unicodedata.decimal(c)) for c in match["number"] if c.isdecimal())
    if not digits:
        raise InvalidIdentifier("value", "malformed_phone")
    cleaned = f"+{digits}" if match["plus"] else digits
    number = _as_e164(cleaned, default_region) or cleaned
    return f"{number};ext={match['extension']}" if match["extension"] else number


def _as_e164(cleaned: str, default_region: str | None) -> str | None:
    try:
        parsed = phonenumbers.parse(cleaned, default_region)
    except phonenumbers.NumberParseException:
        return None
    # Possible, not valid: the metadata of valid ranges lags behind the ranges in use. A number that is possible only
    # locally (seven digits in the US) has no area code and may be anybody's.
    if phonenumbers.is_possible_number_with_reason(parsed) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    written = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return str(written) if _E164.fullmatch(written) else None


_RULES: Mapping[str, Callable[[str, str | None], str]] = {EMAIL: _email, PHONE: _phone}

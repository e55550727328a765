"""Decides which values are placeholders: texts that people or programs enter without an identifier.

A placeholder links strangers, because everybody without an email may have `unknown`. So it is never a member of a
cluster, and the walk doesn't continue through it. The tables are short on purpose: with a real value in them, that
person's data would not be found and erased.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

import phonenumbers

from connectors.base.values import Identifier


class PlaceholderReason(StrEnum):
    """The reason why a value is a placeholder."""

    EMPTY = "empty"
    WORD_FOR_NOTHING = "word_for_nothing"
    SAMPLE_ADDRESS = "sample_address"
    UNATTENDED_MAILBOX = "unattended_mailbox"
    ALL_ZERO = "all_zero"
    ONE_CHARACTER_REPEATED = "one_character_repeated"
    COUNTED_UP = "counted_up"


# fmt: off
_WORDS_FOR_NOTHING = frozenset({
    "unknown", "none", "null", "nil", "nan", "na", "n/a", "n.a.", "undefined", "empty", "blank", "missing",
    "default", "dummy", "test", "testing", "guest", "anonymous", "deleted", "redacted", "removed", "private",
    "withheld", "tbd", "true", "false", "keine", "unbekannt", "inconnu", "desconocido", "?", ".", "-", "*", "_",
    r"\n", "not set", "not provided", "not available", "not applicable", "no email", "no phone", "no value",
})

_SAMPLE_ADDRESSES = frozenset({
    "test@test.com", "test@test.de", "test@example.com", "test@example.org", "user@example.com",
    "email@example.com", "name@example.com", "example@example.com", "a@a.com", "a@b.com", "a@b.c", "abc@abc.com",
    "asdf@asdf.com", "none@none.com", "na@na.com", "no@no.com", "no@email.com", "email@email.com",
})

_UNATTENDED_MAILBOXES = frozenset({
    "noreply", "no-reply", "no_reply", "no.reply", "donotreply", "do-not-reply", "do_not_reply", "do.not.reply",
    "noemail", "no-email", "no_email", "nomail", "mailer-daemon", "nobody", "none", "null", "undefined",
    "unknown", "anonymous",
})
# fmt: on

# Short runs can be real: customer 111, local numbers. Seven is longer than any run that a careful reader would trust.
_MIN_REPEATED_CHARACTERS = 7
_MIN_REPEATED_PHONE_DIGITS = 5
_MIN_COUNTED_DIGITS = 7
_COUNTING = ("01234567890123456789", "98765432109876543210")
_QUOTING = "\"'`()[]<>{}"
_PUNCTUATION = re.compile(r"[\s+\-./()_:]")


@dataclass(frozen=True, slots=True)
class PlaceholderRules:
    """The tables, each replaceable by the controller. All entries are in lower case.

    `words` and `addresses` are whole values, `mailboxes` are local parts at any domain.
    """

    words: frozenset[str] = _WORDS_FOR_NOTHING
    addresses: frozenset[str] = _SAMPLE_ADDRESSES
    mailboxes: frozenset[str] = _UNATTENDED_MAILBOXES


STANDARD_PLACEHOLDERS = PlaceholderRules()


def placeholder_reason(
    identifier: Identifier, rules: PlaceholderRules = STANDARD_PLACEHOLDERS
) -> PlaceholderReason | None:
    """Return why this identifier, normalised or as found, is a placeholder; None if it isn't one."""
    text = _folded(identifier.value)
    if not text:
        return PlaceholderReason.EMPTY
    if text in rules.words:
        return PlaceholderReason.WORD_FOR_NOTHING
    if "@" in text:
        return _address_reason(text, rules)
    return _number_reason(identifier.kind, text)


def is_placeholder(identifier: Identifier, rules: PlaceholderRules = STANDARD_PLACEHOLDERS) -> bool:
    """Return True for a placeholder."""
    return placeholder_reason(identifier, rules) is not None


def _folded(value: str) -> str:
    text = unicodedata.normalize("NFKC", value)
    visible = "".join(c for c in text if unicodedata.category(c) not in {"Cf", "Cc"} or c.isspace())
    return visible.strip().strip(_QUOTING).strip().lower()


def _address_reason(text: str, rules: PlaceholderRules) -> PlaceholderReason | None:
    if text in rules.addresses:
        return PlaceholderReason.SAMPLE_ADDRESS
    if text.rpartition("@")[0] in rules.mailboxes:
        return PlaceholderReason.UNATTENDED_MAILBOX
    return None


def _number_reason(kind: str, text: str) -> PlaceholderReason | None:
    digits = _PUNCTUATION.sub("", text)
    if not digits:
        return PlaceholderReason.WORD_FOR_NOTHING
    shortest_run = _MIN_REPEATED_CHARACTERS
    if kind == "phone":
        digits, shortest_run = _national_digits(text, digits), _MIN_REPEATED_PHONE_DIGITS
    if set(digits) == {"0"}:
        return PlaceholderReason.ALL_ZERO
    if len(digits) >= shortest_run and len(set(digits)) == 1:
        return PlaceholderReason.ONE_CHARACTER_REPEATED
    if kind == "phone" and len(digits) >= _MIN_COUNTED_DIGITS and any(digits in counting for counting in _COUNTING):
        return PlaceholderReason.COUNTED_UP
    return None


def _national_digits(text: str, digits: str) -> str:
    """Return the digits without the country code, because `+1 555 555 5555` repeats one digit only there."""
    if not text.startswith("+"):
        return digits
    try:
        parsed = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        return digits
    # The typed digits after the country code, because the parser drops leading zeros and so all of an all-zero number.
    return digits.removeprefix(str(parsed.country_code))

"""The forms in which a warehouse may hold a value, and how two values are compared.

Emails are compared without regard to case, everything else exactly; white space around a value never counts. The
database does the folding on both sides, so that its idea of lower case and Python's can't disagree.
"""

from __future__ import annotations

import unicodedata

import idna

from connectors.base.values import Identifier

ANY_CASE_KINDS = frozenset({"email"})

# The white space that is taken off around a value, the no-break space of copied spreadsheets included.
WHITE_SPACE = " \t\n\v\f\r\u00a0"


def trimmed(value: str) -> str:
    """The value without white space around it, as SQL trims it."""
    return value.strip(WHITE_SPACE)


def comparable(identifier: Identifier) -> tuple[str, str]:
    """Return a form that is equal for identifiers that are one.

    For values that the database returned; the database itself compares in SQL.
    """
    value = unicodedata.normalize("NFC", trimmed(identifier.value))
    return identifier.kind, value.lower() if identifier.kind in ANY_CASE_KINDS else value


def spellings(identifier: Identifier) -> tuple[str, ...]:
    """Return the forms to look for: composed and decomposed Unicode, an email's domain in both alphabets.

    A form that no database can hold (NUL, half a surrogate pair) is left out; it can't be found either.
    """
    value = trimmed(identifier.value)
    forms = [value]
    if identifier.kind in ANY_CASE_KINDS:
        forms += _other_domains(value)
    forms += [unicodedata.normalize(form, text) for text in tuple(forms) for form in ("NFC", "NFD")]
    return tuple(dict.fromkeys(form for form in forms if form and _is_storable(form)))


def _other_domains(email: str) -> list[str]:
    local, at, domain = email.rpartition("@")
    if not at or not domain:
        return []
    found: list[str] = []
    for convert in (_ascii_domain, idna.decode):
        try:
            found.append(f"{local}@{convert(domain.lower())}")
        except (idna.IDNAError, UnicodeError):
            continue  # no such form: the domain isn't a valid one, and is looked for as it is
    return found


def _ascii_domain(domain: str) -> str:
    return idna.encode(domain).decode("ascii")


def _is_storable(value: str) -> bool:
    return "\x00" not in value and not any(0xD800 <= ord(sign) <= 0xDFFF for sign in value)

"""One problem in a body: the field, the reason and the allowed values; never the value that was sent.

Decides which of the sender's names may be repeated, and which allowed name is suggested in its place. A sender's name
may be personal data (an e-mail address as a key), so only a text with the form of a field name is repeated.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

MOST_PROBLEMS = 20
"""The most problems that one response lists.

Each costs a search for the nearest name, and a body may hold thousands of fields.
"""
_LONGEST_COMPARED = 80
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z_]{0,39}")


@dataclass(frozen=True)
class FieldProblem:
    """One wrong field.

    `field`: a JSON pointer or a name that the service chose. `reason`: a code. `allowed`: every value or name that the
    field accepts. `did_you_mean` is one of `allowed`. `expected` describes the accepted values if they are no list.
    """

    field: str
    reason: str
    allowed: tuple[str, ...] = ()
    did_you_mean: str | None = None
    expected: str | None = None


def nearest(name: object, allowed: Iterable[str]) -> str | None:
    """Return the allowed name that is most similar to `name`; None if none is similar."""
    if not isinstance(name, str):
        return None
    near = difflib.get_close_matches(name[:_LONGEST_COMPARED].strip().lower(), list(allowed), n=1)
    return near[0] if near else None


def names_a_field(name: object) -> bool:
    """Return whether a sender's name may be repeated: at most 40 letters and _, no digits, dots or @."""
    return isinstance(name, str) and _FIELD_NAME.fullmatch(name) is not None

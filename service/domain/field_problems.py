"""One thing that is wrong with what was sent: where, why, and what is allowed there; never what was sent.

Decides which name that a sender chose may be repeated, and which allowed name is suggested in its place. A name may be
a value in disguise (an e-mail address as a key), so only what has the form of a field's name is repeated.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

MOST_PROBLEMS = 20
"""As many are told of one body: each costs a search for the nearest name, and a body may hold thousands of fields."""
_LONGEST_COMPARED = 80
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z_]{0,39}")


@dataclass(frozen=True)
class FieldProblem:
    """`field`: a JSON pointer or a name of ours. `reason`: a code. `allowed`: every value or name that is taken there.

    `did_you_mean` is one of `allowed`; `expected` says in words of ours what is taken where that is no list.
    """

    field: str
    reason: str
    allowed: tuple[str, ...] = ()
    did_you_mean: str | None = None
    expected: str | None = None


def nearest(name: object, allowed: Iterable[str]) -> str | None:
    """The allowed name that is most like `name`, if one is like it."""
    if not isinstance(name, str):
        return None
    near = difflib.get_close_matches(name[:_LONGEST_COMPARED].strip().lower(), list(allowed), n=1)
    return near[0] if near else None


def names_a_field(name: object) -> bool:
    """True for a sender's name that may be repeated: at most 40 letters and _, without digits, dots or @."""
    return isinstance(name, str) and _FIELD_NAME.fullmatch(name) is not None

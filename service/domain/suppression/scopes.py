"""The scopes of the suppression list: what must not be done with a person's data any more.

Decides which scopes a request may name and which stored scopes each of them means. Doesn't decide the law's deadline
for one (`service.domain.requests.deadlines`) or how a vendor expresses it (its connector).

Sources: Cal. Civ. Code § 1798.120 (sale and sharing) and § 1798.121 (limit the use of sensitive data); Regulation (EU)
2016/679, Art. 21 (objection); as summed up in the project's notes on law, read 2026-12-01.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

ERASED: Final = "erased"
"""The scope of an erasure's entries: the person's data must not come back. Only erasures have it."""
DO_NOT_SELL: Final = "do_not_sell"
DO_NOT_SHARE: Final = "do_not_share"
LIMIT_SENSITIVE: Final = "limit_sensitive"
OBJECTION: Final = "objection"
DO_NOT_CONTACT: Final = "do_not_contact"
PURPOSE: Final = "purpose"
CHANNELS: Final = ("email", "sms", "phone", "push", "post")
"""The ways to contact a person; `do_not_contact` alone means all of them."""

_PLAIN = frozenset({DO_NOT_SELL, DO_NOT_SHARE, LIMIT_SENSITIVE, OBJECTION})
_CHANNEL_SCOPES = {f"{DO_NOT_CONTACT}:{channel}" for channel in CHANNELS}
# At most six digits, like every text that the audit log takes: no value may look like a telephone number.
_PURPOSE = re.compile(r"purpose:(?=.{1,40}$)[a-z](?:[a-z_]*[0-9]){0,6}[a-z_]*", re.ASCII)

ALLOWED: Final = (*sorted(_PLAIN), DO_NOT_CONTACT, *sorted(_CHANNEL_SCOPES), f"{PURPOSE}:<name>")
"""The forms that a request may name, for an error message."""


class UnknownScope(ValueError):  # noqa: N818 - says what is true
    """The text isn't a scope. The message doesn't repeat it."""

    def __init__(self) -> None:
        super().__init__(f"known scopes: {', '.join(ALLOWED)}")


def stored_scopes(named: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes that the list stores for the named ones, sorted, without repeats.

    `do_not_contact` means each channel, so that a person can later allow one of them. Raises UnknownScope.
    """
    found: set[str] = set()
    for scope in named:
        if scope == DO_NOT_CONTACT:
            found |= _CHANNEL_SCOPES
        elif scope in _PLAIN or scope in _CHANNEL_SCOPES or _PURPOSE.fullmatch(scope):
            found.add(scope)
        else:
            raise UnknownScope
    return tuple(sorted(found))

"""Decides which part of an identifier a screen shows: enough to recognise it, not to reconstruct it.

A mask is shown to people who may see the request. It is still personal data, so logs and audit entries never hold one.
"""

from __future__ import annotations

from connectors.base.values import Identifier

HIDDEN = "***"
"""Replaces any number of characters, so that a mask doesn't reveal a value's length."""

_MIN_LOCAL_PART_TO_HINT = 4
_MIN_LABEL_TO_HINT = 4
_MIN_CHARACTERS_TO_HINT = 8


def mask(identifier: Identifier) -> str:
    """Return `a***@e***.test` for an email, `***67` for any other kind; less for a short value."""
    return _masked_email(identifier.value) if identifier.kind == "email" else _masked_tail(identifier.value)


def distinct_mask(identifier: Identifier, ordinal: int) -> str:
    """Return the mask with the identifier's ordinal in its request: `a***@e***.test #2`.

    Two values of one request never have the same mask, and the ordinal reveals nothing about the value.
    """
    return f"{mask(identifier)} #{ordinal}"


def _masked_email(value: str) -> str:
    local_part, at, domain = value.rpartition("@")
    if not at:
        return _masked_tail(value)
    name, dot, top_level = domain.rpartition(".")
    shown_domain = f"{_first(name, _MIN_LABEL_TO_HINT)}{HIDDEN}.{top_level}" if dot else HIDDEN
    return f"{_first(local_part, _MIN_LOCAL_PART_TO_HINT)}{HIDDEN}@{shown_domain}"


def _masked_tail(value: str) -> str:
    # The end is harmless for every kind: an email under another kind ends with its top-level domain.
    last_two = value[-2:]
    return HIDDEN + last_two if len(value) >= _MIN_CHARACTERS_TO_HINT and last_two.isalnum() else HIDDEN


def _first(text: str, shortest: int) -> str:
    return text[0] if len(text) >= shortest and text[0].isalnum() else ""

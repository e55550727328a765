"""Refuse identifiers of a kind that nothing here knows, before anything is stored or looked for.

Such an identifier would be accepted and then found in no system: a typing error in a kind would cost an erasure, a hold
or an honest answer. Which kinds are known is `Settings.identifier_kinds`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from service.domain.errors import UnknownKind
from service.domain.field_problems import MOST_PROBLEMS, nearest
from service.settings import Settings


def check_known_kind(settings: Settings, kind: str, field: str) -> None:
    """Raises UnknownKind, which names the place, the known kinds and the nearest of them."""
    check_known_kinds(settings, [(field, kind)])


def check_known_kinds(settings: Settings, kinds: Iterable[tuple[str, str]]) -> None:
    """Check (field, kind) of many identifiers.

    Raises UnknownKind with the places of the first ones that nothing here knows, and the kind nearest to the first.
    """
    known = settings.identifier_kinds
    unknown = list(islice(((field, kind) for field, kind in kinds if kind not in known), MOST_PROBLEMS))
    if unknown:
        (field, kind), *others = unknown
        raise UnknownKind(
            "unknown_kind",
            field=field,
            errors=[(other, "unknown_kind") for other, _ in others],
            allowed=sorted(known),
            did_you_mean=nearest(kind, sorted(known)),
        )

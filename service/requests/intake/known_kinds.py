"""Refuse identifiers of a kind that nothing here knows, before anything is stored or looked for.

Such an identifier would be accepted and then found in no system: a typing error in a kind would cost an erasure, a hold
or an honest answer. Which kinds are known is `Settings.identifier_kinds`.
"""

from __future__ import annotations

from service.domain.errors import UnknownKind
from service.domain.field_problems import nearest
from service.settings import Settings


def check_known_kind(settings: Settings, kind: str, field: str) -> None:
    """Raises UnknownKind, which names the place, the known kinds and the nearest of them."""
    known = settings.identifier_kinds
    if kind not in known:
        raise UnknownKind("unknown_kind", field=field, allowed=sorted(known), did_you_mean=nearest(kind, sorted(known)))

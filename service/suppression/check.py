"""Check identifiers against the suppression list before they are taken in.

Decides how an identifier is hashed for the look-up, and which failures mean that the list couldn't be read. The rule of
the answer is `service.domain.suppression.check`. A check isn't an entry of the audit log: pipelines make thousands in a
second, and an answer holds nothing but scopes and times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from connectors.base.values import Identifier
from service.domain.identity.normalise import InvalidIdentifier, is_well_formed, normalise
from service.domain.suppression.check import Doubt, Freshness, ListedScope, Verdict, list_doubt, verdict_on
from service.requests.intake.known_kinds import check_known_kinds
from service.requests.records.insert import STORE_UNAVAILABLE
from service.settings import Settings
from service.store.encryption.keyed_hash import Pepper
from service.store.stores import Stores
from service.suppression.check_store import limit_statements, read_freshness, read_scopes

PATIENCE = timedelta(seconds=5)
"""The longest time that the database may take for one statement of a check."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CheckedItem:
    """An identifier to check.

    `algorithm` is set if `value` is not the value but the hash of a vendor's normal form of it, in lower-case hex.
    """

    kind: str
    value: str = field(repr=False)
    algorithm: str | None = None


@dataclass(frozen=True)
class CheckResult:
    """The verdicts in the order of the items. `freshness` is None if the list couldn't be read."""

    verdicts: Sequence[Verdict]
    freshness: Freshness | None


@dataclass(frozen=True)
class _Hashed:
    """An item's keyed hash, None where it has no normal form, and what is in doubt about the item alone."""

    keyed_hash: bytes | None = field(repr=False)
    doubt: Doubt | None = None


def check_suppression(
    stores: Stores, settings: Settings, items: Sequence[CheckedItem], max_staleness: timedelta | None
) -> CheckResult:
    """Return one verdict for each item.

    Every one is `unknown` if the list can't be read or lags by more than `max_staleness`.
    Raises UnknownKind with the places of the items.
    """
    check_known_kinds(settings, ((f"/items/{place}/kind", each.kind) for place, each in enumerate(items)))
    region = settings.identity_graph.default_region if settings.identity_graph else None
    hashed = [_hashed(stores.pepper, each, region) for each in items]
    freshness, scopes = _read(stores, {each.keyed_hash for each in hashed if each.keyed_hash is not None})
    doubt = list_doubt(freshness, max_staleness)
    verdicts = [
        verdict_on(doubt, each.doubt, () if each.keyed_hash is None else scopes.get(each.keyed_hash, ()))
        for each in hashed
    ]
    return CheckResult(verdicts, freshness)


def _read(stores: Stores, hashes: set[bytes]) -> tuple[Freshness | None, Mapping[bytes, Sequence[ListedScope]]]:
    """Return nothing at all unless everything could be read."""
    try:
        with stores.engine.begin() as connection:
            limit_statements(connection, PATIENCE)
            freshness = read_freshness(connection)
            return freshness, read_scopes(connection, hashes)
    except STORE_UNAVAILABLE as error:
        log.warning("suppression_list_unavailable", error=type(error).__name__)
        return None, {}


def _hashed(pepper: Pepper, item: CheckedItem, region: str | None) -> _Hashed:
    if item.algorithm is not None:
        # Found only if the list has the hash itself as an identifier, and another entry may have the plain value.
        of_hash = Identifier(f"{item.kind}_{item.algorithm}", item.value)
        return _Hashed(pepper.of_identifier(of_hash), Doubt.HASH_NOT_MATCHABLE)
    try:
        normal = normalise(Identifier(item.kind, item.value), region)
    except InvalidIdentifier:
        return _Hashed(None, Doubt.MALFORMED)
    return _Hashed(pepper.of_identifier(normal), None if is_well_formed(normal) else Doubt.AMBIGUOUS)

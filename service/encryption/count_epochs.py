"""Count late epochs and missing keys, for graphs and alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.domain.encryption.epochs import EpochState
from service.store.stores import Stores


@dataclass(frozen=True)
class EpochCounts:
    """Ages of epochs in seconds, and counts of missing and lost keys.

    `age_seconds`: by state, of the oldest epoch that is current (since its beginning) or retired (since then).
    `missing_keys`: epochs whose key can't be read although data keys may need it; the service does no work until it is
    back. `lost_keys`: data keys that can't be unwrapped because their epoch key is lost.
    """

    age_seconds: Mapping[str, float]
    missing_keys: int
    lost_keys: int


def count_epochs(stores: Stores) -> EpochCounts:
    """One reading of the key store."""
    epochs = stores.keys.epochs
    now = epochs.now()
    ages: dict[str, float] = {}
    missing = 0
    for epoch in epochs.all():
        missing += not stores.keys.has_what_it_needs(epoch)
        since = epoch.created_at if epoch.state is EpochState.CURRENT else epoch.retired_at
        if epoch.has_key and since is not None:
            ages[epoch.state] = max(ages.get(epoch.state, 0.0), (now - since).total_seconds())
    return EpochCounts(ages, missing, epochs.lost_keys())

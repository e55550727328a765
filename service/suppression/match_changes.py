"""Record a page of a system's changes: requests for re-appeared people, and the cursor, in one commit.

Decides which parts of a page are stored: keyed hashes, and sealed, the identifiers by which re-appeared people were
recognised. All else stays in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Connection, func, select

from connectors.base.values import ChangedRecord, ChangePage, Identifier
from service.domain.identity.normalise import InvalidIdentifier, normalise
from service.domain.suppression.reappearance import Known, Reappeared, Sighting, Verdict, judge
from service.requests.intake.validate import discard_keys
from service.requests.records.insert import is_certainly_not_written
from service.settings import Settings
from service.store.encryption.keyed_hash import Pepper
from service.store.locking import database_now
from service.store.stores import Stores
from service.suppression.lookup import what_is_known
from service.suppression.reopen import Draft, open_reappearances, prepare_reappearances
from service.suppression.scan_schedule import LeasedSync, Waited, advance_sync, end_wait, wait_for

_LOCK = 0x52454150  # two systems may show the same person at once: the second one must see the first one's request


class PageMovedOn(Exception):  # noqa: N818 - says what is true
    """The people who re-appeared changed between look-up and write; the page is read again."""


@dataclass(frozen=True)
class _Page:
    """A page in hashes; `values` are the identifiers behind them, in normal form."""

    sightings: tuple[Sighting, ...]
    values: Mapping[bytes, Identifier] = field(repr=False)


def record_changes(
    stores: Stores, settings: Settings, sync: LeasedSync, changes: ChangePage, *, waited: Waited | None = None
) -> list[UUID]:
    """Return the requests that were opened. Raises LeaseLost, PageMovedOn; then nothing is recorded.

    `waited`: a page that was read once more; the sync's own cursor stays where it is.
    """
    page = _in_hashes(stores.pepper, settings, sync.system, changes.records)
    with stores.engine.begin() as connection:
        known = what_is_known(connection, sync.system, page.sightings)
        verdict = judge(page.sightings, known)
        if not verdict.reappeared:
            _finish(connection, settings, sync, changes, waited, verdict, found=0)
            return []
    # The keys first, in their own database, as for every submission: nothing may be sealed under one that gets lost.
    drafts = prepare_reappearances(stores, settings, verdict.reappeared, _regimes(known), page.values)
    drafted = [draft.request_id for draft in drafts]
    try:
        with stores.engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            verdict = judge(page.sightings, what_is_known(connection, sync.system, page.sightings))
            wanted = list(_still_wanted(verdict.reappeared, drafts))
            now = database_now(connection)
            open_reappearances(connection, settings, sync.system, wanted, now)
            _finish(connection, settings, sync, changes, waited, verdict, found=len(verdict.reappeared))
    except Exception as error:
        if is_certainly_not_written(error):
            discard_keys(stores, drafted)
        raise
    opened = [draft.request_id for draft in wanted]
    discard_keys(stores, [request_id for request_id in drafted if request_id not in set(opened)])
    return opened


def _still_wanted(reappeared: Sequence[Reappeared], drafts: Sequence[Draft]) -> Iterator[Draft]:
    now_there = {each.person: each for each in reappeared}
    drafted = {draft.reappeared.person for draft in drafts}
    if not now_there.keys() <= drafted:
        raise PageMovedOn
    for draft in drafts:
        now = now_there.get(draft.reappeared.person)
        if now is None:
            continue  # opened meanwhile by what another system showed
        if now.hashes != draft.reappeared.hashes or now.sightings != draft.reappeared.sightings:
            raise PageMovedOn
        yield draft


def _finish(
    connection: Connection,
    settings: Settings,
    sync: LeasedSync,
    changes: ChangePage,
    waited: Waited | None,
    verdict: Verdict,
    *,
    found: int,
) -> None:
    """Write the waits for requests' ends and the sync's position."""
    if waited is not None:
        end_wait(connection, sync.system, waited)
    if verdict.waits_for:
        wait_for(connection, sync.system, sync.cursor if waited is None else waited.cursor, verdict.waits_for)
    every = settings.suppression.sync_interval_seconds
    advance_sync(
        connection,
        sync,
        cursor=changes.cursor if waited is None else None,
        due_in_seconds=None if waited is not None else 0.0 if changes.more else every,
        found=found,
    )


def _regimes(known: Known) -> dict[UUID, str]:
    return {origin.person: origin.regime for origin in known.origins.values()}


def _in_hashes(pepper: Pepper, settings: Settings, system: str, seen: Sequence[ChangedRecord]) -> _Page:
    """Hash a page's identifiers in normal form, as the list's entries were. Malformed ones are left out."""
    region = settings.identity_graph.default_region if settings.identity_graph else None
    hashes: dict[Identifier, bytes | None] = {}
    values: dict[bytes, Identifier] = {}
    for identifier in {identifier for one in seen for identifier in one.identifiers}:
        try:
            normal = normalise(identifier, region)
        except InvalidIdentifier:
            hashes[identifier] = None
            continue
        keyed_hash = hashes[identifier] = pepper.of_identifier(normal)
        values[keyed_hash] = normal
    sightings = tuple(
        Sighting(
            pepper.of_record(system, one.record),
            one.changed_at,
            frozenset(h for h in (hashes[identifier] for identifier in one.identifiers) if h is not None),
        )
        for one in seen
    )
    return _Page(sightings, values)

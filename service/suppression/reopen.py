"""Open requests for erased people who re-appeared, sealed and audited like a submission.

Decides which identifiers such a request has: those that are on the suppression list, and no other of the found record,
because the identity graph may give the others to another person. The plan's freeze decides whether a person must
approve; with the policy `report` the search waits for a review, too.

Suppression waits for the approval together with the erasure, although it could be undone: a telephone number or mailbox
that was given to another person looks like a person who came back, an opt-out would touch that other person, and no
effect starts before its plan's hash is approved (invariant I6).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import Connection

from connectors.base.values import Identifier
from service.domain.audit.schema import AuditValue
from service.domain.identity.doubts import OpenDoubt
from service.domain.requests.states import Progress
from service.domain.suppression.reappearance import (
    ON_THE_LIST,
    OPENED_BY,
    REAPPEARED,
    ReappearancePolicy,
    Reappeared,
    Sighting,
)
from service.requests.identity.review_entries import review_opened
from service.requests.intake.build import new_request
from service.requests.intake.validate import (
    MAX_IDENTIFIERS,
    SealedSubmission,
    Submission,
    SubmittedIdentifier,
    check_submission,
    seal_submissions,
)
from service.requests.records.changes import set_aside
from service.requests.records.insert import insert_requests
from service.requests.records.schedule import write_origins
from service.settings import Settings
from service.store.audit_log.record_change import Change, Version, log_changes
from service.store.stores import Stores
from service.suppression.store import NewReappearance, insert_reappearances, read_clock

log = structlog.get_logger(__name__)

_ERASURE = "erasure"


@dataclass(frozen=True)
class Draft:
    """One request that may be opened, already sealed, and the records because of which it is opened."""

    reappeared: Reappeared
    sightings: tuple[Sighting, ...]
    sealed: SealedSubmission = field(repr=False)
    server_started_at: datetime

    @property
    def request_id(self) -> UUID:
        """The id that the request will have."""
        return self.sealed.request_id


def prepare_reappearances(
    stores: Stores,
    settings: Settings,
    reappeared: Sequence[Reappeared],
    regimes: Mapping[UUID, str],
    values: Mapping[bytes, Identifier],
) -> list[Draft]:
    """Seal each request's identifiers under a key of its own, outside any transaction of the main store."""
    with stores.engine.begin() as connection:
        now, server_started_at = read_clock(connection)
    parts = [part for each in reappeared for part in _parts(each)]
    checked = [
        check_submission(
            stores.pepper,
            settings,
            Submission(
                kind=_ERASURE,
                regime=regimes[each.person],
                identifiers=tuple(SubmittedIdentifier(values[h], ON_THE_LIST, now) for h in sorted(hashes)),
                received_at=now,
                external_reference=None,
                submitted_by=OPENED_BY,
            ),
            any_kind=True,
        )
        for each, _, hashes in parts
    ]
    sealed = seal_submissions(stores, checked, server_started_at)
    return [
        Draft(each, sightings, one, server_started_at) for (each, sightings, _), one in zip(parts, sealed, strict=True)
    ]


def _parts(reappeared: Reappeared) -> Iterator[tuple[Reappeared, tuple[Sighting, ...], frozenset[bytes]]]:
    """Yield one request's part, or several where there are more identifiers than a submission may have."""
    hashes = sorted(reappeared.hashes)
    left = list(reappeared.sightings)
    for start in range(0, len(hashes), MAX_IDENTIFIERS):
        some = frozenset(hashes[start : start + MAX_IDENTIFIERS])
        mine = tuple(sighting for sighting in left if sighting.hashes & some)
        left = [sighting for sighting in left if not sighting.hashes & some]
        yield reappeared, mine, some


def open_reappearances(
    connection: Connection, settings: Settings, system: str, drafts: Sequence[Draft], now: datetime
) -> None:
    """Write the requests, their origins and their records in the caller's transaction."""
    if not drafts:
        return
    new = [new_request(settings, d.sealed, duplicate_of=None, now=now, actor="worker") for d in drafts]
    insert_requests(connection, new, drafts[0].server_started_at)
    write_origins(connection, {draft.request_id: draft.reappeared.person for draft in drafts})
    states = [
        NewReappearance(sighting.record_hash, sighting.changed_at, draft.reappeared.person, draft.request_id)
        for draft in drafts
        for sighting in draft.sightings
    ]
    insert_reappearances(connection, system, states, now)
    waits = ReappearancePolicy(settings.suppression.reappearance) is ReappearancePolicy.REPORT
    for draft, request in zip(drafts, new, strict=True):
        _log(connection, system, draft, Version(1, request.row.entry_hash), now, waits_for_review=waits)
    for draft in drafts:
        log.warning("person_reappeared", request=str(draft.request_id), system=system, records=len(draft.sightings))


def _log(
    connection: Connection, system: str, draft: Draft, version: Version, now: datetime, *, waits_for_review: bool
) -> None:
    """Write the entry about a new request; `waits_for_review`: it isn't resolved before a review."""
    key, subject = str(draft.request_id), draft.sealed.subject
    data: dict[str, AuditValue] = {
        "origin": str(draft.reappeared.person),
        "system": system,
        "records": len(draft.sightings),
    }
    changes = [Change("request", key, version, "person_reappeared", subject, data)]
    if not waits_for_review:
        log_changes(connection, changes, actor="worker", at=now)
        return
    doubts = _doubts(draft)
    changes.append(Change("request", key, version, "review_opened", subject, review_opened(doubts, 1)))
    set_aside(connection, changes, reason=Progress.NEEDS_REVIEW, doubts=doubts, actor="worker", at=now)


def _doubts(draft: Draft) -> list[OpenDoubt]:
    """Return one doubt for each identifier; an identifier's ordinal is its position in the order of ids."""
    rows = sorted(identifier.id for identifier in draft.sealed.identifiers)
    return [OpenDoubt(REAPPEARED, (n,), identifiers=(row,)) for n, row in enumerate(rows, start=1)]

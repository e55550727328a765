"""Open requests for erased people who are there again: like a submission, sealed, audited, under their law's clock.

Decides what such a request says: by which identifiers the person is known again, and never any other that stands beside
them (the graph may give it to somebody else; the ordinary search asks). Whether anything may happen without a human is
freeze_plan's to decide; with the policy `report` nobody is even searched for before a review.

Why suppression waits for the approval with the erasure, although it could be taken back: a number or a mailbox that was
given to somebody else looks the same as a person who came back, an opt-out would touch that other person, and no effect
starts before approval of its plan's hash (I6).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from connectors.base.values import Identifier
from service.domain.audit.schema import AuditValue
from service.domain.identity.doubts import OpenDoubt
from service.domain.requests.states import Progress, RequestState
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
from service.requests.intake.insert import insert_requests
from service.requests.intake.validate import (
    MAX_IDENTIFIERS,
    SealedSubmission,
    Submission,
    SubmittedIdentifier,
    check_submission,
    seal_submissions,
)
from service.settings import Settings
from service.store.arrays import Packed, listed, timed
from service.store.audit_log.record_change import Change, Version, log_changes
from service.store.stores import Stores

log = structlog.get_logger(__name__)

_ERASURE = "erasure"


@dataclass(frozen=True)
class Draft:
    """One request that may be opened: for whom, because of which records, and sealed already."""

    reappeared: Reappeared
    sightings: tuple[Sighting, ...]
    sealed: SealedSubmission = field(repr=False)
    server_started_at: datetime

    @property
    def request_id(self) -> UUID:
        """The id that it will have."""
        return self.sealed.request_id


def prepare_reappearances(
    stores: Stores,
    settings: Settings,
    reappeared: Sequence[Reappeared],
    regimes: Mapping[UUID, str],
    values: Mapping[bytes, Identifier],
) -> list[Draft]:
    """Seal their identifiers under keys of their requests' own, outside of any transaction of the main store."""
    with stores.engine.begin() as connection:
        clock = connection.execute(
            text("SELECT clock_timestamp() AS now, pg_postmaster_start_time() AS server_started_at")
        ).one()
    parts = [part for each in reappeared for part in _parts(each)]
    checked = [
        check_submission(
            stores.pepper,
            settings,
            Submission(
                kind=_ERASURE,
                regime=regimes[each.person],
                identifiers=tuple(SubmittedIdentifier(values[h], ON_THE_LIST, clock.now) for h in sorted(hashes)),
                received_at=clock.now,
                external_reference=None,
                submitted_by=OPENED_BY,
            ),
            any_kind=True,
        )
        for each, _, hashes in parts
    ]
    sealed = seal_submissions(stores, checked, clock.server_started_at)
    return [
        Draft(each, sightings, one, clock.server_started_at)
        for (each, sightings, _), one in zip(parts, sealed, strict=True)
    ]


def _parts(reappeared: Reappeared) -> Iterator[tuple[Reappeared, tuple[Sighting, ...], frozenset[bytes]]]:
    """One request, or several where it has more identifiers than a submission may."""
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
    """Write the requests, what each goes back to, and which records they are about, in the caller's transaction."""
    if not drafts:
        return
    new = [new_request(settings, d.sealed, linked_to=None, now=now, actor="worker") for d in drafts]
    insert_requests(connection, new, drafts[0].server_started_at)
    connection.execute(
        text(
            "UPDATE requests r SET reappearance_of = n.origin FROM unnest(CAST(:ids AS uuid[]),"
            " CAST(:origins AS uuid[])) AS n(id, origin) WHERE r.id = n.id"
        ),
        {
            "ids": listed(d.request_id for d in drafts),
            "origins": listed(d.reappeared.person for d in drafts),
        },
    )
    _remember(connection, system, drafts, now)
    changes = []
    for draft, request in zip(drafts, new, strict=True):
        version = Version(1, request.columns["entry_hash"])
        data: dict[str, AuditValue] = {
            "origin": str(draft.reappeared.person),
            "system": system,
            "records": len(draft.sightings),
        }
        changes.append(
            Change("request", str(draft.request_id), version, "person_reappeared", draft.sealed.subject, data)
        )
        if ReappearancePolicy(settings.suppression.reappearance) is ReappearancePolicy.REPORT:
            changes.append(
                Change(
                    "request",
                    str(draft.request_id),
                    version,
                    "review_opened",
                    draft.sealed.subject,
                    review_opened(_doubts(draft), 1),
                )
            )
    if ReappearancePolicy(settings.suppression.reappearance) is ReappearancePolicy.REPORT:
        _set_aside(connection, drafts)
    log_changes(connection, changes, actor="worker", at=now)
    for draft in drafts:
        log.warning("person_reappeared", request=str(draft.request_id), system=system, records=len(draft.sightings))


def _remember(connection: Connection, system: str, drafts: Sequence[Draft], now: datetime) -> None:
    """The states of records that opened something: seen again, they open nothing more."""
    pairs = [(draft, sighting) for draft in drafts for sighting in draft.sightings]
    connection.execute(
        text(
            "INSERT INTO reappearances (system, record_hash, changed_at, origin_id, request_id, seen_at)"
            " SELECT :system, record, changed, origin, request, :now FROM unnest(CAST(:records AS bytea[]),"
            " CAST(:changed AS timestamptz[]), CAST(:origins AS uuid[]), CAST(:requests AS uuid[]))"
            " AS n(record, changed, origin, request) ON CONFLICT DO NOTHING"
        ),
        {
            "system": system,
            "now": now,
            "records": Packed(s.record_hash for _, s in pairs),
            "changed": timed(s.changed_at for _, s in pairs),
            "origins": listed(d.reappeared.person for d, _ in pairs),
            "requests": listed(d.request_id for d, _ in pairs),
        },
    )


def _set_aside(connection: Connection, drafts: Sequence[Draft]) -> None:
    """Nobody is searched for before a human spoke."""
    rows: list[dict[str, Any]] = [
        {
            "id": draft.request_id,
            "state": RequestState.IN_PROGRESS,
            "reason": Progress.NEEDS_REVIEW,
            "doubts": [doubt.as_json() for doubt in _doubts(draft)],
        }
        for draft in drafts
    ]
    connection.execute(
        text(
            "UPDATE requests SET state = :state, reason = :reason, duty = NULL, due_at = NULL, doubts = :doubts,"
            " doubts_version = 1 WHERE id = :id"
        ).bindparams(bindparam("doubts", type_=JSONB)),
        rows,
    )


def _doubts(draft: Draft) -> list[OpenDoubt]:
    """One for each identifier, which have their ordinals in the order of their rows."""
    rows = sorted(identifier.id for identifier in draft.sealed.identifiers)
    return [OpenDoubt(REAPPEARED, (n,), identifiers=(row,)) for n, row in enumerate(rows, start=1)]

"""Place a legal hold on a person: from `effective_at` on no effect starts in any system.

Decides what a hold stops: steps that were about to suppress or erase park at once. What is leased is stopped by the
engine, which asks before each effect, so the hold is in force everywhere after `hold_delay_seconds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from connectors.base.values import Identifier
from service.domain.access.api_key import Caller
from service.domain.audit.schema import instant_text
from service.domain.errors import Invalid
from service.domain.execution.events import HoldPlaced
from service.domain.identity.normalise import InvalidIdentifier, normalise
from service.domain.requests.holds import HoldReason
from service.requests.intake.known_kinds import check_known_kind
from service.requests.records.store import lock_requests
from service.requests.steps.move import apply_event
from service.settings import Settings
from service.store.audit_log.record_change import Change, Version, log_changes
from service.store.locking import database_now, lock_steps
from service.store.stores import Stores


@dataclass(frozen=True)
class PlacedHold:
    """What is told of a new hold: nothing of the person."""

    id: UUID
    reason: str
    until: datetime | None
    effective_at: datetime


def place_hold(
    stores: Stores,
    settings: Settings,
    *,
    identifiers: Sequence[Identifier],
    reason: HoldReason,
    until: datetime | None,
    caller: Caller,
) -> PlacedHold:
    """Place a hold on whoever carries one of these identifiers, now or in a later request. Raises Invalid."""
    hashes = {stores.pepper.of_identifier(i): i.kind for i in normal_forms(identifiers, settings)}
    with stores.engine.begin() as connection:
        now = database_now(connection)
        if until is not None and until <= now:
            raise Invalid("must be in the future", field="/until")
        hold = PlacedHold(uuid4(), reason.value, until, now + settings.seconds("hold_delay"))
        _insert(connection, hold, hashes, caller, now)
        data = {
            "reason": hold.reason,
            "effective_at": instant_text(hold.effective_at),
            "until": None if until is None else instant_text(until),
        }
        placed = Change("hold", str(hold.id), Version(), "hold_placed", None, data)
        log_changes(connection, [placed], actor=caller.actor, at=now)
        _park_steps(connection, hashes, caller.actor, now)
    return hold


def normal_forms(identifiers: Sequence[Identifier], settings: Settings) -> list[Identifier]:
    """The normal forms by which people are compared. Raises Invalid, naming the place and never the value."""
    region = settings.identity_graph.default_region if settings.identity_graph else None
    forms = []
    for place, identifier in enumerate(identifiers):
        check_known_kind(settings, identifier.kind, f"/identifiers/{place}/kind")
        try:
            forms.append(normalise(identifier, region))
        except InvalidIdentifier as error:
            raise Invalid(error.reason, field=f"/identifiers/{place}/{error.field}") from None
    return forms


def _insert(connection: Connection, hold: PlacedHold, hashes: dict[bytes, str], caller: Caller, now: datetime) -> None:
    connection.execute(
        text(
            "INSERT INTO holds (id, reason, until, placed_by, created_at, effective_at)"
            " VALUES (:id, :reason, :until, :by, :now, :effective_at)"
        ),
        {
            "id": hold.id,
            "reason": hold.reason,
            "until": hold.until,
            "by": caller.key_id,
            "now": now,
            "effective_at": hold.effective_at,
        },
    )
    connection.execute(
        text(
            "INSERT INTO hold_hashes (hold_id, keyed_hash, kind) SELECT :id, hash, kind FROM unnest("
            " CAST(:hashes AS bytea[]), CAST(:kinds AS text[])) AS n(hash, kind)"
        ),
        {"id": hold.id, "hashes": list(hashes), "kinds": list(hashes.values())},
    )


def _park_steps(connection: Connection, hashes: dict[bytes, str], actor: str, now: datetime) -> None:
    """Steps that would have begun an effect soon. A withdrawn request's steps only look, and looking goes on."""
    ids = connection.execute(
        text(
            "SELECT DISTINCT r.id FROM requests r JOIN identifiers i ON i.request_id = r.id"
            " WHERE i.keyed_hash = ANY(CAST(:hashes AS bytea[])) AND i.use IN ('planned', 'pending')"
            " AND r.state NOT IN ('denied', 'revoked', 'expired') AND r.sealed_at IS NULL"
        ),
        {"hashes": list(hashes)},
    ).scalars()
    requests = lock_requests(connection, ids)
    found = lock_steps(connection, list(requests))
    apply_event(
        connection,
        [step for steps in found.values() for step in steps],
        HoldPlaced(),
        actor=actor,
        at=now,
        subjects={request_id: row.subject for request_id, row in requests.items()},
    )

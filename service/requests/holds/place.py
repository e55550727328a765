"""Place a legal hold on a person: from `effective_at` on no effect starts in any system.

Decides what a hold stops: steps that were about to suppress or erase park at once. The worker stops a leased step
itself, because it asks before each effect, so that the hold is in force everywhere after `hold_delay_seconds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import Connection

from connectors.base.values import Identifier
from service.domain.access.api_key import Caller
from service.domain.audit.schema import instant_text
from service.domain.errors import Invalid
from service.domain.execution.events import HoldPlaced
from service.domain.identity.normalise import InvalidIdentifier, normalise
from service.domain.requests.holds import HoldReason
from service.requests.holds.store import NewHold, insert_hold, requests_to_hold
from service.requests.intake.known_kinds import check_known_kind
from service.requests.records.store import lock_requests
from service.requests.steps.move import apply_event
from service.requests.steps.read import lock_steps
from service.settings import Settings
from service.store.audit_log.record_change import Change, Version, log_changes
from service.store.locking import database_now
from service.store.stores import Stores


@dataclass(frozen=True)
class PlacedHold:
    """A new hold as its creator sees it, without anything about the person."""

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
        new = NewHold(hold.id, hold.reason, until, caller.key_id, now, hold.effective_at)
        insert_hold(connection, new, hashes)
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


def _park_steps(connection: Connection, hashes: dict[bytes, str], actor: str, now: datetime) -> None:
    """Park the steps that would start an effect. Those of withdrawn requests only look, and go on."""
    requests = lock_requests(connection, requests_to_hold(connection, hashes))
    found = lock_steps(connection, list(requests))
    apply_event(
        connection,
        [step for steps in found.values() for step in steps],
        HoldPlaced(),
        actor=actor,
        at=now,
        subjects={request_id: row.subject for request_id, row in requests.items()},
    )

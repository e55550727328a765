"""Answer "did you delete me?": which requests were about this identifier, also after their values are gone.

Asked by keyed hash. Every look-up is an entry of the key that asked, in the same transaction as the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from connectors.base.values import Identifier
from service.domain.access.api_key import Caller
from service.domain.audit.schema import AuditValue
from service.domain.errors import Invalid
from service.domain.identity.normalise import InvalidIdentifier, normalise
from service.requests.intake.known_kinds import check_known_kind
from service.settings import Settings
from service.store.audit_log.record_change import Change, log_changes
from service.store.locking import database_now, version_of
from service.store.stores import Stores

MOST_REQUESTS = 200
_REQUESTS = text(
    "SELECT id, kind, state, reason, received_at, answered_at, sealed_at FROM requests WHERE id IN ("
    " SELECT request_id FROM identifiers WHERE keyed_hash = :hash AND use IN ('planned', 'pending'))"
    " ORDER BY created_at DESC, id LIMIT :n"
)
_SUPPRESSED = text("SELECT EXISTS (SELECT 1 FROM suppression_entries WHERE keyed_hash = :hash AND removed_at IS NULL)")


@dataclass(frozen=True)
class FoundRequest:
    """A request about the person who was asked for."""

    id: UUID
    kind: str
    state: str
    reason: str | None
    received_at: datetime
    answered_at: datetime | None
    sealed: bool


@dataclass(frozen=True)
class SubjectView:
    """What is known about one identifier. Repeats nothing of it."""

    requests: list[FoundRequest]
    suppressed: bool


def lookup_subject(stores: Stores, settings: Settings, identifier: Identifier, *, caller: Caller) -> SubjectView:
    """The newest `MOST_REQUESTS` requests, and whether the identifier is on the suppression list. Raises Invalid."""
    check_known_kind(settings, identifier.kind, "/identifier/kind")
    region = settings.identity_graph.default_region if settings.identity_graph else None
    try:
        hashed = stores.pepper.of_identifier(normalise(identifier, region))
    except InvalidIdentifier as error:
        raise Invalid(error.reason, field=f"/identifier/{error.field}") from None
    with stores.engine.begin() as connection:
        rows = connection.execute(_REQUESTS, {"hash": hashed, "n": MOST_REQUESTS}).all()
        suppressed = bool(connection.execute(_SUPPRESSED, {"hash": hashed}).scalar_one())
        _log(connection, caller, len(rows))
    found = [
        FoundRequest(
            id=row.id,
            kind=row.kind,
            state=row.state,
            reason=row.reason,
            received_at=row.received_at,
            answered_at=row.answered_at,
            sealed=row.sealed_at is not None,
        )
        for row in rows
    ]
    return SubjectView(found, suppressed)


def _log(connection: Connection, caller: Caller, found: int) -> None:
    key = connection.execute(
        text("SELECT * FROM api_keys WHERE id = :id FOR NO KEY UPDATE"), {"id": caller.key_id}
    ).one()
    data: dict[str, AuditValue] = {"what": "lookup", "found": found}
    change = Change("key", str(caller.key_id), version_of(key), "evidence_read", None, data)
    log_changes(connection, [change], actor=caller.actor, at=database_now(connection))

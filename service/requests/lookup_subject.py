"""Answer "did you delete me?" with the requests about an identifier, also after their values are gone.

The look-up is by keyed hash. Every look-up is an entry of the key that asked, in the same transaction as the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.values import Identifier
from service.access.store import lock_version
from service.domain.access.api_key import Caller
from service.domain.audit.schema import AuditValue
from service.domain.errors import Invalid
from service.domain.identity.normalise import InvalidIdentifier, normalise
from service.requests.intake.known_kinds import check_known_kind
from service.requests.store import find_by_hash, is_suppressed
from service.settings import Settings
from service.store.audit_log.record_change import Change, log_changes
from service.store.locking import database_now
from service.store.stores import Stores

MOST_REQUESTS = 200


@dataclass(frozen=True)
class FoundRequest:
    """A request about the person of the look-up."""

    id: UUID
    kind: str
    state: str
    reason: str | None
    received_at: datetime
    answered_at: datetime | None
    sealed: bool


@dataclass(frozen=True)
class SubjectView:
    """The requests about one identifier, and whether it is suppressed. Repeats nothing of the identifier."""

    requests: list[FoundRequest]
    suppressed: bool


def lookup_subject(stores: Stores, settings: Settings, identifier: Identifier, *, caller: Caller) -> SubjectView:
    """Return the newest `MOST_REQUESTS` requests, and whether the identifier is suppressed.

    Raises Invalid.
    """
    check_known_kind(settings, identifier.kind, "/identifier/kind")
    region = settings.identity_graph.default_region if settings.identity_graph else None
    try:
        hashed = stores.pepper.of_identifier(normalise(identifier, region))
    except InvalidIdentifier as error:
        raise Invalid(error.reason, field=f"/identifier/{error.field}") from None
    with stores.engine.begin() as connection:
        rows = find_by_hash(connection, hashed, limit=MOST_REQUESTS)
        suppressed = is_suppressed(connection, hashed)
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
    data: dict[str, AuditValue] = {"what": "lookup", "found": found}
    change = Change("key", str(caller.key_id), lock_version(connection, caller.key_id), "evidence_read", None, data)
    log_changes(connection, [change], actor=caller.actor, at=database_now(connection))

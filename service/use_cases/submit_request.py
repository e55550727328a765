"""Accept a request: from here on it can't be lost. One transaction writes everything; nothing else happens in HTTP.

Decides what is accepted, what repeats an earlier submission, and which request a second one is linked to. The data key
is made first, in its own database: a crash in between leaves a key without a request, which the sweeper removes.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError

from connectors.base.values import Identifier
from service.domain.audit_shapes import instant_text
from service.domain.deadlines import REGIMES, acknowledge_by, respond_by
from service.domain.idempotency import InvalidKey, body_fingerprint, is_same_body, parse_key
from service.domain.normalisation import InvalidIdentifier, normalise
from service.domain.refusals import IdempotencyConflict, Invalid, KindNotAvailable, ReferenceInUse
from service.domain.request import Duty, Progress, RequestState
from service.settings import Settings
from service.storage.changes import Change, Version, log_changes
from service.storage.key_store import request_owner
from service.storage.rows import check_again, database_now
from service.storage.sealed_identifiers import seal_identifier
from service.storage.stores import Stores

KINDS = ("erasure", "suppression", "access")
AVAILABLE_KINDS = ("erasure",)
MAX_IDENTIFIERS = 50


@dataclass(frozen=True)
class SubmittedIdentifier:
    """An identifier as it came, and how it was verified; no method means that it wasn't."""

    identifier: Identifier
    verification_method: str | None
    verified_at: datetime | None


@dataclass(frozen=True)
class Submission:
    """A request as it came through the door."""

    kind: str
    regime: str
    identifiers: tuple[SubmittedIdentifier, ...]
    received_at: datetime
    external_reference: str | None
    submitted_by: UUID
    idempotency_key: str | None


@dataclass(frozen=True)
class Receipt:
    """What the submitter is told: public, without personal data, the same for every repetition."""

    id: str
    kind: str
    regime: str
    received_at: str
    respond_by: str
    acknowledge_by: str | None
    external_reference: str | None
    linked_to: str | None
    replayed: bool = False


@dataclass(frozen=True)
class _Sealed:
    id: UUID
    kind: str
    sealed: bytes
    keyed_hash: bytes
    method: str | None
    verified_at: datetime | None


def submit_request(stores: Stores, settings: Settings, submission: Submission) -> Receipt:
    """Accept a submission durably, or refuse it with nothing left behind.

    Raises: Invalid, KindNotAvailable, IdempotencyConflict, ReferenceInUse.
    """
    _check(submission)
    normal = _normalised(submission, settings)
    fingerprint = body_fingerprint(stores.pepper.derive("idempotency"), _canonical_body(submission))
    earlier = _earlier_receipt(stores, submission, fingerprint)
    if earlier is not None:
        return earlier
    request_id = uuid4()
    owner = request_owner(request_id)
    key = stores.keys.create([owner])[owner]
    rows = [
        _Sealed(
            id=(row_id := uuid4()),
            kind=identifier.kind,
            sealed=seal_identifier(key, request_id, row_id, identifier.value),
            keyed_hash=stores.pepper.of_identifier(identifier),
            method=submitted.verification_method,
            verified_at=submitted.verified_at,
        )
        for identifier, submitted in normal
    ]
    try:
        with stores.engine.begin() as connection:
            return _write(connection, settings, submission, request_id, rows, fingerprint)
    except IntegrityError as error:
        # Refused by the database, so certainly not committed. After any other error nobody knows: the connection may
        # have broken after the commit, and without its key an accepted request is lost. The sweeper finds orphans.
        stores.keys.destroy([owner])
        return _lost_a_race(stores, submission, fingerprint, error)


def _check(submission: Submission) -> None:
    if submission.kind not in KINDS:
        raise Invalid("not a kind of request", field="/kind")
    if submission.kind not in AVAILABLE_KINDS:
        raise KindNotAvailable("this kind is not carried out yet, so it is not accepted", field="/kind")
    if submission.regime not in REGIMES:
        raise Invalid(f"known regimes: {', '.join(sorted(REGIMES))}", field="/regime")
    if not 1 <= len(submission.identifiers) <= MAX_IDENTIFIERS:
        raise Invalid(f"1 to {MAX_IDENTIFIERS} identifiers", field="/identifiers")
    for value, place in ((submission.external_reference, "/external_reference"), (submission.idempotency_key, None)):
        if value is not None:
            try:
                parse_key(value)
            except InvalidKey:
                raise Invalid("must match [A-Za-z0-9_-]{1,64}", field=place or "Idempotency-Key") from None


def _normalised(submission: Submission, settings: Settings) -> list[tuple[Identifier, SubmittedIdentifier]]:
    """Normal forms without repeats; a verified occurrence wins over an unverified one."""
    region = settings.identity_graph.default_region if settings.identity_graph else None
    found: dict[Identifier, SubmittedIdentifier] = {}
    for place, submitted in enumerate(submission.identifiers):
        try:
            normal = normalise(submitted.identifier, region)
        except InvalidIdentifier as error:
            raise Invalid(error.reason, field=f"/identifiers/{place}/{error.field}") from None
        if normal not in found or found[normal].verification_method is None:
            found[normal] = submitted
    return list(found.items())


def _canonical_body(submission: Submission) -> bytes:
    body = {
        "kind": submission.kind,
        "regime": submission.regime,
        "received_at": submission.received_at.isoformat(),
        "external_reference": submission.external_reference,
        "identifiers": [
            [i.identifier.kind, i.identifier.value, i.verification_method, i.verified_at and i.verified_at.isoformat()]
            for i in submission.identifiers
        ],
    }
    return json.dumps(body, sort_keys=True).encode()


def _earlier_receipt(stores: Stores, submission: Submission, fingerprint: bytes) -> Receipt | None:
    if submission.idempotency_key is None:
        return None
    with stores.engine.begin() as connection:
        row = connection.execute(
            text(
                "SELECT fingerprint, receipt FROM idempotency_keys"
                " WHERE api_key_id = :k AND key = :i AND expires_at > clock_timestamp()"
            ),
            {"k": submission.submitted_by, "i": submission.idempotency_key},
        ).one_or_none()
    if row is None:
        return None
    if not is_same_body(bytes(row.fingerprint), fingerprint):
        raise IdempotencyConflict("this key was used with another body", field="Idempotency-Key")
    return replace(Receipt(**row.receipt), replayed=True)


def _lost_a_race(stores: Stores, submission: Submission, fingerprint: bytes, error: IntegrityError) -> Receipt:
    """Two submissions met at a unique constraint; the other one is committed now."""
    earlier = _earlier_receipt(stores, submission, fingerprint)
    if earlier is not None:
        return earlier
    if "external_reference" in str(error.orig):
        raise ReferenceInUse("another request has this reference", field="/external_reference") from None
    raise error


def _write(
    connection: Connection,
    settings: Settings,
    submission: Submission,
    request_id: UUID,
    rows: Sequence[_Sealed],
    fingerprint: bytes,
) -> Receipt:
    now = database_now(connection)
    regime = REGIMES[submission.regime]
    zone = settings.service.zone
    linked_to = _open_request_of(connection, rows)
    facts: dict[str, Any] = {
        "id": request_id,
        "subject": secrets.token_hex(16),
        "kind": submission.kind,
        "regime": submission.regime,
        "state": RequestState.IN_PROGRESS if linked_to else RequestState.OPEN,
        "reason": Progress.LINKED if linked_to else None,
        "duty": None if linked_to else Duty.IDENTIFY,
        "due_at": None if linked_to else now,
        "received_at": submission.received_at,
        "acknowledge_by": acknowledge_by(regime, submission.received_at, zone),
        "respond_by": respond_by(regime, submission.received_at, zone),
        "external_reference": submission.external_reference,
        "submitted_by": submission.submitted_by,
        "linked_to": linked_to,
    }
    _insert(connection, facts, rows)
    receipt = _receipt(facts)
    if submission.idempotency_key is not None:
        _remember(connection, settings, submission, fingerprint, receipt, now)
    log_changes(
        connection,
        [
            Change(
                "request",
                str(request_id),
                Version(),
                "request_submitted",
                facts["subject"],
                {
                    "kind": submission.kind,
                    "regime": submission.regime,
                    "received_at": instant_text(facts["received_at"]),
                    "respond_by": instant_text(facts["respond_by"]),
                    "identifier_kinds": sorted(row.kind for row in rows),
                    "verified": sum(row.method is not None for row in rows),
                    "linked_to": str(linked_to) if linked_to else None,
                },
            )
        ],
        actor=f"key:{submission.submitted_by}",
        at=now,
    )
    if linked_to is not None:
        # The other request may have ended between our reading of it and our commit; then nobody else would come by.
        check_again(connection, [linked_to])
    return receipt


def _open_request_of(connection: Connection, rows: Sequence[_Sealed]) -> UUID | None:
    """The unfinished request that already covers every submitted identifier, if each is verified here too."""
    if any(row.method is None for row in rows):
        return None
    hashes = [row.keyed_hash for row in rows]
    found: UUID | None = connection.execute(
        text(
            "SELECT i.request_id FROM identifiers i JOIN requests r ON r.id = i.request_id"
            " WHERE i.keyed_hash = ANY(CAST(:hashes AS bytea[])) AND i.use IN ('planned', 'pending')"
            " AND (i.verification_method IS NOT NULL OR i.use = 'planned')"
            " AND r.state IN ('open', 'in_progress') AND r.linked_to IS NULL"
            " GROUP BY i.request_id, r.created_at HAVING count(DISTINCT i.keyed_hash) = :wanted"
            " ORDER BY r.created_at LIMIT 1"
        ),
        {"hashes": hashes, "wanted": len(set(hashes))},
    ).scalar_one_or_none()
    return found


def _insert(connection: Connection, facts: dict[str, Any], rows: Sequence[_Sealed]) -> None:
    columns = ", ".join(facts)
    values = ", ".join(f":{name}" for name in facts)
    connection.execute(text(f"INSERT INTO requests ({columns}) VALUES ({values})"), facts)  # noqa: S608 - our own names
    connection.execute(
        text(
            "INSERT INTO identifiers"
            " (id, request_id, origin, kind, sealed, keyed_hash, verification_method, verified_at)"
            " SELECT id, :request_id, 'submitted', kind, sealed, hash, method, verified_at"
            " FROM unnest(CAST(:ids AS uuid[]), CAST(:kinds AS text[]), CAST(:sealed AS bytea[]),"
            " CAST(:hashes AS bytea[]), CAST(:methods AS text[]), CAST(:verified AS timestamptz[]))"
            " AS n(id, kind, sealed, hash, method, verified_at)"
        ),
        {
            "request_id": facts["id"],
            "ids": [row.id for row in rows],
            "kinds": [row.kind for row in rows],
            "sealed": [row.sealed for row in rows],
            "hashes": [row.keyed_hash for row in rows],
            "methods": [row.method for row in rows],
            "verified": [row.verified_at for row in rows],
        },
    )


def _receipt(facts: dict[str, Any]) -> Receipt:
    return Receipt(
        id=str(facts["id"]),
        kind=facts["kind"],
        regime=facts["regime"],
        received_at=instant_text(facts["received_at"]),
        respond_by=instant_text(facts["respond_by"]),
        acknowledge_by=None if facts["acknowledge_by"] is None else instant_text(facts["acknowledge_by"]),
        external_reference=facts["external_reference"],
        linked_to=None if facts["linked_to"] is None else str(facts["linked_to"]),
    )


def _remember(
    connection: Connection,
    settings: Settings,
    submission: Submission,
    fingerprint: bytes,
    receipt: Receipt,
    now: datetime,
) -> None:
    connection.execute(
        text("DELETE FROM idempotency_keys WHERE api_key_id = :k AND key = :i AND expires_at <= :now"),
        {"k": submission.submitted_by, "i": submission.idempotency_key, "now": now},
    )
    connection.execute(
        text(
            "INSERT INTO idempotency_keys (api_key_id, key, fingerprint, receipt, request_id, expires_at)"
            " VALUES (:k, :i, :f, :r, :id, :e)"
        ).bindparams(bindparam("r", type_=JSONB)),
        {
            "k": submission.submitted_by,
            "i": submission.idempotency_key,
            "f": fingerprint,
            "r": asdict(receipt),
            "id": UUID(receipt.id),
            "e": now + settings.seconds("idempotency"),
        },
    )

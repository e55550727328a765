"""Prepare a submission for writing: check it, normalise it, and seal it under a key of its own.

Decides what can be accepted and how a repetition is recognised. Writes nothing to the main store; the data key is made
in the key store before anything refers to it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

import structlog
from sqlalchemy.exc import SQLAlchemyError

from connectors.base.values import Identifier
from service.domain.errors import Invalid, KindNotAvailable
from service.domain.identity.normalise import InvalidIdentifier, normalise
from service.domain.requests.deadlines import REGIMES
from service.domain.requests.idempotency import InvalidKey, parse_key
from service.domain.requests.states import RequestKind
from service.domain.suppression.scopes import ALLOWED, ERASED, UnknownScope, stored_scopes
from service.requests.identifiers import seal_identifier
from service.requests.intake.known_kinds import check_known_kind
from service.requests.records.insert import NewIdentifier
from service.settings import Settings
from service.store.encryption.key_store import request_owner
from service.store.encryption.keyed_hash import Pepper
from service.store.stores import Stores

log = structlog.get_logger(__name__)

KINDS = tuple(kind.value for kind in RequestKind)
AVAILABLE_KINDS = (RequestKind.ERASURE.value, RequestKind.SUPPRESSION.value)
MAX_SCOPES = 20
MAX_IDENTIFIERS = 50


@dataclass(frozen=True)
class SubmittedIdentifier:
    """An identifier as it came, and how it was verified; no method means that it wasn't."""

    identifier: Identifier
    verification_method: str | None
    verified_at: datetime | None


@dataclass(frozen=True)
class Submission:
    """A request as it came through the door. `scopes`: those of a suppression, as they were named."""

    kind: str
    regime: str
    identifiers: tuple[SubmittedIdentifier, ...]
    received_at: datetime
    external_reference: str | None
    submitted_by: UUID
    idempotency_key: str | None = None
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckedSubmission:
    """A submission that can be accepted: normalised identifiers without repeats, and its fingerprints."""

    submission: Submission
    identifiers: tuple[tuple[Identifier, SubmittedIdentifier], ...] = field(repr=False)
    keyed_hashes: tuple[bytes, ...] = field(repr=False)
    fingerprint: bytes = field(repr=False)

    @property
    def is_verified(self) -> bool:
        """Whether every identifier was proven to be the requester's."""
        return all(submitted.verification_method is not None for _, submitted in self.identifiers)


@dataclass(frozen=True)
class SealedSubmission:
    """The parts of a new request that don't depend on the store: id, pseudonym, sealed identifiers."""

    request_id: UUID
    subject: str
    checked: CheckedSubmission
    identifiers: tuple[NewIdentifier, ...]


def check_submission(
    pepper: Pepper, settings: Settings, submission: Submission, *, any_kind: bool = False
) -> CheckedSubmission:
    """Raises Invalid, UnknownKind, KindNotAvailable.

    `any_kind`: for identifiers that were accepted before, when the configuration may have been another one.
    """
    _check(submission)
    check_scopes(submission)
    if not any_kind:
        for place, each in enumerate(submission.identifiers):
            check_known_kind(settings, each.identifier.kind, f"/identifiers/{place}/kind")
    normal = _normalised(submission, settings)
    return CheckedSubmission(
        submission,
        normal,
        tuple(pepper.of_identifier(identifier) for identifier, _ in normal),
        pepper.of_body(_canonical_body(submission)),
    )


def seal_submissions(
    stores: Stores, checked: Sequence[CheckedSubmission], server_started_at: datetime
) -> list[SealedSubmission]:
    """Return new requests, each under a key of its own; one statement makes all keys durable.

    The requests must be written to the server that started then, which the insertion checks.
    """
    request_ids = [uuid4() for _ in checked]
    owners = [request_owner(request_id) for request_id in request_ids]
    keys = stores.keys.create_new(owners, server_started_at=server_started_at)
    try:
        return [
            _sealed(keys[request_owner(request_id)], request_id, each)
            for request_id, each in zip(request_ids, checked, strict=True)
        ]
    except Exception:
        discard_keys(stores, request_ids)
        raise


def discard_keys(stores: Stores, request_ids: Sequence[UUID]) -> None:
    """Destroy the data keys of requests that were certainly not written.

    Never raises for a key store that doesn't answer: the caller has a result or an error of its own to tell, and the
    sweep of orphaned keys destroys later what is left.
    """
    try:
        stores.keys.destroy([request_owner(request_id) for request_id in request_ids])
    except SQLAlchemyError as error:
        log.warning("unused_keys_left", keys=len(request_ids), error=type(error).__name__)


def _sealed(key: bytes, request_id: UUID, checked: CheckedSubmission) -> SealedSubmission:
    rows = tuple(
        NewIdentifier(
            id=(row_id := uuid4()),
            kind=identifier.kind,
            sealed=seal_identifier(key, request_id, row_id, identifier.value),
            keyed_hash=keyed_hash,
            method=submitted.verification_method,
            verified_at=submitted.verified_at,
        )
        for (identifier, submitted), keyed_hash in zip(checked.identifiers, checked.keyed_hashes, strict=True)
    )
    return SealedSubmission(request_id, secrets.token_hex(16), checked, rows)


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


def check_scopes(submission: Submission) -> tuple[str, ...]:
    """Return the scopes with which the request's identifiers go on the suppression list. Raises Invalid."""
    if submission.kind != RequestKind.SUPPRESSION:
        if submission.scopes:
            raise Invalid("only a suppression takes scopes", field="/scopes")
        return (ERASED,)
    if not 1 <= len(submission.scopes) <= MAX_SCOPES:
        raise Invalid(f"a suppression takes 1 to {MAX_SCOPES} scopes: {', '.join(ALLOWED)}", field="/scopes")
    try:
        return stored_scopes(submission.scopes)
    except UnknownScope as error:
        raise Invalid(str(error), field="/scopes") from None


def _normalised(submission: Submission, settings: Settings) -> tuple[tuple[Identifier, SubmittedIdentifier], ...]:
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
    return tuple(found.items())


def _canonical_body(submission: Submission) -> bytes:
    body = {
        "kind": submission.kind,
        "regime": submission.regime,
        "received_at": submission.received_at.isoformat(),
        "external_reference": submission.external_reference,
        **({"scopes": list(submission.scopes)} if submission.scopes else {}),
        "identifiers": [
            [i.identifier.kind, i.identifier.value, i.verification_method, i.verified_at and i.verified_at.isoformat()]
            for i in submission.identifiers
        ],
    }
    return json.dumps(body, sort_keys=True).encode()

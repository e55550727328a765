"""Issue the certificate of one request: its claims, the log entries behind them, and their proofs.

Decides when a certificate may be issued (after the request was answered), and that the log has the entry about it
before the caller gets the file. Doesn't decide the claims (domain.requests.certificate) or the proofs
(domain.audit.proof_bundle).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, Uuid, bindparam, select

from connectors.base.transitions.states import StepState
from service.audit.sequence import checkpoint_everything
from service.domain.audit.canonical_json import JsonValue
from service.domain.audit.proof_bundle import seal_certificate
from service.domain.audit.signed_note import SigningKey, open_checkpoint
from service.domain.errors import WrongState
from service.domain.requests.certificate import (
    CertifiedIdentifier,
    CertifiedPlan,
    CertifiedRequest,
    CertifiedStep,
    certificate_claims,
    claims_hash,
)
from service.domain.requests.states import UNFINISHED
from service.requests.records.rows import StoredRequest, request_change, scopes_of
from service.requests.records.store import lock_request
from service.settings import Settings
from service.store.audit_log.log import proven_entries
from service.store.audit_log.record_change import log_changes
from service.store.execute import execute
from service.store.locking import EVERY_GAP, database_now
from service.store.stores import Stores
from service.store.tables.requests import IdentifierRow, PlanRow
from service.store.tables.work import StepRow, SystemRow

_REQUEST = bindparam("request", type_=Uuid())
_IDENTIFIERS = (
    select(
        IdentifierRow.kind,
        IdentifierRow.origin,
        IdentifierRow.use,
        IdentifierRow.verification_method,
        IdentifierRow.verified_at,
    )
    .where(IdentifierRow.request_id == _REQUEST)
    .order_by(IdentifierRow.origin.desc(), IdentifierRow.kind, IdentifierRow.id)
)
_PLANS = (
    select(
        PlanRow.version,
        PlanRow.hash,
        PlanRow.frozen_at,
        PlanRow.approval_reasons,
        PlanRow.approved_by,
        PlanRow.approved_at,
    )
    .where(PlanRow.request_id == _REQUEST)
    .order_by(PlanRow.version)
)
_STEPS = (
    select(
        StepRow.system,
        SystemRow.connector,
        StepRow.state,
        StepRow.reason,
        StepRow.ended_at,
        StepRow.due_at,
        StepRow.attempts,
        StepRow.erased,
        StepRow.remaining,
        EVERY_GAP.label("gaps"),
    )
    .join(SystemRow, SystemRow.name == StepRow.system)
    .where(StepRow.request_id == _REQUEST)
    .order_by(StepRow.position, StepRow.system)
)


@dataclass(frozen=True)
class IssuedCertificate:
    """The signed file, and whether it is the last one of this request."""

    content: bytes
    final: bool


def issue_certificate(
    stores: Stores, settings: Settings, signing_key: SigningKey, request_id: UUID, *, actor: str
) -> IssuedCertificate:
    """Return the certificate as of now.

    Raises NotFound; WrongState before the request is answered; AuditLogBroken.
    """
    with stores.engine.begin() as connection:
        row = lock_request(connection, request_id)
        if row.state in UNFINISHED:
            raise WrongState("there is no certificate before the request is answered")
        claims = _claims(connection, settings, row)
        final = row.sealed_at is not None
        change = request_change(row, "certificate_issued", certificate_hash=claims_hash(claims), final=final)
        log_changes(connection, [change], actor=actor, at=database_now(connection))
    note = checkpoint_everything(stores.engine, signing_key)
    checkpoint = open_checkpoint(note, signing_key.trusted)
    with stores.engine.begin() as connection:
        entries = proven_entries(connection, row.subject, checkpoint)
    return IssuedCertificate(seal_certificate(claims, entries, note, signing_key), final)


def _claims(connection: Connection, settings: Settings, row: StoredRequest) -> dict[str, JsonValue]:
    request = CertifiedRequest(
        id=str(row.id),
        subject=row.subject,
        kind=row.kind,
        regime=row.regime,
        state=row.state,
        reason=row.reason,
        received_at=row.received_at,
        accepted_at=row.created_at,
        respond_by=row.respond_by,
        extended_at=row.extended_at,
        extension_reason=row.extension_reason,
        overdue_at=row.overdue_at,
        answered_at=row.answered_at,
        sealed_at=row.sealed_at,
        covered_by=None if row.duplicate_of is None else str(row.duplicate_of),
        external_reference=row.external_reference,
        scopes=scopes_of(row),
    )
    return certificate_claims(
        request,
        _identifiers(connection, row.id),
        _plans(connection, row.id),
        _steps(connection, row.id),
        controller=settings.service.controller,
        issued_at=database_now(connection),
        blinding=secrets.token_hex(16),
    )


def _identifiers(connection: Connection, request_id: UUID) -> list[CertifiedIdentifier]:
    rows = execute(connection, _IDENTIFIERS, {"request": request_id}).all()
    return [CertifiedIdentifier(r.kind, r.origin, r.use, r.verification_method, r.verified_at) for r in rows]


def _plans(connection: Connection, request_id: UUID) -> list[CertifiedPlan]:
    rows = execute(connection, _PLANS, {"request": request_id}).all()
    return [
        CertifiedPlan(
            version=r.version,
            hash=r.hash,
            frozen_at=r.frozen_at,
            approval_reasons=list(r.approval_reasons),
            approved_by=None if r.approved_by is None else f"key:{r.approved_by}",
            approved_at=r.approved_at,
        )
        for r in rows
    ]


def _steps(connection: Connection, request_id: UUID) -> list[CertifiedStep]:
    rows = execute(connection, _STEPS, {"request": request_id}).all()
    return [
        CertifiedStep(
            system=r.system,
            connector=r.connector,
            state=r.state,
            reason=r.reason,
            ended_at=r.ended_at,
            look_again_at=r.due_at if r.state == StepState.ACCEPTED else None,
            attempts=r.attempts,
            erased=dict(r.erased),
            left_over=dict(r.remaining),
            not_covered=list(r.gaps),
        )
        for r in rows
    ]

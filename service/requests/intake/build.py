"""Build a new request's row and first entry from a sealed submission and the database's clock.

Decides state, next action, deadlines and the receipt; `requests.records.insert` writes the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from service.domain.audit.schema import AuditValue, instant_text
from service.domain.requests.deadlines import acknowledge_by, regime_of, respond_by
from service.domain.requests.states import NextAction, Progress, RequestKind, RequestState
from service.requests.intake.validate import SealedSubmission, check_scopes
from service.requests.records.insert import NewRequest, NewRow, StoredReceipt
from service.settings import Settings
from service.store.audit_log.record_change import Change, Version, chain_entries

TICK = timedelta(microseconds=1)
"""Between the creations of requests that are written together: the order in which they came is theirs."""


@dataclass(frozen=True)
class Receipt:
    """The submitter's receipt: public, without personal data, the same for every repetition."""

    id: str
    kind: str
    regime: str
    received_at: str
    respond_by: str
    acknowledge_by: str | None
    external_reference: str | None
    duplicate_of: str | None
    replayed: bool = False


@dataclass(frozen=True)
class ImportLine:
    """Where in an import a request stood."""

    import_id: UUID
    line: int


def new_request(
    settings: Settings,
    sealed: SealedSubmission,
    *,
    duplicate_of: UUID | None,
    now: datetime,
    created_at: datetime | None = None,
    of_import: ImportLine | None = None,
    actor: str | None = None,
) -> NewRequest:
    """Return the row, its identifiers and its entry.

    `created_at` orders requests that are written together. `actor` opens a request that has no API key.
    """
    submission = sealed.checked.submission
    scopes = check_scopes(submission)
    regime = regime_of(submission.regime, scopes)
    zone = settings.service.zone
    row = NewRow(
        id=sealed.request_id,
        subject=sealed.subject,
        kind=submission.kind,
        scopes=scopes,
        regime=submission.regime,
        state=RequestState.IN_PROGRESS.value if duplicate_of else RequestState.OPEN.value,
        reason=Progress.DUPLICATE.value if duplicate_of else None,
        next_action=None if duplicate_of else NextAction.IDENTIFY.value,
        due_at=None if duplicate_of else now,
        received_at=submission.received_at,
        created_at=created_at or now,
        acknowledge_by=acknowledge_by(regime, submission.received_at, zone),
        respond_by=respond_by(regime, submission.received_at, zone),
        external_reference=submission.external_reference,
        submitted_by=submission.submitted_by,
        duplicate_of=duplicate_of,
        import_id=None if of_import is None else of_import.import_id,
        import_line=None if of_import is None else of_import.line,
        import_fingerprint=None if of_import is None else sealed.checked.fingerprint,
    )
    (entry,), versions = chain_entries(
        [_submitted(sealed, row)], actor=actor or f"key:{submission.submitted_by}", at=now
    )
    entry_hash = versions[("request", str(sealed.request_id))].entry_hash
    return NewRequest(replace(row, entry_hash=entry_hash), sealed.identifiers, entry.encode())


def receipt_of(new: NewRequest) -> Receipt:
    """Return the receipt of a new request."""
    row = new.row
    return Receipt(
        id=str(row.id),
        kind=row.kind,
        regime=row.regime,
        received_at=instant_text(row.received_at),
        respond_by=instant_text(row.respond_by),
        acknowledge_by=None if row.acknowledge_by is None else instant_text(row.acknowledge_by),
        external_reference=row.external_reference,
        duplicate_of=None if row.duplicate_of is None else str(row.duplicate_of),
    )


def stored_receipt(receipt: Receipt) -> StoredReceipt:
    """Return the receipt as it is stored beside its Idempotency-Key."""
    return StoredReceipt(
        id=receipt.id,
        kind=receipt.kind,
        regime=receipt.regime,
        received_at=receipt.received_at,
        respond_by=receipt.respond_by,
        acknowledge_by=receipt.acknowledge_by,
        external_reference=receipt.external_reference,
        duplicate_of=receipt.duplicate_of,
    )


def _submitted(sealed: SealedSubmission, row: NewRow) -> Change:
    data: dict[str, AuditValue] = {
        "kind": row.kind,
        "regime": row.regime,
        "received_at": instant_text(row.received_at),
        "respond_by": instant_text(row.respond_by),
        "identifier_kinds": sorted(identifier.kind for identifier in sealed.identifiers),
        "verified": sum(identifier.method is not None for identifier in sealed.identifiers),
        "linked_to": str(row.duplicate_of) if row.duplicate_of else None,
    }
    if row.kind == RequestKind.SUPPRESSION:
        data["scopes"] = list(row.scopes)
    if row.import_id is not None:
        data["submission"] = str(row.import_id)
    return Change("request", str(sealed.request_id), Version(), "request_submitted", sealed.subject, data)

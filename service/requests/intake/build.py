"""What a new request's row and its first entry say, from a sealed submission and the database's clock.

Decides state, next action, deadlines and the receipt; requests.intake.insert writes the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from service.domain.audit.schema import instant_text
from service.domain.requests.deadlines import REGIMES, acknowledge_by, respond_by
from service.domain.requests.states import NextAction, Progress, RequestState
from service.requests.intake.insert import NewRequest
from service.requests.intake.validate import SealedSubmission
from service.settings import Settings
from service.store.audit_log.record_change import Change, Version, chain_entries

TICK = timedelta(microseconds=1)
"""Between the creations of requests that are written together: the order in which they came is theirs."""


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
    """The row, its identifiers and its entry. `created_at` orders requests that are written together; `actor` is who
    opens it where nobody's key does."""
    submission = sealed.checked.submission
    regime = REGIMES[submission.regime]
    zone = settings.service.zone
    columns: dict[str, Any] = {
        "id": sealed.request_id,
        "subject": sealed.subject,
        "kind": submission.kind,
        "regime": submission.regime,
        "state": RequestState.IN_PROGRESS.value if duplicate_of else RequestState.OPEN.value,
        "reason": Progress.DUPLICATE.value if duplicate_of else None,
        "next_action": None if duplicate_of else NextAction.IDENTIFY.value,
        "due_at": None if duplicate_of else now,
        "received_at": submission.received_at,
        "created_at": created_at or now,
        "acknowledge_by": acknowledge_by(regime, submission.received_at, zone),
        "respond_by": respond_by(regime, submission.received_at, zone),
        "external_reference": submission.external_reference,
        "submitted_by": submission.submitted_by,
        "duplicate_of": duplicate_of,
    }
    if of_import is not None:
        columns |= {
            "import_id": of_import.import_id,
            "import_line": of_import.line,
            "import_fingerprint": sealed.checked.fingerprint,
        }
    (entry,), versions = chain_entries(
        [_submitted(sealed, columns)], actor=actor or f"key:{submission.submitted_by}", at=now
    )
    columns["entry_hash"] = versions[("request", str(sealed.request_id))].entry_hash
    return NewRequest(columns, sealed.identifiers, entry.encode())


def receipt_of(new: NewRequest) -> Receipt:
    """What is answered about a new request."""
    facts = new.columns
    return Receipt(
        id=str(facts["id"]),
        kind=facts["kind"],
        regime=facts["regime"],
        received_at=instant_text(facts["received_at"]),
        respond_by=instant_text(facts["respond_by"]),
        acknowledge_by=None if facts["acknowledge_by"] is None else instant_text(facts["acknowledge_by"]),
        external_reference=facts["external_reference"],
        duplicate_of=None if facts["duplicate_of"] is None else str(facts["duplicate_of"]),
    )


def _submitted(sealed: SealedSubmission, columns: dict[str, Any]) -> Change:
    data: dict[str, Any] = {
        "kind": columns["kind"],
        "regime": columns["regime"],
        "received_at": instant_text(columns["received_at"]),
        "respond_by": instant_text(columns["respond_by"]),
        "identifier_kinds": sorted(row.kind for row in sealed.identifiers),
        "verified": sum(row.method is not None for row in sealed.identifiers),
        "linked_to": str(columns["duplicate_of"]) if columns["duplicate_of"] else None,
    }
    if "import_id" in columns:
        data["submission"] = str(columns["import_id"])
    return Change("request", str(sealed.request_id), Version(), "request_submitted", sealed.subject, data)

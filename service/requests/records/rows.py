"""The rows of the table `requests` as the use cases read them, and the audit entries about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from service.domain.audit.schema import AuditValue
from service.domain.identity.doubts import StoredDoubt
from service.domain.requests.states import RequestKind
from service.store.audit_log.record_change import Change, Version


class VersionedRequest(Protocol):
    """The columns of a locked request's row that an audit entry needs."""

    @property
    def id(self) -> UUID: ...
    @property
    def subject(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def entry_hash(self) -> bytes | None: ...


class StoredRequest(NamedTuple):
    """A request's row, without the columns of leases. `subject` is its pseudonym in the audit log."""

    id: UUID
    subject: str
    kind: str
    scopes: Sequence[str]
    regime: str
    state: str
    reason: str | None
    next_action: str | None
    received_at: datetime
    created_at: datetime
    acknowledge_by: datetime | None
    respond_by: datetime
    extended_at: datetime | None
    extension_reason: str | None
    overdue_at: datetime | None
    external_reference: str | None
    submitted_by: UUID
    import_id: UUID | None
    duplicate_of: UUID | None
    reappearance_of: UUID | None
    urgent: bool
    plan_version: int
    doubts: Sequence[StoredDoubt]
    doubts_version: int
    second_person_for: Sequence[str]
    identity_reviewed: bool
    answered_at: datetime | None
    sealed_at: datetime | None
    version: int
    entry_hash: bytes | None


def scopes_of(request: StoredRequest) -> list[str]:
    """Return the scopes that a suppression asks for; an erasure asks for none."""
    return list(request.scopes) if request.kind == RequestKind.SUPPRESSION else []


class PlannedRequest(NamedTuple):
    """The columns that opening steps, freezing and releasing a plan read.

    `fair_queue`: that of its steps.
    """

    id: UUID
    subject: str
    kind: str
    scopes: Sequence[str]
    respond_by: datetime
    fair_queue: UUID
    doubts: Sequence[StoredDoubt]
    second_person_for: Sequence[str]
    plan_version: int
    reappearance_of: UUID | None
    version: int
    entry_hash: bytes | None


def request_change(request: VersionedRequest, event: str, **data: AuditValue) -> Change:
    """Return an entry about a locked request."""
    return change_of(request, event, data)


def change_of(request: VersionedRequest, event: str, data: Mapping[str, AuditValue]) -> Change:
    """Return an entry about a locked request whose data the caller has as a mapping."""
    hashed = None if request.entry_hash is None else bytes(request.entry_hash)
    return Change("request", str(request.id), Version(request.version, hashed), event, request.subject, data)

"""Requests and their rows: identifiers (sealed), plans, suppression entries.

`next_action` and `due_at` of a request's row say which action is due, and when. No column holds personal data in clear.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Computed,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    Uuid,
    case,
    column,
    func,
    literal,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.domain.execution.fair_queues import DEFAULT_FAIR_QUEUE, URGENT_FAIR_QUEUE
from service.store.tables.base import Base

Instant = DateTime(timezone=True)

# The queue of a request and its steps; domain.execution.fair_queues has the rule.
FAIR_QUEUE = case(
    (column("urgent", Boolean), literal(URGENT_FAIR_QUEUE, Uuid)),
    else_=func.coalesce(column("import_id", Uuid), literal(DEFAULT_FAIR_QUEUE, Uuid)),
)

# Each row is leased, or planned, soon after it was written: beside itself it can be updated without touching an index.
_ROOM = {"postgresql_with": {"fillfactor": "65"}}


class RequestRow(Base):
    """One data-subject request. `subject` is its random pseudonym in the audit log.

    A request of an import has its line's number and, until it is sealed, the HMAC of the line. A request that the
    suppression sync opened names the first request of the person who re-appeared.

    `scopes`: with which scopes its identifiers are on the suppression list.

    `doubts_version` counts how often the request was set aside for a human. `second_person_for`: the doubts with which
    a reviewer let the request continue, because of which every version of its plan needs a second person.
    """

    __tablename__ = "requests"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(Text, unique=True)
    kind: Mapped[str] = mapped_column(Text)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    regime: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    next_action: Mapped[str | None] = mapped_column(Text)
    due_at: Mapped[datetime | None] = mapped_column(Instant)
    lease_until: Mapped[datetime | None] = mapped_column(Instant)
    fence: Mapped[int] = mapped_column(server_default="0")
    consecutive_attempts: Mapped[int] = mapped_column(server_default="0")
    received_at: Mapped[datetime] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=text("clock_timestamp()"))
    acknowledge_by: Mapped[datetime | None] = mapped_column(Instant)
    respond_by: Mapped[datetime] = mapped_column(Instant)
    extended_at: Mapped[datetime | None] = mapped_column(Instant)
    extension_reason: Mapped[str | None] = mapped_column(Text)
    overdue_at: Mapped[datetime | None] = mapped_column(Instant)
    external_reference: Mapped[str | None] = mapped_column(Text)
    submitted_by: Mapped[UUID]
    import_id: Mapped[UUID | None] = mapped_column(ForeignKey("imports.id"))
    import_line: Mapped[int | None]
    import_fingerprint: Mapped[bytes | None] = mapped_column(LargeBinary)
    duplicate_of: Mapped[UUID | None] = mapped_column(ForeignKey("requests.id"))
    reappearance_of: Mapped[UUID | None] = mapped_column(ForeignKey("requests.id"))
    urgent: Mapped[bool] = mapped_column(server_default="false")
    fair_queue: Mapped[UUID] = mapped_column(Computed(FAIR_QUEUE, persisted=True))
    plan_version: Mapped[int] = mapped_column(server_default="0")
    doubts: Mapped[list[dict[str, object]]] = mapped_column(JSONB, server_default="[]")
    doubts_version: Mapped[int] = mapped_column(server_default="0")
    second_person_for: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    located_until: Mapped[datetime | None] = mapped_column(Instant)
    identity_reviewed: Mapped[bool] = mapped_column(server_default="false")
    answered_at: Mapped[datetime | None] = mapped_column(Instant)
    sealed_at: Mapped[datetime | None] = mapped_column(Instant)
    attempts_kept: Mapped[bool] = mapped_column(server_default="true")
    version: Mapped[int] = mapped_column(server_default="0")
    entry_hash: Mapped[bytes | None] = mapped_column(LargeBinary)

    __table_args__ = (
        # Unique for one API key only: a refusal because of another key's reference would disclose that key's request.
        # The reference is the first column, because the list's filter gives the reference without a key.
        UniqueConstraint("external_reference", "submitted_by"),
        Index("ix_requests_due", "next_action", "due_at", postgresql_where=text("next_action IS NOT NULL")),
        Index("ix_requests_page", "created_at", "id"),
        Index(
            "ix_requests_unlisted",
            "created_at",
            postgresql_where=text("next_action IN ('identify', 'freeze') AND plan_version = 0"),
        ),
        Index(
            "ix_requests_identify",
            "fair_queue",
            "respond_by",
            "due_at",
            postgresql_where=text("next_action = 'identify'"),
        ),
        Index("ix_requests_sealed", "sealed_at", postgresql_where=text("sealed_at IS NOT NULL AND attempts_kept")),
        Index("ix_requests_import_state", "import_id", "state", postgresql_where=text("import_id IS NOT NULL")),
        Index("ix_requests_import_line", "import_id", "import_line", postgresql_where=text("import_id IS NOT NULL")),
        Index("ix_requests_duplicate_of", "duplicate_of", postgresql_where=text("duplicate_of IS NOT NULL")),
        Index("ix_requests_reappearance_of", "reappearance_of", postgresql_where=text("reappearance_of IS NOT NULL")),
        Index(
            "ix_requests_respond_by",
            "respond_by",
            postgresql_where=text("state IN ('open', 'in_progress') AND overdue_at IS NULL"),
        ),
        Index(
            "ix_requests_overdue",
            "respond_by",
            postgresql_where=text("state IN ('open', 'in_progress') AND overdue_at IS NOT NULL"),
        ),
        _ROOM,
    )


class IdentifierRow(Base):
    """One identifier of a request. `sealed` is emptied when the request is sealed; the keyed hash stays.

    `use` is `planned`, `pending` (not settled yet), `dropped` (by a reviewer) or `excluded` (never sent to a system,
    for the reason in `exclusion`). `system` is set for identifiers known in one system only.
    """

    __tablename__ = "identifiers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    request_id: Mapped[UUID] = mapped_column(ForeignKey("requests.id"))
    origin: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    keyed_hash: Mapped[bytes] = mapped_column(LargeBinary)
    verification_method: Mapped[str | None] = mapped_column(Text)
    verified_at: Mapped[datetime | None] = mapped_column(Instant)
    use: Mapped[str] = mapped_column(Text, server_default="pending")
    exclusion: Mapped[str | None] = mapped_column(Text)
    plan_version: Mapped[int | None]

    __table_args__ = (
        Index("ix_identifiers_request_id", "request_id"),
        Index("ix_identifiers_keyed_hash", "keyed_hash"),
        _ROOM,
    )


class ExplanationRow(Base):
    """The reasons why each identifier of a request is in its cluster, sealed under the request's key.

    The row is deleted when the request is sealed.
    """

    __tablename__ = "identity_explanations"

    request_id: Mapped[UUID] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class ReviewRow(Base):
    """One review of a request: which doubts were decided how, by whose key. Identifiers are ordinals."""

    __tablename__ = "reviews"

    request_id: Mapped[UUID] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    doubts_version: Mapped[int]
    decided_by: Mapped[UUID]
    decided_at: Mapped[datetime] = mapped_column(Instant)
    dropped: Mapped[int]
    decisions: Mapped[list[dict[str, object]]] = mapped_column(JSONB)


class PlanRow(Base):
    """One frozen version of a request's plan; `hash` covers pseudonyms only."""

    __tablename__ = "plans"

    request_id: Mapped[UUID] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(Text)
    frozen_at: Mapped[datetime] = mapped_column(Instant)
    approval_reasons: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    approved_by: Mapped[UUID | None]
    approved_at: Mapped[datetime | None] = mapped_column(Instant)


class SuppressionRow(Base):
    """One person's identifier, as a keyed hash, with one scope: what must not be done with it any more.

    An identifier has one entry per request and scope (`service.domain.suppression.scopes`).
    """

    __tablename__ = "suppression_entries"

    keyed_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    request_id: Mapped[UUID] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    scope: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    added_at: Mapped[datetime] = mapped_column(Instant)
    removed_at: Mapped[datetime | None] = mapped_column(Instant)


class IdempotencyRow(Base):
    """A client's idempotency key, the HMAC of the body, and the resulting request, until the key expires."""

    __tablename__ = "idempotency_keys"

    api_key_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    receipt: Mapped[dict[str, object]] = mapped_column(JSONB)
    request_id: Mapped[UUID] = mapped_column(ForeignKey("requests.id"))
    expires_at: Mapped[datetime] = mapped_column(Instant)

    __table_args__ = (Index("ix_idempotency_keys_expires_at", "expires_at"), UniqueConstraint("request_id"))

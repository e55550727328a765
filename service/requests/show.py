"""Show one request: its state, deadlines, plan, steps with attempts, and identifiers as masks.

Decides what a reader of a request may see. The reader's entry stands in the log before a mask is shown, because a mask
is personal data. After sealing only the kinds of the identifiers can be shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import Connection

from connectors.base.transitions.states import StepState
from service.domain.errors import NotFound
from service.domain.identity.mask import distinct_mask
from service.requests.identifiers import StoredIdentifier, read_identifiers
from service.requests.identity.show import DoubtView, EdgeView, Picture, ReviewView, read_picture
from service.requests.planning.store import read_plan
from service.requests.records.rows import StoredRequest, scopes_of
from service.requests.records.store import read_request
from service.requests.store import ShownStep, read_shown_attempts, read_shown_steps
from service.store.audit_log.record_change import log_event
from service.store.encryption.key_store import request_owner
from service.store.locking import database_now
from service.store.stores import Stores


@dataclass(frozen=True)
class PlanView:
    """The newest frozen plan. `hash` is what an approval names."""

    version: int
    hash: str
    frozen_at: datetime
    approval_reasons: list[str]
    approved_at: datetime | None


@dataclass(frozen=True)
class VerificationView:
    """How and when an identifier was proven to be the requester's."""

    method: str
    verified_at: datetime | None


@dataclass(frozen=True)
class IdentifierView:
    """An identifier as a mask, which no other value of the request has.

    Mask and ordinal are None once the value is gone. `path`: the links that lead to it from a verified identifier.
    """

    id: UUID
    ordinal: int | None
    kind: str
    masked: str | None = field(repr=False)
    origin: str
    use: str
    exclusion: str | None
    verification: VerificationView | None
    path: list[EdgeView]


@dataclass(frozen=True)
class BeyondView:
    """An identifier that a doubt is about and that the walk left out. No system receives it."""

    ordinal: int
    kind: str
    masked: str = field(repr=False)
    exclusion: str


@dataclass(frozen=True)
class AttemptView:
    """One attempt of a step; `answer` is None while it runs, or if its worker crashed.

    `look`: the answer of the look that followed the erasing call at once.
    """

    number: int
    phase: str
    started_at: datetime
    ended_at: datetime | None
    answer: str | None
    code: str | None
    look: str | None


@dataclass(frozen=True)
class StepView:
    """One system in the request. `look_again_at` is set while the vendor has only accepted."""

    id: UUID
    system: str
    phase: str
    state: str
    reason: str | None
    due_at: datetime | None
    look_again_at: datetime | None
    ended_at: datetime | None
    consecutive_attempts: int
    erased: dict[str, int]
    remaining: dict[str, int]
    not_covered: list[str]
    attempts: list[AttemptView]


@dataclass(frozen=True)
class RequestView:
    """One request as its readers see it."""

    id: UUID
    kind: str
    scopes: list[str]
    regime: str
    state: str
    reason: str | None
    received_at: datetime
    acknowledge_by: datetime | None
    respond_by: datetime
    extended: bool
    overdue: bool
    answered_at: datetime | None
    sealed: bool
    external_reference: str | None
    duplicate_of: UUID | None
    reappearance_of: UUID | None
    doubts_version: int
    doubts: list[DoubtView]
    reviews: list[ReviewView]
    plan: PlanView | None
    identifiers: list[IdentifierView]
    beyond: list[BeyondView]
    edges: list[EdgeView]
    steps: list[StepView]


def show_request(stores: Stores, request_id: UUID, *, reader: str | None = None, masks: bool = True) -> RequestView:
    """Return one consistent view, after the entry of `reader` is committed.

    Without `masks` the view holds no personal data. `reader` is None for a caller whose change of this request is in
    the log already. Raises NotFound.
    """
    owner = request_owner(request_id)
    keys = stores.keys.get([owner]) if masks else {}
    engine = stores.engine.execution_options(isolation_level="REPEATABLE READ")
    with engine.begin() as connection:
        row = read_request(connection, request_id)
        if row is None:
            raise NotFound("there is no such request")
        stored = read_identifiers(connection, [request_id], keys)[request_id] if masks else []
        if row.sealed_at is not None:
            stored = [replace(each, identifier=None) for each in stored]
        picture = read_picture(connection, row, stored, keys)
        shown = [_identifier(each, picture) for each in stored]
        beyond = [_beyond(picture, ordinal, why) for ordinal, why in picture.beyond.items()]
        plan = _plan(connection, row)
        steps = _steps(connection, request_id)
        found = sum(each.masked is not None for each in shown) + len(beyond)
        if reader is not None and found:
            _log_reading(connection, row, reader, found)
    return RequestView(
        id=row.id,
        kind=row.kind,
        scopes=scopes_of(row),
        regime=row.regime,
        state=row.state,
        reason=row.reason,
        received_at=row.received_at,
        acknowledge_by=row.acknowledge_by,
        respond_by=row.respond_by,
        extended=row.extended_at is not None,
        overdue=row.overdue_at is not None,
        answered_at=row.answered_at,
        sealed=row.sealed_at is not None,
        external_reference=row.external_reference,
        duplicate_of=row.duplicate_of,
        reappearance_of=row.reappearance_of,
        doubts_version=row.doubts_version,
        doubts=picture.doubts,
        reviews=picture.reviews,
        plan=plan,
        identifiers=shown,
        beyond=beyond,
        edges=picture.edges,
        steps=steps,
    )


def _log_reading(connection: Connection, row: StoredRequest, reader: str, found: int) -> None:
    log_event(
        connection,
        row="reading",
        key=str(uuid4()),
        event="evidence_read",
        actor=reader,
        at=database_now(connection),
        subject=row.subject,
        data={"what": "request", "found": found, "request": str(row.id)},
    )


def _identifier(stored: StoredIdentifier, picture: Picture) -> IdentifierView:
    verification = None
    ordinal = picture.ordinal(stored.identifier)
    if stored.verification_method is not None:
        verification = VerificationView(stored.verification_method, stored.verified_at)
    return IdentifierView(
        id=stored.id,
        ordinal=ordinal,
        kind=stored.kind,
        masked=None if stored.identifier is None or ordinal is None else distinct_mask(stored.identifier, ordinal),
        origin=stored.origin,
        use=stored.use,
        exclusion=stored.exclusion,
        verification=verification,
        path=picture.path_to(stored.identifier),
    )


def _beyond(picture: Picture, ordinal: int, why: str) -> BeyondView:
    identifier = picture.explanation.identifier(ordinal)
    return BeyondView(ordinal, identifier.kind, distinct_mask(identifier, ordinal), why)


def _plan(connection: Connection, request: StoredRequest) -> PlanView | None:
    row = read_plan(connection, request.id, request.plan_version)
    if row is None:
        return None
    return PlanView(row.version, row.hash, row.frozen_at, list(row.approval_reasons), row.approved_at)


def _steps(connection: Connection, request_id: UUID) -> list[StepView]:
    attempts: dict[UUID, list[AttemptView]] = {}
    for row in read_shown_attempts(connection, request_id):
        view = AttemptView(row.number, row.phase, row.started_at, row.ended_at, row.answer, row.code, row.look)
        attempts.setdefault(row.step_id, []).append(view)
    return [_step(step, attempts.get(step.id, [])) for step in read_shown_steps(connection, request_id)]


def _step(row: ShownStep, attempts: list[AttemptView]) -> StepView:
    return StepView(
        id=row.id,
        system=row.system,
        phase=row.phase,
        state=row.state,
        reason=row.reason,
        due_at=row.due_at if row.state == StepState.DUE else None,
        look_again_at=row.due_at if row.state == StepState.ACCEPTED else None,
        ended_at=row.ended_at,
        consecutive_attempts=row.consecutive_attempts,
        erased=dict(row.erased),
        remaining=dict(row.remaining),
        not_covered=list(row.gaps),
        attempts=attempts,
    )

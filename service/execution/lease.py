"""Lease due steps of one system as a batch, and check which of them may act.

Decides which steps are in the batch, never what is done with them. A held person's step parks; a withdrawn request's
step ends, or is looked at if an effect is possible; a step without an approved plan waits for the approval; and a look
before the end of the vendor's delay waits. The attempt is written before the call, so that a crash in the call leaves a
trace. A batch that was leased before is leased again, with the same key and token.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import Connection

from connectors.base.transitions.states import OPT_OUT_PHASES, Phase, StepState
from connectors.base.values import Batch, Identifier, Subject
from service.audit.evidence_standing import leasable_phases
from service.domain.execution.events import ApprovalMissing, HoldPlaced, RequestWithdrawn, StepEvent
from service.domain.identity.cluster import Exclusion
from service.domain.requests.states import WITHDRAWN_STATES
from service.execution import batches
from service.execution.attempts import begin_attempts
from service.execution.batches import TAKE, TAKE_NEW, BatchBeforeLease
from service.execution.quarantine import isolate_suspects
from service.execution.select import AgainPick, FreshPick, picks
from service.execution.store import DueStep, lock_due, lock_due_of_batch, stopped_steps
from service.execution.systems import store
from service.requests.holds.active import held_requests
from service.requests.identifiers import OpenIdentifier, open_people, unseal_records
from service.requests.identity.store import SealedPerson, read_people
from service.requests.records.store import read_scopes
from service.requests.steps.move import apply_event
from service.requests.steps.read import read_steps
from service.requests.steps.schedule import reschedule
from service.settings import Settings
from service.store import interlock
from service.store.arrays import uuid_array
from service.store.audit_log.log import append_with
from service.store.audit_log.record_change import Change, Version, chain_entries
from service.store.encryption.key_store import batch_owner, request_owner
from service.store.encryption.sealing import unseal
from service.store.stores import Stores
from service.system_rules import rules_of

# One entry names at most so many steps (domain.audit.schema).
_STEPS_PER_ENTRY = 500
_PLANNED = frozenset({"planned"})
_SETTLED = frozenset({"planned", "pending"})
_CARRIED_BY_MANY = frozenset({Exclusion.PLACEHOLDER, Exclusion.MALFORMED, Exclusion.SHARED_KIND, Exclusion.SUPERNODE})


@dataclass(frozen=True)
class LeasedStep:
    """One person in the batch. `ref` is the connector's name for them, `stored` their identifiers.

    `known` are all identifiers of the cluster, and those that many people's records carry. An identifier that the
    requester only claimed isn't among them, because it may be another person's.
    """

    step_id: UUID
    request_id: UUID
    ref: str
    attempt: int
    consecutive_attempts: int
    respond_by: datetime
    subject: Subject = field(repr=False)
    stored: Sequence[OpenIdentifier] = field(repr=False)
    records_accepted: bool = False

    @property
    def known(self) -> frozenset[Identifier]:
        """Identifiers that explain what a found record carries."""
        return frozenset(i.identifier for i in self.stored if _is_known(i))

    @property
    def dropped(self) -> frozenset[Identifier]:
        """Identifiers of which a reviewer said that they aren't this person's."""
        return frozenset(i.identifier for i in self.stored if i.use == "dropped")


@dataclass(frozen=True)
class LeasedBatch:
    """A batch that is ours until the lease ends. `fence` is the token that every write must show.

    `asked_at`: this process' monotonic clock, in seconds, before the lease was asked for. The lease is believed from
    then on: a process that sleeps before its first effect wakes up with a lease that is over.
    """

    id: UUID
    system: str
    phase: Phase
    fence: int
    steps: tuple[LeasedStep, ...]
    resume_token: bytes | None = field(repr=False)
    asked_at: float
    keyless: tuple[UUID, ...] = ()

    @property
    def batch(self) -> Batch:
        """The batch as the connector gets it."""
        return Batch(str(self.id), tuple(step.subject for step in self.steps))


def lease_steps(
    stores: Stores, settings: Settings, system: str, *, admission: UUID | None = None, at_most: int | None = None
) -> LeasedBatch | None:
    """Lease one batch of due steps; None if nothing is due or all slots are taken.

    Also None if the system isn't there, and while the interlock is engaged: the log disagrees with an anchor, or the
    caller's admission is unknown.
    While the audit log lags behind its bounds, batches that suppress or erase aren't leased (evidence_standing).
    `at_most` bounds the people, where the system has room for no more now.
    """
    asked_at = time.monotonic()
    with stores.engine.begin() as connection:
        leased = None if interlock.is_engaged(connection, admission) else _lease(connection, settings, system, at_most)
        if leased is None:
            return None
        batch, fence, rows = leased
        # As they are, sealed: opened when the lease is committed. A transaction of their own would cost more.
        people = read_people(connection, {row.request_id for row in rows})
        opts_out = batch.phase in OPT_OUT_PHASES
        scopes = read_scopes(connection, {row.request_id for row in rows}) if opts_out else {}
    return _open(stores, batch, fence, rows, people, scopes, asked_at)


def _lease(
    connection: Connection, settings: Settings, system: str, at_most: int | None
) -> tuple[BatchBeforeLease, int, list[DueStep]] | None:
    row = store.enter(connection, system)
    if row is None:
        return None
    # Asked behind the system's lock: whoever leased meanwhile is counted.
    if batches.live_batches(connection, system) >= row.max_concurrency:
        return None
    batch, steps, bulk = _first_free(connection, settings, system, row.last_bulk, at_most) or (None, [], None)
    if batch is None:
        return None
    if bulk != row.last_bulk:
        store.write_last_bulk(connection, system, bulk)
    now = steps[0].now
    steps = permitted_steps(connection, settings, system, Phase(batch.phase), steps, now)
    if not steps:
        if not batch.is_new:
            batches.end_if_empty(connection, batch.id)
        return None
    return batch, _take(connection, settings, batch, steps, now), steps


def _first_free(
    connection: Connection, settings: Settings, system: str, last_bulk: UUID | None, at_most: int | None
) -> tuple[BatchBeforeLease, list[DueStep], UUID | None] | None:
    """Return the best pick that can be locked, and the bulk submission that has the batch to itself."""
    phases = leasable_phases(connection, settings)
    for pick in picks(connection, settings, system, last_bulk=last_bulk, at_most=at_most, phases=phases):
        found = _again(connection, pick, at_most) if isinstance(pick, AgainPick) else _fresh(connection, system, pick)
        if found is not None:
            return *found, pick.bulk
    return None


def _again(
    connection: Connection, pick: AgainPick, at_most: int | None
) -> tuple[BatchBeforeLease, list[DueStep]] | None:
    """A batch whose lease was given back, with its steps that are due: the same people, the same key."""
    batch = batches.lock_free_batch(connection, pick.batch_id)
    if batch is None:
        return None
    steps = lock_due_of_batch(connection, batch.id, at_most)
    going = isolate_suspects(connection, batch.id, batch.phase, steps)
    return (batch, going) if going else None


def _fresh(connection: Connection, system: str, pick: FreshPick) -> tuple[BatchBeforeLease, list[DueStep]] | None:
    """Return a new batch of those picked steps that no other transaction has locked or moved."""
    steps = lock_due(connection, pick.step_ids, pick.phase)
    return (BatchBeforeLease(uuid4(), system, pick.phase), steps) if steps else None


def _take(
    connection: Connection, settings: Settings, batch: BatchBeforeLease, steps: Sequence[DueStep], now: datetime
) -> int:
    """Write the lease and its audit entries, which name the steps, in one statement."""
    fence = batch.fence + 1
    key = str(batch.id)
    changes = [
        Change(
            "batch",
            key,
            Version(batch.version, batch.entry_hash),
            "batch_leased",
            data={
                "system": batch.system,
                "phase": batch.phase,
                "state": StepState.LEASED,
                "fence": fence,
                "steps": [str(s.id) for s in steps[begin : begin + _STEPS_PER_ENTRY]],
            },
        )
        for begin in range(0, len(steps), _STEPS_PER_ENTRY)
    ]
    entries, versions = chain_entries(changes, actor="worker", at=now)
    version = versions["batch", key]
    values = {
        "batch": batch.id,
        "fence": fence,
        "seconds": settings.engine.lease_seconds,
        "batch_version": version.number,
        "batch_hash": version.entry_hash,
        "ids": uuid_array(s.id for s in steps),
    }
    if batch.is_new:
        values |= {"system": batch.system, "batch_phase": batch.phase}
    append_with(connection, entries, TAKE_NEW if batch.is_new else TAKE, values)
    begin_attempts(connection, batch.id, fence, batch.phase, {s.id: s.attempts + 1 for s in steps}, now)
    return fence


def _open(
    stores: Stores,
    batch: BatchBeforeLease,
    fence: int,
    rows: Sequence[DueStep],
    sealed: Sequence[SealedPerson],
    scopes: Mapping[UUID, tuple[str, ...]],
    asked_at: float,
) -> LeasedBatch:
    """Open the sealed identifiers and records, after the lease is committed."""
    owners = {row.request_id: request_owner(row.request_id) for row in rows}
    keys = stores.keys.get([*owners.values(), batch_owner(batch.id)])
    by_request = {request_id: keys[owner] for request_id, owner in owners.items() if owner in keys}
    people = open_people(sealed, by_request)
    steps: list[LeasedStep] = []
    for row in rows:
        key = by_request.get(row.request_id)
        if key is None:
            continue
        stored, usable = people[row.request_id], _PLANNED if row.plan_version is not None else _SETTLED
        ref = row.id.hex
        steps.append(
            LeasedStep(
                step_id=row.id,
                request_id=row.request_id,
                ref=ref,
                attempt=row.attempts + 1,
                consecutive_attempts=row.consecutive_attempts + 1,
                respond_by=row.respond_by,
                subject=Subject(
                    ref,
                    tuple(i.identifier for i in stored if i.use in usable),
                    unseal_records(key, row.id, row.records),
                    already_reported=row.erased or {},
                    scopes=scopes.get(row.request_id, ()),
                ),
                stored=stored,
                records_accepted=row.records_accepted,
            )
        )
    return LeasedBatch(
        id=batch.id,
        system=batch.system,
        phase=Phase(batch.phase),
        fence=fence,
        steps=tuple(steps),
        resume_token=_open_token(batch, keys),
        asked_at=asked_at,
        keyless=tuple(row.id for row in rows if row.request_id not in by_request),
    )


def _open_token(batch: BatchBeforeLease, keys: Mapping[str, bytes]) -> bytes | None:
    """Return the batch's resume token; None if it has none, or if its key is destroyed."""
    key = keys.get(batch_owner(batch.id))
    if batch.resume_token is None or key is None:
        return None
    return unseal(key, bytes(batch.resume_token), f"batch/{batch.id}")


def _is_known(stored: OpenIdentifier) -> bool:
    return stored.use in _SETTLED or (stored.use == "excluded" and stored.exclusion in _CARRIED_BY_MANY)


def permitted_steps(
    connection: Connection, settings: Settings, system: str, phase: Phase, steps: Sequence[DueStep], now: datetime
) -> list[DueStep]:
    """Those of the locked steps on which the pass may act; the others are moved to where they belong."""
    if phase is Phase.LOCATE:
        return list(steps)
    delay = rules_of(settings, system).confirm_after
    if phase in (Phase.CONFIRM, Phase.READ_OPT_OUT):
        early = {s.id: s.effect_at + delay for s in steps if s.effect_at is not None and s.effect_at + delay > now}
        reschedule(connection, early)
        return [s for s in steps if s.id not in early]
    held = held_requests(connection, [s.request_id for s in steps])
    withdrawn, unapproved = _stopped(connection, steps)
    stopped = [s for s in steps if s.request_id in withdrawn]
    held_back = [s for s in steps if s.request_id in held - withdrawn]
    others = [s for s in steps if s.request_id not in held | withdrawn]
    _move(connection, stopped, RequestWithdrawn(now + delay, at_lease=True), now)
    _move(connection, held_back, HoldPlaced(at_lease=True), now)
    _move(connection, [s for s in others if s.id in unapproved], ApprovalMissing(), now)
    return [s for s in others if s.id not in unapproved]


def _move(connection: Connection, steps: Sequence[DueStep], event: StepEvent, now: datetime) -> None:
    if steps:
        apply_event(connection, read_steps(connection, [step.id for step in steps]), event, actor="worker", at=now)


def _stopped(connection: Connection, steps: Sequence[DueStep]) -> tuple[set[UUID], set[UUID]]:
    """Requests of these steps that were withdrawn, and steps that no approval holds.

    A plan is approved by itself or by a later version, which holds all of it.
    """
    found = stopped_steps(connection, [step.id for step in steps], WITHDRAWN_STATES)
    return {row.request_id for row in found if row.withdrawn}, {row.id for row in found if row.unapproved}

"""Lease due steps of one system as a batch: the moment at which many people's work is put together.

Decides which steps travel, never what is done with them. The attempt is written before anything is called, so that a
process that dies in the call leaves a trace. A batch that was leased before is leased again, same key and token.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Row,
    Text,
    Uuid,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    text,
    update,
)
from sqlalchemy.types import NullType

from connectors.base.values import Batch, Identifier, Subject
from service.audit.evidence_standing import leasable_phases
from service.domain.execution.states import Phase, StepState
from service.domain.identity.cluster import Exclusion
from service.execution.permit import only_permitted
from service.execution.quarantine import part_suspects
from service.execution.select import AgainPick, FreshPick, picks
from service.requests.identifiers import OpenIdentifier, open_people, unseal_records
from service.requests.identity.store import read_people
from service.requests.imports.paused import lane_goes_on
from service.requests.steps.store import MARK_LEASED
from service.settings import Settings
from service.store import interlock
from service.store.arrays import int_array, uuid_array
from service.store.audit_log.log import append_with
from service.store.audit_log.record_change import Change, Version, chain_entries
from service.store.encryption.key_store import batch_owner, request_owner
from service.store.encryption.sealing import unseal
from service.store.execute import execute
from service.store.stores import Stores
from service.store.tables.work import BatchRow

# What the guard, the connector's side and the log need of a step; its other columns are wide and stay where they are.
_COLUMNS = (
    "id, request_id, phase, attempts, tries, respond_by, plan_version, records, records_accepted, effect_possible,"
    " effect_at, version, entry_hash"
)
_ERASED = "nullif(erased, '{}') AS erased"  # mostly empty, and nothing is quicker to read than nothing
_DUE = "state IN ('due', 'accepted') AND due_at <= clock_timestamp()"
_BATCH = "id, system, phase, fence, resume_token, version, entry_hash"
# One entry names at most so many steps (domain.audit.schema).
_STEPS_PER_ENTRY = 500
_PLANNED = frozenset({"planned"})
_AT_MOST = " ORDER BY id LIMIT CAST(:n AS bigint)"
_SETTLED = frozenset({"planned", "pending"})
_CARRIED_BY_MANY = frozenset({Exclusion.PLACEHOLDER, Exclusion.MALFORMED, Exclusion.SHARED_KIND, Exclusion.SUPERNODE})


@dataclass(frozen=True)
class LeasedStep:
    """One person in the batch. `ref` is how the connector knows them, `stored` what is stored of them.

    `known` are all of the cluster's identifiers, and those that many people's records carry. What the requester only
    claimed isn't among them: it may be somebody else's.
    """

    step_id: UUID
    request_id: UUID
    ref: str
    attempt: int
    tries: int
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


class LeasableBatch(NamedTuple):
    """A batch as it is before this lease; `is_new`: it has no row yet."""

    id: UUID
    system: str
    phase: str
    fence: int = 0
    resume_token: bytes | None = None
    version: int = 0
    entry_hash: bytes | None = None
    is_new: bool = True


class Taken(NamedTuple):
    """A batch as it was before this lease, and the fence that it has now."""

    batch: LeasableBatch
    fence: int


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
        """What the connector gets."""
        return Batch(str(self.id), tuple(step.subject for step in self.steps))


def lease_steps(
    stores: Stores, settings: Settings, system: str, *, admission: UUID | None = None, at_most: int | None = None
) -> LeasedBatch | None:
    """Lease one batch of due steps; None if nothing is due, the system isn't there, or all slots are taken.

    Also None while the interlock is engaged: the log disagrees with an anchor, or the caller's admission is unknown.
    While the audit log lags behind its bounds, batches that suppress or erase aren't leased (evidence_standing).
    `at_most` bounds the people, where the system has room for no more now.
    """
    asked_at = time.monotonic()
    with stores.engine.begin() as connection:
        leased = None if interlock.is_engaged(connection, admission) else _lease(connection, settings, system, at_most)
        if leased is None:
            return None
        taken, rows = leased
        # As they are, sealed: opened when the lease is committed. A transaction of their own would cost more.
        people = read_people(connection, {row.request_id for row in rows})
    return _open(stores, taken, rows, people, asked_at)


def _lease(
    connection: Connection, settings: Settings, system: str, at_most: int | None
) -> tuple[Taken, list[Row[Any]]] | None:
    row = execute(connection, _ENTER, {"s": system}).one_or_none()
    if row is None:
        return None
    # Asked behind the system's lock: whoever leased meanwhile is counted.
    live = execute(connection, _LIVE, {"s": system}).scalar_one()
    if live >= row.max_concurrency:
        return None
    batch, steps, bulk = _first_free(connection, settings, system, row.last_bulk, at_most) or (None, [], None)
    if batch is None:
        return None
    if bulk != row.last_bulk:
        execute(connection, "UPDATE systems SET last_bulk = :b WHERE name = :s", {"b": bulk, "s": system})
    now = steps[0].now
    steps = only_permitted(connection, settings, system, Phase(batch.phase), steps, now)
    if not steps:
        _end_if_empty(connection, batch)
        return None
    return _take(connection, settings, batch, steps, now), steps


_ENTER = "UPDATE systems SET nudged_at = NULL WHERE name = :s AND state = 'active' RETURNING max_concurrency, last_bulk"
_LIVE = "SELECT count(*) FROM batches WHERE system = :s AND ended_at IS NULL AND lease_until > clock_timestamp()"


def _first_free(
    connection: Connection, settings: Settings, system: str, last_bulk: UUID | None, at_most: int | None
) -> tuple[LeasableBatch, list[Row[Any]], UUID | None] | None:
    """The best pick that nobody else has locked, and the bulk submission that has it to itself."""
    phases = leasable_phases(connection, settings)
    for pick in picks(connection, settings, system, last_bulk=last_bulk, at_most=at_most, phases=phases):
        found = _again(connection, pick, at_most) if isinstance(pick, AgainPick) else _fresh(connection, system, pick)
        if found is not None:
            return *found, pick.bulk
    return None


def _end_if_empty(connection: Connection, batch: LeasableBatch) -> None:
    if batch.is_new:
        return
    connection.execute(
        text(
            "UPDATE batches SET ended_at = clock_timestamp() WHERE id = :id"
            " AND NOT EXISTS (SELECT 1 FROM steps WHERE batch_id = :id)"
        ),
        {"id": batch.id},
    )


def _again(connection: Connection, pick: AgainPick, at_most: int | None) -> tuple[LeasableBatch, list[Row[Any]]] | None:
    """A batch whose lease was given back, with its steps that are due: the same people, the same key."""
    row = connection.execute(
        text(
            f"SELECT {_BATCH} FROM batches WHERE id = :id AND ended_at IS NULL"  # noqa: S608 - our own words
            " AND (lease_until IS NULL OR lease_until <= clock_timestamp()) FOR NO KEY UPDATE SKIP LOCKED"
        ),
        {"id": pick.batch_id},
    ).one_or_none()
    if row is None:
        return None
    batch = LeasableBatch(*row)._replace(is_new=False)
    steps = execute(connection, _locked("", "batch_id = :b", _AT_MOST), {"b": batch.id, "n": at_most}).all()
    going = part_suspects(connection, batch.id, batch.phase, steps)
    return (batch, going) if going else None


def _fresh(connection: Connection, system: str, pick: FreshPick) -> tuple[LeasableBatch, list[Row[Any]]] | None:
    """A new batch of the picked steps that nobody else has locked or moved."""
    statement = _locked(", batch_id", "id = ANY(CAST(:ids AS uuid[]))", " AND batch_id IS NULL AND phase = :p")
    steps = execute(connection, statement, {"ids": uuid_array(pick.step_ids), "p": pick.phase}).all()
    return (LeasableBatch(uuid4(), system, pick.phase), list(steps)) if steps else None


def _locked(columns: str, where: str, order: str = "") -> str:
    """Due steps, locked by batch or by primary key first and tested afterwards: with the state beside it the planner
    takes the partial index of due steps for empty and filters thousands of rows (measured)."""
    return (
        f"WITH locked AS MATERIALIZED (SELECT {_COLUMNS}, {_ERASED}, state, due_at, lane{columns} FROM steps"  # noqa: S608
        f" WHERE {where} ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)"
        f" SELECT {_COLUMNS}, erased, clock_timestamp() AS now FROM locked"
        f" WHERE {_DUE} AND {lane_goes_on('lane')}{order}"
    )


def _take(
    connection: Connection, settings: Settings, batch: LeasableBatch, steps: Sequence[Row[Any]], now: datetime
) -> Taken:
    """One lease is one change of the batch, and one entry says which steps are in it. All in one statement."""
    leased = Taken(batch, batch.fence + 1)
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
                "fence": leased.fence,
                "steps": [str(s.id) for s in steps[begin : begin + _STEPS_PER_ENTRY]],
            },
        )
        for begin in range(0, len(steps), _STEPS_PER_ENTRY)
    ]
    entries, versions = chain_entries(changes, actor="worker", at=now)
    version = versions["batch", key]
    values = {
        "batch": batch.id,
        "fence": leased.fence,
        "seconds": settings.engine.lease_seconds,
        "batch_version": version.number,
        "batch_hash": version.entry_hash,
        "ids": uuid_array(s.id for s in steps),
    }
    if batch.is_new:
        values |= {"system": batch.system, "batch_phase": batch.phase}
    append_with(connection, entries, _TAKE_NEW if batch.is_new else _TAKE, values)
    _write_attempts(connection, batch, leased.fence, steps, now)
    return leased


_LEASE_UNTIL = func.clock_timestamp() + cast(bindparam("seconds", type_=NullType()), Float) * literal_column(
    "interval '1 second'"
)
_LEASE_COLUMNS = {
    BatchRow.fence: bindparam("fence", type_=BigInteger()),
    BatchRow.lease_until: _LEASE_UNTIL,
    BatchRow.version: bindparam("batch_version", type_=Integer()),
    BatchRow.entry_hash: bindparam("batch_hash", type_=LargeBinary()),
}
_TAKE_NEW = MARK_LEASED.add_cte(
    insert(BatchRow)
    .values(
        {
            BatchRow.id: bindparam("batch", type_=Uuid()),
            BatchRow.system: bindparam("system", type_=Text()),
            BatchRow.phase: bindparam("batch_phase", type_=Text()),
            **_LEASE_COLUMNS,
        }
    )
    .cte("opened")
)
_TAKE = MARK_LEASED.add_cte(
    update(BatchRow).where(BatchRow.id == bindparam("batch", type_=Uuid())).values(_LEASE_COLUMNS).cte("taken")
)
_ATTEMPT = (
    "INSERT INTO attempts (step_id, number, batch_id, fence, phase, started_at)"
    " SELECT step, number, :b, :f, :p, :now"
    " FROM unnest(CAST(:steps AS uuid[]), CAST(:numbers AS integer[])) AS n(step, number)"
)


def _write_attempts(
    connection: Connection, batch: LeasableBatch | LeasedBatch, fence: int, steps: Sequence[Row[Any]], now: datetime
) -> None:
    """Before anything is called: a process that dies in the call leaves a trace."""
    values = {"b": batch.id, "f": fence, "p": batch.phase, "now": now}
    numbers = int_array(s.attempts + 1 for s in steps)
    execute(connection, _ATTEMPT, values | {"steps": uuid_array(s.id for s in steps), "numbers": numbers})


def _open(
    stores: Stores, taken: Taken, rows: Sequence[Row[Any]], sealed: Sequence[Any], asked_at: float
) -> LeasedBatch:
    """Open the people's identifiers and records, after the lease is committed and before anything is called."""
    batch = taken.batch
    owners = {row.request_id: request_owner(row.request_id) for row in rows}
    keys = stores.keys.get([*owners.values(), batch_owner(batch.id)])
    by_request = {request_id: keys[owner] for request_id, owner in owners.items() if owner in keys}
    people = open_people(sealed, by_request)
    steps: list[LeasedStep] = []
    for row in rows:
        key = by_request.get(row.request_id)
        if key is None:
            continue
        stored = people[row.request_id]
        usable = _PLANNED if row.plan_version is not None else _SETTLED
        ref = row.id.hex
        steps.append(
            LeasedStep(
                step_id=row.id,
                request_id=row.request_id,
                ref=ref,
                attempt=row.attempts + 1,
                tries=row.tries + 1,
                respond_by=row.respond_by,
                subject=Subject(
                    ref,
                    tuple(i.identifier for i in stored if i.use in usable),
                    unseal_records(key, row.id, row.records),
                    already_reported=row.erased or {},
                ),
                stored=stored,
                records_accepted=row.records_accepted,
            )
        )
    token = None
    if batch.resume_token is not None and batch_owner(batch.id) in keys:
        token = unseal(keys[batch_owner(batch.id)], bytes(batch.resume_token), f"batch/{batch.id}")
    return LeasedBatch(
        id=batch.id,
        system=batch.system,
        phase=Phase(batch.phase),
        fence=taken.fence,
        steps=tuple(steps),
        resume_token=token,
        asked_at=asked_at,
        keyless=tuple(row.id for row in rows if row.request_id not in by_request),
    )


def _is_known(stored: OpenIdentifier) -> bool:
    return stored.use in _SETTLED or (stored.use == "excluded" and stored.exclusion in _CARRIED_BY_MANY)

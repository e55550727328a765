"""Read and write batches: the only INSERTs, UPDATEs and DELETEs of the table `batches`.

Decides nothing: a caller says which batch is leased, given back or split. A fence that doesn't match changes no row,
and the caller sees it in the result.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    Connection,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    column,
    delete,
    distinct,
    exists,
    func,
    insert,
    literal_column,
    not_,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.types import NullType

from connectors.base.transitions.states import Phase
from connectors.base.values import AnswerKind
from service.requests.steps.store import MARK_LEASED
from service.store.arrays import BinaryArray, array_parameter, uuid_array
from service.store.execute import execute
from service.store.tables.work import AttemptRow, BatchRow, StepRow

_RESULTS = ["located", "nothing_located", *(kind.value for kind in AnswerKind)]
_BATCH = bindparam("batch", type_=Uuid())
_NOW = func.clock_timestamp()
_IN_SECONDS = _NOW + cast(bindparam("seconds", type_=NullType()), Float) * literal_column("interval '1 second'")
_LEASED = literal_column("'leased'", Text())
_OPEN = BatchRow.ended_at.is_(None)
# Every write of a leased batch shows its fence: the number grows with each lease.
_HELD = and_(
    BatchRow.id == _BATCH,
    BatchRow.fence == bindparam("held", type_=BigInteger()),
    _OPEN,
    BatchRow.lease_until > _NOW,
)


class BatchBeforeLease(NamedTuple):
    """A batch as it is before this lease; `is_new`: it has no row yet."""

    id: UUID
    system: str
    phase: str
    fence: int = 0
    resume_token: bytes | None = None
    version: int = 0
    entry_hash: bytes | None = None
    is_new: bool = True


class FencedBatch(NamedTuple):
    """A locked batch. `root_id`: the batch that it was split from. `has_token`: of its connector."""

    fence: int
    ended_at: datetime | None
    root_id: UUID | None
    has_token: bool


class ExpiredBatch(NamedTuple):
    """A batch whose lease ended without a result."""

    id: UUID
    system: str
    phase: str
    root_id: UUID | None


class Family(NamedTuple):
    """The parts of a split batch: their number, the root's people, and if a part was answered."""

    batches: int
    people: int
    answered: bool


def live_batches(connection: Connection, system: str) -> int:
    """Return how many batches of the system are leased now."""
    live: int = execute(connection, _LIVE, {"of_system": system}).scalar_one()
    return live


_LIVE = select(func.count()).where(
    BatchRow.system == bindparam("of_system", type_=Text()), _OPEN, BatchRow.lease_until > _NOW
)


def lock_free_batch(connection: Connection, batch_id: UUID) -> BatchBeforeLease | None:
    """Lock a batch that no worker holds; None if another worker has leased or locked it meanwhile."""
    row = execute(connection, _LOCK_FREE, {"batch": batch_id}).one_or_none()
    return None if row is None else BatchBeforeLease(*row)._replace(is_new=False)


_LOCK_FREE = (
    select(
        BatchRow.id,
        BatchRow.system,
        BatchRow.phase,
        BatchRow.fence,
        BatchRow.resume_token,
        BatchRow.version,
        BatchRow.entry_hash,
    )
    .where(BatchRow.id == _BATCH, _OPEN, or_(BatchRow.lease_until.is_(None), BatchRow.lease_until <= _NOW))
    .with_for_update(key_share=True, skip_locked=True)
)

_LEASE_COLUMNS = {
    BatchRow.fence: bindparam("fence", type_=BigInteger()),
    BatchRow.lease_until: _IN_SECONDS,
    BatchRow.version: bindparam("batch_version", type_=Integer()),
    BatchRow.entry_hash: bindparam("batch_hash", type_=LargeBinary()),
}
TAKE_NEW = MARK_LEASED.add_cte(
    insert(BatchRow)
    .values(
        {
            BatchRow.id: _BATCH,
            BatchRow.system: bindparam("system", type_=Text()),
            BatchRow.phase: bindparam("batch_phase", type_=Text()),
            **_LEASE_COLUMNS,
        }
    )
    .cte("opened")
)
"""Lease the steps `ids` in a new batch. One statement with the lease's audit entries."""
TAKE = MARK_LEASED.add_cte(update(BatchRow).where(BatchRow.id == _BATCH).values(_LEASE_COLUMNS).cte("taken"))
"""Lease the steps `ids` in a batch that was leased before."""


def renew(connection: Connection, batch_id: UUID, fence: int, seconds: float) -> bool:
    """Renew a lease that is still held for so many seconds from now. False: it isn't held any more."""
    values = {"batch": batch_id, "held": fence, "seconds": seconds}
    return execute(connection, _RENEW, values).rowcount > 0


_RENEW = update(BatchRow).where(_HELD).values({BatchRow.lease_until: _IN_SECONDS})


def write_resume_token(connection: Connection, batch_id: UUID, fence: int, sealed: bytes) -> bool:
    """Store a sealed token under a lease that is still held. False: it isn't held any more."""
    values = {"batch": batch_id, "held": fence, "token": sealed}
    return execute(connection, _WRITE_TOKEN, values).rowcount > 0


_WRITE_TOKEN = update(BatchRow).where(_HELD).values({BatchRow.resume_token: bindparam("token", type_=LargeBinary())})


def is_open(connection: Connection, batch_id: UUID) -> bool:
    """True if the batch hasn't ended."""
    found: bool = execute(connection, _IS_OPEN, {"batch": batch_id}).scalar_one()
    return found


_IS_OPEN = select(exists().where(BatchRow.id == _BATCH, _OPEN))


def open_batches(connection: Connection, batch_ids: Collection[UUID]) -> list[UUID]:
    """Return those of these batches that haven't ended."""
    return execute(connection, _OPEN_BATCHES, {"ids": uuid_array(batch_ids)}).scalars()


_OPEN_BATCHES = select(BatchRow.id).where(BatchRow.id == func.any(array_parameter("ids", Uuid())), _OPEN)


def lock_fence(connection: Connection, batch_id: UUID) -> FencedBatch:
    """Lock the batch, so that no worker leases it and no sweep frees it before the caller commits."""
    return FencedBatch(*execute(connection, _LOCK_FENCE, {"batch": batch_id}).one())


_LOCK_FENCE = (
    select(BatchRow.fence, BatchRow.ended_at, BatchRow.root_id, BatchRow.resume_token.is_not(None))
    .where(BatchRow.id == _BATCH)
    .with_for_update(key_share=True)
)


def give_back(connection: Connection, batch_id: UUID, now: datetime) -> bool:
    """End the lease of a locked batch. True if the batch ended, because no step needs its key."""
    over: bool = execute(connection, _GIVE_BACK, {"batch": batch_id, "now": now}).scalar_one()
    return over


_GIVE_BACK = (
    update(BatchRow)
    .where(BatchRow.id == _BATCH)
    .values(
        {
            BatchRow.lease_until: null(),
            BatchRow.ended_at: case(
                (exists(select(StepRow.id).where(StepRow.batch_id == _BATCH)), null()),
                else_=cast(bindparam("now", type_=NullType()), DateTime(timezone=True)),
            ),
        }
    )
    .returning(BatchRow.ended_at.is_not(None))
)


def end_if_empty(connection: Connection, batch_id: UUID) -> None:
    """End a locked batch that holds no step any more."""
    execute(connection, _END_IF_EMPTY, {"batch": batch_id})


_END_IF_EMPTY = (
    update(BatchRow)
    .where(BatchRow.id == _BATCH, not_(exists(select(StepRow.id).where(StepRow.batch_id == _BATCH))))
    .values({BatchRow.ended_at: _NOW})
)


def expire_leases(connection: Connection, limit: int) -> list[ExpiredBatch]:
    """Take expired leases back, locked: their fences grow, so that no late result counts.

    A batch without a lease and with a leased step counts as expired, because no worker would come back for it.
    """
    return [ExpiredBatch(*row) for row in execute(connection, _EXPIRE, {"most": limit}).all()]


_B = BatchRow.__table__.alias("b")
_MOST = bindparam("most", type_=Integer())
_HAS_LEASED_STEP = exists(select(StepRow.id).where(StepRow.batch_id == _B.c.id, StepRow.state == _LEASED))
_EXPIRED = (
    select(_B.c.id)
    .where(_B.c.ended_at.is_(None), or_(_B.c.lease_until <= _NOW, and_(_B.c.lease_until.is_(None), _HAS_LEASED_STEP)))
    .limit(_MOST)
    .with_for_update(key_share=True, skip_locked=True)
)
_EXPIRE = (
    update(BatchRow)
    .where(BatchRow.id.in_(_EXPIRED))
    .values({BatchRow.fence: BatchRow.fence + literal_column("1"), BatchRow.lease_until: null()})
    .returning(BatchRow.id, BatchRow.system, BatchRow.phase, BatchRow.root_id)
)


def end_empty(connection: Connection, limit: int) -> list[UUID]:
    """End batches without a lease and without steps."""
    return [row[0] for row in execute(connection, _END_EMPTY, {"most": limit}).all()]


_EMPTY = (
    select(_B.c.id)
    .where(
        _B.c.ended_at.is_(None),
        _B.c.lease_until.is_(None),
        not_(exists(select(StepRow.id).where(StepRow.batch_id == _B.c.id))),
    )
    .limit(_MOST)
    .with_for_update(key_share=True, skip_locked=True)
)
_END_EMPTY = update(BatchRow).where(BatchRow.id.in_(_EMPTY)).values({BatchRow.ended_at: _NOW}).returning(BatchRow.id)


def open_parts(
    connection: Connection, system: str, phase: Phase, root_id: UUID, parts: Sequence[Sequence[UUID]]
) -> dict[UUID, UUID]:
    """Open new batches of these steps, which the caller writes to them. Returns each step's batch."""
    opened = [(uuid4(), part) for part in parts if part]
    values = {"system": system, "phase": phase.value, "root": root_id, "ids": uuid_array(batch for batch, _ in opened)}
    execute(connection, _OPEN_PARTS, values)
    return {step_id: batch_id for batch_id, part in opened for step_id in part}


_NEW = func.unnest(array_parameter("ids", Uuid())).table_valued(column("id", Uuid)).render_derived(name="n")
_OPEN_PARTS = insert(BatchRow).from_select(
    ["id", "system", "phase", "root_id"],
    select(
        _NEW.c.id,
        bindparam("system", type_=Text()),
        bindparam("phase", type_=Text()),
        bindparam("root", type_=Uuid()),
    ),
    include_defaults=False,
)


def family_of(connection: Connection, root_id: UUID) -> Family:
    """Count what came of splitting this batch."""
    return Family(*execute(connection, _FAMILY, {"root": root_id, "results": BinaryArray(_RESULTS)}).one())


_ROOT = bindparam("root", type_=Uuid())
_ANSWERED = exists(
    select(AttemptRow.step_id).where(
        AttemptRow.batch_id == BatchRow.id, AttemptRow.answer == func.any(array_parameter("results", Text()))
    )
)
_FAMILY = select(
    func.count(),
    select(func.count(distinct(AttemptRow.step_id))).where(AttemptRow.batch_id == _ROOT).scalar_subquery(),
    func.coalesce(func.bool_or(_ANSWERED), literal_column("false")),
).where(BatchRow.root_id == _ROOT)


def delete_ended(connection: Connection, batch_ids: Collection[UUID]) -> None:
    """Delete those of these batches that ended and that no attempt and no step names."""
    execute(connection, _DELETE_ENDED, {"ids": uuid_array(batch_ids)})


_DELETE_ENDED = delete(BatchRow).where(
    BatchRow.id == func.any(array_parameter("ids", Uuid())),
    BatchRow.ended_at.is_not(None),
    not_(exists(select(AttemptRow.step_id).where(AttemptRow.batch_id == BatchRow.id))),
    not_(exists(select(StepRow.id).where(StepRow.batch_id == BatchRow.id))),
)

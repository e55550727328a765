"""The engine's rows: systems, steps, batches, attempts.

A step is one (person, system) pair. Its phases are `locate`, `suppress`, `erase`, `confirm`; its `state` is `waiting`,
`due`, `leased`, `accepted`, `parked`, or its outcome. The lease is in the batch's row.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.domain.execution.fair_queues import DEFAULT_FAIR_QUEUE
from service.store.tables.base import Base
from service.store.tables.requests import Instant

# A due step is in exactly one of two indexes: not in a batch yet, or in one that will be leased again.
_FRESH = "state IN ('due', 'accepted') AND batch_id IS NULL"
_AGAIN = "state IN ('due', 'accepted') AND batch_id IS NOT NULL"


class SystemRow(Base):
    """A connected system as the configuration last named it. `state` is `active` or `removed`.

    `last_bulk` is the bulk submission that had the last batch to itself: it comes last when others wait.
    Nothing is leased until `cooldown_until`, for the `cooldown_reason`. `failed_passes` counts those in a row that got
    no answer at all; `down_since` is set while the breaker is open. `is_slow`: its last pass took long. `not_covered`:
    the gaps that its connector declared at the last start; they stay when the connector is removed.
    """

    __tablename__ = "systems"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    connector: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(Text)
    position: Mapped[int]
    max_concurrency: Mapped[int]
    nudged_at: Mapped[datetime | None] = mapped_column(Instant)
    last_bulk: Mapped[UUID | None]
    checked_at: Mapped[datetime | None] = mapped_column(Instant)
    check_result: Mapped[str | None] = mapped_column(Text)
    cooldown_until: Mapped[datetime | None] = mapped_column(Instant)
    cooldown_reason: Mapped[str | None] = mapped_column(Text)
    failed_passes: Mapped[int] = mapped_column(server_default="0")
    down_since: Mapped[datetime | None] = mapped_column(Instant)
    is_slow: Mapped[bool] = mapped_column(server_default="false")
    not_covered: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    version: Mapped[int] = mapped_column(server_default="0")
    entry_hash: Mapped[bytes | None] = mapped_column(LargeBinary)


class CallCountRow(Base):
    """Calls, or people, that were taken of a long limit in one small part of its window. Counts only."""

    __tablename__ = "call_counts"

    system: Mapped[str] = mapped_column(ForeignKey("systems.name"), primary_key=True)
    window_seconds: Mapped[float] = mapped_column(primary_key=True)
    unit: Mapped[str] = mapped_column(Text, primary_key=True)
    begins_at: Mapped[datetime] = mapped_column(Instant, primary_key=True)
    taken: Mapped[int]


class BatchRow(Base):
    """People of one system in one call or job. `fence` grows with each lease; only its holder may write.

    `root_id` is set for a part of a batch whose call failed as a whole: the batch that was split first.
    """

    __tablename__ = "batches"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    system: Mapped[str] = mapped_column(Text)
    phase: Mapped[str] = mapped_column(Text)
    fence: Mapped[int] = mapped_column(BigInteger, server_default="0")
    lease_until: Mapped[datetime | None] = mapped_column(Instant)
    resume_token: Mapped[bytes | None] = mapped_column(LargeBinary)
    root_id: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=text("clock_timestamp()"))
    ended_at: Mapped[datetime | None] = mapped_column(Instant)
    version: Mapped[int] = mapped_column(server_default="0")
    entry_hash: Mapped[bytes | None] = mapped_column(LargeBinary)

    __table_args__ = (
        Index("ix_batches_live", "system", "lease_until", postgresql_where=text("ended_at IS NULL")),
        Index("ix_batches_root", "root_id", postgresql_where=text("root_id IS NOT NULL")),
    )


class StepRow(Base):
    """One (person, system) pair.

    `records` is sealed JSON of frozen and newly found record ids of this system. `attempts` counts all attempts,
    `consecutive_attempts` those since the last success. `fair_queue` is the id of the step's bulk submission, or one of
    domain.execution.fair_queues. `job_hashes` are keyed hashes of the vendor's jobs that an accepted step waits for;
    `hinted_at` is the time of the last callback that made the step due.

    `request_id`, `system` and `batch_id` are no foreign keys: each is written in the transaction that has just read or
    written the other row, and the checks cost a tenth of all the database's work for a step (measured 2026-11-28).
    Requests and systems are never deleted; a batch is deleted only long after it ended, and only if no step names it
    (archive_attempts). The chaos runs search for steps whose rows are missing.
    """

    __tablename__ = "steps"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    request_id: Mapped[UUID]
    system: Mapped[str] = mapped_column(Text)
    position: Mapped[int]
    phase: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    due_at: Mapped[datetime | None] = mapped_column(Instant)
    respond_by: Mapped[datetime] = mapped_column(Instant)
    fair_queue: Mapped[UUID] = mapped_column(server_default=str(DEFAULT_FAIR_QUEUE))
    batch_id: Mapped[UUID | None]
    plan_version: Mapped[int | None]
    located: Mapped[bool] = mapped_column(server_default="false")
    waits_for_order: Mapped[bool] = mapped_column(server_default="false")
    records_accepted: Mapped[bool] = mapped_column(server_default="false")
    attempts: Mapped[int] = mapped_column(server_default="0")
    consecutive_attempts: Mapped[int] = mapped_column(server_default="0")
    plan_rounds: Mapped[int] = mapped_column(server_default="0")
    effect_possible: Mapped[bool] = mapped_column(server_default="false")
    retained: Mapped[str | None] = mapped_column(Text)
    effect_at: Mapped[datetime | None] = mapped_column(Instant)
    records: Mapped[bytes | None] = mapped_column(LargeBinary)
    record_hashes: Mapped[list[bytes]] = mapped_column(ARRAY(LargeBinary), server_default="{}")
    counts: Mapped[dict[str, int]] = mapped_column(JSONB, server_default="{}")
    erased: Mapped[dict[str, int]] = mapped_column(JSONB, server_default="{}")
    remaining: Mapped[dict[str, int]] = mapped_column(JSONB, server_default="{}")
    not_covered: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    job_hashes: Mapped[list[bytes] | None] = mapped_column(ARRAY(LargeBinary))
    hinted_at: Mapped[datetime | None] = mapped_column(Instant)
    ended_at: Mapped[datetime | None] = mapped_column(Instant)
    version: Mapped[int] = mapped_column(server_default="0")
    entry_hash: Mapped[bytes | None] = mapped_column(LargeBinary)

    __table_args__ = (
        UniqueConstraint("request_id", "system"),
        Index("ix_steps_fresh", "system", "phase", "fair_queue", "respond_by", "due_at", postgresql_where=text(_FRESH)),
        Index("ix_steps_again", "system", "fair_queue", "respond_by", "due_at", postgresql_where=text(_AGAIN)),
        Index("ix_steps_leased", "batch_id", postgresql_where=text("batch_id IS NOT NULL")),
        Index("ix_steps_parked", "system", "id", postgresql_where=text("state = 'parked'")),
        Index("ix_steps_waiting", "system", postgresql_where=text("state = 'waiting'")),
        Index(
            "ix_steps_jobs",
            "job_hashes",
            postgresql_using="gin",
            postgresql_where=text("state = 'accepted' AND job_hashes IS NOT NULL"),
        ),
    )


class AttemptRow(Base):
    """One attempt of one step, written before the call; `answer` stays empty if the process died in it.

    `look` is the result of the look that followed the erasing call in the same pass.

    Without a foreign key: the row is written by the lease that holds the step's lock, and steps are never deleted. Half
    of each page is kept free, so that the answer is written beside its row and changes no index.
    """

    __tablename__ = "attempts"

    step_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    batch_id: Mapped[UUID]
    fence: Mapped[int] = mapped_column(BigInteger)
    phase: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(Instant)
    ended_at: Mapped[datetime | None] = mapped_column(Instant)
    answer: Mapped[str | None] = mapped_column(Text)
    code: Mapped[str | None] = mapped_column(Text)
    http_status: Mapped[int | None]
    look: Mapped[str | None] = mapped_column(Text)
    late: Mapped[bool] = mapped_column(server_default="false")

    __table_args__ = (Index("ix_attempts_batch_id", "batch_id", "fence"), {"postgresql_with": {"fillfactor": "50"}})


class RequestCheckRow(Base):
    """A request that must be checked from `look_at` on, because one of its steps changed.

    Rows are appended without locks.
    """

    __tablename__ = "request_checks"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    request_id: Mapped[UUID]
    look_at: Mapped[datetime] = mapped_column(Instant, server_default=text("clock_timestamp()"))

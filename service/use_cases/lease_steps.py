"""Lease due steps of one system as a batch: the moment at which many people's work is put together.

Decides which steps travel, never what is done with them. The attempt is written before anything is called, so that a
process that dies in the call leaves a trace. A batch that was leased before is leased again, same key and token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Row, text

from connectors.base.interface import Operation
from connectors.base.values import Batch, Identifier, Subject
from service.domain.cluster import Exclusion
from service.domain.outcomes import Phase, StepState
from service.settings import Settings
from service.storage.changes import Change, log_changes
from service.storage.key_store import batch_owner, request_owner
from service.storage.rows import database_now, version_of
from service.storage.sealed_identifiers import StoredIdentifier, read_identifiers, unseal_records
from service.storage.sealing import unseal
from service.storage.stores import Stores
from service.storage.vendor_gate import gate_is_open
from service.use_cases.guard_lease import only_permitted
from service.use_cases.move_steps import subjects_of
from service.use_cases.system_rules import batch_limit

OPERATIONS = {
    Phase.LOCATE: Operation.LOCATE,
    Phase.SUPPRESS: Operation.SUPPRESS,
    Phase.ERASE: Operation.ERASE,
    Phase.CONFIRM: Operation.CONFIRM,
}

_CARRIED_BY_MANY = frozenset({Exclusion.PLACEHOLDER, Exclusion.MALFORMED, Exclusion.SHARED_KIND, Exclusion.SUPERNODE})


@dataclass(frozen=True)
class LeasedStep:
    """One person in the batch. `ref` is how the connector knows them.

    `known` are all of the cluster's identifiers, and those that many people's records carry. What the requester only
    claimed isn't among them: it may be somebody else's. `dropped` are those that a reviewer said are not this person's.
    """

    step_id: UUID
    request_id: UUID
    ref: str
    attempt: int
    tries: int
    respond_by: datetime
    subject: Subject = field(repr=False)
    known: frozenset[Identifier] = field(repr=False)
    dropped: frozenset[Identifier] = field(repr=False)
    records_accepted: bool = False


@dataclass(frozen=True)
class LeasedBatch:
    """A batch that is ours until the lease ends. `fence` is the token that every write must show."""

    id: UUID
    system: str
    phase: Phase
    fence: int
    steps: tuple[LeasedStep, ...]
    resume_token: bytes | None = field(repr=False)
    keyless: tuple[UUID, ...] = ()

    @property
    def batch(self) -> Batch:
        """What the connector gets."""
        return Batch(str(self.id), tuple(step.subject for step in self.steps))


def lease_steps(
    stores: Stores, settings: Settings, system: str, *, admission: UUID | None = None, at_most: int | None = None
) -> LeasedBatch | None:
    """Lease one batch of due steps; None if nothing is due, the system isn't there, or all slots are taken.

    `at_most` people, where the system has room for no more now.

    Also None while the gate is shut: the log disagrees with an anchor, or this store never saw the caller's admission.
    """
    with stores.engine.begin() as connection:
        leased = _lease(connection, settings, system, at_most) if gate_is_open(connection, admission) else None
    if leased is None:
        return None
    batch, rows = leased
    return _open(stores, batch, rows)


def _lease(
    connection: Connection, settings: Settings, system: str, at_most: int | None
) -> tuple[Row[Any], list[Row[Any]]] | None:
    row = connection.execute(
        text("SELECT max_concurrency FROM systems WHERE name = :s AND state = 'active' FOR NO KEY UPDATE"),
        {"s": system},
    ).one_or_none()
    if row is None:
        return None
    connection.execute(text("UPDATE systems SET nudged_at = NULL WHERE name = :s"), {"s": system})
    live = connection.execute(
        text("SELECT count(*) FROM batches WHERE system = :s AND ended_at IS NULL AND lease_until > clock_timestamp()"),
        {"s": system},
    ).scalar_one()
    if live >= row.max_concurrency:
        return None
    batch, steps = _again(connection, system, at_most) or _fresh(connection, settings, system, at_most) or (None, [])
    if batch is None:
        return None
    steps = only_permitted(connection, settings, system, Phase(batch.phase), steps)
    if not steps:
        _end_if_empty(connection, batch)
        return None
    return _take(connection, settings, batch, steps), steps


def _end_if_empty(connection: Connection, batch: Row[Any]) -> None:
    connection.execute(
        text(
            "UPDATE batches SET ended_at = clock_timestamp() WHERE id = :id"
            " AND NOT EXISTS (SELECT 1 FROM steps WHERE batch_id = :id)"
        ),
        {"id": batch.id},
    )


def _again(connection: Connection, system: str, at_most: int | None) -> tuple[Row[Any], list[Row[Any]]] | None:
    """A batch whose lease was given back, with steps that are due: the same people, the same key.

    Not one of whose steps a dead process still has some: giving the lease back after this pass would hide them from
    the sweeper for ever, so it comes first.
    """
    batch = connection.execute(
        text(
            "SELECT id, phase FROM batches b WHERE system = :s AND ended_at IS NULL"
            " AND (lease_until IS NULL OR lease_until <= clock_timestamp())"
            " AND EXISTS (SELECT 1 FROM steps t WHERE t.batch_id = b.id AND t.state IN ('due', 'accepted')"
            " AND t.due_at <= clock_timestamp())"
            " AND NOT EXISTS (SELECT 1 FROM steps t WHERE t.batch_id = b.id AND t.state = 'leased')"
            " ORDER BY created_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED"
        ),
        {"s": system},
    ).one_or_none()
    if batch is None:
        return None
    steps = connection.execute(
        text(
            "SELECT * FROM steps WHERE batch_id = :b AND state IN ('due', 'accepted')"
            " AND due_at <= clock_timestamp() ORDER BY id LIMIT :n FOR NO KEY UPDATE SKIP LOCKED"
        ),
        {"b": batch.id, "n": at_most},
    ).all()
    return (batch, list(steps)) if steps else None


def _fresh(
    connection: Connection, settings: Settings, system: str, at_most: int | None
) -> tuple[Row[Any], list[Row[Any]]] | None:
    """The most urgent phase's due steps, up to the connector's limit."""
    phase = connection.execute(
        text(
            "SELECT phase FROM steps WHERE system = :s AND state IN ('due', 'accepted') AND batch_id IS NULL"
            " AND due_at <= clock_timestamp() ORDER BY respond_by, due_at LIMIT 1"
        ),
        {"s": system},
    ).scalar_one_or_none()
    if phase is None:
        return None
    limit = batch_limit(settings, system, OPERATIONS[Phase(phase)])
    # Locked by primary key first and tested afterwards: with the state in the outer WHERE the planner takes the
    # partial index for empty and filters thousands of rows (measured, see tests/benchmarks).
    steps = connection.execute(
        text(
            "WITH picked AS MATERIALIZED ("
            " SELECT id FROM steps WHERE system = :s AND phase = :p AND state IN ('due', 'accepted')"
            " AND batch_id IS NULL AND due_at <= clock_timestamp()"
            " ORDER BY respond_by, due_at LIMIT :n FOR NO KEY UPDATE SKIP LOCKED)"
            " SELECT s.* FROM steps s JOIN picked USING (id) WHERE s.state IN ('due', 'accepted') ORDER BY s.id"
        ),
        {"s": system, "p": phase, "n": limit if at_most is None else min(limit, at_most)},
    ).all()
    if not steps:
        return None
    batch = connection.execute(
        text("INSERT INTO batches (id, system, phase) VALUES (:id, :s, :p) RETURNING id, phase"),
        {"id": uuid4(), "s": system, "p": phase},
    ).one()
    return batch, list(steps)


def _take(connection: Connection, settings: Settings, batch: Row[Any], steps: Sequence[Row[Any]]) -> Row[Any]:
    leased = connection.execute(
        text(
            "UPDATE batches SET fence = fence + 1,"
            " lease_until = clock_timestamp() + make_interval(secs => :lease)"
            " WHERE id = :id RETURNING id, system, phase, fence, resume_token"
        ),
        {"id": batch.id, "lease": settings.engine.lease_seconds},
    ).one()
    now = database_now(connection)
    connection.execute(
        text(
            "UPDATE steps SET state = 'leased', batch_id = :b, attempts = attempts + 1, tries = tries + 1,"
            " due_at = NULL"
            " WHERE id = ANY(CAST(:ids AS uuid[]))"
        ),
        {"b": batch.id, "ids": [s.id for s in steps]},
    )
    _write_attempts(connection, leased, steps, now)
    subjects = subjects_of(connection, steps)
    log_changes(
        connection,
        [
            Change(
                "step",
                str(s.id),
                version_of(s),
                "step_leased",
                subjects[s.request_id],
                {
                    "phase": leased.phase,
                    "state": StepState.LEASED,
                    "attempt": s.attempts + 1,
                    "batch": str(batch.id),
                    "fence": leased.fence,
                },
            )
            for s in steps
        ],
        actor="worker",
        at=now,
    )
    return leased


def _write_attempts(connection: Connection, leased: Row[Any], steps: Sequence[Row[Any]], now: datetime) -> None:
    """Before anything is called: a process that dies in the call leaves a trace."""
    connection.execute(
        text(
            "INSERT INTO attempts (id, step_id, batch_id, fence, phase, number, started_at)"
            " SELECT id, step, :b, :f, :p, number, :now FROM unnest(CAST(:ids AS uuid[]), CAST(:steps AS uuid[]),"
            " CAST(:numbers AS integer[])) AS n(id, step, number)"
        ),
        {
            "b": leased.id,
            "f": leased.fence,
            "p": leased.phase,
            "now": now,
            "ids": [uuid4() for _ in steps],
            "steps": [s.id for s in steps],
            "numbers": [s.attempts + 1 for s in steps],
        },
    )


def _open(stores: Stores, batch: Row[Any], rows: Sequence[Row[Any]]) -> LeasedBatch:
    """Open the people's identifiers and records, after the lease is committed and before anything is called."""
    owners = [request_owner(row.request_id) for row in rows]
    keys = stores.keys.get([*dict.fromkeys(owners), batch_owner(batch.id)])
    with stores.engine.begin() as connection:
        identifiers = read_identifiers(connection, list({row.request_id for row in rows}), keys)
    steps: list[LeasedStep] = []
    for row in rows:
        key = keys.get(request_owner(row.request_id))
        if key is None:
            continue
        stored = identifiers[row.request_id]
        use = ("planned",) if row.plan_version is not None else ("planned", "pending")
        usable = [i.identifier for i in stored if i.use in use and i.identifier is not None]
        steps.append(
            LeasedStep(
                step_id=row.id,
                request_id=row.request_id,
                ref=row.id.hex,
                attempt=row.attempts + 1,
                tries=row.tries + 1,
                respond_by=row.respond_by,
                subject=Subject(row.id.hex, tuple(usable), unseal_records(key, row.id, row.records)),
                known=frozenset(i.identifier for i in stored if i.identifier is not None and _is_known(i)),
                dropped=frozenset(i.identifier for i in stored if i.identifier is not None and i.use == "dropped"),
                records_accepted=row.records_accepted,
            )
        )
    token = None
    if batch.resume_token is not None and batch_owner(batch.id) in keys:
        token = unseal(keys[batch_owner(batch.id)], bytes(batch.resume_token), f"batch/{batch.id}")
    opened = {step.step_id for step in steps}
    return LeasedBatch(
        id=batch.id,
        system=batch.system,
        phase=Phase(batch.phase),
        fence=batch.fence,
        steps=tuple(steps),
        resume_token=token,
        keyless=tuple(row.id for row in rows if row.id not in opened),
    )


def _is_known(stored: StoredIdentifier) -> bool:
    return stored.use in ("planned", "pending") or (stored.use == "excluded" and stored.exclusion in _CARRIED_BY_MANY)

"""Record the results of a connector: under the fence, for the whole batch in one transaction.

Decides nothing about outcomes: `service.domain.execution.decide` does, from facts that are read here under lock. A
result that comes after the lease was lost changes no state; it is kept on its attempt, audited, and causes a look.
Findings after the freeze have the same guards as the first ones: hold, blast radius, approval. Of a vendor's jobs only
keyed hashes are stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.transitions.states import LASTING_EFFECT_PHASES, Phase, Retry, StepState, Transition
from connectors.base.values import Answer, Located
from service.domain.execution.events import KeyMissing, Result
from service.execution.attempts import end_attempts, result_name
from service.execution.batches import give_back, lock_fence
from service.execution.decide_results import BatchContext, BatchResults, ResultDecider, adds_to_plan, load_context
from service.execution.lease import LeasedBatch, LeasedStep
from service.execution.quarantine import BatchFacts, split_failed
from service.execution.store import RecordedStep, lock_frozen_requests, lock_leased_steps, lock_steps
from service.requests.identifiers import seal_records
from service.requests.planning.freeze import freeze_plans
from service.requests.planning.request_checks import ask_to_look
from service.requests.records.store import lock_planned
from service.requests.steps.move import apply_event
from service.requests.steps.read import lock_leased
from service.requests.steps.schedule import leave_plan, note_late_effect, write_jobs
from service.requests.steps.store import Entry, Findings, StepTransition, apply_transitions
from service.settings import Settings
from service.store.audit_log.record_change import Change, log_changes
from service.store.encryption.key_store import batch_owner, request_owner
from service.store.encryption.keyed_hash import Pepper
from service.store.locking import database_now, version_of
from service.store.stores import Stores
from service.system_rules import rules_of


@dataclass(frozen=True)
class Recorded:
    """The outcome of a record: whether the results counted, and how many steps ended."""

    in_time: bool
    ended: int = 0


def record_answers(
    stores: Stores,
    settings: Settings,
    leased: LeasedBatch,
    results: Mapping[str, Result],
    retries: Mapping[str, Retry],
    foreign: frozenset[str] = frozenset(),
    looks: Mapping[str, Answer] = MappingProxyType({}),
) -> Recorded:
    """Record one result per person (by `ref`).

    `retries`: the retry policy's word for each error. `foreign`: people on whose found records the identity graph saw
    somebody else's identifier: a human must look, nothing is touched. `looks`: what the looks answered that followed an
    erasing call in the same pass.
    """
    keys = stores.keys.get([request_owner(s.request_id) for s in leased.steps]) if leased.phase is Phase.LOCATE else {}
    with stores.engine.begin() as connection:
        recording = _Recording(
            connection, stores, settings, leased, BatchResults(results, looks, retries, foreign), keys
        )
        if not recording.holds_fence():
            recording.record_late()
            return Recorded(in_time=False)
        ended, batch_is_over = recording.record()
    if batch_is_over and recording.batch.has_token:
        stores.keys.destroy([batch_owner(leased.id)])
    return Recorded(in_time=True, ended=ended)


class _Recording:
    """One batch being recorded, inside one transaction."""

    def __init__(
        self,
        connection: Connection,
        stores: Stores,
        settings: Settings,
        leased: LeasedBatch,
        received: BatchResults,
        keys: Mapping[str, bytes],
    ) -> None:
        self.connection = connection
        self.stores = stores
        self.settings = settings
        self.leased = leased
        self.received = received
        self.keys = keys
        self.frozen_requests: set[UUID] = set()
        self.batch = BatchFacts()
        if leased.phase is Phase.LOCATE:
            # Finds after the freeze make a new plan version, and that needs the request: it is locked before the steps.
            self._lock_frozen_requests()

    def holds_fence(self) -> bool:
        """Lock the batch; True if no other lease or sweep has changed its fence."""
        row = lock_fence(self.connection, self.leased.id)
        self.batch = BatchFacts(row.root_id, row.has_token)
        return row.fence == self.leased.fence and row.ended_at is None

    def record(self) -> tuple[int, bool]:
        """Move every step on. Returns how many ended, and whether the batch is over."""
        rows = lock_leased_steps(self.connection, [step.step_id for step in self.leased.steps], self.leased.id)
        # Steps that are tried again at once, in which new batch: the call failed for all of them alike.
        parts = split_failed(self.connection, self.leased, self.batch, rows, self.received.results)
        around = load_context(self.connection, self.leased.system, rows)
        now = around.now
        known = BatchContext(self.batch, parts, self.frozen_requests, around)
        rules = rules_of(self.settings, self.leased.system)
        decider = ResultDecider(self.leased, self.received, rules, known, now)
        leased = [(rows[step.step_id], step) for step in self.leased.steps if step.step_id in rows]
        placed = [(row, step, decider.entry(row, step)) for row, step in leased]
        self._write(decider, placed)
        moves = [(row, step, entry.to) for row, step, entry in placed]
        said = {**self.received.results, **self.received.looks}
        note_jobs(self.connection, self.stores.pepper, self.leased.system, moves, said)
        self._park_keyless(now)
        over = give_back(self.connection, self.leased.id, now)
        ask_to_look(self.connection, [(row, move) for row, _, move in moves], around.left_to_others)
        return sum(move.has_ended for _, _, move in moves), over

    def record_late(self) -> None:
        """Keep late answers on their attempts, log them, and have somebody look."""
        now = database_now(self.connection)
        rows = lock_steps(self.connection, [step.step_id for step in self.leased.steps])
        known = [s for s in self.leased.steps if s.step_id in rows]
        end_attempts(
            self.connection, self.leased.fence, known, self.received.results, now, late=True, looks=self.received.looks
        )
        in_erase = self.leased.phase in LASTING_EFFECT_PHASES
        note_late_effect(self.connection, list(rows), in_erase=in_erase, now=now)
        results = self.received.results
        changes = [
            Change(
                "step",
                str(step.step_id),
                version_of(rows[step.step_id]),
                "step_answered_late",
                rows[step.step_id].subject,
                {
                    "phase": self.leased.phase,
                    "attempt": step.attempt,
                    "answer": result_name(results.get(step.ref)),
                },
            )
            for step in self.leased.steps
            if step.step_id in rows
        ]
        log_changes(self.connection, changes, actor="worker", at=now)

    def _lock_frozen_requests(self) -> None:
        requests = {step.request_id for step in self.leased.steps}
        self.frozen_requests = lock_frozen_requests(self.connection, requests)

    def _write(self, decider: ResultDecider, placed: Sequence[tuple[RecordedStep, LeasedStep, Entry]]) -> None:
        moved, amended = [], []
        for row, step, entry in placed:
            findings = None
            if self.leased.phase is Phase.LOCATE:
                findings = self._findings(decider, row, step, entry.to)
                if findings is not None and row.plan_version is not None and self._adds(row, step):
                    amended.append(row)
            moved.append(StepTransition(row, row.subject, entry, findings))
        apply_transitions(self.connection, moved, actor="worker", at=decider.now)
        steps = [step for _, step, _ in placed]
        received = decider.received
        end_attempts(
            self.connection, self.leased.fence, steps, received.results, decider.now, late=False, looks=received.looks
        )
        amend_plans(self.connection, self.settings, amended, decider.now)

    def _adds(self, row: RecordedStep, step: LeasedStep) -> bool:
        found = self.received.results[step.ref]
        return isinstance(found, Located) and adds_to_plan(row, step, found)

    def _findings(
        self, decider: ResultDecider, row: RecordedStep, step: LeasedStep, move: Transition
    ) -> Findings | None:
        """Return the findings to store.

        Findings that a meanwhile frozen plan doesn't hold aren't stored, because the repeated search adds them.
        """
        found, key = self.received.results[step.ref], self.keys.get(request_owner(row.request_id))
        if not isinstance(found, Located) or key is None or step.step_id in decider.discarded:
            return None
        if row.plan_version is not None and move.state is not StepState.WAITING and self._adds(row, step):
            return None
        return findings_of(self.stores, self.leased.system, step, found, key)

    def _park_keyless(self, now: datetime) -> None:
        """People whose key is gone can't be worked on by anybody: a human must know."""
        if not self.leased.keyless:
            return
        rows = lock_leased(self.connection, self.leased.keyless, self.leased.id)
        apply_event(self.connection, rows, KeyMissing(), actor="worker", at=now)


def findings_of(stores: Stores, system: str, step: LeasedStep, found: Located, key: bytes) -> Findings:
    """Return the findings as the step's row keeps them.

    Record ids, with those of earlier searches, are sealed; counts are in clear.
    """
    records = tuple(dict.fromkeys([*step.subject.records, *found.records]))
    return Findings(
        records=seal_records(key, step.step_id, records) if records else None,
        hashes=tuple(stores.pepper.of_record(system, record) for record in records),
        counts=found.counts,
    )


def amend_plans(connection: Connection, settings: Settings, steps: Sequence[RecordedStep], now: datetime) -> None:
    """Freeze the next version of the plan of each of these steps' requests, which the caller has locked."""
    if not steps:
        return
    leave_plan(connection, [step.id for step in steps])
    locked = lock_planned(connection, [step.request_id for step in steps])
    freeze_plans(connection, settings, list(locked.values()), now)


def note_jobs(
    connection: Connection,
    pepper: Pepper,
    system: str,
    moves: Sequence[tuple[RecordedStep, LeasedStep, Transition]],
    results: Mapping[str, object],
) -> None:
    """Write the jobs of the steps that wait for some now, and remove those of steps that don't any more."""
    awaited: dict[UUID, set[bytes]] = {}
    for row, step, move in moves:
        if move.state is not StepState.ACCEPTED and row.job_hashes is None:
            continue
        result = results[step.ref]
        jobs = result.jobs if isinstance(result, Answer) and move.state is StepState.ACCEPTED else frozenset()
        hashes = {pepper.of_job(system, job) for job in jobs}
        if hashes != {bytes(one) for one in row.job_hashes or ()}:
            awaited[row.id] = hashes
    if awaited:
        write_jobs(connection, awaited)

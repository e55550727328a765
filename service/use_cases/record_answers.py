"""Record what a connector answered: under the fence, for the whole batch in one transaction.

Decides nothing about outcomes itself: `domain.outcomes` does, from facts that are read here under lock. An answer that
comes after the lease was lost changes no state; it is kept on its attempt, audited, and triggers a look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from connectors.base.errors import ConnectorError, RequestRefused
from connectors.base.values import Answer, Located
from service.domain.audit_shapes import AuditValue, instant_text, is_code
from service.domain.outcomes import (
    KEY_GONE,
    NOT_DONE_YET,
    SYSTEM_REMOVED,
    Next,
    Phase,
    Retry,
    StepFacts,
    StepState,
    SystemRules,
    after_confirm,
    after_erase,
    after_error,
    after_locate,
    after_suppress,
    after_unaddressable_search,
)
from service.settings import Settings
from service.storage.changes import Change, log_changes
from service.storage.key_store import batch_owner, request_owner
from service.storage.packed import listed
from service.storage.rows import database_now, version_of
from service.storage.stores import Stores
from service.use_cases.ask_to_look import ask_to_look
from service.use_cases.end_attempts import NOT_A_CODE, Result, code_of, end_attempts, name_of
from service.use_cases.lease_steps import LeasedBatch, LeasedStep
from service.use_cases.move_steps import park_steps
from service.use_cases.note_jobs import note_jobs
from service.use_cases.split_batch import BatchFacts, split_failed
from service.use_cases.step_facts import step_facts
from service.use_cases.store_findings import adds_to_plan, amend_plans, findings_of
from service.use_cases.system_rules import rules_of
from service.use_cases.write_moves import Findings, Moved, write_moves

AMBIGUOUS_RECORD = "ambiguous:foreign_identifier"
_UNADDRESSABLE = "not_addressable"
_STAYS = (Phase.SUPPRESS, Phase.ERASE)
_LOCK = text(
    "SELECT s.id, s.request_id, s.phase, s.tries, s.rounds, s.effect_possible, s.retained, s.plan_version, s.located,"
    " s.waits_for_order,"
    " s.record_hashes <> '{}' AS has_records, s.counts, s.version, s.entry_hash,"
    # Mostly empty, and nothing is quicker to read than nothing.
    " nullif(s.erased, '{}') AS erased, nullif(s.left_over, '{}') AS left_over,"
    " nullif(s.not_covered, '{}') AS not_covered, s.job_hashes,"
    " r.subject FROM steps s JOIN requests r ON r.id = s.request_id WHERE s.id = ANY(CAST(:ids AS uuid[]))"
    " ORDER BY s.id FOR NO KEY UPDATE OF s"
)
_LOCK_LEASED = text(_LOCK.text.replace("ORDER BY", "AND s.state = 'leased' AND s.batch_id = :b ORDER BY"))


@dataclass(frozen=True)
class Recorded:
    """What became of the batch: whether the answers counted, and how many steps ended."""

    in_time: bool
    ended: int = 0


def record_answers(
    stores: Stores,
    settings: Settings,
    leased: LeasedBatch,
    results: Mapping[str, Result],
    retries: Mapping[str, Retry],
    foreign: frozenset[str] = frozenset(),
) -> Recorded:
    """Record one result per person (by `ref`).

    `retries`: the retry policy's word for each error. `foreign`: people on whose found records the identity graph saw
    somebody else's identifier: a human must look, nothing is touched.
    """
    keys = stores.keys.get([request_owner(s.request_id) for s in leased.steps]) if leased.phase is Phase.LOCATE else {}
    with stores.engine.begin() as connection:
        recording = _Recording(connection, stores, settings, leased, results, keys)
        if not recording.holds_fence():
            recording.record_late()
            return Recorded(in_time=False)
        ended, batch_is_over = recording.record(retries, foreign)
    if batch_is_over and leased.phase in (Phase.SUPPRESS, Phase.ERASE):
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
        results: Mapping[str, Result],
        keys: Mapping[str, bytes],
    ) -> None:
        self.connection = connection
        self.stores = stores
        self.settings = settings
        self.leased = leased
        self.results = results
        self.keys = keys
        self.frozen_requests: set[UUID] = set()
        # Steps whose findings count for nothing: somebody else's, or of a plan that was frozen during the search.
        self.unusable: set[UUID] = set()
        self.batch = BatchFacts()
        # Steps that are tried again at once, in which new batch: the call failed for all of them alike.
        self.parts: Mapping[UUID, UUID] = {}
        if leased.phase is Phase.LOCATE:
            # Finds after the freeze make a new plan version, and that needs the request: it is locked before the steps.
            self._lock_frozen_requests()

    def holds_fence(self) -> bool:
        """Lock the batch; True if nobody leased or swept it since."""
        row = self.connection.execute(
            text(
                "SELECT fence, ended_at, root_id, resume_token IS NOT NULL AS has_token FROM batches"
                " WHERE id = :id FOR NO KEY UPDATE"
            ),
            {"id": self.leased.id},
        ).one()
        self.batch = BatchFacts(row.root_id, row.has_token)
        return row.fence == self.leased.fence and row.ended_at is None

    def record(self, retries: Mapping[str, Retry], foreign: frozenset[str]) -> tuple[int, bool]:
        """Move every step on. Returns how many ended, and whether the batch is over."""
        now = database_now(self.connection)
        rows = self._lock_steps(only_leased=True)
        facts = step_facts(self.connection, rows)
        self.parts = split_failed(self.connection, self.leased, self.batch, rows, self.results)
        rules = rules_of(self.settings, self.leased.system)
        removed = self._system_is_removed()
        moves: list[tuple[Row[Any], LeasedStep, Next]] = []
        for step in self.leased.steps:
            if step.step_id in rows:
                row = rows[step.step_id]
                move = self._move(row, step, facts[step.step_id], rules, retries, foreign, now)
                if removed and move.state in NOT_DONE_YET:
                    move = replace(move, state=StepState.PARKED, reason=SYSTEM_REMOVED, due_at=None)
                moves.append((row, step, move))
        self._write(moves, now)
        note_jobs(self.connection, self.stores.pepper, self.leased.system, moves, self.results)
        self._park_keyless(now)
        over = self._give_back(now)
        ask_to_look(self.connection, [(row, move) for row, _, move in moves])
        return sum(move.has_ended for _, _, move in moves), over

    def record_late(self) -> None:
        """Keep late answers on their attempts, log them, and have somebody look."""
        now = database_now(self.connection)
        rows = self._lock_steps(only_leased=False)
        known = [s for s in self.leased.steps if s.step_id in rows]
        end_attempts(self.connection, self.leased, known, self.results, now, late=True)
        touched = self.leased.phase is Phase.ERASE
        self.connection.execute(
            text(
                "UPDATE steps SET effect_possible = effect_possible OR :touched, due_at = :now"
                " WHERE id = ANY(CAST(:ids AS uuid[])) AND state IN ('due', 'accepted')"
            ),
            {"touched": touched, "now": now, "ids": list(rows)},
        )
        changes = [
            Change(
                "step",
                str(step.step_id),
                version_of(rows[step.step_id]),
                "step_answered_late",
                rows[step.step_id].subject,
                {"phase": self.leased.phase, "attempt": step.attempt, "answer": name_of(self.results.get(step.ref))},
            )
            for step in self.leased.steps
            if step.step_id in rows
        ]
        log_changes(self.connection, changes, actor="worker", at=now)

    def _lock_frozen_requests(self) -> None:
        ids = sorted({s.request_id for s in self.leased.steps})
        frozen = self.connection.execute(
            text(
                "SELECT id FROM requests WHERE id = ANY(CAST(:ids AS uuid[])) AND plan_version > 0"
                " ORDER BY id FOR NO KEY UPDATE"
            ),
            {"ids": ids},
        )
        self.frozen_requests = {row.id for row in frozen}

    def _system_is_removed(self) -> bool:
        """True if the system was taken out of the configuration while its steps were leased."""
        found: bool = self.connection.execute(
            text("SELECT state <> 'active' FROM systems WHERE name = :s"), {"s": self.leased.system}
        ).scalar_one()
        return found

    def _lock_steps(self, *, only_leased: bool) -> dict[UUID, Row[Any]]:
        rows = self.connection.execute(
            _LOCK_LEASED if only_leased else _LOCK,
            {"ids": listed(s.step_id for s in self.leased.steps), "b": self.leased.id},
        )
        return {row.id: row for row in rows}

    def _move(
        self,
        row: Row[Any],
        step: LeasedStep,
        facts: StepFacts,
        rules: SystemRules,
        retries: Mapping[str, Retry],
        foreign: frozenset[str],
        now: datetime,
    ) -> Next:
        result = self.results[step.ref]
        if isinstance(result, RequestRefused) and facts.phase is Phase.LOCATE and result.code == _UNADDRESSABLE:
            return after_unaddressable_search(facts, rules)
        if isinstance(result, ConnectorError):
            retry = Retry(due_at=now) if row.id in self.parts else retries[step.ref]
            move = after_error(facts, result, retry, look_at=now + rules.confirm_after)
            return replace(move, tries=0) if row.id in self.parts else move
        if isinstance(result, Located):
            return self._after_search(row, step, result, facts, rules, foreign, now)
        if facts.phase is Phase.SUPPRESS:
            found = row.has_records or any(row.counts.values())
            return after_suppress(facts, result, now, found=rules.may_have_something(found=found))
        after: Callable[[StepFacts, Answer, SystemRules, datetime], Next]
        after = after_confirm if facts.phase is Phase.CONFIRM else after_erase
        move = after(facts, result, rules, now)
        # The reason may be a third party's word, and one bad word must not stop its whole batch at the audit log.
        return move if move.reason is None or is_code(move.reason) else replace(move, reason=NOT_A_CODE)

    def _after_search(
        self,
        row: Row[Any],
        step: LeasedStep,
        found: Located,
        facts: StepFacts,
        rules: SystemRules,
        foreign: frozenset[str],
        now: datetime,
    ) -> Next:
        adds = facts.frozen and adds_to_plan(row, step, found)
        move = after_locate(facts, found, rules, now, adds_to_plan=adds)
        if move.has_ended or facts.withdrawn:
            return move
        if step.ref in foreign:
            # The phase stays: whatever a human decides, it begins with another search.
            self.unusable.add(step.step_id)
            return replace(move, state=StepState.PARKED, phase=Phase.LOCATE, reason=AMBIGUOUS_RECORD, due_at=None)
        if facts.frozen and step.request_id not in self.frozen_requests:
            # The plan was frozen while we searched: search again, and add what is found to the plan properly.
            self.unusable.add(step.step_id)
            return replace(move, state=StepState.DUE, phase=Phase.LOCATE, reason=None, due_at=now)
        return move

    def _write(self, moves: Sequence[tuple[Row[Any], LeasedStep, Next]], now: datetime) -> None:
        moved, amended = [], []
        for row, step, move in moves:
            findings = None
            if self.leased.phase is Phase.LOCATE:
                findings = self._findings(row, step, move)
                if findings is not None and row.plan_version is not None and self._adds(row, step):
                    amended.append(row)
            moved.append(self._moved(row, step, move, findings))
        write_moves(self.connection, moved, now)
        end_attempts(self.connection, self.leased, [step for _, step, _ in moves], self.results, now, late=False)
        amend_plans(self.connection, self.settings, amended, now)

    def _moved(self, row: Row[Any], step: LeasedStep, move: Next, findings: Findings | None) -> Moved:
        result = self.results[step.ref]
        failed = isinstance(result, ConnectorError)
        same_phase = move.phase is self.leased.phase and not move.has_ended
        # Who failed in a part of a split batch goes on alone: else the healthy would be stopped again.
        apart = self.batch.root_id is not None and failed and move.due_at is not None
        keeps = same_phase and (move.phase in _STAYS or apart)
        part = self.parts.get(row.id) if same_phase and move.due_at is not None else None
        newly_possible = move.effect_possible and not row.effect_possible
        return Moved(
            row,
            move,
            self._said(step, move, result),
            batch_id=part or (self.leased.id if keeps else None),
            had_effect=newly_possible or any(move.erased.values()) or (failed and self.leased.phase is Phase.ERASE),
            not_covered=getattr(result, "not_covered", ()),
            findings=findings,
        )

    def _said(self, step: LeasedStep, move: Next, result: Result) -> dict[str, AuditValue]:
        said: dict[str, AuditValue] = {
            "phase": move.phase,
            "state": move.state,
            "reason": move.reason,
            "due_at": None if move.due_at is None else instant_text(move.due_at),
            "attempt": step.attempt,
            "answer": name_of(result),
            "code": code_of(result),
            "records": sum(move.erased.values()),
            "left": sum(move.left_over.values()),
        }
        if move.has_ended:
            said["outcome"] = move.state
        return said

    def _adds(self, row: Row[Any], step: LeasedStep) -> bool:
        found = self.results[step.ref]
        return isinstance(found, Located) and adds_to_plan(row, step, found)

    def _findings(self, row: Row[Any], step: LeasedStep, move: Next) -> Findings | None:
        """What a plan that was frozen meanwhile doesn't hold isn't stored: the repeated search adds it properly."""
        found, key = self.results[step.ref], self.keys.get(request_owner(row.request_id))
        if not isinstance(found, Located) or key is None or step.step_id in self.unusable:
            return None
        if row.plan_version is not None and move.state is not StepState.WAITING and self._adds(row, step):
            return None
        return findings_of(self.stores, self.leased.system, step, found, key)

    def _park_keyless(self, now: datetime) -> None:
        """People whose key is gone can't be worked on by anybody: a human must know."""
        if not self.leased.keyless:
            return
        rows = self.connection.execute(
            text(
                "UPDATE steps SET batch_id = NULL WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'leased'"
                " AND batch_id = :b RETURNING *"
            ),
            {"ids": list(self.leased.keyless), "b": self.leased.id},
        ).all()
        park_steps(self.connection, rows, KEY_GONE, actor="worker", at=now)

    def _give_back(self, now: datetime) -> bool:
        """End the lease; the batch is over when no step needs its key and token any more."""
        over: bool = self.connection.execute(
            text(
                "UPDATE batches SET lease_until = NULL,"
                " ended_at = CASE WHEN EXISTS (SELECT 1 FROM steps WHERE batch_id = :id) THEN NULL"
                " ELSE CAST(:now AS timestamptz) END WHERE id = :id RETURNING ended_at IS NOT NULL"
            ),
            {"id": self.leased.id, "now": now},
        ).scalar_one()
        return over

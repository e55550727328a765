"""Make an event of each result of a batch, ask the rule, and word the audit entry.

Reads the facts around the steps. Decides nothing about steps: `service.domain.execution.decide` does. Steps that are
equal in everything that the rule reads, with equal answers, share one entry, so that the rule is asked once for most of
a batch.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from connectors.base.transitions.states import Phase, Retry, StepFacts, StepState, SystemRules, Transition
from connectors.base.values import Answer, Located
from service.domain.audit.schema import AuditValue, instant_text
from service.domain.execution.decide import decide
from service.domain.execution.events import Result, ResultReceived
from service.domain.requests.states import WITHDRAWN_STATES, Progress
from service.execution.attempts import error_code, result_name
from service.execution.lease import LeasedBatch, LeasedStep
from service.execution.quarantine import BatchFacts
from service.execution.store import RecordedStep
from service.requests.holds.active import held_requests
from service.requests.steps.store import Entry
from service.store.arrays import int_array, uuid_array
from service.store.execute import execute
from service.store.sql_files import load_sql


@dataclass(frozen=True)
class BatchResults:
    """The results of one lease, by `ref`.

    `looks` followed the erasing call in the same lease. `retries`: the retry policy's answer for each error.
    `conflicts`: the data subjects whose found records carry another one's identifier.
    """

    results: Mapping[str, Result] = field(repr=False)
    looks: Mapping[str, Answer] = field(repr=False)
    retries: Mapping[str, Retry]
    conflicts: frozenset[str]


@dataclass(frozen=True)
class BatchContext:
    """The facts of a batch beside the steps' own rows.

    `parts`: new batches by step. `frozen_requests`: requests whose plan is frozen and locked. `steps`: the facts around
    the steps.
    """

    batch: BatchFacts
    parts: Mapping[UUID, UUID]
    frozen_requests: Collection[UUID]
    steps: StepContext


class ResultDecider:
    """Decides about the results of one batch. `discarded`: steps whose findings aren't stored."""

    def __init__(
        self, leased: LeasedBatch, received: BatchResults, rules: SystemRules, context: BatchContext, now: datetime
    ) -> None:
        self.leased = leased
        self.received = received
        self.rules = rules
        self.context = context
        self.now = now
        self.discarded: set[UUID] = set()
        self._entries: dict[Hashable, Entry] = {}

    def entry(self, row: RecordedStep, step: LeasedStep) -> Entry:
        """The transition of this locked step, with its audit entry."""
        key = self._cache_key(row, step)
        if key is None:
            return self._decide(row, step)
        found = self._entries.get(key)
        if found is None:
            found = self._entries[key] = self._decide(row, step)
        return found

    def _cache_key(self, row: RecordedStep, step: LeasedStep) -> Hashable:
        """Everything that `_decide` reads of a step and its answer; None where that can't be compared cheaply."""
        result = self.received.results[step.ref]
        of_answer: Hashable
        if isinstance(result, Answer):
            look = self.received.looks.get(step.ref)
            of_answer, of_look = _comparable(result), None if look is None else _comparable(look)
            if of_answer is None or (look is not None and of_look is None) or row.phase == Phase.SUPPRESS:
                return None
            of_answer = (of_answer, of_look)
        elif isinstance(result, Located) and row.plan_version is None and step.ref not in self.received.conflicts:
            of_answer = (result.is_empty, result.not_covered)
        else:
            return None
        if row.erased is not None or row.remaining is not None or row.not_covered is not None:
            return None
        return (
            row.phase,
            row.consecutive_attempts,
            row.plan_rounds,
            row.effect_possible,
            row.retained,
            row.plan_version is None,
            step.attempt,
            *self.context.steps.of(row),
            of_answer,
        )

    def _decide(self, row: RecordedStep, step: LeasedStep) -> Entry:
        result, look = self.received.results[step.ref], self.received.looks.get(step.ref)
        to = decide(self.context.steps.facts(row), self._event(row, step), self.rules, self.now)
        assert isinstance(to, Transition), "a leased step's result has a transition"
        if to.discards_findings:
            self.discarded.add(step.step_id)
        goes_on_apart = to.phase is self.leased.phase and not to.has_ended and to.due_at is not None
        return Entry(
            to,
            "step_ended" if to.has_ended else "step_answered",
            _audit_data(step, to, result, look),
            batch_id=self.context.parts.get(row.id) if goes_on_apart else None,
            not_covered=(
                *getattr(result, "not_covered", ()),
                *(look.not_covered if look is not None else ()),
                # Kept with the step, because a later version of the connector may declare less.
                *(self.rules.not_covered if to.has_ended else ()),
            ),
        )

    def _event(self, row: RecordedStep, step: LeasedStep) -> ResultReceived:
        result = self.received.results[step.ref]
        return ResultReceived(
            result,
            look=self.received.looks.get(step.ref),
            retry=self.received.retries.get(step.ref),
            has_records=row.has_records or any(row.counts.values()),
            has_conflict=step.ref in self.received.conflicts,
            adds_to_plan=isinstance(result, Located) and adds_to_plan(row, step, result),
            plan_is_locked=step.request_id in self.context.frozen_requests,
            repeats_in_part=row.id in self.context.parts,
            batch_was_split=self.context.batch.root_id is not None,
            system_is_removed=self.context.steps.is_removed,
        )


def adds_to_plan(row: RecordedStep, step: LeasedStep, found: Located) -> bool:
    """Return True if the frozen plan of this step doesn't hold all of `found`.

    More rows of the same records count as well, because the blast radius is judged by their number.
    """
    if found.is_empty:
        return False
    is_new = not set(found.records) <= set(step.subject.records)
    return is_new or not row.located or sum(found.counts.values()) > sum(row.counts.values())


def _audit_data(step: LeasedStep, to: Transition, result: Result, look: Answer | None) -> dict[str, AuditValue]:
    data: dict[str, AuditValue] = {
        # Plain strings instead of enums: the audit log looks values up by their type, which is checked each time.
        "phase": to.phase.value,
        "state": to.state.value,
        "reason": to.reason,
        "due_at": None if to.due_at is None else instant_text(to.due_at),
        "attempt": step.attempt,
        "answer": result_name(result),
        "code": error_code(result),
        "records": sum(to.erased.values()),
        "left": sum(to.remaining.values()),
    }
    if look is not None:
        data["look"] = result_name(look)
    if to.has_ended:
        data["outcome"] = to.state.value
    return data


def _comparable(answer: Answer) -> Hashable:
    """The whole answer, if it names no record, no job and no instant: these belong to one data subject."""
    if answer.left or answer.found is not None or answer.look_again_at is not None or answer.jobs:
        return None
    return (answer.kind, *answer.records.items(), answer.reason, answer.not_covered)


_AROUND = load_sql(__package__, "step_context")
_MAY_WAIT = frozenset({Phase.ERASE, Phase.CONFIRM})


@dataclass(frozen=True)
class StepContext:
    """The facts around some steps of one system.

    `held`, `withdrawn`, `unapproved`: requests in that state. `waiting`: requests in which the step must wait for an
    earlier system. `now`: the database's clock behind the steps' lock. `is_removed`: their system was taken out of the
    configuration. `left_to_others`: requests of which another step is due, and none waits for its turn (see
    ask_to_look).
    """

    now: datetime
    is_removed: bool
    held: frozenset[UUID]
    withdrawn: frozenset[UUID]
    unapproved: frozenset[UUID]
    waiting: frozenset[UUID]
    left_to_others: frozenset[UUID]

    def of(self, row: RecordedStep) -> tuple[bool, bool, bool, bool]:
        """Held, withdrawn, not approved, waiting: as far as this step is concerned."""
        request_id = row.request_id
        return (
            request_id in self.held,
            request_id in self.withdrawn,
            request_id in self.unapproved,
            request_id in self.waiting,
        )

    def facts(self, row: RecordedStep) -> StepFacts:
        """All that the rule needs to know of this step."""
        held, withdrawn, unapproved, waiting = self.of(row)
        return StepFacts(
            phase=Phase(row.phase),
            consecutive_attempts=row.consecutive_attempts,
            plan_rounds=row.plan_rounds,
            effect_possible=row.effect_possible,
            frozen=row.plan_version is not None,
            held=held,
            withdrawn=withdrawn,
            must_wait=waiting,
            awaiting_approval=unapproved,
            retained=row.retained,
            state=StepState.LEASED,
        )


def load_context(connection: Connection, system: str, rows: Mapping[UUID, RecordedStep]) -> StepContext:
    """Of these locked steps of one system. Requests are read, not locked."""
    request_ids = list({row.request_id for row in rows.values()})
    asking = [row for row in rows.values() if row.phase in _MAY_WAIT]
    around = execute(
        connection,
        _AROUND,
        {
            "system": system,
            "requests": uuid_array(request_ids),
            "withdrawn": sorted(WITHDRAWN_STATES),
            "unapproved": Progress.AWAITING_APPROVAL,
            "asking": uuid_array(row.request_id for row in asking),
            "positions": int_array(row.position for row in asking),
        },
    ).one()
    return StepContext(
        around.now,
        around.is_removed,
        frozenset(held_requests(connection, request_ids)),
        frozenset(around.withdrawn or ()),
        frozenset(around.unapproved or ()),
        frozenset(around.waiting or ()),
        frozenset(around.left_to_others or ()),
    )

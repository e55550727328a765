"""Say where each answer takes its step, and what the log says about it: for most of a batch it is the same.

Decides nothing about outcomes itself: `domain.execution.results` does. Steps that are alike in all that the rule
asks, with
answers that are alike, share one `Place`, so that the rule is asked once for them and not a hundred times.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from connectors.base.errors import ConnectorError, RequestRefused
from connectors.base.values import Answer, Located
from service.domain.audit.schema import AuditValue, instant_text, is_code
from service.domain.execution.results import (
    after_confirm,
    after_erase,
    after_error,
    after_locate,
    after_look,
    after_suppress,
    after_unaddressable_search,
)
from service.domain.execution.states import (
    NOT_DONE_YET,
    SYSTEM_REMOVED,
    Phase,
    Retry,
    StepFacts,
    StepState,
    SystemRules,
    Transition,
)
from service.execution.attempts import NOT_A_CODE, Result, code_of, name_of
from service.execution.facts import Surroundings
from service.execution.findings import adds_to_plan
from service.execution.lease import LeasedBatch, LeasedStep
from service.execution.quarantine import BatchFacts
from service.execution.write import Place

AMBIGUOUS_RECORD = "ambiguous:foreign_identifier"
_UNADDRESSABLE = "not_addressable"
_STAYS = (Phase.SUPPRESS, Phase.ERASE)


@dataclass(frozen=True)
class Heard:
    """What came of one pass: results and looks by `ref`, the retry policy's word for each error, and whose found
    records carry somebody else's identifier."""

    results: Mapping[str, Result] = field(repr=False)
    looks: Mapping[str, Answer] = field(repr=False)
    retries: Mapping[str, Retry]
    foreign: frozenset[str]


@dataclass(frozen=True)
class BatchNow:
    """What is known beside the steps' own rows: of the batch, its new parts by step, requests whose plan is frozen and
    locked, and what is true around them."""

    batch: BatchFacts
    parts: Mapping[UUID, UUID]
    frozen_requests: Collection[UUID]
    surroundings: Surroundings


class Placing:
    """One batch's answers. `unusable`: steps whose findings count for nothing, being somebody else's or of a plan that
    was frozen during the search."""

    def __init__(self, leased: LeasedBatch, heard: Heard, rules: SystemRules, known: BatchNow, now: datetime) -> None:
        self.leased = leased
        self.heard = heard
        self.rules = rules
        self.known = known
        self.now = now
        self.unusable: set[UUID] = set()
        self._places: dict[Hashable, Place] = {}

    def place(self, row: Row[Any], step: LeasedStep) -> Place:
        """Where this step goes."""
        likeness = self._likeness(row, step)
        if likeness is None:
            return self._placed(row, step)
        found = self._places.get(likeness)
        if found is None:
            found = self._places[likeness] = self._placed(row, step)
        return found

    def _likeness(self, row: Row[Any], step: LeasedStep) -> Hashable:
        """What `_placed` asks of a step and its answer, all of it; None where that isn't said in a few words."""
        result = self.heard.results[step.ref]
        of_answer: Hashable
        if isinstance(result, Answer):
            look = self.heard.looks.get(step.ref)
            of_answer, of_look = _in_few_words(result), None if look is None else _in_few_words(look)
            if of_answer is None or (look is not None and of_look is None) or row.phase == Phase.SUPPRESS:
                return None
            of_answer = (of_answer, of_look)
        elif isinstance(result, Located) and row.plan_version is None and step.ref not in self.heard.foreign:
            of_answer = (result.is_empty, result.not_covered)
        else:
            return None
        if row.erased is not None or row.left_over is not None or row.not_covered is not None:
            return None
        return (
            row.phase,
            row.tries,
            row.rounds,
            row.effect_possible,
            row.retained,
            row.plan_version is None,
            step.attempt,
            *self.known.surroundings.of(row),
            of_answer,
        )

    def _placed(self, row: Row[Any], step: LeasedStep) -> Place:
        move = self._move(row, step, self.known.surroundings.facts(row))
        if self.known.surroundings.is_removed and move.state in NOT_DONE_YET:
            move = replace(move, state=StepState.PARKED, reason=SYSTEM_REMOVED, due_at=None)
        result, look = self.heard.results[step.ref], self.heard.looks.get(step.ref)
        failed = isinstance(result, ConnectorError)
        same_phase = move.phase is self.leased.phase and not move.has_ended
        # Who failed in a part of a split batch goes on alone: else the healthy would be stopped again.
        apart = self.known.batch.root_id is not None and failed and move.due_at is not None
        # Who is erased again after a look goes with a new key: under the old one the vendor might do nothing more.
        keeps = same_phase and (move.phase in _STAYS or apart) and look is None
        part = self.known.parts.get(row.id) if same_phase and move.due_at is not None else None
        newly_possible = move.effect_possible and not row.effect_possible
        return Place(
            move,
            self._said(step, move, result, look),
            batch_id=part or (self.leased.id if keeps else None),
            had_effect=newly_possible or any(move.erased.values()) or (failed and self.leased.phase is Phase.ERASE),
            not_covered=(
                *getattr(result, "not_covered", ()),
                *(look.not_covered if look is not None else ()),
                # Kept with the step, because a later version of the connector may declare less.
                *(self.rules.not_covered if move.has_ended else ()),
            ),
        )

    def _move(self, row: Row[Any], step: LeasedStep, facts: StepFacts) -> Transition:
        result, rules, now = self.heard.results[step.ref], self.rules, self.now
        if isinstance(result, RequestRefused) and facts.phase is Phase.LOCATE and result.code == _UNADDRESSABLE:
            return after_unaddressable_search(facts, rules)
        if isinstance(result, ConnectorError):
            retry = Retry(due_at=now) if row.id in self.known.parts else self.heard.retries[step.ref]
            move = after_error(facts, result, retry, look_at=now + rules.confirm_after)
            return replace(move, tries=0) if row.id in self.known.parts else move
        if isinstance(result, Located):
            return self._after_search(row, step, result, facts)
        if facts.phase is Phase.SUPPRESS:
            found = row.has_records or any(row.counts.values())
            return after_suppress(facts, result, now, found=rules.may_have_something(found=found))
        after: Callable[[StepFacts, Answer, SystemRules, datetime], Transition]
        after = after_confirm if facts.phase is Phase.CONFIRM else after_erase
        move = after(facts, result, rules, now)
        if step.ref in self.heard.looks:
            move = after_look(facts, move, self.heard.looks[step.ref], rules, now)
        # The reason may be a third party's word, and one bad word must not stop its whole batch at the audit log.
        return move if move.reason is None or is_code(move.reason) else replace(move, reason=NOT_A_CODE)

    def _after_search(self, row: Row[Any], step: LeasedStep, found: Located, facts: StepFacts) -> Transition:
        adds = facts.frozen and adds_to_plan(row, step, found)
        move = after_locate(facts, found, self.rules, self.now, adds_to_plan=adds)
        if move.has_ended or facts.withdrawn:
            return move
        if step.ref in self.heard.foreign:
            # The phase stays: whatever a human decides, it begins with another search.
            self.unusable.add(step.step_id)
            return replace(move, state=StepState.PARKED, phase=Phase.LOCATE, reason=AMBIGUOUS_RECORD, due_at=None)
        if facts.frozen and step.request_id not in self.known.frozen_requests:
            # The plan was frozen while we searched: search again, and add what is found to the plan properly.
            self.unusable.add(step.step_id)
            return replace(move, state=StepState.DUE, phase=Phase.LOCATE, reason=None, due_at=self.now)
        return move

    def _said(self, step: LeasedStep, move: Transition, result: Result, look: Answer | None) -> dict[str, AuditValue]:
        said: dict[str, AuditValue] = {
            # As plain words: an entry's words are looked up by their types, too, and enums would be checked each time.
            "phase": move.phase.value,
            "state": move.state.value,
            "reason": move.reason,
            "due_at": None if move.due_at is None else instant_text(move.due_at),
            "attempt": step.attempt,
            "answer": name_of(result),
            "code": code_of(result),
            "records": sum(move.erased.values()),
            "left": sum(move.left_over.values()),
        }
        if look is not None:
            said["look"] = name_of(look)
        if move.has_ended:
            said["outcome"] = move.state.value
        return said


def _in_few_words(answer: Answer) -> Hashable:
    """All that an answer says, if it names no record, no job and no instant: these are somebody's own."""
    if answer.left or answer.found is not None or answer.look_again_at is not None or answer.jobs:
        return None
    return (answer.kind, *answer.records.items(), answer.reason, answer.not_covered)

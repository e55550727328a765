"""The run itself: the order of the phases, and the work that follows from each person's transition.

`connectors.base.transitions` decides each person's transition, as in the service.

Uses the given identifiers only: without an identity graph nobody can say whose the other identifiers on a found record
are, so they widen no search. Decides nothing about the law: no holds, no deadlines, no approvals.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from connectors.base import operations
from connectors.base.config import ConfigurationError
from connectors.base.errors import ConnectorError, TemporarilyUnavailable
from connectors.base.interface import Connector, ErasesBy, Lease, Operation
from connectors.base.runner.endings import Line, Outcome, Summary
from connectors.base.runner.person import Person, Result, all_left, counted, outcome_of
from connectors.base.runner.sharing import Sharing
from connectors.base.transitions.results import after_result
from connectors.base.transitions.states import Phase, Retry, StepState, SystemRules, Transition
from connectors.base.values import Answer, AnswerKind, Batch, Left, Located, Subject

MAX_ROUNDS = 3
_LONGEST_PAUSE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Patience:
    """How the run waits: a call that may be tried again is, at most `retries` times in a row per person.

    `pause` doubles with every retry and yields to the vendor's Retry-After. `now` and `sleep` are the clock's.
    """

    retries: int = 4
    pause: timedelta = timedelta(seconds=2)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep


class MemoryLease:
    """A lease in memory, which ends with the process; no hold and no withdrawal stops a person."""

    def __init__(self, resume_token: bytes | None = None) -> None:
        self._token = resume_token

    @property
    def resume_token(self) -> bytes | None:
        """The token that was saved last."""
        return self._token

    def save(self, resume_token: bytes) -> None:
        """Keep the token."""
        self._token = resume_token

    def may_proceed(self, ref: str) -> bool:
        """Always: holds and revocations are the service's."""
        return True


_OF_SUPPRESSION = (Operation.SUPPRESS, Operation.READ_SUPPRESSION)


@dataclass(order=True)
class _Work:
    due_at: datetime
    turn: int
    operation: Operation = field(compare=False)
    key: str = field(compare=False)
    refs: tuple[str, ...] = field(compare=False)
    lease: Lease = field(compare=False)
    error: str | None = field(compare=False, default=None)


def run(
    connector: Connector,
    subjects: Sequence[Subject],
    operation: Operation,
    wait: timedelta | None,
    on_line: Callable[[Line], None],
    *,
    patience: Patience | None = None,
    new_lease: Callable[[], Lease] = MemoryLease,
) -> Summary:
    """Run one operation for these people and tell `on_line` each person's ending as soon as it is known.

    `wait`: how long to go on for vendors' jobs, confirmation delays and retries together; None: as long as it takes.
    Raises ConfigurationError if the connector doesn't offer the operation.
    """
    offered = connector.declaration.operations
    if operation not in offered or (operation is Operation.CONFIRM and not connector.declaration.can_confirm):
        names = ", ".join(sorted(o.value for o in offered))
        raise ConfigurationError(f"{connector.declaration.name} doesn't offer {operation.value}; it offers {names}")
    if len({s.ref for s in subjects}) != len(subjects):
        raise ConfigurationError("a subject may stand only once in a run")
    return _Run(connector, operation, wait, on_line, patience or Patience(), new_lease).through(subjects)


class _Run:
    def __init__(
        self,
        connector: Connector,
        operation: Operation,
        wait: timedelta | None,
        on_line: Callable[[Line], None],
        patience: Patience,
        new_lease: Callable[[], Lease],
    ) -> None:
        self.connector = connector
        self.declaration = connector.declaration
        self.asked = operation
        self.patience = patience
        self.new_lease = new_lease
        self.on_line = on_line
        self.rules = SystemRules(
            can_confirm=connector.declaration.can_confirm,
            suppresses=connector.declaration.suppress_first,
            erases_by_identifiers=connector.declaration.erases_by is ErasesBy.IDENTIFIERS,
            accept_not_addressable=True,  # the line of the person says it: there is nobody to ask
            confirm_after=connector.delay("confirm_after"),
            poll_every=connector.delay("poll_every"),
            max_plan_rounds=MAX_ROUNDS - 1,
            # Nothing is planned between a search and an erasure: the run takes the findings into the erasure itself.
            searches_first=False,
        )
        self.deadline = None if wait is None else patience.now() + wait
        self.open: dict[str, Person] = {}
        self.agenda: list[_Work] = []
        self.turns = itertools.count()
        self.outcomes: Counter[Outcome] = Counter()
        self.sharing = Sharing(())
        self.planned_calls: Counter[str] = Counter()

    def through(self, subjects: Sequence[Subject]) -> Summary:
        started, calls = time.monotonic(), self.connector.calls
        self.open = {s.ref: Person(s) for s in subjects}
        self.sharing = Sharing(subjects)
        if self.asked not in (Operation.CONFIRM, Operation.READ_SUPPRESSION):
            if self._searches():
                self.plan(Operation.LOCATE, self.open)
                self._work_off()
            self._part_the_ambiguous()
        if self.asked is Operation.LOCATE:
            self._tell_what_is_there()
        else:
            self.plan(self._first_operation(), self.open)
            self._work_off()
        spent, seconds = self.connector.calls - calls, time.monotonic() - started
        return Summary(dict(self.outcomes), spent, seconds, dict(self.planned_calls))

    def _searches(self) -> bool:
        if self.asked is not Operation.LOCATE and not self.declaration.searches_first:
            return False
        return Operation.LOCATE in self.declaration.operations

    def _tell_what_is_there(self) -> None:
        """Report counts in an erasure's batches, and the connector's preview of the erasure."""
        there = [ref for ref, person in self.open.items() if person.located is not None and not person.located.is_empty]
        limit = max(1, self.declaration.batch_limit(Operation.ERASE))
        for start in range(0, len(there), limit):
            refs = there[start : start + limit]
            preview, error = None, None
            try:
                preview = self.connector.preview(Batch(uuid4().hex, tuple(self.open[ref].subject for ref in refs)))
            except ConnectorError as refused:
                error = refused.code
            self.planned_calls.update(preview.calls if preview is not None else {})
            for ref in refs:
                records = counted(self.open[ref].located)
                if preview is None:
                    self.end(ref, Outcome.LOCATED, error, records=records)
                    continue
                records, left = dict(preview.records.get(ref, records)), preview.left.get(ref, ())
                self.end(ref, Outcome.LOCATED, records=records, left=left, plan_hash=preview.plan_hash)
        for ref in list(self.open):
            self.end(ref, Outcome.NOTHING_FOUND, records={})

    def _first_operation(self) -> Operation:
        declared = self.declaration
        if self.asked is Operation.ERASE and declared.suppress_first and Operation.SUPPRESS in declared.operations:
            return Operation.SUPPRESS
        return self.asked

    def plan(self, operation: Operation, refs: Iterable[str], due_at: datetime | None = None) -> None:
        """New batches of `operation`, each within the declared limit."""
        people, limit = tuple(refs), max(1, self.declaration.batch_limit(operation))
        for start in range(0, len(people), limit):
            some = people[start : start + limit]
            self.push(_Work(due_at or self.patience.now(), 0, operation, uuid4().hex, some, self.new_lease()))

    def push(self, work: _Work) -> None:
        if work.refs:
            heapq.heappush(self.agenda, replace(work, turn=next(self.turns)))

    def _work_off(self) -> None:
        while self.agenda:
            work = heapq.heappop(self.agenda)
            if self.deadline is not None and work.due_at > max(self.deadline, self.patience.now()):
                self._give_up(work)
                continue
            while (left := (work.due_at - self.patience.now()).total_seconds()) > 0:
                self.patience.sleep(left)
            self._do(work)

    def _give_up(self, work: _Work) -> None:
        """No time left to wait: an error stays an error, and an accepted step stays accepted."""
        for ref in work.refs:
            if work.error is not None:
                self.end(ref, Outcome.PARKED, work.error)
            else:
                self.end(ref, Outcome.ACCEPTED, look_again_at=work.due_at)

    def _do(self, work: _Work) -> None:
        people = (self.open[ref] for ref in work.refs)
        batch = Batch(work.key, tuple(replace(person.subject, already_reported=person.records()) for person in people))
        got: Mapping[str, Result]
        if work.operation is Operation.LOCATE:
            got = operations.locate(self.connector, batch)
        elif work.operation is Operation.SUPPRESS:
            got = operations.suppress(self.connector, batch, work.lease)
        elif work.operation is Operation.READ_SUPPRESSION:
            got = operations.read_suppression(self.connector, batch)
        elif work.operation is Operation.ERASE:
            got = operations.erase(self.connector, batch, work.lease)
        elif self.declaration.can_confirm:
            got = operations.confirm_absence(self.connector, batch)
        else:
            # As in the service: no look is made, and the rule never calls it verified.
            got = {ref: Answer.not_addressable("no_way_to_look") for ref in work.refs}
        _Results(self, work).follow(got)

    def _part_the_ambiguous(self) -> None:
        found = {ref: (person.subject, person.located) for ref, person in self.open.items()}
        for ref in sorted(self.sharing.ambiguous(found, self.declaration) & set(self.open)):
            self.end(ref, Outcome.AMBIGUOUS, "shared_with_another_subject", records=counted(self.open[ref].located))

    def end(
        self,
        ref: str,
        outcome: Outcome,
        reason: str | None = None,
        *,
        records: Mapping[str, int] | None = None,
        left: tuple[Left, ...] = (),
        look_again_at: datetime | None = None,
        plan_hash: str | None = None,
    ) -> None:
        person = self.open.pop(ref)
        self.outcomes[outcome] += 1
        counts = person.records() if records is None else records
        covered = tuple(dict.fromkeys((*self.declaration.not_covered, *person.not_covered)))
        self.on_line(Line(ref, outcome, reason, dict(counts), left, covered, look_again_at, plan_hash))


class _Results:
    """The results of one call: each person's transition, and the work that follows for those who go on."""

    def __init__(self, whole: _Run, work: _Work) -> None:
        self.whole = whole
        self.work = work
        self.retries: dict[str, datetime] = {}
        self.polls: dict[str, datetime] = {}
        self.next: dict[Operation, dict[str, datetime]] = defaultdict(dict)
        self.error: str | None = None

    def follow(self, results: Mapping[str, Result]) -> None:
        for ref in self.work.refs:
            person, result = self.whole.open[ref], results[ref]
            if self.whole.asked not in _OF_SUPPRESSION:
                person.phase = Phase(self.work.operation.value)
            self._note(person, result)
            if self.whole.asked in _OF_SUPPRESSION and isinstance(result, Answer):
                self._suppressed(ref, result)
                continue
            retry = self._retry(person, result)
            to = after_result(person.facts(), result, self.whole.rules, self.whole.patience.now(), retry=retry)
            self._move(ref, person, to, result)
        self._schedule()

    def _note(self, person: Person, result: Result) -> None:
        """Keep what a transition doesn't carry: records by id, and the objects that are left by id."""
        if isinstance(result, ConnectorError):
            return
        person.not_covered.update(dict.fromkeys(result.not_covered))
        if isinstance(result, Located):
            person.located = result
            person.subject = replace(person.subject, records=result.records)
        elif result.left or result.found is not None:
            # Records that the erasing call kept on purpose stay named beside those that a look finds.
            kept = person.left if person.retained else ()
            person.left = tuple({(each.object, each.id): each for each in (*kept, *all_left(result))}.values())

    def _retry(self, person: Person, result: Result) -> Retry | None:
        """The run's own retry policy; None parks."""
        patience = self.whole.patience
        if not isinstance(result, TemporarilyUnavailable) or person.consecutive_attempts >= patience.retries:
            return None
        person.consecutive_attempts += 1
        pause = min(patience.pause * 2 ** (person.consecutive_attempts - 1), _LONGEST_PAUSE)
        if result.retry_after_seconds is not None:
            pause = timedelta(seconds=result.retry_after_seconds)
        return Retry(due_at=patience.now() + pause)

    def _move(self, ref: str, person: Person, to: Transition, result: Result) -> None:
        had_effect = to.effect_possible and (person.effect_possible or self._says_effect(person, result))
        person.effect_possible, person.retained = had_effect, to.retained
        person.plan_rounds, person.consecutive_attempts = to.plan_rounds, to.consecutive_attempts
        person.erased.update(to.erased)
        if isinstance(result, ConnectorError) and to.due_at is not None:
            self.retries[ref], self.error = to.due_at, result.code
        elif to.state is StepState.WAITING:
            return  # the search is done; the run goes on when all searches are
        elif to.due_at is None or not self._goes_on(ref, person, to, result):
            self._end(ref, person, to, result)
        elif to.state is StepState.ACCEPTED and to.phase is person.phase:
            self.polls[ref] = to.due_at
        else:
            self.next[Operation(to.phase.value)][ref] = to.due_at

    def _goes_on(self, ref: str, person: Person, to: Transition, result: Result) -> bool:
        """Take what an erasure found into the next one. False where another subject of the run may own it."""
        if to.phase is not Phase.ERASE:
            return True
        if self.whole.asked is not Operation.ERASE:
            return False
        found = result.found if isinstance(result, Answer) else None
        if found is None:
            return True
        if self.whole.sharing.note(ref, found):
            return False
        records = tuple(dict.fromkeys((*person.subject.records, *found.records)))
        person.subject = replace(person.subject, records=records)
        return True

    def _says_effect(self, person: Person, result: Result) -> bool:
        """False if there was nothing to erase and the result reports no effect.

        A job about a person without records may be a job of looks, and an error may have erased nothing.
        """
        known_empty = person.located is not None and person.located.is_empty and not person.subject.records
        if not known_empty or self.whole.declaration.erases_by is not ErasesBy.RECORDS:
            return True
        if isinstance(result, ConnectorError):
            return result.effect_unknown
        return isinstance(result, Answer) and (result.kind is AnswerKind.ERASED or any(result.records.values()))

    def _end(self, ref: str, person: Person, to: Transition, result: Result) -> None:
        answer = result if isinstance(result, Answer) else None
        if to.state is StepState.ERASED_VERIFIED:
            # An answer that was lost counted nothing, but the look has just seen every planned root gone.
            gone = Counter(record.object for record in person.subject.records)
            reason = answer.reason if answer is not None else None
            self.whole.end(ref, Outcome.ERASED_VERIFIED, reason, records=Counter(person.records()) | gone)
            return
        outcome, reason = outcome_of(to, result)
        if answer is not None and answer.found is not None and self.whole.sharing.note(ref, answer.found):
            outcome, reason = Outcome.AMBIGUOUS, "shared_with_another_subject"
        is_left = outcome not in (Outcome.ABSENT, Outcome.ERASED_UNVERIFIED)
        self.whole.end(ref, outcome, reason, left=person.left if is_left else ())

    def _suppressed(self, ref: str, answer: Answer) -> None:
        """The service never ends a step by suppressing alone; a run that was asked for no more does."""
        if answer.kind is AnswerKind.ACCEPTED and answer.resumes and answer.look_again_at is not None:
            self.polls[ref] = answer.look_again_at
        elif answer.kind is AnswerKind.ACCEPTED:
            self.whole.end(ref, Outcome.ACCEPTED, look_again_at=answer.look_again_at)
        elif answer.kind is AnswerKind.NOT_ADDRESSABLE:
            self.whole.end(ref, Outcome.NOT_ADDRESSABLE, answer.reason)
        elif answer.kind is AnswerKind.NOT_SUPPRESSED:
            self.whole.end(ref, Outcome.PARKED, answer.kind.value)
        else:
            found_nobody = answer.kind is AnswerKind.ALREADY_ABSENT
            self.whole.end(ref, Outcome.NOTHING_FOUND if found_nobody else Outcome.SUPPRESSED, answer.reason)

    def _schedule(self) -> None:
        """People who wait for the same thing wait together: fewer calls than each on their own."""
        for waiting, error in ((self.retries, self.error), (self.polls, None)):
            if waiting:
                due_at = max(waiting.values())
                self.whole.push(replace(self.work, due_at=due_at, refs=tuple(waiting), error=error))
        for operation, due in self.next.items():
            self.whole.plan(operation, due, max(due.values()))

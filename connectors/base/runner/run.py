"""The run itself: the order of the phases, what an answer leads to, and when a look may count.

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
from connectors.base.errors import ConnectorError, RequestRefused, TemporarilyUnavailable
from connectors.base.interface import Connector, ErasesBy, Lease, Operation
from connectors.base.runner.endings import Line, Outcome, Summary
from connectors.base.runner.sharing import Sharing
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
    """A lease that nobody can take away and that dies with the process. Nothing stops a person."""

    def __init__(self, resume_token: bytes | None = None) -> None:
        self._token = resume_token

    @property
    def resume_token(self) -> bytes | None:
        """What was saved last."""
        return self._token

    def save(self, resume_token: bytes) -> None:
        """Keep the token."""
        self._token = resume_token

    def may_proceed(self, ref: str) -> bool:
        """Always: holds and revocations are the service's."""
        return True


@dataclass
class _Person:
    subject: Subject
    located: Located | None = None
    erased: Counter[str] = field(default_factory=Counter)
    not_covered: dict[str, None] = field(default_factory=dict)
    may_have_acted: bool = False
    rounds: int = 1
    tries: int = 0

    def records(self) -> dict[str, int]:
        return dict(sorted((+self.erased).items()))


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
        self.deadline = None if wait is None else patience.now() + wait
        self.open: dict[str, _Person] = {}
        self.agenda: list[_Work] = []
        self.turns = itertools.count()
        self.outcomes: Counter[Outcome] = Counter()
        self.sharing = Sharing(())
        self.planned_calls: Counter[str] = Counter()

    def through(self, subjects: Sequence[Subject]) -> Summary:
        started, calls = time.monotonic(), self.connector.calls
        self.open = {s.ref: _Person(s) for s in subjects}
        self.sharing = Sharing(subjects)
        if self.asked is not Operation.CONFIRM:
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
        """In batches as an erasure would have them: counts, and as far as the connector can tell, what it would do."""
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
                records = _counted(self.open[ref].located)
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
        """No time left to wait: an error stays an error; what the vendor accepted stays accepted."""
        for ref in work.refs:
            if work.error is not None:
                self.end(ref, Outcome.PARKED, work.error)
            else:
                self.end(ref, Outcome.ACCEPTED, look_again_at=work.due_at)

    def _do(self, work: _Work) -> None:
        people = (self.open[ref] for ref in work.refs)
        batch = Batch(work.key, tuple(replace(person.subject, already_reported=person.records()) for person in people))
        got: Mapping[str, Answer | Located | ConnectorError]
        if work.operation is Operation.LOCATE:
            got = operations.locate(self.connector, batch)
        elif work.operation is Operation.SUPPRESS:
            got = operations.suppress(self.connector, batch, work.lease)
        elif work.operation is Operation.ERASE:
            got = operations.erase(self.connector, batch, work.lease)
        elif self.declaration.can_confirm:
            got = operations.confirm_absence(self.connector, batch)
        else:
            got = {ref: Answer.erased({}) for ref in work.refs}
        _Digest(self, work).take(got)

    def _part_the_ambiguous(self) -> None:
        found = {ref: (person.subject, person.located) for ref, person in self.open.items()}
        for ref in sorted(self.sharing.ambiguous(found, self.declaration) & set(self.open)):
            self.end(ref, Outcome.AMBIGUOUS, "shared_with_another_subject", records=_counted(self.open[ref].located))

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


class _Digest:
    """What the answers of one call mean: who ended, who goes on, who is asked again."""

    def __init__(self, whole: _Run, work: _Work) -> None:
        self.whole = whole
        self.work = work
        self.again: dict[str, datetime] = {}
        self.errors: dict[str, str] = {}
        self.polls: dict[str, datetime] = {}
        self.next: dict[Operation, list[str]] = defaultdict(list)
        self.looks: dict[str, datetime] = {}

    def take(self, got: Mapping[str, Answer | Located | ConnectorError]) -> None:
        for ref in self.work.refs:
            person, answer = self.whole.open[ref], got[ref]
            if isinstance(answer, ConnectorError):
                self._error(ref, person, answer)
                continue
            person.tries = 0
            person.not_covered.update(dict.fromkeys(answer.not_covered))
            if isinstance(answer, Located):
                self._located(ref, person, answer)
            elif self.work.operation is Operation.SUPPRESS:
                self._suppressed(ref, answer)
            elif self.work.operation is Operation.ERASE:
                self._erased(ref, person, answer)
            else:
                self._looked(ref, person, answer)
        self._hand_over()

    def _hand_over(self) -> None:
        """People who wait for the same thing wait together: fewer calls than each on their own."""
        if self.again:
            due_at, error = max(self.again.values()), next(iter(self.errors.values()))
            self.whole.push(replace(self.work, due_at=due_at, refs=tuple(self.again), error=error))
        if self.polls:
            due_at = max(self.polls.values())
            self.whole.push(replace(self.work, due_at=due_at, refs=tuple(self.polls), error=None))
        for operation, refs in self.next.items():
            self.whole.plan(operation, refs)
        if self.looks:
            self.whole.plan(Operation.CONFIRM, self.looks, max(self.looks.values()))

    def _error(self, ref: str, person: _Person, error: ConnectorError) -> None:
        if self.work.operation is Operation.ERASE:
            # An attempt that ended in an error may have erased half: the end can't be called `absent` any more.
            person.may_have_acted |= error.effect_unknown or self._has_something_to_erase(person)
        patience = self.whole.patience
        if isinstance(error, TemporarilyUnavailable) and person.tries < patience.retries:
            person.tries += 1
            pause = min(patience.pause * 2 ** (person.tries - 1), _LONGEST_PAUSE)
            if error.retry_after_seconds is not None:
                pause = timedelta(seconds=error.retry_after_seconds)
            self.again[ref], self.errors[ref] = patience.now() + pause, error.code
        elif isinstance(error, RequestRefused) and error.code == "not_addressable":
            self.whole.end(ref, Outcome.NOT_ADDRESSABLE, "no_usable_identifier")
        else:
            self.whole.end(ref, Outcome.PARKED, error.code)

    def _has_something_to_erase(self, person: _Person) -> bool:
        """False if it is known that nothing was there: nothing planned, and the vendor erases nothing else."""
        known_empty = person.located is not None and person.located.is_empty and not person.subject.records
        return not (known_empty and self.whole.declaration.erases_by is ErasesBy.RECORDS)

    def _located(self, ref: str, person: _Person, located: Located) -> None:
        person.located = located
        person.subject = replace(person.subject, records=located.records)

    def _suppressed(self, ref: str, answer: Answer) -> None:
        if answer.kind is AnswerKind.ACCEPTED and answer.resumes and answer.look_again_at is not None:
            self.polls[ref] = answer.look_again_at
        elif self.whole.asked is Operation.ERASE:
            self.next[Operation.ERASE].append(ref)
        elif answer.kind is AnswerKind.ACCEPTED:
            self.whole.end(ref, Outcome.ACCEPTED, look_again_at=answer.look_again_at)
        elif answer.kind is AnswerKind.NOT_ADDRESSABLE:
            self.whole.end(ref, Outcome.NOT_ADDRESSABLE, answer.reason)
        else:
            found_nobody = answer.kind is AnswerKind.ALREADY_ABSENT
            self.whole.end(ref, Outcome.NOTHING_FOUND if found_nobody else Outcome.SUPPRESSED, answer.reason)

    def _erased(self, ref: str, person: _Person, answer: Answer) -> None:
        person.erased.update(answer.records)
        person.may_have_acted |= answer.kind is AnswerKind.ERASED or any(answer.records.values())
        # A job may be a job of looks: of a person without a single planned record it erases nothing.
        person.may_have_acted |= answer.kind is AnswerKind.ACCEPTED and self._has_something_to_erase(person)
        if answer.kind is AnswerKind.ACCEPTED and answer.look_again_at is not None:
            (self.polls if answer.resumes else self.looks)[ref] = answer.look_again_at
        elif answer.kind in (AnswerKind.ERASED, AnswerKind.ALREADY_ABSENT):
            self.looks[ref] = self.whole.patience.now() + self.whole.connector.delay("confirm_after")
        elif answer.kind is AnswerKind.PARTIAL and answer.found is not None:
            self._once_more(ref, person, answer)
        else:
            self._end_as_answered(ref, answer)

    def _looked(self, ref: str, person: _Person, answer: Answer) -> None:
        if answer.kind is AnswerKind.ALREADY_ABSENT:
            if not person.may_have_acted:
                self.whole.end(ref, Outcome.ABSENT, answer.reason)
                return
            # An answer that was lost counted nothing, but the look has just seen every planned root gone.
            gone = Counter(record.object for record in person.subject.records)
            self.whole.end(ref, Outcome.ERASED_VERIFIED, answer.reason, records=Counter(person.records()) | gone)
        elif answer.kind is AnswerKind.ERASED:
            self.whole.end(ref, Outcome.ERASED_UNVERIFIED, "vendor_offers_no_look")
        elif answer.kind is AnswerKind.ACCEPTED and answer.look_again_at is not None:
            self.polls[ref] = answer.look_again_at
        elif answer.kind is AnswerKind.PARTIAL and self.whole.asked is Operation.ERASE:
            self._once_more(ref, person, answer)
        elif answer.kind is AnswerKind.NOT_ADDRESSABLE and person.may_have_acted:
            self.whole.end(ref, Outcome.PARKED, "nothing_to_look_by")
        else:
            self._end_as_answered(ref, answer)

    def _once_more(self, ref: str, person: _Person, answer: Answer) -> None:
        """A new version of the plan: adds only, under the same guard, at most MAX_ROUNDS."""
        found = answer.found or Located()
        if self.whole.sharing.note(ref, found):
            self.whole.end(ref, Outcome.AMBIGUOUS, "shared_with_another_subject", left=_all_left(answer))
        elif person.rounds >= MAX_ROUNDS:
            self.whole.end(ref, Outcome.PARKED, "still_there", left=_all_left(answer))
        else:
            person.rounds += 1
            records = tuple(dict.fromkeys((*person.subject.records, *found.records)))
            person.subject = replace(person.subject, records=records)
            self.next[Operation.ERASE].append(ref)

    def _end_as_answered(self, ref: str, answer: Answer) -> None:
        outcome = {
            AnswerKind.RETAINED: Outcome.RETAINED,
            AnswerKind.AMBIGUOUS: Outcome.AMBIGUOUS,
            AnswerKind.NOT_ADDRESSABLE: Outcome.NOT_ADDRESSABLE,
        }.get(answer.kind, Outcome.PARKED)
        reason = answer.reason or next((each.reason for each in answer.left), "still_there")
        self.whole.end(ref, outcome, reason, left=_all_left(answer))


def _all_left(answer: Answer) -> tuple[Left, ...]:
    named = {(each.object, each.id) for each in answer.left}
    found = answer.found.records if answer.found is not None else ()
    return answer.left + tuple(Left(r.object, r.id, "not_in_plan") for r in found if (r.object, r.id) not in named)


def _counted(located: Located | None) -> dict[str, int]:
    if located is None:
        return {}
    return dict(located.counts) if any(located.counts.values()) else dict(Counter(r.object for r in located.records))

"""Erase by operations.

Single calls that are made directly, or handed to the vendor's batch API as one job.

Planned records are erased without a look before, because the answer to the erasure says whether the record was there;
everywhere else a look reports records that no plan holds. Decides: each person is asked for before each effect; the
operations of a job are saved before it is opened, its name afterwards; a job whose opening wasn't answered is looked
for before another one is opened; results are read once; a person's operations stay in one job.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import ClassVar

from connectors.base.errors import AnswerNotUnderstood, ConnectorError, TemporarilyUnavailable
from connectors.base.interface import Answers, Lease
from connectors.base.kit.look import KitConnector, Look, Row, Rows
from connectors.base.kit.people import Turns
from connectors.base.kit.progress import Progress, key_of
from connectors.base.kit.record_operations import (
    Effect,
    Job,
    JobGone,
    JobUndecided,
    Outcome,
    Outcomes,
    RecordOperation,
)
from connectors.base.values import Answer, Batch, Record, Subject


class OperationsConnector(KitConnector):
    """Erase by operations: a subclass adds the methods below to a `KitConnector`.

    `most_operations_per_job`: the vendor's limit for one job. `most_direct_operations`: up to so many operations are
    made directly, more in a job.
    """

    most_operations_per_job: ClassVar[int] = 500
    most_direct_operations: int = 20

    @abstractmethod
    def places(self, subject: Subject) -> Iterable[Record]:
        """Return every record that may be the person's, by the person's identifiers. Raises ConnectorErrors."""

    @abstractmethod
    def perform(self, operation: RecordOperation) -> Outcome:
        """Make one call."""

    @abstractmethod
    def rows_of(self, subject: Subject, found: Mapping[Record, Row]) -> Rows:
        """Return the person's own rows among the rows that looks found at the person's places."""

    @abstractmethod
    def open_job(self, key: str, job: Job) -> str:
        """Open a job of these operations under their `operation_id`; return the vendor's name of it."""

    @abstractmethod
    def find_job(self, key: str, job: Job) -> str | None:
        """Return the name of a job whose opening wasn't answered; None if there is none. Raises JobUndecided."""

    @abstractmethod
    def results(self, job_id: str, operation_ids: frozenset[str]) -> Mapping[str, Row] | None:
        """Return the results of these operations by their ids, or None while the job runs. Raises JobGone."""

    @abstractmethod
    def outcome_of_result(self, operation: RecordOperation, result: Row) -> Outcome:
        """Return the outcome in an operation's result. Raises ConnectorErrors.

        A row only has to prove that a record is there: it is looked at again before it is reported.
        """

    def operations(self, subject: Subject, *, erases: bool) -> tuple[RecordOperation, ...]:
        """Return looks at all places and planned records; or erasures of these, and looks at the other places."""
        planned = sorted(self.planned(subject))
        looks = [place for place in self.places(subject) if not erases or place not in planned]
        looks += [] if erases else planned
        erasures = [RecordOperation(subject.ref, True, record) for record in planned] if erases else []
        return tuple(dict.fromkeys([*erasures, *(RecordOperation(subject.ref, False, place) for place in looks)]))

    def look(self, subject: Subject) -> Look:
        """Look at every place and at every planned record."""
        outcomes = {o.record: self.perform(o) for o in self.operations(subject, erases=False)}
        found = {record: outcome for record, outcome in outcomes.items() if not isinstance(outcome, Effect)}
        return Look(self.rows_of(subject, found), self.planned(subject))

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        """Erase every planned record; look everywhere else.

        ACCEPTED(resumes) while a job runs. Raises LeaseLost.
        """
        self.begin_pass()
        answers: dict[str, Answer | ConnectorError] = {}
        answers |= {ref: Answer.ambiguous("shared_record", left=left) for ref, left in self.shared(batch).items()}
        people = [subject for subject in batch.subjects if subject.ref not in answers]
        return answers | _Erasure(self, Batch(batch.key, tuple(people)), lease).answers()


_Plans = dict[str, tuple[RecordOperation, ...]]


class _Erasure:
    """One attempt. `answers()` once."""

    def __init__(self, connector: OperationsConnector, batch: Batch, lease: Lease) -> None:
        self._connector = connector
        self._batch = batch
        self._progress = Progress(lease)
        self._answers: dict[str, Answer | ConnectorError] = {}
        try:
            self._jobs = [Job.unpacked(row) for row in self._progress.own.get("jobs", ())]
        except (ValueError, KeyError, TypeError):
            raise AnswerNotUnderstood("resume_token") from None

    def answers(self) -> dict[str, Answer | ConnectorError]:
        """Resume the jobs that run, begin with the other people, and answer for each."""
        plans: _Plans = {}
        for subject in self._batch.subjects:
            try:
                plan = self._connector.operations(subject, erases=True)
            except ConnectorError as error:
                self._answers[subject.ref] = error
                continue
            if plan:
                plans[subject.ref] = plan
            else:
                self._answers[subject.ref] = Answer.not_addressable()
        self._forget_other_plans(plans)
        self._resume(plans)
        todo = {ref: plan for ref, plan in plans.items() if ref not in self._answers}
        if sum(map(len, todo.values())) > self._connector.most_direct_operations:
            self._through_jobs(todo)
        else:
            self._directly(todo)
        return self._answers

    def _people(self, refs: Collection[str]) -> list[Subject]:
        return [subject for subject in self._batch.subjects if subject.ref in refs]

    def _save(self) -> None:
        self._progress.own = {"jobs": [job.packed() for job in self._jobs]} if self._jobs else {}
        self._progress.save()

    # Jobs

    def _forget_other_plans(self, plans: _Plans) -> None:
        """A job counts for a person only if it was told exactly what is planned for the person now."""
        told = {ref: {o for job in self._jobs for o in job.operations if o.ref == ref} for ref in plans}
        self._abandon([ref for ref, operations in told.items() if operations and operations != set(plans[ref])])

    def _abandon(self, refs: Collection[str]) -> None:
        """Forget the jobs of people; nothing says whether the jobs had their effects."""
        for subject in self._people(refs):
            own = [o for job in self._jobs for o in job.operations if o.ref == subject.ref]
            self._progress.of(subject).assume(o.record for o in own if o.erases)
        self._forget(refs)

    def _forget(self, refs: Collection[str]) -> None:
        for job in self._jobs:
            job.operations = tuple(o for o in job.operations if o.ref not in refs)
        self._jobs = [job for job in self._jobs if job.operations]

    def _resume(self, plans: _Plans) -> None:
        """Answer for the people in known jobs. A job that is gone is begun anew."""
        for job in list(self._jobs):
            refs = [ref for ref in plans if any(o.ref == ref for o in job.operations)]
            if not refs:
                continue
            try:
                outcomes = self._results(job)
            except JobGone:
                self._abandon(refs)
            except ConnectorError as error:
                # The job itself is as it was: ask again next time, open no other one.
                self._answers |= dict.fromkeys(refs, error)
            else:
                if outcomes is None:
                    self._answers |= dict.fromkeys(refs, self._accepted(job))
                else:
                    self._conclude(refs, outcomes)

    def _results(self, job: Job) -> Outcomes | None:
        if job.id is None:
            try:
                job.id = self._connector.find_job(self._batch.key, job)
            except JobUndecided:
                return None
            if job.id is None:
                raise JobGone
            self._save()
        results = self._connector.results(job.id, job.operation_ids(self._batch.key))
        return None if results is None else {o: self._outcome(job, o, results) for o in job.operations}

    def _outcome(self, job: Job, operation: RecordOperation, results: Mapping[str, Row]) -> Outcome | ConnectorError:
        """Return an operation's own outcome. One that the results leave out has an unknown effect."""
        result = results.get(job.operation_id(self._batch.key, operation))
        if result is None:
            return TemporarilyUnavailable("operation_missing", effect_unknown=operation.erases)
        try:
            return self._connector.outcome_of_result(operation, result)
        except ConnectorError as error:
            return error

    def _conclude(self, refs: Collection[str], outcomes: Outcomes) -> None:
        """Answer from a job's results. They are used once: a person who comes again is looked at again."""
        for subject in self._people(refs):
            own = {o: outcome for o, outcome in outcomes.items() if o.ref == subject.ref}
            self._note(subject, own)
            found = [o for o, outcome in own.items() if isinstance(outcome, Mapping)]
            self._answers[subject.ref] = self._judged(subject, {**own, **self._performed(subject, found, Turns())})
        self._forget(refs)
        self._save()

    def _through_jobs(self, plans: _Plans) -> None:
        failed: ConnectorError | None = None
        for operations in self._split(plans):
            people = self._people({o.ref for o in operations})
            if failed is not None:
                self._answers |= dict.fromkeys((subject.ref for subject in people), failed)
                continue
            for subject in people:
                try:
                    self._progress.require_permission(subject)
                except TemporarilyUnavailable as stopped:
                    self._answers[subject.ref] = stopped
            allowed = [o for o in operations if o.ref not in self._answers]
            if allowed:
                failed = self._open(Job.of(allowed))

    def _split(self, plans: _Plans) -> list[list[RecordOperation]]:
        """Return the operations of as few jobs as the limit allows; one person's stay together."""
        jobs: list[list[RecordOperation]] = []
        for plan in plans.values():
            if jobs and len(jobs[-1]) + len(plan) <= self._connector.most_operations_per_job:
                jobs[-1] += plan
            else:
                jobs.append(list(plan))
        return jobs

    def _open(self, job: Job) -> ConnectorError | None:
        """Open one job: intent saved before, name after.

        Return the error if it wasn't opened, or may not have been.
        """
        refs = dict.fromkeys(o.ref for o in job.operations)
        self._jobs.append(job)
        self._save()
        try:
            job.id = self._connector.open_job(self._batch.key, job)
        except ConnectorError as error:
            self._answers |= dict.fromkeys(refs, error)
            return error
        self._save()
        self._answers |= dict.fromkeys(refs, self._accepted(job))
        return None

    def _accepted(self, job: Job) -> Answer:
        jobs = [job.id] if job.id else []
        return Answer.accepted(datetime.now(UTC) + self._connector.delay("poll_every"), resumes=True, jobs=jobs)

    # Direct calls

    def _directly(self, plans: _Plans) -> None:
        people = self._people(plans)
        for subject in people:
            self._progress.of(subject).begin(o.record for o in plans[subject.ref] if o.erases)
        self._save()
        turns = Turns(self._connector.concerns_all)
        outcomes: dict[str, Outcomes] = {}
        for subject in people:
            outcomes[subject.ref] = self._performed(subject, plans[subject.ref], turns)
            self._note(subject, outcomes[subject.ref])
        self._save()
        for subject in people:
            self._answers[subject.ref] = self._judged(subject, outcomes[subject.ref])

    def _performed(self, subject: Subject, operations: Iterable[RecordOperation], turns: Turns) -> Outcomes:
        """Make calls in sequence. An error is its call's own; one that concerns all ends the rest, unmade."""

        def perform(operation: RecordOperation) -> Outcome:
            if operation.erases:
                self._progress.require_permission(subject)
            return self._connector.perform(operation)

        outcomes: dict[RecordOperation, Outcome | ConnectorError] = {}
        for operation in operations:
            try:
                outcomes[operation] = turns.take(partial(perform, operation))
            except ConnectorError as error:
                outcomes[operation] = error
        return outcomes

    # Answers

    def _note(self, subject: Subject, outcomes: Outcomes) -> None:
        person = self._progress.of(subject)
        for operation, outcome in outcomes.items():
            if not operation.erases:
                continue
            if outcome is Effect.KEPT:
                person.begun.discard(key_of(operation.record))
            elif not isinstance(outcome, ConnectorError):
                person.finish(operation.record, was_there=outcome is Effect.ERASED)
            elif outcome.effect_unknown:
                person.begin([operation.record])
            else:
                person.leave([operation.record])

    def _judged(self, subject: Subject, outcomes: Outcomes) -> Answer | ConnectorError:
        """Return what is true of one person after all calls were answered."""
        errors = [outcome for outcome in outcomes.values() if isinstance(outcome, ConnectorError)]
        if errors:
            return next((error for error in errors if error.effect_unknown), errors[0])
        person, connector = self._progress.of(subject), self._connector
        found = {o.record: outcome for o, outcome in outcomes.items() if isinstance(outcome, Mapping)}
        try:
            look = Look(connector.rows_of(subject, found), connector.planned(subject))
            located = connector.located(subject, look.new) if look.new else None
        except ConnectorError as error:
            return error
        kept = [o.record for o, outcome in outcomes.items() if outcome is Effect.KEPT]
        left = connector.left(kept, "not_permitted") + connector.left(look.new, "not_in_plan")
        counts = person.counts(subject)
        if left:
            return Answer.partial(left, records=counts, found=located)
        return Answer.erased(counts) if person.done else Answer.already_absent()

"""Hand a person's records to the vendor's erasure job and wait for it.

The vendor declares three calls.

Decides: the lease is asked for each person before the hand-over; the records of a hand-over are saved before and after
it; after a lost answer the job is looked for before another one is opened; the end of a job proves nothing, only a look
does. A running job is asked for once per pass, also if many people wait for it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from connectors.base.errors import ConnectorError, TemporarilyUnavailable
from connectors.base.interface import Answers, Lease
from connectors.base.kit.look import KitConnector, Look
from connectors.base.kit.progress import Progress, key_of
from connectors.base.values import Answer, Batch, Record, Subject

Waiting = tuple[Subject, Record]
"""A person, and a planned root record that is to be handed over."""


class JobState(StrEnum):
    """How far the vendor is with records of a job.

    UNKNOWN: they are in no such job, so they are handed over again.
    """

    RUNNING = "running"
    DONE = "done"
    UNKNOWN = "unknown"


class JobConnector(KitConnector):
    """Erase by jobs: a subclass adds `submit`, `poll` and `state_of` to a `KitConnector`.

    `most_records_per_job`: the vendor's limit for one hand-over.
    """

    most_records_per_job: ClassVar[int] = 100

    @abstractmethod
    def submit(self, key: str, record_ids: Sequence[str]) -> str:
        """Hand root records over; return the vendor's name of the job. `key` is the same on every attempt."""

    @abstractmethod
    def poll(self, job: str) -> Any:
        """Ask for one job; the answer goes to `state_of`. None if the vendor has no such job."""

    @abstractmethod
    def state_of(self, answer: Any, record_id: str) -> JobState:
        """Return how far a polled job is with one record.

        Raises AnswerNotUnderstood for an undocumented state.
        """

    def open_jobs(self) -> Mapping[str, Any]:
        """Return the jobs that may be running, by name, each with what `poll` returns for it.

        Asked for only after the answer to a hand-over was lost. Without any, the records are handed over again.
        """
        return {}

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        """Return ACCEPTED(resumes) while a job runs, and ERASED once it has ended and a look found nothing.

        PARTIAL(`still_there`): a job ended and its record is still shown. Raises LeaseLost.
        """
        progress = Progress(lease)
        self.begin_pass()
        answers, ended = self._ask_for_jobs(batch, progress)
        rest = Batch(batch.key, tuple(subject for subject in batch.subjects if subject.ref not in answers))
        looks, others = self.looks(rest)
        answers |= others
        waiting: list[Waiting] = []
        for subject in rest.subjects:
            if subject.ref not in looks:
                continue
            look, person = looks[subject.ref], progress.of(subject)
            person.settle(set(map(key_of, look.rows)))
            stays = [record for record in look.known if key_of(record) in ended.get(subject.ref, ())]
            if stays or not look.known:
                answers[subject.ref] = self._answer(subject, look, stays, progress)
            else:
                waiting += [(subject, record) for record in look.known]
        answers |= self._hand_over(batch.key, waiting, progress)
        progress.save()
        return answers

    def _ask_for_jobs(
        self, batch: Batch, progress: Progress
    ) -> tuple[dict[str, Answer | ConnectorError], dict[str, set[str]]]:
        """Ask for every job that the token names: answers of those who wait on, and record keys of ended jobs."""
        polled: dict[str, Any] = {}
        answers: dict[str, Answer | ConnectorError] = {}
        ended: dict[str, set[str]] = {}
        for subject in batch.subjects:
            jobs = progress.of(subject).jobs
            waits_on = bool(jobs)
            try:
                for job, keys in list(jobs.items()):
                    if job not in polled:
                        polled[job] = self._polled(job)
                    states = {key: self._state(polled[job], key) for key in keys}
                    jobs[job] = {key for key, state in states.items() if state is JobState.RUNNING}
                    if not jobs[job]:
                        del jobs[job]
                    ended.setdefault(subject.ref, set()).update(k for k, s in states.items() if s is JobState.DONE)
                    waits_on = waits_on and JobState.UNKNOWN not in states.values()
            except ConnectorError as error:
                answers[subject.ref] = error
                continue
            if jobs and waits_on:
                answers[subject.ref] = self._accepted(jobs)
        return answers, ended

    def _polled(self, job: str) -> Any:
        try:
            return self.poll(job)
        except ConnectorError as error:
            return error

    def _state(self, answer: Any, key: str) -> JobState:
        if isinstance(answer, ConnectorError):
            raise answer
        return JobState.UNKNOWN if answer is None else self.state_of(answer, key.partition("/")[2])

    def _answer(self, subject: Subject, look: Look, stays: Sequence[Record], progress: Progress) -> Answer:
        """Answer for a person who waits for no job."""
        person = progress.of(subject)
        counts = person.counts(subject)
        left = self.left(stays, "still_there") + self.left(look.new, "not_in_plan")
        if left:
            found = self.located(subject, look.new) if look.new else None
            return Answer.partial(left, records=counts, found=found)
        return Answer.erased(counts) if person.done else Answer.already_absent()

    def _hand_over(
        self, key: str, waiting: Sequence[Waiting], progress: Progress
    ) -> dict[str, Answer | ConnectorError]:
        """Hand records over that are in no job yet."""
        lost = [
            (s, r) for s, r in waiting if key_of(r) in progress.of(s).begun and not self._is_in_a_job(s, r, progress)
        ]
        answers: dict[str, Answer | ConnectorError] = {}
        try:
            open_jobs = self.open_jobs() if lost else {}
        except ConnectorError as error:
            answers = {subject.ref: error for subject, _ in lost}
            lost, open_jobs = [], {}
        for subject, record in lost:
            for job, answer in open_jobs.items():
                if self.state_of(answer, record.id) is JobState.RUNNING:
                    progress.of(subject).jobs.setdefault(job, set()).add(key_of(record))
        going: list[Waiting] = []
        for subject, record in waiting:
            if subject.ref not in answers and not self._is_in_a_job(subject, record, progress):
                going.append((subject, record))
        for begin in range(0, len(going), self.most_records_per_job):
            answers |= self._submit(key, going[begin : begin + self.most_records_per_job], progress)
        for subject, _ in waiting:
            if subject.ref not in answers:
                answers[subject.ref] = self._accepted(progress.of(subject).jobs)
        return answers

    def _is_in_a_job(self, subject: Subject, record: Record, progress: Progress) -> bool:
        return any(key_of(record) in keys for keys in progress.of(subject).jobs.values())

    def _submit(self, key: str, chunk: Sequence[Waiting], progress: Progress) -> dict[str, Answer | ConnectorError]:
        subjects = {subject.ref: subject for subject, _ in chunk}
        answers: dict[str, Answer | ConnectorError] = {}
        for subject in subjects.values():
            progress.of(subject).begin(r for s, r in chunk if s.ref == subject.ref)
        progress.save()
        for ref, subject in subjects.items():
            try:
                progress.require_permission(subject)
            except TemporarilyUnavailable as stopped:
                answers[ref] = stopped
                progress.of(subject).leave(r for s, r in chunk if s.ref == ref)
        going = [(subject, record) for subject, record in chunk if subject.ref not in answers]
        if not going:
            return answers
        try:
            job = self.submit(key, [record.id for _, record in going])
        except ConnectorError as error:
            return answers | {subject.ref: error for subject, _ in going}
        for subject, record in going:
            progress.of(subject).jobs.setdefault(job, set()).add(key_of(record))
        progress.save()
        return answers | {subject.ref: self._accepted(progress.of(subject).jobs) for subject, _ in going}

    def _accepted(self, jobs: Collection[str]) -> Answer:
        return Answer.accepted(datetime.now(UTC) + self.delay("poll_every"), resumes=True, jobs=jobs)

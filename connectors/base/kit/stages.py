"""Erase in stages.

Softly, then for good; records that hang on another one before it; many people's records in one call.

The vendor says what is due in each stage and what is still there after it; this module sends, waits and counts.
Decides: records are saved before their first stage; each person is asked for before each call; a person whose job runs
is answered and the others go on; the end of a job proves nothing; a vendor that keeps a record three times is named.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import ClassVar

from connectors.base.errors import AnswerNotUnderstood, ConnectorError, TemporarilyUnavailable
from connectors.base.interface import Answers, Lease
from connectors.base.kit.look import KitConnector, Look, Rows
from connectors.base.kit.people import Turns
from connectors.base.kit.progress import PersonProgress, Progress, key_of
from connectors.base.values import Answer, Batch, Record, Subject

_PATIENCE_WITH_REFUSALS = 3


@dataclass(frozen=True, slots=True)
class Stage:
    """One effect on records of one object. `name` has no slash; the resume token names running jobs by it.

    `ends`: a record counts as erased after it, unless a look still finds the record.
    """

    name: str
    object: str
    records_per_call: int = 100
    ends: bool = False


class StageState(StrEnum):
    """How far a job is. FAILED: it ended without its effect."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


Targets = Mapping[str, Collection[str]]
"""Record ids by `Subject.ref`."""


class StagedConnector(KitConnector):
    """A connector that erases in stages: a subclass adds `stages` and the methods below."""

    stages: ClassVar[tuple[Stage, ...]]

    @abstractmethod
    def send(self, stage: Stage, record_ids: Sequence[str]) -> str | None:
        """Make one call; return the vendor's job, or None if the call itself had the effect."""

    @abstractmethod
    def poll_jobs(self, jobs: Collection[str]) -> Mapping[str, StageState]:
        """Return how far these jobs are; one that the vendor doesn't know any more is left out."""

    @abstractmethod
    def still_there(self, stage: Stage, record_ids: Collection[str], began_at: datetime) -> Collection[str]:
        """Return those of the records that a stage didn't take away. No call where a later stage shows it.

        `began_at`: when the batch began its first effect.
        """

    @abstractmethod
    def erase_in_stages(self, attempt: StagedErasure) -> None:
        """Run each stage on `attempt.people()`.

        People without an answer at the end are erased, or were absent.
        """

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        """Erase what the plans hold. ACCEPTED(resumes) while a job runs. Raises LeaseLost."""
        return StagedErasure(self, batch, lease).answers()


class StagedErasure:
    """One attempt at one batch. `progress` says what earlier attempts began; `looks` what this one found."""

    def __init__(self, connector: StagedConnector, batch: Batch, lease: Lease) -> None:
        self.progress = Progress(lease)
        self.looks: dict[str, Look] = {}
        self._connector = connector
        self._batch = batch
        self._answers: dict[str, Answer | ConnectorError] = {}

    def answers(self) -> dict[str, Answer | ConnectorError]:
        """Look at everybody whose jobs have ended, run the stages, and answer for each."""
        self._settle_jobs()
        rest = tuple(subject for subject in self._batch.subjects if subject.ref not in self._answers)
        if rest:
            self._connector.begin_pass()
            self.looks, answers = self._connector.looks(Batch(self._batch.key, rest))
            self._answers |= answers
            for subject in self.people():
                self.progress.of(subject).reopen(map(key_of, self.looks[subject.ref].rows))
            self._connector.erase_in_stages(self)
        for subject in self.people():
            person = self.progress.of(subject)
            person.settle(())
            counts = person.counts(subject)
            done = Answer.erased(counts) if person.done else Answer.already_absent()
            try:
                self.end(subject, self.partial(subject, ()) or done)
            except ConnectorError as error:
                self.end(subject, error)
        self.progress.save()
        return self._answers

    @property
    def began_at(self) -> datetime:
        """When the batch began its first effect; now if it hasn't."""
        began_at = self.progress.own.get("began_at")
        try:
            return datetime.now(UTC) if began_at is None else datetime.fromisoformat(began_at)
        except (ValueError, TypeError):
            raise AnswerNotUnderstood("resume_token") from None

    # People

    def people(self) -> list[Subject]:
        """Return the people who were looked at and have no answer yet."""
        looks, answers = self.looks, self._answers
        return [subject for subject in self._batch.subjects if subject.ref in looks and subject.ref not in answers]

    def end(self, subject: Subject, answer: Answer | ConnectorError) -> None:
        """Answer for a person, who takes part in no further stage."""
        self._answers[subject.ref] = answer

    def noted(self, subject: Subject, name: str) -> set[str]:
        """Return the ids of records of one object that this batch began to erase or erased."""
        person = self.progress.of(subject)
        return _ids(person.begun | person.done, name)

    def new(self, subject: Subject) -> Rows:
        """Return root rows that the plan doesn't hold and no stage touched."""
        person = self.progress.of(subject)
        rows = self.looks[subject.ref].new
        return {record: row for record, row in rows.items() if key_of(record) not in person.begun | person.done}

    def partial(self, subject: Subject, left: Iterable[Record], reason: str = "still_there") -> Answer | None:
        """Return the answer for a person with something new, beside what is left; None if nothing is new."""
        new, connector = self.new(subject), self._connector
        if not new:
            return None
        all_left = connector.left(left, reason) + connector.left(new, "not_in_plan")
        counts = self.progress.of(subject).counts(subject)
        return Answer.partial(all_left, records=counts, found=connector.located(subject, new))

    # Effects

    def known(self, subject: Subject, name: str) -> set[str]:
        """Return the ids of one object that the look found and that may be erased."""
        return {record.id for record in self.looks[subject.ref].known if record.object == name}

    def erase(self, stage: Stage, targets: Targets) -> None:
        """Run one stage for the people who have no answer yet, and look whether their records are left.

        People whose job runs or failed, whose call failed, whose records are left, or whom the lease stopped have an
        answer afterwards. After a stage that `ends` every record that the batch began is looked for.
        """
        due: dict[Subject, list[str]] = {}
        for subject in self.people():
            done = _ids(self.progress.of(subject).done, stage.object) if stage.ends else set[str]()
            due[subject] = sorted({*targets.get(subject.ref, ())} - done, key=_in_order)
        pairs = [(subject, i) for subject, ids in due.items() for i in ids]
        if pairs:
            self.progress.own.setdefault("began_at", datetime.now(UTC).isoformat())
            for subject, i in pairs:
                self.progress.of(subject).begin([Record(stage.object, i)])
            self.progress.save()
        turns, opened = Turns(self._connector.concerns_all), False
        for begin in range(0, len(pairs), stage.records_per_call):
            opened |= self._send(stage, pairs[begin : begin + stage.records_per_call], turns)
        if opened:
            self._settle_jobs()
        checked = {s: self.noted(s, stage.object) if stage.ends else set(due[s]) for s in self.people()}
        ids = {i for ids in checked.values() for i in ids}
        there = set(self._connector.still_there(stage, ids, self.began_at)) if ids else set[str]()
        for subject, ids in checked.items():
            self._refuse(subject, stage.object, ids & there)

    def _refuse(self, subject: Subject, name: str, ids: Collection[str]) -> None:
        """Answer for a person whose records are still there after a stage: try again, and in the end say so."""
        person = self.progress.of(subject)
        person.reopen(f"{name}/{i}" for i in ids)
        if not ids or subject.ref in self._answers:
            return
        person.refusals += 1
        if person.refusals < _PATIENCE_WITH_REFUSALS:
            wait = self._connector.delay("confirm_after").total_seconds()
            self.end(subject, TemporarilyUnavailable(f"{name}_not_deleted", retry_after_seconds=wait))
            return
        left = self._connector.left((Record(name, i) for i in ids), "refused_by_vendor")
        self.end(subject, Answer.partial(left, records=person.counts(subject), reason="refused_by_vendor"))

    def _send(self, stage: Stage, pairs: Sequence[tuple[Subject, str]], turns: Turns) -> bool:
        """Make one call for the people who may proceed. Return True if it opened a job."""
        for subject in dict.fromkeys(subject for subject, _ in pairs):
            if subject.ref not in self._answers:
                try:
                    self.progress.require_permission(subject)
                except TemporarilyUnavailable as stopped:
                    self.end(subject, stopped)
        going = [(subject, i) for subject, i in pairs if subject.ref not in self._answers]
        if not going:
            return False
        try:
            job = turns.take(lambda: self._connector.send(stage, [i for _, i in going]))
        except ConnectorError as error:
            for subject, _ in going:
                self.end(subject, error)
            return False
        for subject, i in going:
            person, record = self.progress.of(subject), Record(stage.object, i)
            if job is not None:
                person.jobs.setdefault(f"{stage.name}/{job}", set()).add(key_of(record))
            elif stage.ends:
                person.finish(record, was_there=True)
        if job is not None:
            self.progress.save()
        return job is not None

    def _settle_jobs(self) -> None:
        """Ask for every open job: people whose job runs are answered, ended and unknown jobs are forgotten."""
        waiting = [s for s in self._batch.subjects if self.progress.of(s).jobs]
        names = {name for subject in waiting for name in self.progress.of(subject).jobs}
        if not names:
            return
        states = self._connector.poll_jobs(sorted(name.partition("/")[2] for name in names))
        for subject in waiting:
            person = self.progress.of(subject)
            for name, keys in list(person.jobs.items()):
                self._settle(subject, person, name, keys, states.get(name.partition("/")[2]))

    def _settle(
        self, subject: Subject, person: PersonProgress, name: str, keys: set[str], state: StageState | None
    ) -> None:
        if state is StageState.RUNNING:
            look_again_at = datetime.now(UTC) + self._connector.delay("poll_every")
            self._answers.setdefault(subject.ref, Answer.accepted(look_again_at, resumes=True))
            return
        del person.jobs[name]
        stage = next(stage for stage in self._connector.stages if stage.name == name.partition("/")[0])
        if state is StageState.FAILED:
            self._refuse(subject, stage.object, _ids(keys, stage.object))
        elif state is StageState.DONE and stage.ends:
            person.done |= keys
            person.begun -= keys


def _ids(keys: Iterable[str], name: str) -> set[str]:
    return {key.partition("/")[2] for key in keys if key.partition("/")[0] == name}


def _in_order(record_id: str) -> tuple[int, str]:
    return len(record_id), record_id

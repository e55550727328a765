"""One attempt to erase a batch of people: directly if there is little to do, through a job if there is much.

Decides the answer of each person. Saves before and after each job's opening; a direct deletion may safely be repeated.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from connectors.base.errors import ConnectorError, TemporarilyUnavailable
from connectors.base.interface import Lease
from connectors.base.toolkit.counting import unreported
from connectors.base.values import Answer, Batch, Subject
from connectors.mailchimp.api import MailchimpApi, MemberCall, Outcome, Verb
from connectors.mailchimp.jobs import (
    Job,
    JobGone,
    JobUndecided,
    Memory,
    find_job,
    open_job,
    read_results,
    results_url,
    split,
)
from connectors.mailchimp.people import (
    OBJECT,
    Outcomes,
    carry_out,
    erasing_calls,
    found_members,
    left_of,
    located,
)


class Erasure:
    """One attempt. `answers()` once."""

    def __init__(
        self, api: MailchimpApi, batch: Batch, lease: Lease, *, batch_threshold: int, poll_every: timedelta
    ) -> None:
        self._api = api
        self._batch = batch
        self._lease = lease
        self._threshold = batch_threshold
        self._poll_every = poll_every
        self._answers: dict[str, Answer | ConnectorError] = {}
        self._memory = Memory.unpack(lease.resume_token)
        self._phone_tags: dict[str, frozenset[str]] = {}

    def answers(self) -> dict[str, Answer | ConnectorError]:
        """Resume what runs, start what doesn't, answer for everybody."""
        audiences = self._api.audiences()
        plans: dict[str, tuple[MemberCall, ...]] = {}
        for subject in self._batch.subjects:
            if subject.ref not in self._memory.people:
                self._memory.of(subject.ref).before = dict(subject.already_reported)
            try:
                plans[subject.ref] = erasing_calls(subject, audiences)
            except ConnectorError as error:
                self._answers[subject.ref] = error
        self._forget_other_plans(plans)
        self._resume(plans)
        todo = {ref: calls for ref, calls in plans.items() if ref not in self._answers}
        if sum(len(calls) for calls in todo.values()) > self._threshold:
            self._through_jobs(todo)
        else:
            self._directly(todo)
        return self._answers

    def _forget_other_plans(self, plans: dict[str, tuple[MemberCall, ...]]) -> None:
        """A job counts for a person only if it was told exactly what is planned for them now."""
        told = {ref: self._memory.calls_of(ref) for ref in plans}
        self._memory.abandon(ref for ref, calls in told.items() if calls and calls != frozenset(plans[ref]))

    def _resume(self, plans: dict[str, tuple[MemberCall, ...]]) -> None:
        """Answer for the people whose jobs are known: running, or read. A job that is gone is started anew."""
        for job in list(self._memory.jobs):
            refs = [ref for ref in plans if ref in {c.ref for c in job.calls}]
            if not refs:
                continue
            try:
                outcomes = self._results(job)
            except JobGone:
                self._memory.abandon(refs)
            except ConnectorError as error:
                # The job itself is as it was: ask again next time, open no other one.
                self._answers |= dict.fromkeys(refs, error)
            else:
                if outcomes is None:
                    self._answers |= dict.fromkeys(refs, self._accepted())
                else:
                    self._conclude(refs, outcomes)

    def _results(self, job: Job) -> Outcomes | None:
        """A job's results, None while it runs. Raises JobGone if there is none, or none any more."""
        if job.id is None:
            try:
                job.id = find_job(self._api, self._batch.key, job)
            except JobUndecided:
                return None
            if job.id is None:
                raise JobGone
            self._lease.save(self._memory.pack())
        url = results_url(self._api, job.id)
        return None if url is None else read_results(self._api, self._batch.key, job, url)

    def _conclude(self, refs: list[str], outcomes: Outcomes) -> None:
        """Answers from one job's results. Results are used once: who comes again is looked at again, not read again."""
        for subject in self._batch.subjects:
            if subject.ref in refs:
                own = {c: o for c, o in outcomes.items() if c.ref == subject.ref}
                self._note(own)
                self._answers[subject.ref] = self._judge(subject, self._seen_in_full(own))
        self._memory.forget(refs)
        self._lease.save(self._memory.pack())

    def _note(self, outcomes: Outcomes) -> None:
        for call, outcome in outcomes.items():
            if call.verb is Verb.DELETE:
                self._memory.of(call.ref).note(call.record_id, outcome)

    def _seen_in_full(self, own: Outcomes) -> Outcomes:
        """A job's looks show ids only; what they found is looked at again directly (rare: it wasn't planned)."""
        again = [c for c, o in own.items() if isinstance(o, Outcome) and o.status == 200]
        return {**own, **carry_out(self._api, again, self._lease.may_proceed)}

    def _through_jobs(self, plans: dict[str, tuple[MemberCall, ...]]) -> None:
        failed: ConnectorError | None = None
        for calls in split(plans):
            refs = list(dict.fromkeys(c.ref for c in calls))
            if failed is not None:
                self._answers |= dict.fromkeys(refs, failed)
                continue
            for ref in refs:
                if not self._lease.may_proceed(ref):
                    self._answers[ref] = TemporarilyUnavailable("stopped")
            allowed = tuple(c for c in calls if c.ref not in self._answers)
            if allowed:
                failed = self._open(Job(allowed, len(allowed), datetime.now(UTC)))
        for ref, own in plans.items():
            if not own:
                self._answers[ref] = Answer.not_addressable()

    def _open(self, job: Job) -> ConnectorError | None:
        """Open one job: intent saved before, id after. The error if it couldn't be opened, or if nobody knows."""
        refs = {c.ref for c in job.calls}
        self._memory.jobs.append(job)
        self._lease.save(self._memory.pack())
        try:
            job.id = open_job(self._api, self._batch.key, job)
        except ConnectorError as error:
            self._answers |= dict.fromkeys(refs, error)
            return error
        self._lease.save(self._memory.pack())
        self._answers |= dict.fromkeys(refs, self._accepted())
        return None

    def _directly(self, plans: dict[str, tuple[MemberCall, ...]]) -> None:
        calls = [c for own in plans.values() for c in own]
        outcomes = self._carry_out_remembered(calls)
        for subject in self._batch.subjects:
            if subject.ref in plans:
                own = {c: o for c, o in outcomes.items() if c.ref == subject.ref}
                self._answers[subject.ref] = self._judge(subject, own)

    def _carry_out_remembered(self, calls: list[MemberCall]) -> Outcomes:
        """A process that dies in a deletion leaves behind that it may have happened; an answer says whether it did."""
        deletions = [c for c in calls if c.verb is Verb.DELETE]
        earlier = {c for c in deletions if c.record_id in self._memory.of(c.ref).begun}
        if not deletions:
            return carry_out(self._api, calls, self._lease.may_proceed)
        for call in deletions:
            self._memory.of(call.ref).begun.add(call.record_id)
        self._lease.save(self._memory.pack())
        outcomes = carry_out(self._api, calls, self._lease.may_proceed)
        for call in (c for c in deletions if c not in earlier):
            self._memory.of(call.ref).begun.discard(call.record_id)
        self._note(outcomes)
        self._lease.save(self._memory.pack())
        return outcomes

    def _judge(self, subject: Subject, own: Outcomes) -> Answer | ConnectorError:
        """What is true of one person after all their calls were answered."""
        if not own:
            return Answer.not_addressable()
        status = {c: o.status for c, o in own.items() if isinstance(o, Outcome) and c.verb is Verb.DELETE}
        refused = [c.record_id for c, s in status.items() if s == 405]
        deletions = self._memory.of(subject.ref)
        records = unreported({OBJECT: len(deletions.done)}, deletions.before, subject.already_reported)
        try:
            planned = {c.record_id for c in status}
            new = [m for m in found_members(subject, own) if m.record_id not in planned]
            found = located(subject, new, self._tags) if new else None
        except ConnectorError as problem:
            return problem
        left = left_of(refused, "not_permitted") + left_of((m.record_id for m in new), "not_in_plan")
        if left:
            return Answer.partial(left, records=records, found=found)
        if deletions.done:
            return Answer.erased(records)
        return Answer.already_absent()

    def _tags(self, list_id: str) -> frozenset[str]:
        if list_id not in self._phone_tags:
            self._phone_tags[list_id] = self._api.phone_tags(list_id)
        return self._phone_tags[list_id]

    def _accepted(self) -> Answer:
        return Answer.accepted(datetime.now(UTC) + self._poll_every, resumes=True)

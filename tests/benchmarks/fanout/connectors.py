"""The benchmark vendors' connectors: written like any other, on the toolkit, with nothing left out that is promised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from connectors.base.config import SystemConfig, SystemModel
from connectors.base.errors import AnswerNotUnderstood, CredentialsRefused, TemporarilyUnavailable
from connectors.base.interface import (
    Answers,
    Connector,
    Declaration,
    Delays,
    ErasesBy,
    Findings,
    Lease,
    Operation,
)
from connectors.base.toolkit.concurrently import for_each_person
from connectors.base.toolkit.http import VendorClient
from connectors.base.values import Answer, Batch, Left, Located, Record, Subject, Visibility
from tests.benchmarks.fanout.vendor import CONTROL, MOST_PEOPLE_PER_CALL

_LOOKS = frozenset({Operation.LOCATE, Operation.ERASE, Operation.CONFIRM})
_AT_ONCE = Delays(confirm_after=timedelta(0))


class NoCredentials(SystemModel):
    """Nothing is needed."""


class _BenchConnector(Connector):
    Credentials = NoCredentials

    def __init__(self, system: SystemConfig) -> None:
        super().__init__(system)
        self._client = VendorClient.for_system(system)

    @property
    def calls(self) -> int:
        return self._client.calls

    def close(self) -> None:
        self._client.close()


class OnePerCall(_BenchConnector):
    """A vendor that takes one person per call."""

    declaration = Declaration(
        name="bench_one",
        identifier_kinds=frozenset({"email"}),
        operations=_LOOKS,
        erases_by=ErasesBy.RECORDS,
        max_subjects_per_call=dict.fromkeys(_LOOKS, 100),
        max_concurrency=2,
        max_concurrent_people=4,
        delays=_AT_ONCE,
        suppress_first=False,
    )

    def check_credentials(self) -> Visibility:
        if not self._ids(CONTROL):
            raise CredentialsRefused("no_visibility")
        return Visibility("control_record")

    def locate(self, batch: Batch) -> Findings:
        return for_each_person(batch.subjects, self._located, at_most=self.max_concurrent_people)

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        return for_each_person(batch.subjects, lambda s: self._erased(s, lease), at_most=self.max_concurrent_people)

    def confirm_absence(self, batch: Batch) -> Answers:
        return for_each_person(batch.subjects, self._confirmed, at_most=self.max_concurrent_people)

    def _ids(self, email: str) -> list[str]:
        reply = self._client.request("GET", "/people", expect=(200,), params={"email": email})
        return [person["id"] for person in reply.field("people", list)]

    def _located(self, subject: Subject) -> Located:
        ids = [i for email in subject.values("email") for i in self._ids(email)]
        return Located(tuple(Record("people", i) for i in ids), {"people": len(ids)})

    def _erased(self, subject: Subject, lease: Lease) -> Answer:
        gone = 0
        for person in subject.record_ids("people"):
            if not lease.may_proceed(subject.ref):
                raise TemporarilyUnavailable("stopped")
            reply = self._client.request("DELETE", f"/people/{person}", expect=(204, 404))
            if reply.status == 404 and reply.body != {"error": "no_such_person"}:
                raise AnswerNotUnderstood("other_404")
            gone += reply.status == 204
        return Answer.erased({"people": gone}) if gone else Answer.already_absent()

    def _confirmed(self, subject: Subject) -> Answer:
        left = [i for email in subject.values("email") for i in self._ids(email)]
        if left:
            return Answer.partial(tuple(Left("people", i, "still_there") for i in left))
        return Answer.already_absent()


class ManyPerCall(_BenchConnector):
    """A vendor that takes a hundred people per call. The control record travels in every look."""

    declaration = Declaration(
        name="bench_many",
        identifier_kinds=frozenset({"email"}),
        operations=_LOOKS,
        erases_by=ErasesBy.RECORDS,
        max_subjects_per_call={
            Operation.LOCATE: MOST_PEOPLE_PER_CALL - 1,
            Operation.ERASE: MOST_PEOPLE_PER_CALL,
            Operation.CONFIRM: MOST_PEOPLE_PER_CALL - 1,
        },
        max_concurrency=2,
        delays=_AT_ONCE,
        suppress_first=False,
        verifies_visibility=True,
    )

    def check_credentials(self) -> Visibility:
        self._ids([])
        return Visibility("control_record")

    def locate(self, batch: Batch) -> Findings:
        found = self._ids([email for s in batch.subjects for email in s.values("email")])
        return {s.ref: _located(found, s) for s in batch.subjects}

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        going = [s for s in batch.subjects if lease.may_proceed(s.ref)]
        ids = [i for s in going for i in s.record_ids("people")]
        reply = self._client.request("POST", "/delete", expect=(200,), json_body={"ids": ids})
        gone = set(reply.field("deleted", list))
        return _answers(batch, {s.ref: len(gone.intersection(s.record_ids("people"))) for s in going})

    def confirm_absence(self, batch: Batch) -> Answers:
        found = self._ids([email for s in batch.subjects for email in s.values("email")])
        return {s.ref: _confirmed(_located(found, s)) for s in batch.subjects}

    def _ids(self, emails: Sequence[str]) -> dict[str, str]:
        reply = self._client.request("POST", "/lookup", expect=(200,), json_body={"emails": [*emails, CONTROL]})
        found = {person["email"]: person["id"] for person in reply.field("people", list)}
        if CONTROL not in found:
            raise CredentialsRefused("no_visibility")
        return found


class ToldPerCall(ManyPerCall):
    """A vendor that is told a hundred addresses per call and erases who stands under them: nobody is searched first."""

    declaration = replace(
        ManyPerCall.declaration,
        name="bench_told",
        operations=frozenset({Operation.ERASE, Operation.CONFIRM}),
        erases_by=ErasesBy.IDENTIFIERS,
        searches_first=False,
    )

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        going = [s for s in batch.subjects if lease.may_proceed(s.ref)]
        told = [email for s in going for email in s.values("email")]
        reply = self._client.request("POST", "/forget", expect=(200,), json_body={"emails": told})
        gone = set(reply.field("forgotten", list))
        return _answers(batch, {s.ref: len(gone.intersection(s.values("email"))) for s in going})


def _answers(batch: Batch, gone: Mapping[str, int]) -> Answers:
    """How many records of each person went; whoever isn't among them was not to be touched."""
    answers: dict[str, Answer | TemporarilyUnavailable] = {}
    for subject in batch.subjects:
        if subject.ref not in gone:
            answers[subject.ref] = TemporarilyUnavailable("stopped")
        elif count := gone[subject.ref]:
            answers[subject.ref] = Answer.erased({"people": count})
        else:
            answers[subject.ref] = Answer.already_absent()
    return answers


def _located(found: dict[str, str], subject: Subject) -> Located:
    ids = [found[email] for email in subject.values("email") if email in found]
    return Located(tuple(Record("people", i) for i in ids), {"people": len(ids)})


def _confirmed(still: Located) -> Answer:
    if still.is_empty:
        return Answer.already_absent()
    return Answer.partial(tuple(Left("people", r.id, "still_there") for r in still.records))

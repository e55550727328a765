"""The kinds of systems that speak to a model vendor: by records, by identifiers, and one that can't be looked into; the
first two also with a vendor that needs no time, so that the look follows the erasing call in the same pass.

A connector acts out the moods that the machine chose for the pass, and tells the pass before and after everything that
a process can die at. It keeps the rules of the interface; what the engine makes of the answers is under test.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

from connectors.base.config import NoPolicy
from connectors.base.errors import ConnectorError, CredentialsRefused, RequestRefused, TemporarilyUnavailable
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
from connectors.base.values import Answer, Batch, Left, Located, Subject, Visibility
from tests.properties.engine.moods import Mood, PassMood, error_of
from tests.properties.engine.vendor import HeldRecord, ModelVendor

if TYPE_CHECKING:
    from tests.properties.engine.worker import WorkerPass

_CONFIRM_AFTER = timedelta(seconds=70)
POLL_EVERY = timedelta(seconds=20)
_PURGE_AFTER = timedelta(seconds=200)
_HIDDEN_FOR = timedelta(seconds=50)
_EFFECT_IN_SPITE = frozenset({Mood.LOST, Mood.GARBLED, Mood.SILENT, Mood.BREAKS})
_WITHOUT_SUPPRESSION = frozenset({Operation.LOCATE, Operation.ERASE, Operation.CONFIRM})

BY_RECORDS = Declaration(
    name="by_records",
    identifier_kinds=frozenset({"email", "customer_id"}),
    operations=_WITHOUT_SUPPRESSION | {Operation.SUPPRESS},
    suppression_scopes=frozenset({"do_not_contact:email"}),
    erases_by=ErasesBy.RECORDS,
    max_subjects_per_call=dict.fromkeys(Operation, 3),
    max_concurrency=2,
    delays=Delays(confirm_after=_CONFIRM_AFTER, poll_every=POLL_EVERY),
    order=10,
)
BY_IDENTIFIERS = replace(
    BY_RECORDS,
    name="by_identifiers",
    identifier_kinds=frozenset({"email"}),
    operations=_WITHOUT_SUPPRESSION,
    suppression_scopes=frozenset(),
    erases_by=ErasesBy.IDENTIFIERS,
    max_subjects_per_call=dict.fromkeys(Operation, 2),
    order=20,
)
TOLD = replace(
    BY_IDENTIFIERS,
    name="told",
    operations=frozenset({Operation.ERASE, Operation.CONFIRM}),
    searches_first=False,
    order=30,
)
# Three are erased in one call and two looked at: a full batch has its looks in a pass of their own.
BY_RECORDS_AT_ONCE = replace(
    BY_RECORDS,
    name="by_records_at_once",
    operations=_WITHOUT_SUPPRESSION,
    suppression_scopes=frozenset(),
    max_subjects_per_call=dict.fromkeys(Operation, 3) | {Operation.CONFIRM: 2},
    delays=Delays(poll_every=POLL_EVERY),
)
TOLD_AT_ONCE = replace(TOLD, name="told_at_once", delays=Delays(poll_every=POLL_EVERY))
UNSEEN = replace(
    BY_RECORDS,
    name="unseen",
    identifier_kinds=frozenset({"customer_id"}),
    operations=_WITHOUT_SUPPRESSION,
    suppression_scopes=frozenset(),
    can_confirm=False,
    order=20,
)


def current_pass() -> WorkerPass:
    """The pass in which this thread works."""
    from tests.properties.engine.worker import this_thread

    return this_thread.works_on


class ModelConnector(Connector):
    """What they have in common."""

    Credentials: ClassVar[type[NoPolicy]] = NoPolicy
    base_url_schemes = frozenset({"model"})

    def check_credentials(self) -> Visibility:
        mood = current_pass().mood
        if mood is PassMood.BLIND:
            raise CredentialsRefused("no_visibility")
        if mood is PassMood.DOWN:
            raise TemporarilyUnavailable("down", status=500)
        return Visibility("control_record")

    def locate(self, batch: Batch) -> Findings:
        found: dict[str, Located | ConnectorError] = {}
        for subject in batch.subjects:
            mood = self._told(subject, batch)
            if (error := error_of(mood)) is not None:
                found[subject.ref] = error
            elif mood is not Mood.SILENT:
                found[subject.ref] = self._located(self._vendor.search(subject.identifiers, self._now()), subject)
        return found

    def suppress(self, batch: Batch, lease: Lease) -> Answers:
        answers: dict[str, Answer | ConnectorError] = {}
        for subject in batch.subjects:
            mood = self._told(subject, batch)
            if not lease.may_proceed(subject.ref):
                answers[subject.ref] = TemporarilyUnavailable("stopped")
                continue
            current_pass().acts_on(subject, frozenset())
            if (error := error_of(mood)) is not None:
                answers[subject.ref] = error
            elif mood is not Mood.SILENT:
                answers[subject.ref] = self._suppress_one(subject, batch.key, mood)
        return answers

    def _suppress_one(self, subject: Subject, key: str, mood: Mood) -> Answer:
        """The vendor's job suppresses when it is ready; it is opened once and asked for until then."""
        vendor, now = self._vendor, self._now()
        if mood is Mood.JOB:
            vendor.suppressions.setdefault((key, subject.ref), now + _PURGE_AFTER)
        ready_at = vendor.suppressions.get((key, subject.ref), now)
        if now < ready_at:
            vendor.unfinished.add(subject.ref)
            return Answer.accepted(ready_at, resumes=True)
        vendor.unfinished.discard(subject.ref)
        return {
            Mood.UNADDRESSABLE: Answer.not_addressable(),
            Mood.WRONG_KIND: Answer.erased({}),
            Mood.ACCEPTS: Answer.accepted(now + POLL_EVERY),
        }.get(mood, Answer.suppressed())

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        answers: dict[str, Answer | ConnectorError] = {}
        for subject in batch.subjects:
            mood = self._told(subject, batch)
            if not lease.may_proceed(subject.ref):
                answers[subject.ref] = TemporarilyUnavailable("stopped")
                continue
            answer = self._erase_one(subject, batch, lease, mood)
            if answer is not None:
                answers[subject.ref] = answer
        return answers

    def confirm_absence(self, batch: Batch) -> Answers:
        answers: dict[str, Answer | ConnectorError] = {}
        for subject in batch.subjects:
            mood = self._told(subject, batch, current_pass().look_moods)
            if (error := error_of(mood)) is not None:
                answers[subject.ref] = error
            elif mood is not Mood.SILENT:
                answers[subject.ref] = self._look(subject, mood)
        return answers

    @property
    def _vendor(self) -> ModelVendor:
        return current_pass().world.vendors[self.system.name]

    def _now(self) -> datetime:
        return current_pass().world.clock.now()

    def _told(self, subject: Subject, batch: Batch, moods: Mapping[str, Mood] | None = None) -> Mood:
        """The vendor hears of a person; the process may have died just before."""
        current_pass().pause("call")
        current_pass().told(subject)
        if current_pass().mood is PassMood.REFUSED:
            raise RequestRefused("batch_refused", status=400)
        mood = (moods or current_pass().moods)[subject.ref]
        if mood is Mood.BREAKS:
            raise ValueError("the connector's own code failed")
        return mood

    def _located(self, held: Collection[HeldRecord], subject: Subject) -> Located:
        others = {i for h in held for i in h.carries} - set(subject.identifiers)
        records = tuple(h.record for h in held)
        current_pass().world.ledger.found(subject.ref, records)
        return Located(records, {"contact": len(records)} if records else {}, tuple(sorted(others)))

    def _erase_one(self, subject: Subject, batch: Batch, lease: Lease, mood: Mood) -> Answer | ConnectorError | None:
        answer = _WITHOUT_EFFECT.get(mood)
        if answer is not None:
            return answer
        if mood in (Mood.BUSY, Mood.BUSY_FOR_LONG, Mood.REFUSES, Mood.LOCKS_US_OUT):
            return error_of(mood)
        targets, unplanned = self._targets(subject)
        if mood is Mood.LIES:
            # Never beyond the declared delay: nobody could notice that. Where there is none, the next look sees it.
            for held in targets:
                held.hidden_until = self._now() + min(_HIDDEN_FOR, self.delay("confirm_after"))
            return Answer.erased(_counted(targets))
        if (batch.key, subject.ref) in self._vendor.jobs or mood is Mood.JOB:
            return self._by_job(subject, batch, lease, targets)
        kept = targets[-1:] if mood in (Mood.LOCKED, Mood.RETAINS) else []
        gone = [h for h in targets if h not in kept]
        self._save(lease, f"found {subject.ref}")
        # Right before the effect, as the interface says: the process may have slept since it saved.
        if gone and not lease.may_proceed(subject.ref):
            return TemporarilyUnavailable("stopped")
        if gone:
            current_pass().acts_on(subject, frozenset(h.record for h in gone))
            later = _PURGE_AFTER if mood is Mood.LATER else timedelta(0)
            self._vendor.purge(subject.ref, batch.key, gone, self._now(), self._now() + later)
            current_pass().pause("acted")
        self._save(lease, f"done {subject.ref}")
        if mood in _EFFECT_IN_SPITE:
            return error_of(mood)
        if mood is Mood.LATER and gone:
            return Answer.accepted(self._now() + _PURGE_AFTER, records=_counted(gone))
        return self._answer(subject, mood, gone, kept, unplanned)

    def _answer(
        self,
        subject: Subject,
        mood: Mood,
        gone: Collection[HeldRecord],
        kept: Collection[HeldRecord],
        unplanned: Collection[HeldRecord],
    ) -> Answer:
        left = tuple(Left(h.record.object, h.record.id, mood.value) for h in kept)
        if mood is Mood.RETAINS and kept:
            return Answer.retained("policy", left=left, records=_counted(gone))
        if unplanned:
            return Answer.partial(left, records=_counted(gone), found=self._located(unplanned, subject))
        if kept:
            return Answer.partial(left, records=_counted(gone), reason=mood.value)
        return Answer.erased(_counted(gone)) if gone else Answer.already_absent()

    def _by_job(
        self, subject: Subject, batch: Batch, lease: Lease, targets: Collection[HeldRecord]
    ) -> Answer | ConnectorError:
        """The vendor's job erases when it is ready; it is opened once and asked for until then."""
        key = (batch.key, subject.ref)
        if key not in self._vendor.jobs:
            self._save(lease, f"opening {subject.ref}")
            if not lease.may_proceed(subject.ref):
                return TemporarilyUnavailable("stopped")
            current_pass().acts_on(subject, frozenset(h.record for h in targets))
            self._vendor.jobs[key] = ready_at = self._now() + _PURGE_AFTER
            self._vendor.purge(subject.ref, batch.key, targets, self._now(), ready_at)
            current_pass().pause("acted")
            self._save(lease, f"opened {subject.ref}")
        ready_at = self._vendor.jobs[key]
        if self._now() < ready_at:
            return Answer.accepted(ready_at, resumes=True)
        return Answer.erased({})

    def _targets(self, subject: Subject) -> tuple[list[HeldRecord], list[HeldRecord]]:
        """What may be erased, and what is found beyond the plan."""
        now = self._now()
        seen = [h for h in self._vendor.search(subject.identifiers, now) if not h.is_leaving()]
        if self.declaration.erases_by is ErasesBy.IDENTIFIERS:
            return seen, []
        planned = [h for h in self._vendor.by_id(subject.records, now) if not h.is_leaving()]
        return planned, [h for h in seen if h not in planned]

    def _save(self, lease: Lease, line: str) -> None:
        lines = json.loads(lease.resume_token or b"[]")
        token = json.dumps([*lines, line]).encode()
        lease.save(token)
        current_pass().saved(token)
        current_pass().pause("saved")

    def _look(self, subject: Subject, mood: Mood) -> Answer:
        now = self._now()
        if mood is Mood.UNADDRESSABLE:
            return Answer.not_addressable()
        if mood is Mood.AMBIGUOUS:
            return Answer.ambiguous("shared_mailbox")
        if mood is Mood.WRONG_KIND:
            return Answer.erased({})
        vendor = self._vendor
        found = vendor.search(subject.identifiers, now)
        found += [h for h in vendor.by_id(subject.records, now) if h not in found]
        current_pass().looked(subject)
        staying = [h for h in found if not h.is_leaving()]
        if mood is Mood.RETAINS and staying:
            return Answer.retained("policy", left=tuple(Left("contact", h.record.id, "policy") for h in staying))
        known = [
            h for h in staying if self.declaration.erases_by is ErasesBy.IDENTIFIERS or h.record in set(subject.records)
        ]
        unknown = [h for h in staying if h not in known]
        left = tuple(Left("contact", h.record.id, "still_there") for h in known)
        if unknown:
            return Answer.partial(left, found=self._located(unknown, subject))
        if known:
            return Answer.partial(left)
        leaving = [h.purged_at for h in found if h.purged_at is not None]
        return Answer.accepted(max(leaving)) if leaving else Answer.already_absent()


_WITHOUT_EFFECT = {
    Mood.AMBIGUOUS: Answer.ambiguous("shared_mailbox"),
    Mood.UNADDRESSABLE: Answer.not_addressable(),
    Mood.LIES_ABSENT: Answer.already_absent(),
    Mood.WRONG_KIND: Answer.suppressed(),
}


def _counted(held: Collection[HeldRecord]) -> dict[str, int]:
    return {"contact": len(held)} if held else {}


class ByRecords(ModelConnector):
    """Erases frozen record ids, and suppresses."""

    declaration = BY_RECORDS


class ByIdentifiers(ModelConnector):
    """Is told identifiers and erases what it finds."""

    declaration = BY_IDENTIFIERS


class Unseen(ModelConnector):
    """Offers no look at what is left."""

    declaration = UNSEEN


class Told(ByIdentifiers):
    """The same without a search."""

    declaration = TOLD

    def locate(self, batch: Batch) -> Findings:
        raise AssertionError("nobody asks it for a search")


class ByRecordsAtOnce(ByRecords):
    """Its vendor shows at once what it did."""

    declaration = BY_RECORDS_AT_ONCE


class ToldAtOnce(Told):
    """Neither a search before nor a delay after."""

    declaration = TOLD_AT_ONCE


MODEL_CONNECTORS: dict[str, type[Connector]] = {
    c.declaration.name: c for c in (ByRecords, ByIdentifiers, Unseen, Told, ByRecordsAtOnce, ToldAtOnce)
}

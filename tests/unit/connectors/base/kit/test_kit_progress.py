"""The kit's resume token: what counts as this batch's own effect, and which tokens are refused."""

from __future__ import annotations

import json

import pytest

from connectors.base.errors import AnswerNotUnderstood, LeaseLost, TemporarilyUnavailable
from connectors.base.kit.progress import PersonProgress, Progress, ResumeToken
from connectors.base.runner import MemoryLease
from connectors.base.values import Record, Subject

_ONE, _TWO = Record("contact", "1"), Record("contact", "2")
_ADA = Subject("ada", ())


def test_begun_and_no_longer_present_is_done() -> None:
    person = PersonProgress()
    person.begin([_ONE, _TWO])
    person.settle({"contact/2"})
    assert (person.done, person.begun) == ({"contact/1"}, {"contact/2"})
    assert person.counts(_ADA) == {"contact": 1}


def test_a_record_that_was_gone_before_is_not_counted() -> None:
    person = PersonProgress()
    person.begin([_ONE])
    person.finish(_ONE, was_there=False)
    assert not person.done
    assert person.counts(_ADA) == {}


def test_a_record_of_an_earlier_attempt_is_counted_when_gone() -> None:
    lease = MemoryLease()
    first = Progress(lease)
    first.of(_ADA).begin([_ONE])
    first.save()
    person = Progress(lease).of(_ADA)
    # A search that lags still lists the record, so the erasure is repeated and answers "gone".
    person.settle({"contact/1"})
    person.begin([_ONE])
    person.finish(_ONE, was_there=False)
    assert person.counts(_ADA) == {"contact": 1}


def test_what_a_stopped_person_had_not_lost_is_not_remembered() -> None:
    person = PersonProgress(earlier=frozenset({"contact/1"}), begun={"contact/1"})
    person.begin([_TWO])
    person.stop()
    assert person.begun == {"contact/1"}


def test_counts_leave_out_what_was_recorded() -> None:
    person = PersonProgress(before={"contact": 3}, done={"contact/1", "contact/2"})
    assert person.counts(Subject("ada", (), already_reported={"contact": 3})) == {"contact": 2}
    assert person.counts(Subject("ada", (), already_reported={"contact": 5})) == {}


def test_the_token_carries_everything_on() -> None:
    lease = MemoryLease()
    first = Progress(lease)
    person = first.of(Subject("ada", (), already_reported={"contact": 1}))
    person.begin([_ONE])
    person.done.add("note/7")
    person.jobs["job-1"] = {"contact/1"}
    first.save()
    again = Progress(lease).of(_ADA)
    assert again == PersonProgress(
        {"contact": 1}, {"contact/1"}, {"note/7"}, {"job-1": {"contact/1"}}, frozenset({"contact/1"})
    )


def test_nothing_begun_saves_nothing() -> None:
    lease = MemoryLease()
    progress = Progress(lease)
    progress.of(_ADA)
    progress.save()
    assert lease.resume_token is None


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"version":2,"people":{}}',
        b'{"version":1,"people":[]}',
        b'{"version":1,"people":{"a":{}}}',
    ],
)
def test_a_token_of_another_form_is_refused(token: bytes) -> None:
    with pytest.raises(AnswerNotUnderstood, match="resume_token"):
        Progress(MemoryLease(token))


def test_a_person_is_asked_for_each_time() -> None:
    class Held(MemoryLease):
        def may_proceed(self, ref: str) -> bool:
            if ref == "lost":
                raise LeaseLost
            return ref != "held"

    progress = Progress(Held())
    progress.require_permission(_ADA)
    with pytest.raises(TemporarilyUnavailable, match="stopped"):
        progress.require_permission(Subject("held", ()))
    with pytest.raises(LeaseLost):
        progress.require_permission(Subject("lost", ()))


def test_the_tokens_text_is_stable() -> None:
    """A token of a running batch is read by the next release: a change of its form needs a new version."""
    lease = MemoryLease()
    progress = Progress(lease)
    progress.of(_ADA).begin([_ONE])
    progress.save()
    assert json.loads(lease.resume_token or b"") == {
        "version": 1,
        "people": {"ada": {"before": {}, "begun": ["contact/1"], "done": [], "jobs": {}}},
    }


def test_an_erased_record_that_is_still_there_is_not_done() -> None:
    person = PersonProgress(done={"contact/1", "contact/2"})
    person.reopen({"contact/2", "contact/3"})
    assert (person.done, person.begun) == ({"contact/1"}, {"contact/2"})
    assert person.counts(_ADA) == {"contact": 1}


def test_what_a_lost_job_may_have_done_counts_when_it_is_gone() -> None:
    person = PersonProgress()
    person.assume([_ONE])
    person.finish(_ONE, was_there=False)
    assert person.done == {"contact/1"}


def test_the_connectors_own_part_is_carried_on() -> None:
    lease = MemoryLease()
    first = Progress(lease)
    first.own["began_at"] = "2026-12-01T00:00:00+00:00"
    first.of(_ADA).refusals = 2
    first.save()
    again = Progress(lease)
    assert again.own == {"began_at": "2026-12-01T00:00:00+00:00"}
    assert again.of(_ADA).refusals == 2


def test_a_token_is_saved_only_when_it_changed() -> None:
    class Counting(MemoryLease):
        saves = 0

        def save(self, resume_token: bytes) -> None:
            self.saves += 1
            super().save(resume_token)

    lease = Counting(b"a")
    token = ResumeToken(lease)
    for text in (b"a", b"b", b"b"):
        token.save(text)
    assert (lease.saves, lease.resume_token) == (1, b"b")

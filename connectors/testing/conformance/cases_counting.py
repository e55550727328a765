"""Cases about counts: the sum of the recorded answers is the number of records that really went.

An answer may be lost on its way to whoever records it, and one may be asked for again; neither may make the sum wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from connectors.base.errors import LeaseLost, TemporarilyUnavailable
from connectors.base.values import Answer, AnswerKind, Batch
from connectors.testing.conformance.case import Case, Rows, sleep_until
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.conformance.people import make_person
from connectors.testing.conformance.vendor_fixture import Need
from connectors.testing.sandbox.faults import Fault, FaultKind

_MOST_PASSES = 60
_MOST_SAVES = 30


class CountingCases:
    """Mixed into ConformanceSuite."""

    def test_what_went_is_told_once(self, case: Case) -> None:
        """Over all passes, and asked again after the last one: each record that went stands in one answer."""
        for slow in (False,) if case.lacks(Need.JOBS) else (False, True):
            books = _Books(case, slow=slow)
            books.erase_to_the_end()
            books.agree("after a whole erasure")
            books.erase_to_the_end()
            books.agree("asked again under the same batch")

    def test_an_answer_that_nobody_recorded_is_told_again(self, case: Case) -> None:
        """The process dies between the nth answer that tells something and its recording, for every n."""
        told, n = 1, 0
        while n < told:
            books = _Books(case, slow=not case.lacks(Need.JOBS))
            told = books.erase_to_the_end(loses=n)
            books.agree(f"telling answer {n} was lost")
            n += 1
        assert n > 1, "erase told nothing"

    def test_who_dies_at_a_save_leaves_a_true_sum(self, case: Case) -> None:
        """The lease is lost at the nth save, for every n.

        That token isn't stored, and another process goes on.
        """
        for n in range(1, _MOST_SAVES):
            books = _Books(case)
            books.lease.lost_at_save = n
            try:
                books.erase_to_the_end()
            except LeaseLost:
                books.resume()
                books.erase_to_the_end()
                books.agree(f"lost at save {n}")
                continue
            return

    def test_who_dies_at_a_call_leaves_a_true_sum(self, case: Case) -> None:
        """The answer to the kth call is lost and the process with it, for every k; the vendor had acted."""
        case.needs(Need.HTTP)
        k, struck = 0, True
        while struck:
            books = _Books(case)
            books.lease = SuiteLease(is_dead=case.is_broken)
            case.breaks(Fault(FaultKind.DROP_AFTER, skip=k), Fault(FaultKind.DROP_BEFORE, skip=k, times=None))
            books.erase_to_the_end(is_dead=case.is_broken)
            struck = case.is_broken()
            case.heal()
            books.resume()
            books.erase_to_the_end()
            books.agree(f"died at call {k}")
            k += 1
        assert k > 1, "the erasure made no call"

    def test_another_version_of_the_plan_tells_what_is_new(self, case: Case) -> None:
        """The same person has a record again: a new batch, which remembers nothing, tells that record only."""
        books = _Books(case)
        books.erase_to_the_end()
        books.agree("after the first version")
        books.write_again()
        books.erase_to_the_end()
        books.agree("after the second version")


class _Books:
    """The engine's record of one person: answers are added up, and each pass receives the sum."""

    def __init__(self, case: Case, *, slow: bool = False) -> None:
        """A new world with one person among look-alikes."""
        case.reset(case.vendor.slow_options() if slow else None)
        self.case = case
        self.person = case.seed_with_neighbours(related=3)
        self.batch = case.frozen(case.connect(), self.person)
        self.lease = SuiteLease()
        self.told: Counter[str] = Counter()
        self._went: Counter[str] = Counter()
        self._there: Mapping[tuple[str, str], str] = dict(case.own_rows[self.person.ref])
        if case.running.sandbox is not None:
            case.sandbox.journal.clear()

    def resume(self) -> None:
        """Another process, with the batch and what was stored of its token."""
        self.lease = SuiteLease(self.lease.resume_token)

    def erase_to_the_end(self, *, loses: int | None = None, is_dead: Callable[[], bool] = lambda: False) -> int:
        """Run pass after pass and record each answer, but for one of those that report something.

        Return how many reported something.
        """
        telling = 0
        for _ in range(_MOST_PASSES):
            subject = replace(self.batch.subjects[0], already_reported=dict(self.told))
            answer = self.case.erase(self.case.connect(), Batch(self.batch.key, (subject,)), self.lease)[subject.ref]
            if is_dead():
                return telling
            if isinstance(answer, TemporarilyUnavailable):
                continue
            assert isinstance(answer, Answer), f"erase answered {answer!r}"
            assert all(count >= 0 for count in answer.records.values())
            if any(answer.records.values()):
                telling += 1
                if telling - 1 == loses:
                    self.resume()
                    continue
            self.told.update(answer.records)
            if answer.kind is not AnswerKind.ACCEPTED or not answer.resumes:
                return telling
            sleep_until([answer])
        raise AssertionError("the erasure doesn't end")

    def write_again(self) -> None:
        """The person comes back, and the plan gets another version: known records and new ones, no token."""
        self._went, before = self._gone(), self.case.rows()
        again = make_person("again", self.person.identifier, related=0 if self.case.lacks(Need.RELATED) else 1)
        self.case.running.seed([again])
        self._there = {key: row for key, row in self.case.rows().items() if before.get(key) != row}
        (new,) = self.case.frozen(self.case.connect(), again).subjects
        (old,) = self.batch.subjects
        records = tuple(dict.fromkeys((*old.records, *new.records)))
        self.batch, self.lease = Batch(f"{self.batch.key}+", (replace(old, records=records),)), SuiteLease()

    def agree(self, when: str) -> None:
        """The sum is what went, per object."""
        told, gone = {name: count for name, count in self.told.items() if count}, dict(self._gone())
        assert told == gone, f"{when}: told {told}, gone {gone}"

    def _gone(self) -> Counter[str]:
        """Rows that aren't as they were put in: gone, or emptied."""
        now: Rows = self.case.rows()
        return self._went + Counter(key[0] for key, row in self._there.items() if now.get(key) != row)

"""Cases about interruption: a lost answer, a dead process, a bad or false answer, a running job.

Each is tried at every single call of a whole erasure, since the one call that was forgotten is where a person is lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from connectors.base.errors import ConnectorError
from connectors.base.interface import Answers
from connectors.base.runner import Outcome
from connectors.base.values import Answer, AnswerKind, Batch
from connectors.testing.conformance.case import Case
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.conformance.people import TestPerson
from connectors.testing.conformance.vendor_fixture import Need
from connectors.testing.sandbox.faults import Fault, FaultKind
from connectors.testing.sandbox.harness import Call, Result

_A_PROXYS_404 = {"message": "no Route matched with those values"}
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")
_BAD_ANSWERS = {
    "unauthorized": Fault(FaultKind.STATUS, status=401),
    "not_found": Fault(FaultKind.STATUS, status=404, body={}),
    "unavailable": Fault(FaultKind.STATUS, status=503),
    "html": Fault(FaultKind.HTML),
    "deep_json": Fault(FaultKind.HOSTILE, body="[" * 50_000 + "]" * 50_000),
    "half_body": Fault(FaultKind.HALF_BODY),
    "redirect": Fault(FaultKind.REDIRECT),
    "lie": Fault(FaultKind.LIE),
    # A permission that is taken away stays away.
    "blind_from_here": Fault(FaultKind.BLIND, times=None),
}


class CrashCases:
    """Mixed into ConformanceSuite."""

    def test_an_answer_lost_after_the_vendor_acted(self, case: Case) -> None:
        """At every call of a run: the run ends as it would have without."""
        case.needs(Need.HTTP)
        for ada in self.sweep_runs(case, Fault(FaultKind.DROP_AFTER)):
            line = case.run(ada)[ada.ref]
            case.assert_ending(line, Outcome.ERASED_VERIFIED, Outcome.ERASED_UNVERIFIED)
            case.assert_gone(ada)
            case.assert_untouched(ada)

    @pytest.mark.parametrize("bad", sorted(_BAD_ANSWERS))
    def test_one_bad_answer_never_makes_a_false_ending(self, case: Case, bad: str) -> None:
        """At every call of a run: the ending is true, and no other person was touched."""
        case.needs(Need.HTTP)
        for ada in self.sweep_runs(case, _BAD_ANSWERS[bad]):
            case.assert_truthful(case.run(ada)[ada.ref], ada)
            case.assert_untouched(ada)

    @pytest.mark.parametrize("kind", [FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER])
    def test_a_crash_in_the_middle_of_a_person(self, case: Case, kind: FaultKind) -> None:
        """The process dies at the kth call, for every k.

        The next process has the frozen batch and the last saved token.
        """
        case.needs(Need.HTTP)
        for k in range(self._calls_of_an_erasure(case)):
            ada, batch, lease = self._frozen(case)
            # The kth call is cut, and the dead process makes no further one.
            case.breaks(Fault(kind, skip=k), Fault(FaultKind.DROP_BEFORE, skip=k, times=None))
            case.erase_to_the_end(case.connect(), batch, lease)
            case.heal()
            self._recovers(case, ada, batch, lease, f"crash at call {k}")

    def test_a_404_of_another_form_is_no_absence(self, case: Case) -> None:
        """A proxy answers 404 from the kth call on, for every k.

        The connector itself concludes nothing from it.
        """
        case.needs(Need.HTTP)
        for k in range(self._calls_of_an_erasure(case)):
            ada, batch, lease = self._frozen(case)
            case.breaks(Fault(FaultKind.STATUS, status=404, times=None, skip=k, body=_A_PROXYS_404))
            erased = self._said(case, ada, lambda: case.connect().erase(batch, lease))  # noqa: B023 - called at once
            case.breaks(Fault(FaultKind.STATUS, status=404, times=None, skip=k, body=_A_PROXYS_404))
            seen = self._said(case, ada, lambda: case.connect().confirm_absence(batch))  # noqa: B023 - called at once
            for answer in (erased, seen):
                concluded = isinstance(answer, Answer) and answer.kind in (AnswerKind.ERASED, AnswerKind.ALREADY_ABSENT)
                left = case.residue(ada)
                assert not (concluded and left), f"a foreign 404 from call {k} on was taken for absence: {left}"

    def _said(self, case: Case, person: TestPerson, ask: Callable[[], Answers]) -> Answer | ConnectorError:
        try:
            answer = ask()[person.ref]
        except ConnectorError as error:
            answer = error
        case.results.append(answer)
        return answer

    def test_a_crash_between_two_passes(self, case: Case) -> None:
        """The process dies after every pass of `erase`: the token alone carries on."""
        case.needs(Need.HTTP)
        ada, batch, lease = self._frozen(case)
        case.erase(case.connect(), batch, lease)
        self._recovers(case, ada, batch, lease, "crash between two passes")

    def test_a_crash_among_several_people(self, case: Case) -> None:
        """As above with three people in the batch, of whom one is taken out of it before the retry."""
        case.needs(Need.HTTP)
        calls = self._calls_of_an_erasure(case)
        for k in range(0, calls, 2):
            case.reset()
            people = [case.person(f"person-{n}", related=1) for n in range(3)]
            case.seed(*people)
            batch = case.frozen(case.connect(), *people)
            lease = self._mortal(case)
            case.breaks(Fault(FaultKind.DROP_AFTER, skip=k), Fault(FaultKind.DROP_BEFORE, skip=k, times=None))
            case.erase_to_the_end(case.connect(), batch, lease)
            case.heal()
            fewer = Batch(batch.key, batch.subjects[1:])
            answers = case.finish(case.connect(), fewer, SuiteLease(lease.resume_token))
            for person in people[1:]:
                self._is_absent(answers[person.ref], f"crash at call {k}")
            case.assert_gone(*people[1:])

    def test_a_vendor_that_lies_is_not_believed(self, case: Case) -> None:
        """Every effect is answered as done and nothing is: never `erased_verified`, never `absent`."""
        case.needs(Need.HTTP)
        ada = case.seed_with_neighbours()
        before = case.peoples_rows()
        case.breaks(Fault(FaultKind.LIE, methods=_CHANGING, times=None))
        line = case.run(ada)[ada.ref]
        case.assert_truthful(line, ada)
        assert line.outcome not in (Outcome.ERASED_VERIFIED, Outcome.ABSENT)
        assert case.peoples_rows() == before

    def test_accepted_is_not_gone(self, case: Case) -> None:
        """While the vendor's job runs the answer is ACCEPTED with a time to look again.

        No look says absent.
        """
        case.needs(Need.HTTP, Need.JOBS)
        ada, batch, lease = self._frozen(case, slow=True)
        connector = case.connect()
        answer = case.erase(connector, batch, lease)[ada.ref]
        assert isinstance(answer, Answer), f"erase answered {answer!r}"
        assert answer.kind is AnswerKind.ACCEPTED
        assert answer.look_again_at is not None
        assert answer.look_again_at.tzinfo is not None
        if case.residue(ada):
            look = case.confirm(connector, batch)[ada.ref]
            absent = isinstance(look, Answer) and look.kind is AnswerKind.ALREADY_ABSENT
            assert not absent, "a running job was taken for its end"
        self._recovers(case, ada, batch, lease, "after the job")

    def test_a_running_job_is_polled_and_not_opened_again(self, case: Case) -> None:
        """A fresh process with the saved token makes no changing call while the job runs."""
        case.needs(Need.HTTP, Need.JOBS)
        ada, batch, lease = self._frozen(case, slow=True)
        case.erase(case.connect(), batch, lease)
        changes = self._changing_calls(case)
        answer = case.erase(case.connect(), batch, SuiteLease(lease.resume_token))[ada.ref]
        assert isinstance(answer, Answer), f"erase answered {answer!r}"
        if answer.kind is AnswerKind.ACCEPTED and answer.resumes:
            assert not changes, f"the job was running and {changes} was called again"
        self._recovers(case, ada, batch, lease, "after the job")

    def sweep_runs(self, case: Case, fault: Fault) -> Iterator[TestPerson]:
        """A fresh world for each call of a whole run, with the fault at that call."""
        calls = 0
        while True:
            case.reset()
            ada = case.seed_with_neighbours()
            case.sandbox.journal.clear()
            case.breaks(_at(fault, calls))
            yield ada
            if not case.is_broken():
                assert calls > 0, "the run made no call"
                return
            calls += 1

    def _calls_of_an_erasure(self, case: Case) -> int:
        _, batch, lease = self._frozen(case)
        case.sandbox.journal.clear()
        case.erase_to_the_end(case.connect(), batch, lease)
        return len(case.sandbox.journal)

    def _frozen(self, case: Case, *, slow: bool = False) -> tuple[TestPerson, Batch, SuiteLease]:
        case.reset(case.vendor.slow_options() if slow else None)
        ada = case.seed_with_neighbours()
        return ada, case.frozen(case.connect(), ada), self._mortal(case)

    def _mortal(self, case: Case) -> SuiteLease:
        """A lease that stores nothing once a fault has struck: a dead process saves nothing."""
        case.sandbox.journal.clear()
        return SuiteLease(is_dead=case.is_broken)

    def _recovers(self, case: Case, ada: TestPerson, batch: Batch, lease: SuiteLease, when: str) -> None:
        answers = case.finish(case.connect(), batch, SuiteLease(lease.resume_token))
        left = case.residue(ada)
        assert not left, f"{when}: orphaned {left}"
        self._is_absent(answers[ada.ref], when)
        case.assert_untouched(ada)

    def _is_absent(self, answer: Answer | ConnectorError, when: str) -> None:
        assert isinstance(answer, Answer), f"{when}: the look answered {answer!r}"
        assert answer.kind is AnswerKind.ALREADY_ABSENT, f"{when}: the look answered {answer.kind.value}"

    def _changing_calls(self, case: Case) -> list[str]:
        """From now on every call that changes the stand-in's state by other means than a look."""
        calls: list[str] = []
        whole = case.sandbox.handle

        def watched(call: Call) -> Result:
            before = json.dumps(case.sandbox.state, sort_keys=True, default=str)
            result = whole(call)
            if call.method in _CHANGING and json.dumps(case.sandbox.state, sort_keys=True, default=str) != before:
                calls.append(call.method)
            return result

        case.sandbox.__dict__["handle"] = watched
        return calls


def _at(fault: Fault, call: int) -> Fault:
    return Fault(fault.kind, skip=call, times=fault.times, status=fault.status, body=fault.body)

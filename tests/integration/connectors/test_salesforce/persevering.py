"""A run that never gives up, as the engine and its operators together: each pass in a fresh process with the same
batch and the last saved token; what parks is tried again; what a look finds is planned anew.

Decides when a person is over; not what went wrong on the way.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from connectors.base import operations
from connectors.base.errors import ConnectorError
from connectors.base.runner import Line, Outcome
from connectors.base.values import Answer, AnswerKind, Batch, Left, Located, Subject
from connectors.testing.conformance.lease import SuiteLease

from .connecting import Served

_LONGEST_WAIT_SECONDS = 2.0
_OVER = {
    AnswerKind.ALREADY_ABSENT: Outcome.ERASED_VERIFIED,
    AnswerKind.RETAINED: Outcome.RETAINED,
    AnswerKind.AMBIGUOUS: Outcome.AMBIGUOUS,
    AnswerKind.PARTIAL: Outcome.PARKED,
}


@dataclass
class Perseverance:
    """One person's way. `passes` bounds it; `lease` may be given, to go on where another process died."""

    org: Served
    ref: str
    policy: Mapping[str, Any] | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    passes: int = 60
    lease: SuiteLease = field(default_factory=SuiteLease)
    errors: list[ConnectorError] = field(default_factory=list)
    records: Counter[str] = field(default_factory=Counter)

    def through(self, batch: Batch | None = None) -> Line:
        """Until the person is over. Raises AssertionError when they aren't after so many passes."""
        batch = batch or self.frozen()
        left: tuple[Left, ...] = ()
        while True:
            answer = self._erase(batch)
            left = answer.left
            if answer.kind in (AnswerKind.ERASED, AnswerKind.ALREADY_ABSENT):
                answer = self._pass(batch, lambda b: operations.confirm_absence(self._connector(), b))
                left = answer.left
            if answer.found is None or answer.found.is_empty:
                break
            # The next version of the plan, with a batch and a lease of its own.
            known = batch.subjects[0].records
            new = tuple(r for r in answer.found.records if r not in known)
            batch = Batch(f"{batch.key}+", (replace(batch.subjects[0], records=known + new),))
            self.lease = SuiteLease()
        counts = dict(self.records)
        return Line(self.ref, _OVER[answer.kind], answer.reason, counts, left)

    def frozen(self) -> Batch:
        """The person with what `locate` finds, asked until it answers."""
        subject = self.org.subject(self.ref)
        while True:
            found = operations.locate(self._connector(), Batch("k", (subject,)))[self.ref]
            if isinstance(found, Located):
                return Batch("k", (Subject(subject.ref, subject.identifiers, found.records),))
            self._note(found)

    def _erase(self, batch: Batch) -> Answer:
        return self._pass(batch, lambda b: operations.erase(self._connector(), b, self.lease))

    def _pass(self, batch: Batch, act: Callable[[Batch], Mapping[str, Answer | ConnectorError]]) -> Answer:
        while True:
            told = replace(batch.subjects[0], already_reported=dict(self.records))
            answer = act(Batch(batch.key, (told,)))[self.ref]
            if isinstance(answer, ConnectorError):
                self._note(answer)
                continue
            self.records.update(answer.records)
            if answer.kind is not AnswerKind.ACCEPTED or answer.look_again_at is None:
                return answer
            self._count_pass()
            wait = (answer.look_again_at - datetime.now(UTC)).total_seconds()
            assert wait <= _LONGEST_WAIT_SECONDS, "the org's delays are short here"
            time.sleep(max(0.0, wait))

    def _note(self, error: ConnectorError) -> None:
        self.errors.append(error)
        self._count_pass()
        # A client that waits as it is told; what is told in hours is for the next day.
        time.sleep(min(getattr(error, "retry_after_seconds", None) or 0.0, 0.05))

    def _count_pass(self) -> None:
        self.passes -= 1
        assert self.passes > 0, f"not over: {Counter(e.code for e in self.errors)}"

    def _connector(self) -> Any:
        return self.org.connect(self.policy, **self.changes)

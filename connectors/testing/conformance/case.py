"""One case: the people in the system, the connector's results, and the ground truth afterwards.

Decides what "erased", "untouched" and "truthful" mean to the suite. Everything that a connector says is kept, so that
each case ends with a search for canaries in it.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, TypeVar

import pytest
from pydantic import SecretStr

from connectors.base import operations
from connectors.base.errors import ConnectorError, TemporarilyUnavailable
from connectors.base.interface import Answers, Connector, Findings, Lease, Operation
from connectors.base.pacing import Pacer
from connectors.base.runner import Line, Outcome, Patience, run
from connectors.base.values import Answer, AnswerKind, Batch, Located
from connectors.testing.conformance.lease import SuiteLease
from connectors.testing.conformance.people import TestPerson, identifier, look_alikes, make_person
from connectors.testing.conformance.vendor_fixture import Need, RunningVendor, VendorFixture
from connectors.testing.sandbox.faults import Fault, FaultKind
from connectors.testing.sandbox.harness import Call, Result, Sandbox

Rows = dict[tuple[str, str], str]
_Said = TypeVar("_Said", bound=Mapping[str, Any])
PATIENCE = Patience(retries=4, pause=timedelta(milliseconds=1))
_MOST_TURNS = 60
_READING = ("GET", "HEAD")


class Case:
    """A running vendor with people in it.

    Use it as a context manager: it closes the connectors that it opened.
    """

    def __init__(self, vendor: VendorFixture, running: RunningVendor) -> None:
        self.vendor = vendor
        self.running = running
        self.own_rows: dict[str, Rows] = {}
        self.seeded: dict[str, TestPerson] = {}
        self.results: list[object] = []
        self._opened: list[Connector] = []
        self.reset()

    def __enter__(self) -> Case:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connector in self._opened:
            connector.close()
        self.heal()

    # The world

    def needs(self, *needs: Need) -> None:
        """Skip, with the fixture's own reason, if the system lacks what the case needs."""
        for need in needs:
            if need in self.vendor.lacks:
                pytest.skip(f"{self.vendor.name} lacks {need.value}: {self.vendor.lacks[need]}")

    def reset(self, options: Mapping[str, Any] | None = None) -> None:
        """An account without people."""
        self.heal()
        self.running.reset(options)
        self.own_rows.clear()

    def person(self, label: str, *, related: int | None = None) -> TestPerson:
        """A new person with an ordinary identifier; put them in with `seed`."""
        hanging = 2 if related is None else related
        return make_person(
            label, identifier(self.vendor.kind, label), related=0 if self.lacks(Need.RELATED) else hanging
        )

    def neighbours(self, of: TestPerson) -> list[TestPerson]:
        """Other people whom a careless search takes for this one."""
        return [
            make_person(f"neighbour-{n}-{of.ref}", other, related=1)
            for n, other in enumerate(look_alikes(of.identifier))
        ]

    def lacks(self, need: Need) -> bool:
        """True if the system has no such thing."""
        return need in self.vendor.lacks

    def seed(self, *people: TestPerson) -> None:
        """Put people in one by one, so that the suite knows which rows are whose."""
        after = self.rows()
        for person in people:
            before = after
            self.running.seed([person])
            after = self.rows()
            self.own_rows[person.ref] = {k: v for k, v in after.items() if k not in before}
            self.seeded[person.ref] = person
            changed = [k[0] for k, v in before.items() if after.get(k) != v]
            assert self.own_rows[person.ref], f"the fixture put nothing in for {person.ref}"
            assert not changed, f"the fixture changed other rows ({changed}) when it put {person.ref} in"

    def seed_with_neighbours(self, label: str = "ada", *, related: int | None = None) -> TestPerson:
        """One person among look-alikes."""
        person = self.person(label, related=related)
        self.seed(*self.neighbours(person), person)
        return person

    def rows(self) -> Rows:
        """The ground truth, comparable."""
        return {
            (str(row["object"]), str(row["id"])): json.dumps(row, sort_keys=True, ensure_ascii=False, default=str)
            for row in self.running.rows()
        }

    def peoples_rows(self) -> Rows:
        """Return the seeded rows of people that are still there, without a vendor's own records."""
        known = {key for own in self.own_rows.values() for key in own}
        return {key: row for key, row in self.rows().items() if key in known}

    # The connector

    def connect(self, **changes: Any) -> Connector:
        """A fresh instance, as in a fresh process."""
        return self.connect_paced(None, **changes)

    def connect_paced(self, pacer: Pacer | None, **changes: Any) -> Connector:
        """A fresh instance that asks this pacer before each call."""
        kind = self.vendor.connector()
        connector = kind(replace(kind.parse_system({**self.running.entry(), **changes}), pacer=pacer))
        self._opened.append(connector)
        return connector

    def run(
        self, *people: TestPerson, operation: Operation = Operation.ERASE, connector: Connector | None = None
    ) -> dict[str, Line]:
        """The whole way of these people, each one's ending by reference."""
        lines: dict[str, Line] = {}
        opened = connector or self.connect()
        subjects = [p.subject for p in people]
        run(
            opened,
            subjects,
            operation,
            self.vendor.wait,
            lambda line: lines.update({line.subject: line}),
            patience=PATIENCE,
        )
        self.results += lines.values()
        assert set(lines) == {p.ref for p in people}, "not everybody has an ending"
        return lines

    def can_locate(self, connector: Connector) -> bool:
        """True unless the connector declares that no search is needed.

        The cases then leave its search out.
        """
        return Operation.LOCATE in connector.declaration.operations

    def locate(self, connector: Connector, *people: TestPerson) -> Findings:
        """One pass of `locate`."""
        return self._keep(operations.locate(connector, self.batch(*people)))

    def erase(self, connector: Connector, batch: Batch, lease: Lease) -> Answers:
        """One pass of `erase`."""
        return self._keep(operations.erase(connector, batch, lease))

    def suppress(self, connector: Connector, batch: Batch, lease: Lease) -> Answers:
        """One pass of `suppress`."""
        return self._keep(operations.suppress(connector, batch, lease))

    def read_suppression(self, connector: Connector, batch: Batch) -> Answers:
        """One pass of `read_suppression`."""
        return self._keep(operations.read_suppression(connector, batch))

    def confirm(self, connector: Connector, batch: Batch) -> Answers:
        """One pass of `confirm_absence`."""
        return self._keep(operations.confirm_absence(connector, batch))

    def batch(self, *people: TestPerson, key: str = "conformance-1") -> Batch:
        """These people, nothing frozen but their identifiers."""
        return Batch(key, tuple(p.subject for p in people))

    def frozen(self, connector: Connector, *people: TestPerson) -> Batch:
        """These people with what `locate` found for them, as the engine freezes it."""
        batch = self.batch(*people)
        if not self.can_locate(connector):
            return batch
        found = self.locate(connector, *people)
        frozen = []
        for subject in batch.subjects:
            located = found[subject.ref]
            assert isinstance(located, Located), f"locate answered {located!r}"
            frozen.append(replace(subject, records=located.records))
        return Batch(batch.key, tuple(frozen))

    def erase_to_the_end(self, connector: Connector, batch: Batch, lease: Lease) -> Answers:
        """`erase`, and again as long as a vendor's job runs. No retries of errors, no look."""
        for _ in range(_MOST_TURNS):
            answers = self.erase(connector, batch, lease)
            unfinished = [a for a in answers.values() if isinstance(a, Answer) and a.resumes]
            if not unfinished:
                break
            sleep_until(unfinished)
        return answers

    def finish(self, connector: Connector, batch: Batch, lease: SuiteLease) -> Answers:
        """Erase under this key until no job runs and nothing new is found, then look: what an engine does."""
        for _ in range(_MOST_TURNS):
            answers = self.erase(connector, batch, lease)
            unfinished = [a for a in answers.values() if isinstance(a, Answer) and a.resumes]
            if unfinished or any(isinstance(a, TemporarilyUnavailable) for a in answers.values()):
                sleep_until(unfinished)
                continue
            grown = _grown(batch, answers)
            if grown is None:
                break
            batch, lease = grown, SuiteLease()
        sleep_until(a for a in answers.values() if isinstance(a, Answer))
        time.sleep(connector.delay("confirm_after").total_seconds())
        for _ in range(_MOST_TURNS):
            answers = self.confirm(connector, batch)
            purging = [a for a in answers.values() if isinstance(a, Answer) and a.kind is AnswerKind.ACCEPTED]
            if not purging:
                break
            sleep_until(purging)
        return answers

    def _keep(self, said: _Said) -> _Said:
        self.results += said.values()
        return said

    # Faults and the journal

    @property
    def sandbox(self) -> Sandbox:
        """The stand-in; only cases that need HTTP ask for it."""
        assert self.running.sandbox is not None
        return self.running.sandbox

    def breaks(self, *faults: Fault) -> None:
        """From now on these faults, and no others."""
        self.sandbox.faults = list(faults)

    def heal(self) -> None:
        """No faults, no watcher, no latency."""
        if self.running.sandbox is not None:
            self.running.sandbox.faults = []
            self.running.sandbox.latency_seconds = 0.0
            self.running.sandbox.__dict__.pop("handle", None)

    def status_fault(self, status: int, *, retry_after: str | None = None, times: int | None = None) -> Fault:
        """The vendor's own error form with that status."""
        body = self.vendor.error_body(status)
        return Fault(FaultKind.STATUS, status=status, retry_after=retry_after, times=times, body=body)

    def is_broken(self) -> bool:
        """True once a fault has struck."""
        return any(call["fault"] for call in self.sandbox.journal)

    def watch_changes(self, on_change: Callable[[str], None]) -> None:
        """Call `on_change(ref)` after each non-reading call that changed rows of a person."""
        whole = self.sandbox.handle
        inside = False

        def watched(call: Call) -> Result:
            nonlocal inside
            if inside or call.method in _READING:
                return whole(call)
            # A stand-in's job may carry its operations out through `handle` itself: they are part of this call.
            inside = True
            try:
                return judged(call)
            finally:
                inside = False

        def judged(call: Call) -> Result:
            before = self.rows()
            result = whole(call)
            after = self.rows()
            for ref, own in self.own_rows.items():
                if any(before.get(key) != after.get(key) for key in own):
                    on_change(ref)
            return result

        self.sandbox.__dict__["handle"] = watched

    # Conditions that must be true

    def residue(self, person: TestPerson) -> list[str]:
        """List a person's rows that are left: unchanged ones, and ones that still hold their personal data."""
        now = self.rows()
        same = {key for key, row in self.own_rows.get(person.ref, {}).items() if now.get(key) == row}
        names = [json.dumps(c, ensure_ascii=False)[1:-1].casefold() for c in person.canaries]
        told = {
            key
            for key, row in now.items()
            if not self._is_somebody_elses(key, person) and any(name in row.casefold() for name in names)
        }
        return sorted(f"{key[0]} {key[1]}" for key in same | told)

    def contacted(self, person: TestPerson) -> list[str]:
        """List a person's rows through which the vendor would still contact the person."""
        own = self.own_rows[person.ref]
        found = [(str(row["object"]), str(row["id"])) for row in self.running.rows() if self.vendor.is_contacted(row)]
        return sorted(f"{key[0]} {key[1]}" for key in found if key in own)

    def _is_somebody_elses(self, key: tuple[str, str], person: TestPerson) -> bool:
        return any(key in own for ref, own in self.own_rows.items() if ref != person.ref)

    def assert_gone(self, *people: TestPerson) -> None:
        """Nothing is left of these people, wherever the vendor keeps things."""
        for person in people:
            assert not (left := self.residue(person)), f"left of {person.ref}: {left}"

    def assert_untouched(self, *erased: TestPerson) -> None:
        """Every row of everybody else is as it was put in."""
        now, mine = self.rows(), {p.ref for p in erased}
        for ref, own in self.own_rows.items():
            if ref not in mine:
                changed = [f"{k[0]} {k[1]}" for k, row in own.items() if now.get(k) != row]
                assert not changed, f"somebody else was touched: {ref}: {changed}"

    def assert_ending(self, line: Line, *wanted: Outcome) -> None:
        """The person ended as they should."""
        assert line.outcome in wanted, f"{line.subject} ended as {line.outcome.value} ({line.reason})"

    def assert_truthful(self, line: Line, person: TestPerson) -> None:
        """Whatever went wrong: nobody is called erased or absent of whom something is left."""
        if line.outcome in (Outcome.ERASED_VERIFIED, Outcome.ABSENT):
            left = self.residue(person)
            assert not left, f"{person.ref} was called {line.outcome.value}, but there is {left}"

    def assert_silent(self, log: str) -> None:
        """Nothing personal stands in a log line or in the `repr` of anything that the connector said or is."""
        said = [
            log,
            *map(_printed, self.results),
            *(repr(vars(c.system)) for c in self._opened),
            *map(repr, self._opened),
        ]
        for person in self.seeded.values():
            for canary in person.canaries:
                for text in said:
                    assert canary not in text, f"personal data of {person.ref} was printed: {text[:40]}..."
        for connector in self._opened:
            for name, secret in connector.system.credentials:
                if isinstance(secret, SecretStr):
                    assert not any(secret.get_secret_value() in text for text in said), f"the {name} was printed"


def _printed(thing: object) -> str:
    if isinstance(thing, ConnectorError):
        return "".join(traceback.format_exception(thing)) + repr(thing)
    if isinstance(thing, Line):
        return repr(thing) + str(thing.reason)
    return f"{thing!r} {thing}"


def sleep_until(answers: Iterable[Answer]) -> None:
    """Until the latest of the times at which to look again."""
    times: Sequence[datetime] = [a.look_again_at for a in answers if a.look_again_at is not None]
    if times:
        time.sleep(max(0.0, (max(times) - datetime.now(UTC)).total_seconds()))


def _grown(batch: Batch, answers: Answers) -> Batch | None:
    """The next version of the plan, if something was found that isn't in this one."""
    grown = False
    subjects = []
    for subject in batch.subjects:
        answer = answers[subject.ref]
        found = answer.found.records if isinstance(answer, Answer) and answer.found is not None else ()
        new = tuple(r for r in found if r not in subject.records)
        grown = grown or bool(new)
        subjects.append(replace(subject, records=subject.records + new))
    return Batch(f"{batch.key}+", tuple(subjects)) if grown else None

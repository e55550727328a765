"""The resume token of a kit connector.

It holds what this batch began and finished per person, and the jobs that run.

One JSON form for all vendors. The token holds record ids, which can be personal, so only the lease stores it (the
engine encrypts it). It decides which effects count as this batch's own after a crash; it makes no call.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from connectors.base.errors import AnswerNotUnderstood, TemporarilyUnavailable
from connectors.base.interface import Lease
from connectors.base.toolkit.counting import unreported
from connectors.base.values import Record, Subject

_VERSION = 1
_Parsed = TypeVar("_Parsed")


class ResumeToken:
    """The token of one batch under its lease: read once, saved only when it changed."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._saved = lease.resume_token

    @property
    def is_new(self) -> bool:
        """True if nothing was saved yet."""
        return self._saved is None

    def read(self, parse: Callable[[bytes], _Parsed]) -> _Parsed | None:
        """Return the parsed token, or None without one.

        Raises AnswerNotUnderstood(`resume_token`) if parsing fails.
        """
        return None if self._saved is None else parsed(self._saved, parse)

    def save(self, token: bytes) -> None:
        """Store the token durably if it changed. Raises LeaseLost."""
        if token != self._saved:
            self._lease.save(token)
            self._saved = token


def parsed(token: bytes, parse: Callable[[bytes], _Parsed]) -> _Parsed:
    """Return what `parse` makes of a token.

    Raises AnswerNotUnderstood(`resume_token`) for one of another form.
    """
    try:
        return parse(token)
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error):
        raise AnswerNotUnderstood("resume_token") from None


def key_of(record: Record) -> str:
    """Return a record as the token names it: `<object>/<id>`."""
    return f"{record.object}/{record.id}"


@dataclass
class PersonProgress:
    """One person in one batch. `begun` and `done` hold record keys, `jobs` the record keys by job.

    `before`: the counts that were recorded when the batch began with the person. `refusals`: how often the vendor kept
    a record that it was told to erase. `earlier`: what an earlier attempt had begun, which isn't stored.
    """

    before: dict[str, int] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set, repr=False)
    done: set[str] = field(default_factory=set, repr=False)
    jobs: dict[str, set[str]] = field(default_factory=dict, repr=False)
    earlier: frozenset[str] = field(default=frozenset(), repr=False)
    refusals: int = 0

    def settle(self, present: Collection[str]) -> None:
        """Count what was begun and is no longer present as done: the answer was lost, not the effect."""
        self.done |= self.begun - set(present)
        self.begun &= set(present)

    def begin(self, records: Iterable[Record]) -> None:
        """Note records before their effect.

        Save before the effect: afterwards nothing else says that they existed.
        """
        self.begun |= {key_of(record) for record in records}

    def assume(self, records: Iterable[Record]) -> None:
        """Note records whose effect may have happened although no answer says so, as in a lost job."""
        self.begin(records)
        self.earlier |= {key_of(record) for record in records}

    def finish(self, record: Record, *, was_there: bool) -> None:
        """Note a record after its effect.

        It counts if the vendor had it, or if an earlier attempt began with it.
        """
        key = key_of(record)
        if was_there or key in self.earlier:
            self.done.add(key)
        self.begun.discard(key)

    def reopen(self, present: Iterable[str]) -> None:
        """Note that records which were erased by the vendor's word are still there."""
        again = self.done & set(present)
        self.begun |= again
        self.done -= again

    def stop(self) -> None:
        """Take back all that this attempt began and didn't finish, because no call about it was made."""
        self.begun &= self.earlier

    def leave(self, records: Iterable[Record]) -> None:
        """Take back some records that this attempt began and didn't touch."""
        self.begun -= {key_of(record) for record in records} - self.earlier

    def counts(self, subject: Subject) -> dict[str, int]:
        """Return the records per object that no recorded answer has reported yet."""
        return unreported(Counter(key.partition("/")[0] for key in self.done), self.before, subject.already_reported)


class Progress:
    """All people of one batch under its lease. Used by one thread.

    `own`: what a connector keeps for the batch beside that, as JSON values; an empty one isn't stored.
    Raises AnswerNotUnderstood(`resume_token`) for a token of another form or version.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._token = ResumeToken(lease)
        self._people: dict[str, PersonProgress] = {}
        self.own: dict[str, Any] = {}
        self._token.read(lambda token: self._load(json.loads(token)))

    def of(self, subject: Subject) -> PersonProgress:
        """Return the person's progress; the batch begins with the person now if it hasn't before."""
        return self._people.setdefault(subject.ref, PersonProgress(before=dict(subject.already_reported)))

    def require_permission(self, subject: Subject) -> None:
        """Ask the lease right before one effect. Raises TemporarilyUnavailable(`stopped`) and LeaseLost."""
        if not self._lease.may_proceed(subject.ref):
            raise TemporarilyUnavailable("stopped")

    def save(self) -> None:
        """Store the token durably if it changed. Raises LeaseLost."""
        people = {
            ref: {
                "before": person.before,
                "begun": sorted(person.begun),
                "done": sorted(person.done),
                "jobs": {job: sorted(keys) for job, keys in person.jobs.items()},
            }
            | ({"refusals": person.refusals} if person.refusals else {})
            for ref, person in self._people.items()
            if person.begun or person.done or person.jobs or person.refusals
        }
        if not people and not self.own and self._token.is_new:
            return
        state = {"version": _VERSION, "people": people} | ({"own": self.own} if self.own else {})
        self._token.save(json.dumps(state, separators=(",", ":")).encode())

    def _load(self, token: Mapping[str, Any]) -> None:
        if token["version"] != _VERSION:
            raise ValueError("the token is of another version")
        self.own = dict(token.get("own", {}))
        for ref, saved in token["people"].items():
            begun = {str(key) for key in saved["begun"]}
            self._people[ref] = PersonProgress(
                before={str(name): int(count) for name, count in saved["before"].items()},
                begun=begun,
                done={str(key) for key in saved["done"]},
                jobs={str(job): {str(key) for key in keys} for job, keys in saved["jobs"].items()},
                earlier=frozenset(begun),
                refusals=int(saved.get("refusals", 0)),
            )

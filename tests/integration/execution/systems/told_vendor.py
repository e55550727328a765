"""A vendor that is told e-mail addresses and erases what stands under exactly these, and one that must be searched.

Their connectors arrive through the registry, like any other's. The first declares no search at all: whoever asks it for
one fails. Everything that a vendor hears is kept.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import timedelta

from connectors.base.config import NoPolicy
from connectors.base.errors import TemporarilyUnavailable
from connectors.base.interface import Answers, Connector, Declaration, Delays, ErasesBy, Findings, Lease, Operation
from connectors.base.values import Answer, Batch, Identifier, Left, Located, Record, Subject, Visibility

_TOLD = frozenset({Operation.ERASE, Operation.CONFIRM})
TOLD = Declaration(
    name="told",
    identifier_kinds=frozenset({"email"}),
    operations=_TOLD,
    erases_by=ErasesBy.IDENTIFIERS,
    max_subjects_per_call=dict.fromkeys(Operation, 50),
    delays=Delays(confirm_after=timedelta(0), poll_every=timedelta(0)),
    searches_first=False,
    suppress_first=False,
)
TOLD_TO_STOP = replace(
    TOLD,
    name="told_to_stop",
    operations=_TOLD | {Operation.SUPPRESS},
    suppress_first=True,
    suppression_scopes=frozenset({"do_not_contact:email"}),
)
READ_BACK = replace(
    TOLD_TO_STOP,
    name="read_back",
    operations=TOLD_TO_STOP.operations | {Operation.READ_SUPPRESSION},
    suppression_scopes=frozenset({"do_not_contact:email", "do_not_sell"}),
)
SEARCHED = replace(TOLD, name="searched", operations=_TOLD | {Operation.LOCATE}, searches_first=True)


@dataclass
class Vendor:
    """Who is known under which address, who was suppressed, and (operation, addresses) of everything heard.

    `written_again`: addresses under which somebody writes anew right after they were erased, so many times.
    `forgets`: so many suppressions are answered without an effect. `scopes`: those of each suppressed address.
    """

    people: dict[str, int] = field(default_factory=dict)
    suppressed: set[str] = field(default_factory=set)
    heard: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    written_again: dict[str, int] = field(default_factory=dict)
    forgets: int = 0
    scopes: dict[str, frozenset[str]] = field(default_factory=dict)

    def operations(self) -> list[str]:
        """What was asked, in order."""
        return [operation for operation, _ in self.heard]


VENDORS: defaultdict[str, Vendor] = defaultdict(Vendor)


class ToldConnector(Connector):
    """Keeps the rules of the interface in memory."""

    declaration = TOLD
    Credentials = NoPolicy
    base_url_schemes = frozenset({"memory"})

    def check_credentials(self) -> Visibility:
        return Visibility("control_record")

    def suppress(self, batch: Batch, lease: Lease) -> Answers:
        self._hear("suppress", batch)
        for subject in batch.subjects:
            if self._vendor.forgets:
                self._vendor.forgets -= 1
            elif lease.may_proceed(subject.ref):
                self._vendor.suppressed |= set(subject.values("email"))
                self._vendor.scopes |= dict.fromkeys(subject.values("email"), self.wanted_scopes(subject))
        return {s.ref: Answer.suppressed() for s in batch.subjects}

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        self._hear("erase", batch)
        return {s.ref: self._erased(s, lease) for s in batch.subjects}

    def confirm_absence(self, batch: Batch) -> Answers:
        self._hear("confirm", batch)
        return {s.ref: self._looked(s) for s in batch.subjects}

    @property
    def _vendor(self) -> Vendor:
        return VENDORS[self.system.name]

    def _hear(self, operation: str, batch: Batch) -> None:
        self._vendor.heard.append((operation, frozenset(e for s in batch.subjects for e in s.values("email"))))

    def _erased(self, subject: Subject, lease: Lease) -> Answer | TemporarilyUnavailable:
        if not lease.may_proceed(subject.ref):
            return TemporarilyUnavailable("stopped")
        gone = sum(self._vendor.people.pop(email, 0) for email in subject.values("email"))
        for email in subject.values("email"):
            if self._vendor.written_again.get(email, 0) > 0:
                self._vendor.written_again[email] -= 1
                self._vendor.people[email] = 1
        return Answer.erased({"person": gone}) if gone else Answer.already_absent()

    def _looked(self, subject: Subject) -> Answer:
        there = [email for email in subject.values("email") if email in self._vendor.people]
        if not there:
            return Answer.already_absent()
        records = tuple(Record("person", email) for email in there)
        return Answer.partial(tuple(Left(r.object, r.id, "still_there") for r in records), found=Located(records))


class ToldToStopConnector(ToldConnector):
    """Is told first whom not to contact."""

    declaration = TOLD_TO_STOP


class ReadBackConnector(ToldToStopConnector):
    """Can be asked whom it contacts no more."""

    declaration = READ_BACK

    def read_suppression(self, batch: Batch) -> Answers:
        self._hear("read_suppression", batch)
        return {s.ref: self._read(s) for s in batch.subjects}

    def _read(self, subject: Subject) -> Answer:
        known = [e for e in subject.values("email") if e in self._vendor.people]
        if not known:
            return Answer.already_absent()
        wanted = self.wanted_scopes(subject)
        stopped = all(wanted <= self._vendor.scopes.get(e, frozenset()) for e in known)
        return Answer.suppressed() if stopped else Answer.not_suppressed()


class SearchedConnector(ToldConnector):
    """The same vendor, searched first."""

    declaration = SEARCHED

    def locate(self, batch: Batch) -> Findings:
        self._hear("locate", batch)
        return {
            s.ref: Located(counts={"person": sum(self._vendor.people.get(e, 0) for e in s.values("email"))})
            for s in batch.subjects
        }


CONNECTORS: dict[str, type[Connector]] = {
    kind.declaration.name: kind for kind in (ToldConnector, ToldToStopConnector, ReadBackConnector, SearchedConnector)
}


def email(name: str) -> Identifier:
    """A person's address."""
    return Identifier("email", f"{name}@example.test")

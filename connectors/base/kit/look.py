"""Find a person's records, and say what was found.

Erasure by record and erasure by job share this part. It decides that only exact matches count, that a record in two
plans is ambiguous, that a record outside the plan is reported and not touched, and that absence needs every look to
answer. `find`, `show` and `carried` may be overridden where a vendor differs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

from connectors.base.config import SystemConfig
from connectors.base.errors import AnswerNotUnderstood, ConnectorError, CredentialsRefused, RequestRefused
from connectors.base.interface import Answers, Connector, Findings
from connectors.base.kit.calls import Call, Gone, Search, text_of, value_at, values_at
from connectors.base.kit.people import concerns_all, each_person
from connectors.base.toolkit.http import VendorClient
from connectors.base.toolkit.letters import in_one_case
from connectors.base.values import Answer, Batch, Identifier, Left, Located, Record, Subject, Visibility

_Got = TypeVar("_Got")

Row = Mapping[str, Any]
Rows = dict[Record, Row]


@dataclass(frozen=True, slots=True)
class Root:
    """The record that is a person at the vendor.

    `found_by`: one search per identifier kind. `show`: the call for one record by its id, or a search that takes ids.
    Both are left out by a connector with a `look` of its own. `gone`: how a call about one record says that there is
    none; only a vendor without such calls leaves it out. `carries`: where a row holds identifiers, by kind; the
    identity graph checks whose they are. `id`: where a row holds its id. Raises ValueError for a call without `gone`.
    """

    object: str
    found_by: Mapping[str, Search] = field(default_factory=dict)
    show: Call | Search | None = None
    gone: Gone | None = None
    carries: Mapping[str, str] = field(default_factory=dict)
    id: str = "id"

    def __post_init__(self) -> None:
        if isinstance(self.show, Call) and self.gone is None:
            raise ValueError(f"{self.object}: a call by id needs `gone`, because a bare 404 proves nothing")


@dataclass(frozen=True)
class Look:
    """The result of one look at one person.

    `rows`: root rows by record; `planned`: root records of the frozen plan. `not_covered`: codes for `Located`.
    `attached`: records that no plan holds, which the vendor itself links to a planned root.
    """

    rows: Rows = field(repr=False)
    planned: frozenset[Record] = field(repr=False)
    not_covered: tuple[str, ...] = ()
    attached: frozenset[Record] = field(default=frozenset(), repr=False)

    @property
    def known(self) -> list[Record]:
        """Records that are present and in the plan, or attached to it, sorted.

        The only ones that may be erased.
        """
        return sorted((self.planned | self.attached) & set(self.rows))

    @property
    def new(self) -> Rows:
        """Rows that the plan doesn't hold."""
        own = self.planned | self.attached
        return {record: row for record, row in self.rows.items() if record not in own}


Looks = dict[str, Look | ConnectorError]
"""By `Subject.ref`: the look, or the error that concerns this person only."""


class KitConnector(Connector):
    """A connector of declared calls.

    A subclass gives `declaration`, `Credentials`, `root`, `client` and `control`.
    """

    root: ClassVar[Root]

    def __init__(self, system: SystemConfig) -> None:
        super().__init__(system)
        self.http = self.client(system)

    @abstractmethod
    def client(self, system: SystemConfig) -> VendorClient:
        """Return the vendor's HTTP client.

        It is `VendorClient.for_system` with credentials, headers and error codes.
        """

    @abstractmethod
    def control(self) -> Identifier:
        """Return the identifier of the control record: a record kept so that a look can prove that it sees."""

    @property
    def calls(self) -> int:
        """HTTP calls made so far."""
        return self.http.calls

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    # Methods that a vendor may override

    def begin_pass(self) -> None:
        """Read what the looks of a whole pass share. Called once at the start of each operation."""

    def find(self, identifier: Identifier) -> Rows:
        """Return the root rows that hold exactly this identifier."""
        rows = self.root.found_by[identifier.kind].all(self.http, identifier.value)
        return {self.record(self.id_of(row)): row for row in rows}

    def show(self, record_id: str) -> Row | None:
        """Return one root row by its id; None only if the vendor itself says that there is none."""
        show, gone = self.root.show, self.root.gone
        if isinstance(show, Search):
            return next(iter(show.all(self.http, record_id)), None)
        assert show is not None
        assert gone is not None
        reply = show.send(self.http, record_id, also=(gone.status,))
        if gone.says(reply):
            return None
        if not isinstance(reply.body, dict) or self.id_of(reply.body) != record_id:
            raise AnswerNotUnderstood("other_record")
        return reply.body

    def carried(self, record: Record, row: Row) -> tuple[Identifier, ...]:
        """Return every identifier in a root row."""
        values = ((kind, value) for kind, path in self.root.carries.items() for value in values_at(row, path))
        return tuple(
            Identifier(kind, value.strip()) for kind, value in values if isinstance(value, str) and value.strip()
        )

    def comparable(self, identifier: Identifier) -> str:
        """Return a value's form in which two equal identifiers of a kind are equal: without regard to case."""
        return in_one_case(identifier.value)

    def protected(self, record: Record, row: Row) -> str | None:
        """Return the reason why a record must never be erased, a code, or None."""
        return None

    def is_own(self, subject: Subject, identifier: Identifier) -> bool:
        """True if the identifier is one of the person's."""
        value = self.comparable(identifier)
        return any(own.kind == identifier.kind and self.comparable(own) == value for own in subject.identifiers)

    def concerns_all(self, error: ConnectorError) -> bool:
        """True for an error that ends the pass for all people."""
        return concerns_all(error)

    def look(self, subject: Subject) -> Look:
        """Search by every identifier, then ask for each planned id that no search found."""
        planned = self.planned(subject)
        rows: Rows = {}
        for identifier in subject.identifiers:
            if identifier.kind in self.root.found_by:
                rows |= self.find(identifier)
        for record in sorted(planned - set(rows)):
            row = self.show(record.id)
            if row is not None:
                rows[record] = row
        return Look(rows, planned)

    def look_at(self, people: Sequence[Subject]) -> Looks:
        """Look for every person. Overridden by a vendor that shows many people in one call."""
        return self.each_person(people, self.look)

    def look_further(self, people: Sequence[Subject], looks: Mapping[str, Look]) -> None:
        """Read what `confirmed` needs beside the looks, for many people in one call."""

    def conclude_absence(self, subject: Subject, look: Look) -> Answer:
        """Return the answer for a person of whom a look found nothing."""
        return Answer.already_absent()

    # The rules, the same for every vendor

    def check_credentials(self) -> Visibility:
        """Find the control record by the same search and by the same id call that absence is concluded from.

        Raises CredentialsRefused(`no_visibility`) if one of the two doesn't show it.
        """
        found = self.find(self.control())
        if not found or any(self.show(record.id) is None for record in sorted(found)[:1]):
            raise CredentialsRefused("no_visibility")
        return Visibility("control_record")

    def locate(self, batch: Batch) -> Findings:
        """Search by every identifier; several people at a time if the declaration says so."""
        people, others = self.addressable(batch)
        findings: dict[str, Located | ConnectorError] = {ref: RequestRefused("not_addressable") for ref in others}
        return findings | self.after_look(people, self._located_by_look)

    def confirm_absence(self, batch: Batch) -> Answers:
        """Look again by every identifier and every record id of the plan."""
        people, others = self.addressable(batch)
        answers: dict[str, Answer | ConnectorError] = dict.fromkeys(others, Answer.not_addressable())
        return answers | self.after_look(people, self.confirmed, self.look_further)

    def planned(self, subject: Subject) -> frozenset[Record]:
        """Return the root records of the person's plan."""
        return frozenset(self.record(record_id) for record_id in subject.record_ids(self.root.object))

    def is_addressable(self, subject: Subject) -> bool:
        """True if the person has a planned record or an identifier that a search takes."""
        return bool(self.planned(subject)) or any(
            identifier.kind in self.declaration.identifier_kinds and identifier.value
            for identifier in subject.identifiers
        )

    def looks(self, batch: Batch) -> tuple[dict[str, Look], dict[str, Answer | ConnectorError]]:
        """Look for every person of a batch that is to be erased.

        Returns the looks of the people who may be erased, and the answers of the others: not addressable, an error of
        that person's look, or ambiguous because a record is protected or another plan of the batch holds it, too.
        """
        people, others = self.addressable(batch)
        answers: dict[str, Answer | ConnectorError] = dict.fromkeys(others, Answer.not_addressable())
        shared = self.shared(batch)
        answers |= {ref: Answer.ambiguous("shared_record", left=left) for ref, left in shared.items()}
        alone = [subject for subject in people if subject.ref not in answers]
        looks: dict[str, Look] = {}
        for ref, look in self.look_at(alone).items():
            if isinstance(look, ConnectorError):
                answers[ref] = look
            else:
                looks[ref] = look
        owners = Counter(record for look in looks.values() for record in look.known)
        for ref, look in list(looks.items()):
            kept = {r: reason for r, row in look.rows.items() if (reason := self.protected(r, row))}
            kept |= {record: "shared_record" for record in look.known if owners[record] > 1}
            if kept:
                left = tuple(Left(record.object, record.id, kept[record]) for record in sorted(kept))
                answers[ref] = Answer.ambiguous(left[0].reason, left=left)
                del looks[ref]
        return looks, answers

    def left_in(self, look: Look) -> tuple[Left, ...]:
        """Return what the look still found: planned records, and new ones that no plan holds."""
        return self.left(look.known, "still_there") + self.left(look.new, "not_in_plan")

    def left(self, records: Iterable[Record], reason: str) -> tuple[Left, ...]:
        """Return records as what is left, with the reason."""
        return tuple(Left(record.object, record.id, reason) for record in sorted(records))

    def located(self, subject: Subject, rows: Rows) -> Located:
        """Return root rows as a finding, with the identifiers in them that aren't the person's own."""
        carried = dict.fromkeys(i for record, row in rows.items() for i in self.carried(record, row))
        return Located(
            records=tuple(sorted(rows)),
            counts=dict(Counter(record.object for record in sorted(rows))),
            identifiers=tuple(i for i in carried if not self.is_own(subject, i)),
        )

    def record(self, record_id: str) -> Record:
        """Return the root record of that id."""
        return Record(self.root.object, record_id)

    def id_of(self, row: Row) -> str:
        """Return a root row's id. Raises AnswerNotUnderstood."""
        return text_of(value_at(row, self.root.id), self.root.id)

    def after_look(
        self,
        people: Sequence[Subject],
        conclude: Callable[[Subject, Look], _Got],
        further: Callable[[Sequence[Subject], Mapping[str, Look]], None] | None = None,
        *,
        at_most: int | None = None,
    ) -> dict[str, _Got | ConnectorError]:
        """Look for everybody, then conclude person by person."""
        self.begin_pass()
        looks: dict[str, Look] = {}
        answers: dict[str, _Got | ConnectorError] = {}
        for ref, look in self.look_at(people).items():
            if isinstance(look, ConnectorError):
                answers[ref] = look
            else:
                looks[ref] = look
        seen = [person for person in people if person.ref in looks]
        if further is not None:
            further(seen, looks)
        return answers | self.each_person(seen, lambda person: conclude(person, looks[person.ref]), at_most=at_most)

    def each_person(
        self, people: Sequence[Subject], act: Callable[[Subject], _Got], *, at_most: int | None = None
    ) -> dict[str, _Got | ConnectorError]:
        """Act for each person, as many at a time as the declaration says; see `people.each_person`."""
        at_most = self.max_concurrent_people if at_most is None else at_most
        return each_person(people, act, at_most=at_most, concerns_all=self.concerns_all)

    def addressable(self, batch: Batch) -> tuple[list[Subject], list[str]]:
        """Return the people who can be looked for, and the refs of the others."""
        people = [subject for subject in batch.subjects if self.is_addressable(subject)]
        return people, [subject.ref for subject in batch.subjects if subject not in people]

    def _located_by_look(self, subject: Subject, look: Look) -> Located:
        found = self.located(subject, look.rows)
        return replace(found, not_covered=found.not_covered + look.not_covered) if look.not_covered else found

    def confirmed(self, subject: Subject, look: Look) -> Answer:
        """Return the answer of `confirm_absence` for one person."""
        left = self.left_in(look)
        if not left:
            return self.conclude_absence(subject, look)
        return Answer.partial(left, found=self.located(subject, look.new) if look.new else None)

    def shared(self, batch: Batch) -> dict[str, tuple[Left, ...]]:
        """Return the records that the plans of several people hold, by `Subject.ref`."""
        people = batch.subjects
        owners = Counter(record for person in people for record in self.planned(person))
        shared = {record for record, count in owners.items() if count > 1}
        return {
            person.ref: self.left(records, "shared_record")
            for person in people
            if (records := shared & self.planned(person))
        }

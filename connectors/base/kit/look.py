"""Find a person's records, and say what was found: the part that erasure by record and erasure by job share.

Decides that only exact matches count, that a record in two plans is ambiguous, that a record outside the
plan is reported and not touched, and that absence needs every look to answer. `find`, `show` and `carried` may be
overridden where a vendor differs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from connectors.base.config import SystemConfig
from connectors.base.errors import AnswerNotUnderstood, ConnectorError, CredentialsRefused
from connectors.base.interface import Answers, Connector, Findings
from connectors.base.kit.calls import Call, Gone, Search, text_of, value_at, values_at
from connectors.base.kit.people import each_person
from connectors.base.kit.progress import key_of
from connectors.base.toolkit.http import VendorClient
from connectors.base.toolkit.letters import in_one_case
from connectors.base.values import Answer, Batch, Identifier, Left, Located, Record, Subject, Visibility

Row = Mapping[str, Any]
Rows = dict[str, Row]


@dataclass(frozen=True, slots=True)
class Root:
    """The record that is a person at the vendor.

    `found_by`: one search per identifier kind. `show`: the call for one record by its id, or a search that takes ids.
    `gone`: how a call about one record says that there is none; only a vendor without such calls leaves it out.
    `carries`: where a row holds identifiers, by kind; the identity graph checks whose they are. `id`: where a row
    holds its id. Raises ValueError for a call without `gone`.
    """

    object: str
    found_by: Mapping[str, Search]
    show: Call | Search
    gone: Gone | None = None
    carries: Mapping[str, str] = field(default_factory=dict)
    id: str = "id"

    def __post_init__(self) -> None:
        if isinstance(self.show, Call) and self.gone is None:
            raise ValueError(f"{self.object}: a call by id needs `gone`, because a bare 404 proves nothing")


@dataclass(frozen=True)
class Look:
    """What one look found of one person. `rows`: root rows by id; `planned`: ids in the frozen plan."""

    rows: Rows = field(repr=False)
    planned: frozenset[str] = field(repr=False)

    @property
    def known(self) -> list[str]:
        """Ids that are in the plan and present, sorted: the only ones that may be erased."""
        return sorted(self.planned & set(self.rows))

    @property
    def new(self) -> Rows:
        """Rows that the plan doesn't hold."""
        return {record_id: row for record_id, row in self.rows.items() if record_id not in self.planned}


class KitConnector(Connector):
    """A connector of declared calls. A subclass gives `declaration`, `Credentials`, `root`, `client` and `control`."""

    root: ClassVar[Root]

    def __init__(self, system: SystemConfig) -> None:
        super().__init__(system)
        self.http = self.client(system)

    @abstractmethod
    def client(self, system: SystemConfig) -> VendorClient:
        """Return the vendor's HTTP client: `VendorClient.for_system` with credentials, headers and error codes."""

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

    # What a vendor may do in another way

    def find(self, identifier: Identifier) -> Rows:
        """Return the root rows that hold exactly this identifier, by id."""
        rows = self.root.found_by[identifier.kind].all(self.http, identifier.value)
        return {self.id_of(row): row for row in rows}

    def show(self, record_id: str) -> Row | None:
        """Return one root row by its id; None only if the vendor itself says that there is none."""
        show, gone = self.root.show, self.root.gone
        if isinstance(show, Search):
            return next(iter(show.all(self.http, record_id)), None)
        assert gone is not None
        reply = show.send(self.http, record_id, also=(gone.status,))
        if gone.says(reply):
            return None
        if not isinstance(reply.body, dict) or self.id_of(reply.body) != record_id:
            raise AnswerNotUnderstood("other_record")
        return reply.body

    def carried(self, row: Row) -> tuple[Identifier, ...]:
        """Return every identifier in a root row."""
        values = ((kind, value) for kind, path in self.root.carries.items() for value in values_at(row, path))
        return tuple(
            Identifier(kind, value.strip()) for kind, value in values if isinstance(value, str) and value.strip()
        )

    # The rules, the same for every vendor

    def check_credentials(self) -> Visibility:
        """Find the control record by the same search and by the same id call that absence is concluded from.

        Raises CredentialsRefused(`no_visibility`) if one of the two doesn't show it.
        """
        found = self.find(self.control())
        if not found or any(self.show(record_id) is None for record_id in sorted(found)[:1]):
            raise CredentialsRefused("no_visibility")
        return Visibility("control_record")

    def locate(self, batch: Batch) -> Findings:
        """Search by every identifier; several people at a time if the declaration says so."""
        return each_person(batch.subjects, self._located_by_search, at_most=self.max_concurrent_people)

    def confirm_absence(self, batch: Batch) -> Answers:
        """Look again by every identifier and every record id of the plan."""
        return each_person(batch.subjects, self._confirmed, at_most=self.max_concurrent_people)

    def look(self, subject: Subject) -> Look:
        """Search by every identifier, then ask for each planned id that no search found."""
        planned = frozenset(subject.record_ids(self.root.object))
        rows: Rows = {}
        for identifier in subject.identifiers:
            if identifier.kind in self.root.found_by:
                rows |= self.find(identifier)
        for record_id in sorted(planned - set(rows)):
            row = self.show(record_id)
            if row is not None:
                rows[record_id] = row
        return Look(rows, planned)

    def is_addressable(self, subject: Subject) -> bool:
        """True if the person has a planned record or an identifier that a search takes."""
        return bool(subject.record_ids(self.root.object)) or any(
            identifier.kind in self.root.found_by for identifier in subject.identifiers
        )

    def looks(self, batch: Batch) -> tuple[dict[str, Look], dict[str, Answer | ConnectorError]]:
        """Look for every person of a batch that is to be erased.

        Returns the looks of the people who may be erased, and the answers of the others: not addressable, an error of
        that person's look, or ambiguous because another plan of the batch holds the same record.
        """
        people = [subject for subject in batch.subjects if self.is_addressable(subject)]
        answers: dict[str, Answer | ConnectorError] = {
            subject.ref: Answer.not_addressable() for subject in batch.subjects if not self.is_addressable(subject)
        }
        shared = self._shared(people)
        answers |= {ref: Answer.ambiguous("shared_record", left=left) for ref, left in shared.items()}
        alone = [subject for subject in people if subject.ref not in answers]
        looks: dict[str, Look] = {}
        for ref, look in each_person(alone, self.look, at_most=self.max_concurrent_people).items():
            if isinstance(look, ConnectorError):
                answers[ref] = look
            else:
                looks[ref] = look
        return looks, answers

    def left_in(self, look: Look) -> tuple[Left, ...]:
        """Return what the look still found: planned records, and new ones that no plan holds."""
        return self.left(look.known, "still_there") + self.left(look.new, "not_in_plan")

    def left(self, record_ids: Collection[str], reason: str) -> tuple[Left, ...]:
        """Return root records as what is left, with the reason."""
        return tuple(Left(self.root.object, record_id, reason) for record_id in sorted(record_ids))

    def located(self, subject: Subject, rows: Rows) -> Located:
        """Return root rows as a finding, with the identifiers in them that aren't the person's own."""
        own = {(i.kind, in_one_case(i.value)) for i in subject.identifiers}
        carried = dict.fromkeys(identifier for row in rows.values() for identifier in self.carried(row))
        return Located(
            records=tuple(self.record(record_id) for record_id in sorted(rows)),
            counts={self.root.object: len(rows)} if rows else {},
            identifiers=tuple(i for i in carried if (i.kind, in_one_case(i.value)) not in own),
        )

    def record(self, record_id: str) -> Record:
        """Return the root record of that id."""
        return Record(self.root.object, record_id)

    def key(self, record_id: str) -> str:
        """Return the root record of that id as the resume token names it."""
        return key_of(self.record(record_id))

    def id_of(self, row: Row) -> str:
        """Return a root row's id. Raises AnswerNotUnderstood."""
        return text_of(value_at(row, self.root.id), self.root.id)

    def _located_by_search(self, subject: Subject) -> Located:
        return self.located(subject, self.look(subject).rows)

    def _confirmed(self, subject: Subject) -> Answer:
        if not self.is_addressable(subject):
            return Answer.not_addressable()
        look = self.look(subject)
        left = self.left_in(look)
        if not left:
            return Answer.already_absent()
        return Answer.partial(left, found=self.located(subject, look.new) if look.new else None)

    def _shared(self, people: Collection[Subject]) -> dict[str, tuple[Left, ...]]:
        owners = Counter(record_id for person in people for record_id in person.record_ids(self.root.object))
        shared = {record_id for record_id, count in owners.items() if count > 1}
        return {
            person.ref: self.left(ids, "shared_record")
            for person in people
            if (ids := shared & set(person.record_ids(self.root.object)))
        }

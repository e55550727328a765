"""Find the rows of many people in temporary tables of one transaction, and which of them may go.

Decides what is asked in which order, and reads the answers; `staging_statements` decides whose a row is. Doesn't decide
what happens to a row, nor the person's answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from connectors.base.values import Identifier, Subject
from connectors.warehouse.layout import Table
from connectors.warehouse.session import Session
from connectors.warehouse.spelling import comparable, spellings, trimmed
from connectors.warehouse.staging_statements import Statements


@dataclass(frozen=True)
class FoundRow:
    """One row of a person. `others`: identifiers that it carries and that aren't the person's."""

    table: str
    key: str = field(repr=False)
    others: tuple[Identifier, ...] = field(default=(), repr=False)


class Staging:
    """One look. Live only inside the session's transaction in which it was made.

    `one_by_one`: each person is looked at alone (whose is this row?). Otherwise a row is clear when every identifier
    that it carries belongs to *some* person of the look: people who are erased together may share a row.
    """

    def __init__(
        self, session: Session, statements: Statements, people: Sequence[Subject], *, one_by_one: bool
    ) -> None:
        self._session = session
        self._statements = statements
        self._layout = statements.layout
        self._one_by_one = one_by_one
        self._own = {
            s.ref: {comparable(Identifier(i.kind, form)) for i in s.identifiers for form in spellings(i)}
            for s in people
        }
        self._load_wanted(people)

    def find(self, people: Sequence[Subject], *, heed_plan: bool) -> None:
        """Stage hits and unclear rows. `heed_plan`: rows that the frozen plan names aren't unclear any more."""
        self._load_planned(people if heed_plan else ())
        for n in self._layout.parents_first:
            table = self._layout.tables[n]
            self._session.run(self._statements.create_hit(table))
            self._session.run(self._statements.create_row(table))
        for table in self._layout.tables:
            self._session.run(self._statements.create_unclear(table, one_by_one=self._one_by_one))

    def choose(self) -> None:
        """Stage which rows may go. After `find`."""
        for n in self._layout.parents_first:
            self._session.run(self._statements.create_clear(self._layout.tables[n]))
        for n in reversed(self._layout.parents_first):
            self._session.run(self._statements.create_going(self._layout.tables[n]))

    def counts(self, stage: str, tables: Sequence[Table] | None = None) -> dict[str, dict[str, int]]:
        """Count rows per person and table name in one of the stages `hit`, `unclear`, `going`."""
        found: dict[str, dict[str, int]] = {}
        for table in self._layout.tables if tables is None else tables:
            for ref, n in self._session.rows(self._statements.count(stage, table)):
                found.setdefault(ref, {})[table.name] = n
        return found

    def listed(self, table: Table, stage: str, *, at_most: int) -> dict[str, list[FoundRow]]:
        """List a stage's rows by person, at most so many each, with identifiers of other people on them."""
        kinds = [kind for kind, _ in table.policy.identifier_columns]
        found: dict[str, list[FoundRow]] = {}
        for ref, key, *values, _ in self._session.rows(self._statements.list_rows(stage, table, at_most)):
            others = self._others(ref, zip(kinds, values, strict=True))
            found.setdefault(ref, []).append(FoundRow(table.name, key or "", others))
        return found

    def parents_identifiers(self, table: Table) -> dict[str, set[Identifier]]:
        """List identifiers of the rows, not the person's, on which unclear rows of this table hang."""
        found: dict[str, set[Identifier]] = {}
        for above, statement in self._statements.list_parents(table, one_by_one=self._one_by_one):
            kinds = [kind for kind, _ in above.policy.identifier_columns]
            for ref, *values in self._session.rows(statement):
                found.setdefault(ref, set()).update(self._others(ref, zip(kinds, values, strict=True)))
        return found

    def _others(self, ref: str, carried: Iterator[tuple[str, str | None]]) -> tuple[Identifier, ...]:
        named = [Identifier(kind, trimmed(value)) for kind, value in carried if value is not None and trimmed(value)]
        return tuple(dict.fromkeys(i for i in named if comparable(i) not in self._own[ref]))

    def _load_wanted(self, people: Sequence[Subject]) -> None:
        given: Mapping[str, list[str]] = {"ref": [], "kind": [], "exact": []}
        for subject in people:
            for identifier in subject.identifiers:
                for spelling in spellings(identifier):
                    for column, value in zip(given, (subject.ref, identifier.kind, spelling), strict=True):
                        given[column].append(value)
        self._session.run(self._statements.create_wanted())
        self._session.run(self._statements.fill_wanted(), given)
        self._session.run(self._statements.analyze_wanted())

    def _load_planned(self, people: Sequence[Subject]) -> None:
        position = {table.name: str(table.position) for table in self._layout.tables}
        given: Mapping[str, list[str]] = {"ref": [], "place": [], "name": []}
        for subject in people:
            for record in subject.records:
                if record.object in position and record.id:
                    given["ref"].append(subject.ref)
                    given["place"].append(position[record.object])
                    given["name"].append(record.id)
        self._session.run(self._statements.create_planned())
        self._session.run(self._statements.fill_planned(), given)

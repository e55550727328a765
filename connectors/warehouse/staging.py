"""Finds the rows of many people at once, in temporary tables of one transaction, and says which of them may go.

Decides whose a row is. A row of a person is *unclear* while it carries an identifier that isn't theirs, or hangs on
a parent row that isn't theirs, and the plan doesn't name it: it may be somebody else's and is left alone, with all that
leads to it and hangs on it. Doesn't decide what happens to a row, nor what a person is answered.

Temporary tables, n being a table's position:
    expunge_wanted                  ref, kind, exact, folded: what is looked for
    expunge_planned                 ref, place, name: unclear rows that the frozen plan names
    expunge_hit_n      ref, a, b    rows that carry an identifier of the person or hang on such a row
    expunge_row_n                   those rows' needed columns, by expunge_a, expunge_b: one scan instead of many
    expunge_unclear_n  ref, a, b    those of them that may be somebody else's
    expunge_clear_n    ref, a, b    hit, not unclear, and not hanging on an unclear row
    expunge_going_n    ref, a, b    clear, and nothing stays that hangs on them
"""

# ruff: noqa: S608 - every name in a statement is quoted, every value bound

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from connectors.base.values import Identifier, Subject
from connectors.warehouse.layout import Layout, Link, Table
from connectors.warehouse.names import quoted
from connectors.warehouse.policy import Action
from connectors.warehouse.session import Session
from connectors.warehouse.spelling import ANY_CASE_KINDS, comparable, spellings, trimmed


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

    def __init__(self, session: Session, layout: Layout, people: Sequence[Subject], *, one_by_one: bool) -> None:
        self._session = session
        self._layout = layout
        self._own = {
            s.ref: {comparable(Identifier(i.kind, form)) for i in s.identifiers for form in spellings(i)}
            for s in people
        }
        self._same_person = " AND {0}.ref = {1}.ref" if one_by_one else ""
        self._load_wanted(people)

    def find(self, people: Sequence[Subject], *, heed_plan: bool) -> None:
        """Stage hits and unclear rows. `heed_plan`: rows that the frozen plan names aren't unclear any more."""
        self._load_planned(people if heed_plan else ())
        for n in self._layout.parents_first:
            table = self._layout.tables[n]
            self._session.make(f"expunge_hit_{n}", self._hits(table))
            self._session.make(f"expunge_row_{n}", self._rows(table))
        for table in self._layout.tables:
            self._session.make(f"expunge_unclear_{table.position}", self._unclear(table))

    def choose(self) -> None:
        """Stage which rows may go. After `find`."""
        for n in self._layout.parents_first:
            self._session.make(f"expunge_clear_{n}", self._clear(self._layout.tables[n]))
        for n in reversed(self._layout.parents_first):
            self._session.make(f"expunge_going_{n}", self._going(self._layout.tables[n]))

    def counts(self, what: str, tables: Sequence[Table] | None = None) -> dict[str, dict[str, int]]:
        """Rows per person and table name in one of the stages `hit`, `unclear`, `going`."""
        counted: dict[str, dict[str, int]] = {}
        for table in self._layout.tables if tables is None else tables:
            for ref, n in self._session.rows(
                f"SELECT ref, count(*) FROM expunge_{what}_{table.position} GROUP BY ref ORDER BY ref"
            ):
                counted.setdefault(ref, {})[table.name] = n
        return counted

    def listed(self, table: Table, what: str, *, at_most: int) -> dict[str, list[FoundRow]]:
        """Rows of one stage by person, at most so many each, with the identifiers on them that aren't the person's."""
        columns = table.policy.identifier_columns
        carried = "".join(f", CAST(t.{quoted(c)} AS VARCHAR) AS c{n}" for n, (_, c) in enumerate(columns))
        rows = self._session.rows(
            f"SELECT * FROM (SELECT h.ref, {_key_text(table, 't')} AS key{carried}, "
            f"row_number() OVER (PARTITION BY h.ref ORDER BY {_key_text(table, 't')}) AS n "
            f"FROM expunge_{what}_{table.position} h JOIN {_copy(table, 't', 'h')}) listed "
            f"WHERE n <= {at_most} ORDER BY ref, n"
        )
        found: dict[str, list[FoundRow]] = {}
        for ref, key, *values, _ in rows:
            others = self._others(ref, zip((kind for kind, _ in columns), values, strict=True))
            found.setdefault(ref, []).append(FoundRow(table.name, key or "", others))
        return found

    def parents_identifiers(self, table: Table) -> dict[str, set[Identifier]]:
        """Identifiers of the rows, not the person's, on which unclear rows of this table hang."""
        found: dict[str, set[Identifier]] = {}
        for joins, alias, parent in self._stray_parents(table):
            columns = parent.policy.identifier_columns
            carried = ", ".join(f"CAST({alias}.{quoted(c)} AS VARCHAR)" for _, c in columns)
            for ref, *values in self._session.rows(
                f"SELECT DISTINCT h.ref, {carried} FROM expunge_unclear_{table.position} h "
                f"JOIN {_copy(table, 't', 'h')} {joins}"
            ):
                others = self._others(ref, zip((kind for kind, _ in columns), values, strict=True))
                found.setdefault(ref, set()).update(others)
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
        self._session.make(
            "expunge_wanted",
            "SELECT CAST('' AS VARCHAR) AS ref, CAST('' AS VARCHAR) AS kind, CAST('' AS VARCHAR) AS exact, "
            "CAST('' AS VARCHAR) AS folded WHERE false",
        )
        self._session.with_given(
            given,
            f"INSERT INTO expunge_wanted SELECT DISTINCT ref, kind, exact, {self._session.lower('exact')} FROM given",
        )
        # Without figures PostgreSQL takes the table for empty or huge and joins it in a nested loop.
        self._session.run("ANALYZE expunge_wanted")

    def _load_planned(self, people: Sequence[Subject]) -> None:
        position = {table.name: str(table.position) for table in self._layout.tables}
        given: Mapping[str, list[str]] = {"ref": [], "place": [], "name": []}
        for subject in people:
            for record in subject.records:
                if record.object in position and record.id:
                    given["ref"].append(subject.ref)
                    given["place"].append(position[record.object])
                    given["name"].append(record.id)
        self._session.make(
            "expunge_planned",
            "SELECT CAST('' AS VARCHAR) AS ref, CAST('' AS VARCHAR) AS place, CAST('' AS VARCHAR) AS name WHERE false",
        )
        self._session.with_given(given, "INSERT INTO expunge_planned SELECT * FROM given")

    def _is(self, kind: str, column: str, wanted: str) -> str:
        if kind in ANY_CASE_KINDS:
            return f"{wanted}.kind = '{kind}' AND {wanted}.folded = {self._session.fold(column)}"
        return f"{wanted}.kind = '{kind}' AND {wanted}.exact = {self._session.trim(column)}"

    def _hits(self, table: Table) -> str:
        row = self._session.id_columns("t")
        live = _live(table, "t")
        ways = [
            f"SELECT w.ref, {row} FROM {table.sql} t "
            f"JOIN expunge_wanted w ON {self._is(kind, f't.{quoted(column)}', 'w')} WHERE {live}"
            for kind, column in table.policy.identifier_columns
        ]
        ways += [
            f"SELECT h.ref, {row} FROM expunge_hit_{link.parent} h "
            f"JOIN {_copy(self._layout.tables[link.parent], 'p', 'h')} "
            f"JOIN {table.sql} t ON {_joined(link, 't', 'p')} WHERE {live}"
            for link in table.parents
        ]
        return f"SELECT DISTINCT ref, a, b FROM ({' UNION ALL '.join(ways)}) found"

    def _rows(self, table: Table) -> str:
        columns = dict.fromkeys(
            (
                *(column for _, column in table.policy.identifier_columns),
                *table.key,
                *(column for link in table.parents for column in link.child_columns),
                *(column for link in table.children for column in link.parent_columns),
            )
        )
        names = ", ".join(f"t.{quoted(column)}" for column in columns)
        return (
            f"SELECT g.a AS expunge_a, g.b AS expunge_b, {names} FROM {table.sql} t "
            f"JOIN (SELECT DISTINCT a, b FROM expunge_hit_{table.position}) g ON {self._session.is_row('t', 'g')}"
        )

    def _unclear(self, table: Table) -> str:
        session = self._session
        same = self._same_person.format("w", "h")
        rows = f"SELECT h.ref, h.a, h.b FROM expunge_hit_{table.position} h JOIN {_copy(table, 't', 'h')}"
        ways = [
            f"{rows} WHERE {session.trim(f't.{quoted(column)}')} <> '' AND NOT EXISTS "
            f"(SELECT 1 FROM expunge_wanted w WHERE {self._is(kind, f't.{quoted(column)}', 'w')}{same})"
            for kind, column in table.policy.identifier_columns
        ]
        ways += [
            f"{rows} JOIN {self._layout.tables[link.parent].sql} p ON {_joined(link, 't', 'p')} "
            f"WHERE NOT EXISTS ({self._is_hit(link.parent, 'p')})"
            for link in table.parents
        ]
        planned = f"SELECT 1 FROM expunge_planned f JOIN {_copy(table, 't', 'u')} WHERE f.place = '{table.position}' "
        planned += f"AND f.name = {_key_text(table, 't')}" + self._same_person.format("f", "u")
        return f"SELECT DISTINCT ref, a, b FROM ({' UNION ALL '.join(ways)}) u WHERE NOT EXISTS ({planned})"

    def _is_hit(self, position: int, alias: str) -> str:
        return (
            f"SELECT 1 FROM expunge_hit_{position} o WHERE {self._session.is_row(alias, 'o')}"
            f"{self._same_person.format('o', 'h')}"
        )

    def _clear(self, table: Table) -> str:
        query = (
            f"SELECT h.ref, h.a, h.b FROM expunge_hit_{table.position} h WHERE NOT EXISTS "
            f"(SELECT 1 FROM expunge_unclear_{table.position} u WHERE u.a = h.a AND u.b = h.b)"
        )
        for link in table.parents:
            query += (
                f" AND NOT EXISTS (SELECT 1 FROM expunge_row_{link.child} t "
                f"JOIN expunge_row_{link.parent} p ON {_joined(link, 't', 'p')} "
                f"LEFT JOIN expunge_clear_{link.parent} c ON c.a = p.expunge_a AND c.b = p.expunge_b "
                f"WHERE {_is_copy('t', 'h')} AND c.ref IS NULL)"
            )
        return query

    def _going(self, table: Table) -> str:
        query = f"SELECT c.ref, c.a, c.b FROM expunge_clear_{table.position} c WHERE true"
        for link in table.children:
            if self._layout.tables[link.child].policy.action is Action.RETAIN:
                continue
            # Every row that hangs on a hit row is hit itself, so the copies hold all of them.
            query += (
                f" AND NOT EXISTS (SELECT 1 FROM expunge_row_{link.parent} p "
                f"JOIN expunge_row_{link.child} t ON {_joined(link, 't', 'p')} "
                f"LEFT JOIN expunge_going_{link.child} g ON g.a = t.expunge_a AND g.b = t.expunge_b "
                f"WHERE {_is_copy('p', 'c')} AND g.ref IS NULL)"
            )
        return query

    def _stray_parents(self, table: Table) -> Iterator[tuple[str, str, Table]]:
        """Joins from `t` to each nearest ancestor with identifiers of its own, through parents that aren't hit."""
        for n, link in enumerate(table.parents):
            parent = self._layout.tables[link.parent]
            joins = f"JOIN {parent.sql} p{n} ON {_joined(link, 't', f'p{n}')}"
            joins += f" AND NOT EXISTS ({self._is_hit(link.parent, f'p{n}')})"
            yield from self._climb(parent, joins, f"p{n}")

    def _climb(self, table: Table, joins: str, alias: str) -> Iterator[tuple[str, str, Table]]:
        if table.policy.identifiers:
            yield joins, alias, table
            return
        for n, link in enumerate(table.parents):
            parent = self._layout.tables[link.parent]
            above = f"{alias}_{n}"
            yield from self._climb(parent, f"{joins} JOIN {parent.sql} {above} ON {_joined(link, alias, above)}", above)


def _is_copy(alias: str, found: str) -> str:
    return f"{alias}.expunge_a = {found}.a AND {alias}.expunge_b = {found}.b"


def _copy(table: Table, alias: str, found: str) -> str:
    """What to join for the columns of a staged row."""
    return f"expunge_row_{table.position} {alias} ON {_is_copy(alias, found)}"


def _live(table: Table, alias: str) -> str:
    """True of a row to which the table's action hasn't been done yet."""
    if table.policy.action is not Action.NULL:
        return "true"
    return "(" + " OR ".join(f"{alias}.{quoted(c)} IS NOT NULL" for c in table.policy.columns) + ")"


def _joined(link: Link, child: str, parent: str) -> str:
    pairs = zip(link.child_columns, link.parent_columns, strict=True)
    if link.is_enforced:
        return " AND ".join(f"{child}.{quoted(c)} = {parent}.{quoted(p)}" for c, p in pairs)
    # Nobody promised that the two have one type.
    return " AND ".join(
        f"CAST({child}.{quoted(c)} AS VARCHAR) = CAST({parent}.{quoted(p)} AS VARCHAR)" for c, p in pairs
    )


def _key_text(table: Table, alias: str) -> str:
    """A row's key as one text: its value, or several with commas between them (`\\` before a comma in a value)."""
    texts = [f"CAST({alias}.{quoted(column)} AS VARCHAR)" for column in table.key]
    if not texts:
        return "CAST(NULL AS VARCHAR)"
    if len(texts) == 1:
        return texts[0]
    return " || ',' || ".join(f"replace(replace({text}, '\\', '\\\\'), ',', '\\,')" for text in texts)

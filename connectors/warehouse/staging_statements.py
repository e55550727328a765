"""The statements of `Staging`: which rows are whose, in temporary tables of one transaction.

Decides whose a row is. A row of a person is *unclear* while it carries an identifier that isn't theirs, or hangs on a
parent row that isn't theirs, and the plan doesn't name it: it may be another person's. It is left alone then, with all
rows that lead to it and hang on it. Doesn't decide what happens to a row.

Temporary tables, n being a table's position:
    expunge_wanted                  ref, kind, exact, folded: the identifiers to look for
    expunge_planned                 ref, place, name: unclear rows that the frozen plan names
    expunge_hit_n      ref, a, b    rows that carry an identifier of the person or hang on such a row
    expunge_row_n                   those rows' needed columns, by expunge_a, expunge_b: one scan instead of many
    expunge_unclear_n  ref, a, b    those of them that may be another person's
    expunge_clear_n    ref, a, b    hit, not unclear, and not hanging on an unclear row
    expunge_going_n    ref, a, b    clear, and no row stays that hangs on them
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlalchemy import (
    Alias,
    BigInteger,
    ClauseElement,
    FromClause,
    String,
    TableClause,
    and_,
    cast,
    column,
    delete,
    func,
    insert,
    literal,
    literal_column,
    null,
    or_,
    select,
    text,
    true,
    union_all,
    update,
)
from sqlalchemy import table as table_of

from connectors.warehouse.dialects import ONE, Compiled, Expression, Query, WarehouseDialect, no, quoted_column
from connectors.warehouse.layout import Layout, Link, Table
from connectors.warehouse.policy import Action
from connectors.warehouse.spelling import ANY_CASE_KINDS

WANTED = table_of("expunge_wanted", *map(column, ("ref", "kind", "exact", "folded")))
PLANNED = table_of("expunge_planned", *map(column, ("ref", "place", "name")))
EDGES = table_of("expunge_edges", *map(column, ("ref", "a", "b")))

_EMPTY = cast(literal_column("''"), String)
_COMMA: Expression = literal_column("','")
_BACKSLASH: Expression = literal_column(r"'\'")
_TWO_BACKSLASHES: Expression = literal_column(r"'\\'")
_ESCAPED_COMMA: Expression = literal_column(r"'\,'")


def stage(name: str, position: int) -> TableClause:
    """Return the stage `hit`, `unclear`, `clear` or `going` of the table at a position."""
    return table_of(f"expunge_{name}_{position}", *map(column, ("ref", "a", "b")))


class Statements:
    """The statements for one layout, each compiled at its first use and kept.

    `one_by_one`: a row is clear when every identifier on it belongs to the person themselves. Otherwise it is clear
    when each belongs to *some* person of the look: people who are erased together may share a row.
    """

    def __init__(self, dialect: WarehouseDialect, layout: Layout) -> None:
        self.layout = layout
        self.dialect = dialect
        self._kept: dict[object, Compiled] = {}
        self._parents: dict[tuple[int, bool], list[tuple[Table, Compiled]]] = {}

    def _keep(self, key: object, build: Callable[[], ClauseElement]) -> Compiled:
        if key not in self._kept:
            self._kept[key] = self.dialect.compile(build())
        return self._kept[key]

    # The lists of a look

    def create_wanted(self) -> Compiled:
        """Create `expunge_wanted` without rows."""
        return self._keep("create_wanted", lambda: self._create_empty(WANTED))

    def create_planned(self) -> Compiled:
        """Create `expunge_planned` without rows."""
        return self._keep("create_planned", lambda: self._create_empty(PLANNED))

    def fill_wanted(self) -> Compiled:
        """Insert the lists ref, kind and exact."""
        return self._keep("fill_wanted", self._fill_wanted)

    def _fill_wanted(self) -> ClauseElement:
        given = self.dialect.given("ref", "kind", "exact")
        found = select(given.c.ref, given.c.kind, given.c.exact, self.dialect.lower(given.c.exact)).distinct()
        return insert(WANTED).from_select(WANTED.c.keys(), found)

    def analyze_wanted(self) -> Compiled:
        """Count the rows: without figures PostgreSQL takes the table for empty or huge and joins it in a loop."""
        return self._keep("analyze_wanted", lambda: text("ANALYZE expunge_wanted"))

    def fill_planned(self) -> Compiled:
        """Insert the lists ref, place and name."""
        return self._keep("fill_planned", self._fill_planned)

    def _fill_planned(self) -> ClauseElement:
        return insert(PLANNED).from_select(PLANNED.c.keys(), select(self.dialect.given("ref", "place", "name")))

    def _create_empty(self, target: TableClause) -> ClauseElement:
        columns = (_EMPTY.label(each.name) for each in target.c)
        return self.dialect.create_temporary(target, select(*columns).where(literal_column("false")))

    # The stages

    def create_hit(self, table: Table) -> Compiled:
        """Create the stage `hit` of a table; the hits of its parents come first."""
        return self._create("hit", table, lambda: self._hits(table))

    def create_row(self, table: Table) -> Compiled:
        """Copy the needed columns of the hit rows."""
        return self._keep(
            ("row", table.position), lambda: self.dialect.create_temporary(_copies(table), self._rows(table))
        )

    def create_unclear(self, table: Table, *, one_by_one: bool) -> Compiled:
        """Create the stage `unclear` of a table, after the hits of all tables."""
        return self._create("unclear", table, lambda: self._unclear(table, one_by_one), one_by_one)

    def create_clear(self, table: Table) -> Compiled:
        """Create the stage `clear` of a table; those of its parents come first."""
        return self._create("clear", table, lambda: self._clear(table))

    def create_going(self, table: Table) -> Compiled:
        """Create the stage `going` of a table; those of its children come first."""
        return self._create("going", table, lambda: self._going(table))

    def _create(self, name: str, table: Table, query: Callable[[], Query], one_by_one: bool | None = None) -> Compiled:
        target = stage(name, table.position)
        return self._keep((target.name, one_by_one), lambda: self.dialect.create_temporary(target, query()))

    def _is(self, kind: str, value: Expression, wanted: FromClause) -> Expression:
        """Return the condition that a value is a wanted identifier of a kind."""
        if kind in ANY_CASE_KINDS:
            return and_(wanted.c.kind == literal(kind), wanted.c.folded == self.dialect.fold(value))
        return and_(wanted.c.kind == literal(kind), wanted.c.exact == self.dialect.trim(value))

    def _hits(self, table: Table) -> Query:
        rows, wanted = self.dialect.physical(table.rows).alias("t"), WANTED.alias("w")
        row, live = self.dialect.id_columns(rows), _live(table, rows)
        ways = [
            select(wanted.c.ref, *row).select_from(rows.join(wanted, self._is(kind, rows.c[name], wanted))).where(live)
            for kind, name in table.policy.identifier_columns
        ]
        for link in table.parents:
            hit, parent = stage("hit", link.parent).alias("h"), _copies(self.layout.tables[link.parent]).alias("p")
            hanging = hit.join(parent, _is_copy(parent, hit)).join(rows, _joined(link, rows, parent))
            ways.append(select(hit.c.ref, *row).select_from(hanging).where(live))
        found = union_all(*ways).subquery("found")
        return select(found.c.ref, found.c.a, found.c.b).distinct()

    def _rows(self, table: Table) -> Query:
        rows, hit = self.dialect.physical(table.rows).alias("t"), stage("hit", table.position)
        found = select(hit.c.a, hit.c.b).distinct().subquery("g")
        needed = (rows.c[name] for name in _needed_columns(table))
        return select(found.c.a.label("expunge_a"), found.c.b.label("expunge_b"), *needed).select_from(
            rows.join(found, self.dialect.is_row(rows, found))
        )

    def _unclear(self, table: Table, one_by_one: bool) -> Query:
        hit, rows, wanted = stage("hit", table.position).alias("h"), _copies(table).alias("t"), WANTED.alias("w")
        own = select(hit.c.ref, hit.c.a, hit.c.b)
        copied = hit.join(rows, _is_copy(rows, hit))
        ways = []
        for kind, name in table.policy.identifier_columns:
            known = select(ONE).select_from(wanted).where(self._is(kind, rows.c[name], wanted))
            known = known.where(_same_person(wanted, hit, one_by_one))
            foreign = (self.dialect.trim(rows.c[name]) != literal(""), no(known, hit, rows))
            ways.append(own.select_from(copied).where(*foreign))
        for link in table.parents:
            parent = self.dialect.physical(self.layout.tables[link.parent].rows).alias("p")
            hanging = copied.join(parent, _joined(link, rows, parent))
            ways.append(own.select_from(hanging).where(self._is_not_hit(link.parent, parent, hit, one_by_one)))
        found = union_all(*ways).subquery("u")
        plan, planned_rows = PLANNED.alias("f"), _copies(table).alias("t")
        planned = select(ONE).select_from(plan.join(planned_rows, _is_copy(planned_rows, found)))
        planned = planned.where(
            plan.c.place == literal(str(table.position)), plan.c.name == _key_text(table, planned_rows)
        )
        planned = planned.where(_same_person(plan, found, one_by_one))
        return select(found.c.ref, found.c.a, found.c.b).distinct().where(no(planned, found))

    def _is_not_hit(self, position: int, rows: FromClause, hit: FromClause, one_by_one: bool) -> Expression:
        other = stage("hit", position).alias("o")
        found = select(ONE).select_from(other).where(self.dialect.is_row(rows, other))
        return no(found.where(_same_person(other, hit, one_by_one)), rows, hit)

    def _clear(self, table: Table) -> Query:
        hit, unclear = stage("hit", table.position).alias("h"), stage("unclear", table.position).alias("u")
        doubt = select(ONE).select_from(unclear).where(unclear.c.a == hit.c.a, unclear.c.b == hit.c.b)
        query = select(hit.c.ref, hit.c.a, hit.c.b).where(no(doubt, hit))
        for link in table.parents:
            rows, parent = _copies(table).alias("t"), _copies(self.layout.tables[link.parent]).alias("p")
            clear = stage("clear", link.parent).alias("c")
            above = rows.join(parent, _joined(link, rows, parent)).outerjoin(clear, _is_copy(parent, clear))
            stays = select(ONE).select_from(above).where(_is_copy(rows, hit), clear.c.ref.is_(None))
            query = query.where(no(stays, hit))
        return query

    def _going(self, table: Table) -> Query:
        clear = stage("clear", table.position).alias("c")
        query = select(clear.c.ref, clear.c.a, clear.c.b)
        for link in table.children:
            child = self.layout.tables[link.child]
            if child.policy.action is Action.RETAIN:
                continue
            # Every row that hangs on a hit row is hit itself, so the copies hold all of them.
            parent, rows, going = (
                _copies(table).alias("p"),
                _copies(child).alias("t"),
                stage("going", link.child).alias("g"),
            )
            below = parent.join(rows, _joined(link, rows, parent)).outerjoin(going, _is_copy(rows, going))
            stays = select(ONE).select_from(below).where(_is_copy(parent, clear), going.c.ref.is_(None))
            query = query.where(no(stays, clear))
        return query

    # Rows that were found

    def count(self, name: str, table: Table) -> Compiled:
        """Count the rows of a stage per person: ref, rows."""
        return self._keep(("count", name, table.position), lambda: _counted(stage(name, table.position)))

    def list_rows(self, name: str, table: Table, at_most: int) -> Compiled:
        """List at most so many rows of a stage per person: ref, key, values of the identifier columns, number."""
        return self._keep(("list", name, table.position, at_most), lambda: self._listed(name, table, at_most))

    def _listed(self, name: str, table: Table, at_most: int) -> Query:
        hit, rows = stage(name, table.position).alias("h"), _copies(table).alias("t")
        key = _key_text(table, rows)
        carried = [
            cast(rows.c[each], String).label(f"c{n}") for n, (_, each) in enumerate(table.policy.identifier_columns)
        ]
        number = func.row_number().over(partition_by=hit.c.ref, order_by=(key,)).label("n")
        listed = (
            select(hit.c.ref, key.label("key"), *carried, number)
            .select_from(hit.join(rows, _is_copy(rows, hit)))
            .subquery("listed")
        )
        shown = select(listed).where(listed.c.n <= literal(at_most, BigInteger))
        return shown.order_by(listed.c.ref, listed.c.n)

    def list_parents(self, table: Table, *, one_by_one: bool) -> list[tuple[Table, Compiled]]:
        """List identifiers on rows of other people on which unclear rows of this table hang: ref, values.

        One statement for each nearest ancestor with identifiers, through parents that aren't hit.
        """
        key = (table.position, one_by_one)
        if key not in self._parents:
            strays = self._stray_parents(table, one_by_one)
            self._parents[key] = [(above, self.dialect.compile(query)) for above, query in strays]
        return self._parents[key]

    def _stray_parents(self, table: Table, one_by_one: bool) -> Iterator[tuple[Table, Query]]:
        unclear, rows = stage("unclear", table.position).alias("h"), _copies(table).alias("t")
        start = unclear.join(rows, _is_copy(rows, unclear))
        for n, link in enumerate(table.parents):
            parent = self.dialect.physical(self.layout.tables[link.parent].rows).alias(f"p{n}")
            is_stray = self._is_not_hit(link.parent, parent, unclear, one_by_one)
            joined = start.join(parent, and_(_joined(link, rows, parent), is_stray))
            for above, found, source in self._climb(self.layout.tables[link.parent], parent, joined, f"p{n}"):
                values = (cast(found.c[name], String) for _, name in above.policy.identifier_columns)
                yield above, select(unclear.c.ref, *values).distinct().select_from(source)

    def _climb(
        self, table: Table, rows: FromClause, joined: FromClause, alias: str
    ) -> Iterator[tuple[Table, FromClause, FromClause]]:
        if table.policy.identifiers:
            yield table, rows, joined
            return
        for n, link in enumerate(table.parents):
            above = self.layout.tables[link.parent]
            parent = above.rows.alias(f"{alias}_{n}")
            yield from self._climb(above, parent, joined.join(parent, _joined(link, rows, parent)), f"{alias}_{n}")

    # The effect

    def take(self, rows: TableClause, source: TableClause, emptied: tuple[str, ...]) -> tuple[Compiled, Compiled]:
        """Return the count of the staged rows, and the statement that deletes them or empties these columns."""
        key = (rows.schema, rows.name, source.name, emptied)
        found = select(source.c.a, source.c.b).distinct().subquery("g")
        target = self.dialect.physical(rows).alias("t")
        assert isinstance(target, Alias)

        def change() -> ClauseElement:
            if not emptied:
                return delete(target).where(self.dialect.is_row(target, found))
            return update(target).values(dict.fromkeys(emptied, null())).where(self.dialect.is_row(target, found))

        return (
            self._keep(("taken", *key), lambda: select(func.count()).select_from(found)),
            self._keep(("take", *key), change),
        )


def _counted(source: TableClause) -> Query:
    return select(source.c.ref, func.count()).group_by(source.c.ref).order_by(source.c.ref)


def _needed_columns(table: Table) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            (
                *(name for _, name in table.policy.identifier_columns),
                *table.key,
                *(name for link in table.parents for name in link.child_columns),
                *(name for link in table.children for name in link.parent_columns),
            )
        )
    )


def _copies(of: Table) -> TableClause:
    """Return `expunge_row_n`."""
    columns = map(quoted_column, _needed_columns(of))
    return table_of(f"expunge_row_{of.position}", column("expunge_a"), column("expunge_b"), *columns)


def _is_copy(rows: FromClause, found: FromClause) -> Expression:
    return and_(rows.c.expunge_a == found.c.a, rows.c.expunge_b == found.c.b)


def _same_person(one: FromClause, other: FromClause, one_by_one: bool) -> Expression:
    return one.c.ref == other.c.ref if one_by_one else true()


def _live(table: Table, rows: FromClause) -> Expression:
    """True of a row to which the table's action hasn't been done yet."""
    if table.policy.action is not Action.NULL:
        return true()
    return or_(*(rows.c[name].is_not(None) for name in table.policy.columns))


def _joined(link: Link, child: FromClause, parent: FromClause) -> Expression:
    pairs = [(child.c[c], parent.c[p]) for c, p in zip(link.child_columns, link.parent_columns, strict=True)]
    if link.is_enforced:
        return and_(*(c == p for c, p in pairs))
    # A link that isn't declared may join columns of two types.
    return and_(*(cast(c, String) == cast(p, String) for c, p in pairs))


def _key_text(table: Table, rows: FromClause) -> Expression:
    """Return a row's key as one text.

    It is the key's value, or several values with commas between them and `\\` before a comma in a value.
    """
    texts: list[Expression] = [cast(rows.c[name], String) for name in table.key]
    if not texts:
        return cast(null(), String)
    if len(texts) == 1:
        return texts[0]
    first, *rest = (
        func.replace(func.replace(each, _BACKSLASH, _TWO_BACKSLASHES), _COMMA, _ESCAPED_COMMA, type_=String)
        for each in texts
    )
    whole: Expression = first
    for each in rest:
        whole = whole.concat(_COMMA).concat(each)
    return whole

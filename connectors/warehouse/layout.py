"""The configured tables as the warehouse really has them: links, order, and what can't work.

Decides the order of deletion and refuses a policy that the warehouse contradicts. Every refusal names the table in its
code; table names are configuration, not personal data. Reads the catalogue, no rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import TableClause

from connectors.base.errors import AnswerNotUnderstood, RequestRefused
from connectors.warehouse.dialects import named_table
from connectors.warehouse.names import code_part, name_parts
from connectors.warehouse.policy import Action, TablePolicy, WarehousePolicy
from connectors.warehouse.session import Reference, Session, TableFacts


@dataclass(frozen=True)
class Link:
    """The rows of table `child` that point to a row of table `parent` (positions in `Layout.tables`)."""

    child: int
    child_columns: tuple[str, ...]
    parent: int
    parent_columns: tuple[str, ...]
    is_enforced: bool


@dataclass(frozen=True)
class Table:
    """One configured table. `key` is empty where rows never have to be named."""

    position: int
    policy: TablePolicy
    rows: TableClause = field(compare=False)
    key: tuple[str, ...]
    parents: tuple[Link, ...]
    children: tuple[Link, ...]

    @property
    def name(self) -> str:
        """The table as the operator names it; the object of its records."""
        return self.policy.name


@dataclass(frozen=True)
class Layout:
    """The tables in the order of their positions.

    `parents_first` is the order in which rows are found; `waves` are the transactions of an erasure, in order.
    """

    tables: tuple[Table, ...]
    parents_first: tuple[int, ...]
    waves: tuple[tuple[int, ...], ...]


def read_layout(session: Session, policy: WarehousePolicy) -> Layout:
    """Compare the policy with the catalogue.

    Raises AnswerNotUnderstood (a table or column isn't there: wrong warehouse?) and RequestRefused (can't work).
    """
    needed = [(table.name, _named_columns(table)) for table in policy.tables]
    if policy.identity_graph is not None:
        edge = policy.identity_graph.columns.model_dump()
        needed.append((policy.identity_graph.table, tuple(column for column in edge.values() if column)))
    known = session.facts([name_parts(name) for name, _ in needed])
    facts = [_existing(fact, name, columns) for fact, (name, columns) in zip(known, needed, strict=True)]
    links = _links(policy, facts, session.references())
    tables = tuple(
        Table(
            position=n,
            policy=table,
            rows=named_table(table.name, facts[n].columns),
            key=table.key or facts[n].primary_key,
            parents=tuple(link for link in links if link.child == n),
            children=tuple(link for link in links if link.parent == n),
        )
        for n, table in enumerate(policy.tables)
    )
    order = _parents_first(tables)
    for table in tables:
        _refuse_what_cannot_work(table, tables, facts[table.position])
    return Layout(tables, order, _waves(tables, order, apart=session.levels_apart))


def _named_columns(table: TablePolicy) -> tuple[str, ...]:
    own = [column for _, column in table.identifier_columns]
    return (*own, *table.key, *table.columns, *(c for parent in table.parents for c in parent.column))


def _existing(facts: TableFacts | None, name: str, columns: Sequence[str]) -> TableFacts:
    code = code_part(name)
    if facts is None:
        raise AnswerNotUnderstood(f"table_missing:{code}")
    if not facts.is_table:
        raise RequestRefused(f"not_a_table:{code}")
    known = set(facts.columns)
    for column in columns:
        if column not in known:
            raise AnswerNotUnderstood(f"column_missing:{code}:{code_part(column)[:20]}")
    return facts


def _links(policy: WarehousePolicy, facts: Sequence[TableFacts], references: Sequence[Reference]) -> list[Link]:
    position = {fact.token: n for n, fact in enumerate(facts[: len(policy.tables)])}
    links: list[Link] = []
    for reference in references:
        parent, child = position.get(reference.parent), position.get(reference.child)
        if parent is None:
            continue
        if child is None:
            # Its rows would stop the deletion, or a cascade would take them along, unseen and uncounted.
            if policy.tables[parent].action is Action.DELETE:
                raise RequestRefused(f"unlisted_child:{code_part(reference.child_name)}")
            continue
        links.append(Link(child, reference.child_columns, parent, reference.parent_columns, is_enforced=True))
    names = {name_parts(table.name): n for n, table in enumerate(policy.tables)}
    for n, table in enumerate(policy.tables):
        for said in table.parents:
            link = Link(n, said.column, names[name_parts(said.table)], said.references, is_enforced=False)
            if any(column not in facts[link.parent].columns for column in link.parent_columns):
                raise AnswerNotUnderstood(f"column_missing:{code_part(said.table)}")
            if not any(_same_link(link, other) for other in links):
                links.append(link)
    return links


def _same_link(one: Link, other: Link) -> bool:
    return (one.child, one.child_columns, one.parent, one.parent_columns) == (
        other.child,
        other.child_columns,
        other.parent,
        other.parent_columns,
    )


def _parents_first(tables: Sequence[Table]) -> tuple[int, ...]:
    order: list[int] = []
    while len(order) < len(tables):
        ready = [
            t.position for t in tables if t.position not in order and all(link.parent in order for link in t.parents)
        ]
        if not ready:
            left = next(t for t in tables if t.position not in order)
            raise RequestRefused(f"foreign_key_cycle:{code_part(left.name)}")
        order += ready
    return tuple(order)


def _refuse_what_cannot_work(table: Table, tables: Sequence[Table], facts: TableFacts) -> None:
    code = code_part(table.name)
    policy = table.policy
    if not policy.identifiers and not table.parents:
        raise RequestRefused(f"no_way_to_find_rows:{code}")
    if len(policy.identifier_columns) + len(table.parents) > 1 and not table.key:
        # Such a row can carry somebody else's identifier; the plan must be able to name it.
        raise RequestRefused(f"no_key:{code}")
    for column in policy.columns:
        if not facts.columns[column]:
            raise RequestRefused(f"column_not_nullable:{code}:{code_part(column)[:20]}")
    for link in table.parents:
        if tables[link.parent].policy.action is not Action.DELETE:
            continue
        if policy.action is Action.RETAIN and (link.is_enforced or not policy.identifiers):
            # The parent must stay, because no search would find the kept rows without it.
            raise RequestRefused(f"retained_child:{code}")
        if policy.action is Action.NULL and not set(link.child_columns) <= set(policy.columns):
            raise RequestRefused(f"null_keeps_reference:{code}")


def _waves(tables: Sequence[Table], parents_first: Sequence[int], *, apart: bool) -> tuple[tuple[int, ...], ...]:
    changed = [n for n in reversed(parents_first) if tables[n].policy.action is not Action.RETAIN]
    if not apart:
        return (tuple(changed),) if changed else ()
    level: dict[int, int] = {}
    for n in reversed(parents_first):
        level[n] = max((level[link.child] + 1 for link in tables[n].children), default=0)
    return tuple(tuple(n for n in changed if level[n] == depth) for depth in sorted({level[n] for n in changed}))

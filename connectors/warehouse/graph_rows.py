"""Read the identity graph's edge list: the links of identifiers, and the edges of a person.

Decides how an edge list is asked, for the identity source and for the erasure of its rows. Doesn't walk.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
    TIMESTAMP,
    Float,
    FromClause,
    Integer,
    String,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    not_,
    null,
    or_,
    select,
    union_all,
)

from connectors.base.identity_source import Edge, Neighbours
from connectors.base.values import Identifier
from connectors.warehouse.dialects import Compiled, Expression, Query, WarehouseDialect, named_table
from connectors.warehouse.policy import GraphPolicy
from connectors.warehouse.session import Session
from connectors.warehouse.spelling import ANY_CASE_KINDS, spellings
from connectors.warehouse.staging_statements import EDGES, WANTED

_NOTHING: Expression = literal_column("''")
_ANSWER = ("kind", "value", "source", "confidence", "first_seen", "last_seen")


@dataclass(frozen=True)
class _End:
    kind: Expression
    value: Expression


def _edges(dialect: WarehouseDialect, graph: GraphPolicy) -> FromClause:
    columns = dict.fromkeys(name for name in graph.columns.model_dump().values() if name)
    return dialect.physical(named_table(graph.table, columns)).alias("e")


def _ends(edges: FromClause, graph: GraphPolicy) -> tuple[tuple[_End, _End], tuple[_End, _End]]:
    """Return (this end, the other end), both ways round: an edge has no direction."""
    columns = graph.columns
    left = _End(edges.c[columns.left_kind], edges.c[columns.left_value])
    right = _End(edges.c[columns.right_kind], edges.c[columns.right_value])
    return (left, right), (right, left)


def _is_any_case(kind: Expression) -> Expression:
    return or_(*(kind == literal(each) for each in sorted(ANY_CASE_KINDS)))


def _is_wanted(dialect: WarehouseDialect, end: _End, wanted: FromClause) -> Expression:
    """Return the condition that a wanted identifier is this end; an index can serve its folded form."""
    return and_(
        end.kind == wanted.c.kind,
        dialect.fold(end.value) == wanted.c.folded,
        or_(_is_any_case(wanted.c.kind), dialect.trim(end.value) == wanted.c.exact),
    )


def _normal(dialect: WarehouseDialect, kind: Expression, value: Expression) -> Expression:
    return case((_is_any_case(kind), dialect.lower(value)), else_=value)


@dataclass
class _Gathered:
    degree: int
    edges: set[Edge] = field(default_factory=set)
    spellings: set[str] = field(default_factory=set)


def neighbours(
    session: Session, graph: GraphPolicy, identifiers: Collection[Identifier], max_neighbours: int
) -> Mapping[Identifier, Neighbours]:
    """One query for all of them; the edges of supernodes are counted in the database and stay there."""
    asked = list(dict.fromkeys(identifiers))
    given: dict[str, list[str]] = {"n": [], "kind": [], "exact": []}
    for n, identifier in enumerate(asked):
        for spelling in spellings(identifier):
            for column, value in zip(given, (str(n), identifier.kind, spelling), strict=True):
                given[column].append(value)
    if not given["n"]:
        return {}
    gathered: dict[int, _Gathered] = {}
    for number, degree, own, kind, value, source, confidence, first, last in session.rows(
        _round(session.dialect, graph, max_neighbours), given
    ):
        entry = gathered.setdefault(int(number), _Gathered(degree))
        entry.spellings.add(own)
        if kind is not None:
            sure = None if confidence is None else float(confidence)
            entry.edges.add(Edge(Identifier(kind, value), source, sure, _instant(first), _instant(last)))
    return {
        asked[n]: Neighbours(tuple(sorted(e.edges, key=_edge_order)), e.degree, frozenset(e.spellings))
        for n, e in gathered.items()
    }


def _edge_order(edge: Edge) -> tuple[Identifier, str, float, str, str]:
    return (
        edge.other,
        edge.source or "",
        edge.confidence or 0.0,
        str(edge.first_seen_at or ""),
        str(edge.last_seen_at or ""),
    )


def _instant(value: Any) -> datetime | None:
    """Return when an edge was seen: a date is its midnight, an instant without a zone is UTC.

    None for a value that is no date. The walk never decides by it, so an unreadable date stops no erasure.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def _evidence(edges: FromClause, graph: GraphPolicy) -> tuple[Expression, ...]:
    columns = graph.columns
    source = cast(edges.c[columns.source] if columns.source else null(), String)
    confidence = edges.c[columns.confidence] if columns.confidence else cast(null(), Float)
    first, last = (
        edges.c[name] if name else cast(null(), TIMESTAMP) for name in (columns.first_seen, columns.last_seen)
    )
    return (
        source.label("source"),
        confidence.label("confidence"),
        first.label("first_seen"),
        last.label("last_seen"),
    )


@lru_cache(maxsize=32)
def _round(dialect: WarehouseDialect, graph: GraphPolicy, max_neighbours: int) -> Compiled:
    """Return the query of one round for the lists n, kind and exact; compiled once for a graph."""
    named = _named(dialect, _touching(dialect, graph))
    distinct_ones = select(named.c.n, named.c.kind, named.c.normal).distinct().where(named.c.leads).cte("distinct_ones")
    counted = select(distinct_ones.c.n, func.count().label("degree")).group_by(distinct_ones.c.n).cte("counted")
    is_brought = and_(named.c.leads, counted.c.degree <= bindparam("max_neighbours", max_neighbours, Integer))
    answer = (
        select(
            named.c.n,
            func.coalesce(counted.c.degree, literal_column("0")).label("degree"),
            named.c.own,
            is_brought.label("brought"),
            *(named.c[name] for name in _ANSWER),
        )
        .select_from(named.outerjoin(counted, counted.c.n == named.c.n))
        .cte("answer")
    )
    brought = (case((answer.c.brought, answer.c[name])).label(name) for name in _ANSWER)
    return dialect.compile(select(answer.c.n, answer.c.degree, answer.c.own, *brought).distinct())


def _touching(dialect: WarehouseDialect, graph: GraphPolicy) -> CTE:
    """The edges with a wanted identifier at either end, once for each such end."""
    given = dialect.given("n", "kind", "exact")
    folded = dialect.lower(given.c.exact).label("folded")
    wanted = select(given.c.n, given.c.kind, given.c.exact, folded).distinct().cte("wanted").prefix_with("MATERIALIZED")
    edges = _edges(dialect, graph)
    ways: list[Query] = [
        select(
            wanted.c.n,
            wanted.c.kind.label("own_kind"),
            cast(this.value, String).label("own"),
            dialect.trim(this.value).label("own_trimmed"),
            cast(other.kind, String).label("kind"),
            cast(other.value, String).label("value"),
            dialect.trim(other.value).label("trimmed"),
            *_evidence(edges, graph),
        ).select_from(edges.join(wanted, _is_wanted(dialect, this, wanted)))
        for this, other in _ends(edges, graph)
    ]
    return union_all(*ways).cte("touching").prefix_with("MATERIALIZED")


def _named(dialect: WarehouseDialect, touching: CTE) -> CTE:
    """The same with the other end's normal value, and whether it leads to another identifier.

    An edge without another end, or from one spelling of a value to another, still shows how the value is spelt.
    """
    normal = _normal(dialect, touching.c.kind, touching.c.trimmed)
    own = _normal(dialect, touching.c.own_kind, touching.c.own_trimmed)
    leads = and_(
        func.coalesce(touching.c.kind, _NOTHING) != _NOTHING,
        func.coalesce(touching.c.trimmed, _NOTHING) != _NOTHING,
        not_(and_(touching.c.kind == touching.c.own_kind, normal == own)),
    )
    return select(touching, normal.label("normal"), leads.label("leads")).cte("named")


def stage_edges(session: Session, graph: GraphPolicy) -> None:
    """Stage `expunge_edges` (ref, a, b): the edges with an identifier of `expunge_wanted` at either end."""
    session.run(_create_edges(session.dialect, graph))


@lru_cache(maxsize=32)
def _create_edges(dialect: WarehouseDialect, graph: GraphPolicy) -> Compiled:
    edges, wanted = _edges(dialect, graph), WANTED.alias("w")
    ways = [
        select(wanted.c.ref, *dialect.id_columns(edges)).select_from(
            edges.join(wanted, _is_wanted(dialect, this, wanted))
        )
        for this, _ in _ends(edges, graph)
    ]
    found = union_all(*ways).subquery("found")
    return dialect.compile(dialect.create_temporary(EDGES, select(found.c.ref, found.c.a, found.c.b).distinct()))


@lru_cache(maxsize=8)
def _count_edges(dialect: WarehouseDialect) -> Compiled:
    return dialect.compile(select(EDGES.c.ref, func.count()).group_by(EDGES.c.ref))


def count_edges(session: Session) -> dict[str, int]:
    """Count staged edges per person."""
    return dict(session.rows(_count_edges(session.dialect)))

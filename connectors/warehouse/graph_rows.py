"""The rows of the identity graph's edge list: who is linked to whom, and which edges a person stands on.

Decides how an edge list is asked, for the identity source and for the erasure of its rows. Doesn't walk.
"""

# ruff: noqa: S608 - every name in a statement is quoted, every value bound

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any

from connectors.base.identity_source import Edge, Neighbours
from connectors.base.values import Identifier
from connectors.warehouse.names import quoted, quoted_name
from connectors.warehouse.policy import GraphPolicy
from connectors.warehouse.session import Session
from connectors.warehouse.spelling import ANY_CASE_KINDS, spellings

_ANY_CASE = "(" + ", ".join(f"'{kind}'" for kind in sorted(ANY_CASE_KINDS)) + ")"


@dataclass(frozen=True)
class _End:
    kind: str
    value: str


def _ends(graph: GraphPolicy) -> tuple[tuple[_End, _End], tuple[_End, _End]]:
    """(this end, the other end), both ways round: an edge has no direction."""
    columns = graph.columns
    left = _End(f"e.{quoted(columns.left_kind)}", f"e.{quoted(columns.left_value)}")
    right = _End(f"e.{quoted(columns.right_kind)}", f"e.{quoted(columns.right_value)}")
    return (left, right), (right, left)


def _stands_at(session: Session, end: _End, wanted: str) -> str:
    """The condition that a wanted identifier is this end. Folded first, since that is what an index can serve."""
    return (
        f"{end.kind} = {wanted}.kind AND {session.fold(end.value)} = {wanted}.folded "
        f"AND ({wanted}.kind IN {_ANY_CASE} OR {session.trim(end.value)} = {wanted}.exact)"
    )


def _normal(session: Session, kind: str, value: str) -> str:
    return f"CASE WHEN {kind} IN {_ANY_CASE} THEN {session.lower(value)} ELSE {value} END"


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
    for number, degree, own, kind, value, source, confidence, first, last in session.with_given(
        given, _round(session, graph, max_neighbours)
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
    """When an edge was seen, for a reviewer to read: a date is its midnight, an instant without a zone is UTC.

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


def _seen(column: str | None) -> str:
    return f"e.{quoted(column)}" if column else "CAST(NULL AS TIMESTAMP)"


def _round(session: Session, graph: GraphPolicy, max_neighbours: int) -> str:
    source, confidence = graph.columns.source, graph.columns.confidence
    evidence = f"{f'CAST(e.{quoted(source)} AS VARCHAR)' if source else 'CAST(NULL AS VARCHAR)'} AS source, "
    evidence += f"{f'e.{quoted(confidence)}' if confidence else 'CAST(NULL AS FLOAT)'} AS confidence, "
    evidence += f"{_seen(graph.columns.first_seen)} AS first_seen, {_seen(graph.columns.last_seen)} AS last_seen"
    ways = [
        f"SELECT w.n, w.kind AS own_kind, CAST({this.value} AS VARCHAR) AS own, "
        f"{session.trim(this.value)} AS own_trimmed, "
        f"CAST({other.kind} AS VARCHAR) AS kind, CAST({other.value} AS VARCHAR) AS value, "
        f"{session.trim(other.value)} AS trimmed, {evidence} "
        f"FROM {quoted_name(graph.table)} e JOIN wanted w ON {_stands_at(session, this, 'w')}"
        for this, other in _ends(graph)
    ]
    return (
        f", wanted AS MATERIALIZED (SELECT DISTINCT n, kind, exact, {session.lower('exact')} AS folded FROM given), "
        f"touching AS MATERIALIZED ({' UNION ALL '.join(ways)}), "
        # An edge without another end, or from one spelling of a value to another, still shows how it is spelt.
        f"named AS (SELECT *, {_normal(session, 'kind', 'trimmed')} AS normal, "
        "coalesce(kind, '') <> '' AND coalesce(trimmed, '') <> '' AND NOT (kind = own_kind AND "
        f"{_normal(session, 'kind', 'trimmed')} = {_normal(session, 'own_kind', 'own_trimmed')}) AS leads "
        "FROM touching), "
        "distinct_ones AS (SELECT DISTINCT n, kind, normal FROM named WHERE leads), "
        "counted AS (SELECT n, count(*) AS degree FROM distinct_ones GROUP BY n), "
        "answer AS (SELECT t.n, coalesce(c.degree, 0) AS degree, t.own, "
        f"leads AND c.degree <= {int(max_neighbours)} AS brought, t.kind, t.value, t.source, t.confidence, "
        "t.first_seen, t.last_seen "
        "FROM named t LEFT JOIN counted c ON c.n = t.n) "
        "SELECT DISTINCT n, degree, own, CASE WHEN brought THEN kind END, CASE WHEN brought THEN value END, "
        "CASE WHEN brought THEN source END, CASE WHEN brought THEN confidence END, "
        "CASE WHEN brought THEN first_seen END, CASE WHEN brought THEN last_seen END FROM answer"
    )


def stage_edges(session: Session, graph: GraphPolicy) -> None:
    """Stage `expunge_edges` (ref, a, b): the edges with an identifier of `expunge_wanted` at either end."""
    ways = [
        f"SELECT w.ref, {session.id_columns('e')} FROM {quoted_name(graph.table)} e "
        f"JOIN expunge_wanted w ON {_stands_at(session, this, 'w')}"
        for this, _ in _ends(graph)
    ]
    session.make("expunge_edges", f"SELECT DISTINCT ref, a, b FROM ({' UNION ALL '.join(ways)}) found")


def count_edges(session: Session) -> dict[str, int]:
    """Staged edges per person."""
    return dict(session.rows("SELECT ref, count(*) FROM expunge_edges GROUP BY ref"))

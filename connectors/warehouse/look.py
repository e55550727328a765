"""The result of a look at the warehouse for each person, and the answer that follows from it.

Decides how rows become `Located` and `Answer`. Doesn't change anything and doesn't decide whose a row is (`staging`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from connectors.base.errors import ConnectorError, RequestRefused
from connectors.base.values import Answer, Identifier, Left, Located, Record, Subject
from connectors.warehouse.graph_rows import count_edges, stage_edges
from connectors.warehouse.layout import Table
from connectors.warehouse.policy import Action, GraphPolicy
from connectors.warehouse.session import Session
from connectors.warehouse.staging import FoundRow, Staging
from connectors.warehouse.staging_statements import Statements

# A person with more unclear rows than this has a wrong identifier rather than so many records: a human must look.
MAX_UNCLEAR_ROWS = 1000
# Rows that should be gone and aren't: the first are named, the counts say the rest.
_NAMED_REMAINS = 100
_ALL = 2**31


@dataclass
class Snapshot:
    """One person's rows. `counts` include retained rows and the rows of the identity graph."""

    counts: dict[str, int] = field(default_factory=dict)
    unclear: list[FoundRow] = field(default_factory=list)
    carried: set[Identifier] = field(default_factory=set)
    remaining: list[Left] = field(default_factory=list)
    retained: list[Left] = field(default_factory=list)

    @property
    def located(self) -> Located:
        """The unclear rows by name, all rows by number, and other people's identifiers on the unclear rows."""
        records = tuple(Record(row.table, row.key) for row in self.unclear)
        return Located(records, dict(self.counts), tuple(sorted(self.carried)))

    @property
    def has_left(self) -> bool:
        """True if something stays that isn't kept on purpose."""
        return bool(self.unclear or self.remaining)


def look(
    session: Session, statements: Statements, people: Sequence[Subject], *, one_by_one: bool, heed_plan: bool
) -> dict[str, Snapshot]:
    """Look for each person's rows in the tables, in a transaction that is rolled back."""
    with session.transaction(keep=False):
        staging = Staging(session, statements, people, one_by_one=one_by_one)
        staging.find(people, heed_plan=heed_plan)
        snapshots = {subject.ref: Snapshot() for subject in people}
        for ref, counts in staging.counts("hit").items():
            snapshots[ref].counts.update(counts)
        unclear = staging.counts("unclear")
        for table in statements.layout.tables:
            if any(table.name in counts for counts in unclear.values()):
                _see_unclear(staging, table, snapshots)
            _see_rest(staging, table, snapshots)
    return snapshots


def look_at_edges(
    session: Session,
    statements: Statements,
    graph: GraphPolicy,
    people: Sequence[Subject],
    snapshots: Mapping[str, Snapshot],
) -> None:
    """Add each person's edges to the snapshots."""
    with session.transaction(keep=False):
        Staging(session, statements, people, one_by_one=True)
        stage_edges(session, graph)
        for ref, n in count_edges(session).items():
            snapshots[ref].counts[graph.table] = n
            snapshots[ref].remaining.append(Left(graph.table, "", "still_there"))


def _see_unclear(staging: Staging, table: Table, snapshots: Mapping[str, Snapshot]) -> None:
    for ref, rows in staging.listed(table, "unclear", at_most=MAX_UNCLEAR_ROWS + 1).items():
        snapshots[ref].unclear += rows
        snapshots[ref].carried.update(other for row in rows for other in row.others)
    for ref, identifiers in staging.parents_identifiers(table).items():
        snapshots[ref].carried |= identifiers


def _see_rest(staging: Staging, table: Table, snapshots: Mapping[str, Snapshot]) -> None:
    is_retained = table.policy.action is Action.RETAIN
    for ref, rows in staging.listed(table, "hit", at_most=_ALL if is_retained else _NAMED_REMAINS).items():
        if is_retained:
            snapshots[ref].retained += [Left(row.table, row.key, table.policy.reason or "retained") for row in rows]
        else:
            snapshots[ref].remaining += [Left(row.table, row.key, "still_there") for row in rows]


def located(snapshot: Snapshot) -> Located | ConnectorError:
    """Return the findings of `locate` for one person."""
    if len(snapshot.unclear) > MAX_UNCLEAR_ROWS:
        return RequestRefused("too_many_unclear_rows")
    return snapshot.located


def answer(snapshot: Snapshot, done: Mapping[str, int], *, has_taken: bool = False) -> Answer | ConnectorError:
    """Return one person's answer after a look.

    `done`: the rows that their effects took and no answer reported. `has_taken`: whether their effects took any row.
    """
    if len(snapshot.unclear) > MAX_UNCLEAR_ROWS:
        return RequestRefused("too_many_unclear_rows")
    if snapshot.unclear:
        left = tuple(Left(row.table, row.key, "not_in_plan") for row in snapshot.unclear)
        return Answer.partial(left, records=done, found=snapshot.located, reason="not_in_plan")
    if snapshot.remaining:
        return Answer.partial((*snapshot.remaining, *snapshot.retained), records=done)
    if snapshot.retained:
        return Answer.retained(snapshot.retained[0].reason, left=tuple(snapshot.retained), records=done)
    return Answer.erased(done) if has_taken else Answer.already_absent()

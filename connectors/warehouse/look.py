"""What a look at the warehouse found of each person, and what follows from it for an answer.

Decides how rows become `Located` and `Answer`. Doesn't change anything and doesn't decide whose a row is (`staging`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from connectors.base.errors import ConnectorError, RequestRefused
from connectors.base.values import Answer, Identifier, Left, Located, Record, Subject
from connectors.warehouse.graph_rows import count_edges, stage_edges
from connectors.warehouse.layout import Layout, Table
from connectors.warehouse.policy import Action, GraphPolicy
from connectors.warehouse.session import Session
from connectors.warehouse.staging import FoundRow, Staging

# A person with more unclear rows than this has a wrong identifier rather than so many records: a human must look.
MAX_UNCLEAR_ROWS = 1000
# Rows that should be gone and aren't: the first are named, the counts say the rest.
_NAMED_REMAINS = 100
_ALL = 2**31


@dataclass
class Sight:
    """What was seen of one person. `counts` include retained rows and the rows of the identity graph."""

    counts: dict[str, int] = field(default_factory=dict)
    unclear: list[FoundRow] = field(default_factory=list)
    carried: set[Identifier] = field(default_factory=set)
    remaining: list[Left] = field(default_factory=list)
    retained: list[Left] = field(default_factory=list)

    @property
    def located(self) -> Located:
        """The unclear rows by name, everything by number, and whom the unclear rows may belong to."""
        records = tuple(Record(row.table, row.key) for row in self.unclear)
        return Located(records, dict(self.counts), tuple(sorted(self.carried)))

    @property
    def has_left(self) -> bool:
        """True if something stays that isn't kept on purpose."""
        return bool(self.unclear or self.remaining)


def look(
    session: Session, layout: Layout, people: Sequence[Subject], *, one_by_one: bool, heed_plan: bool
) -> dict[str, Sight]:
    """See what there is of each person in the tables, in a transaction that is rolled back."""
    with session.transaction(keep=False):
        staging = Staging(session, layout, people, one_by_one=one_by_one)
        staging.find(people, heed_plan=heed_plan)
        sights = {subject.ref: Sight() for subject in people}
        for ref, counts in staging.counts("hit").items():
            sights[ref].counts.update(counts)
        unclear = staging.counts("unclear")
        for table in layout.tables:
            if any(table.name in counts for counts in unclear.values()):
                _see_unclear(staging, table, sights)
            _see_rest(staging, table, sights)
    return sights


def look_at_edges(
    session: Session, layout: Layout, graph: GraphPolicy, people: Sequence[Subject], sights: Mapping[str, Sight]
) -> None:
    """Add to what was seen the edges on which each person stands."""
    with session.transaction(keep=False):
        Staging(session, layout, people, one_by_one=True)
        stage_edges(session, graph)
        for ref, n in count_edges(session).items():
            sights[ref].counts[graph.table] = n
            sights[ref].remaining.append(Left(graph.table, "", "still_there"))


def _see_unclear(staging: Staging, table: Table, sights: Mapping[str, Sight]) -> None:
    for ref, rows in staging.listed(table, "unclear", at_most=MAX_UNCLEAR_ROWS + 1).items():
        sights[ref].unclear += rows
        sights[ref].carried.update(other for row in rows for other in row.others)
    for ref, identifiers in staging.parents_identifiers(table).items():
        sights[ref].carried |= identifiers


def _see_rest(staging: Staging, table: Table, sights: Mapping[str, Sight]) -> None:
    is_retained = table.policy.action is Action.RETAIN
    for ref, rows in staging.listed(table, "hit", at_most=_ALL if is_retained else _NAMED_REMAINS).items():
        if is_retained:
            sights[ref].retained += [Left(row.table, row.key, table.policy.reason or "retained") for row in rows]
        else:
            sights[ref].remaining += [Left(row.table, row.key, "still_there") for row in rows]


def located(sight: Sight) -> Located | ConnectorError:
    """What `locate` says of one person."""
    if len(sight.unclear) > MAX_UNCLEAR_ROWS:
        return RequestRefused("too_many_unclear_rows")
    return sight.located


def answer(sight: Sight, done: Mapping[str, int], *, has_taken: bool = False) -> Answer | ConnectorError:
    """What is true of one person after a look; `done` is what their effects took away and nobody told so far,
    `has_taken` says whether they took anything at all."""
    if len(sight.unclear) > MAX_UNCLEAR_ROWS:
        return RequestRefused("too_many_unclear_rows")
    if sight.unclear:
        left = tuple(Left(row.table, row.key, "not_in_plan") for row in sight.unclear)
        return Answer.partial(left, records=done, found=sight.located, reason="not_in_plan")
    if sight.remaining:
        return Answer.partial((*sight.remaining, *sight.retained), records=done)
    if sight.retained:
        return Answer.retained(sight.retained[0].reason, left=tuple(sight.retained), records=done)
    return Answer.erased(done) if has_taken else Answer.already_absent()

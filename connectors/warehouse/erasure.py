"""Erase many people's rows: children first, one transaction a wave, the identity graph last.

Decides when a wave may run, counts per person what it took, and keeps one person's stubborn row from delaying the
others. Doesn't decide whose a row is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from sqlalchemy import TableClause

from connectors.base.errors import AnswerNotUnderstood, ConnectorError
from connectors.base.interface import Lease
from connectors.base.values import Subject
from connectors.warehouse.dialects import named_table
from connectors.warehouse.graph_rows import count_edges, stage_edges
from connectors.warehouse.layout import Table
from connectors.warehouse.memory import Counts, Memory
from connectors.warehouse.policy import Action, GraphPolicy
from connectors.warehouse.session import Session
from connectors.warehouse.staging import Staging
from connectors.warehouse.staging_statements import EDGES, Statements, stage

# Errors that one person's rows cause: the batch is halved until that person is alone in it.
_ONE_PERSONS = frozenset({"row_referenced", "constraint_refused", "effect_count_differs"})


class _Stopped(Exception):  # noqa: N818 - no fault: somebody may not proceed, so this transaction must not be kept
    pass


class _Wave(Protocol):
    """One transaction: first find the rows and their people, then, if they may proceed, take the rows."""

    @property
    def tables(self) -> Collection[str]: ...

    def prepare(self, people: Sequence[Subject]) -> Counts: ...

    def act(self) -> None: ...


class Erasure:
    """One batch.

    `memory.done`: rows per person and table, earlier attempts under this batch key included.
    """

    def __init__(self, session: Session, statements: Statements, lease: Lease) -> None:
        self._session = session
        self._statements = statements
        self._lease = lease
        self.memory = Memory.load(lease.resume_token)
        self._saved = lease.resume_token or self.memory.dump()
        self.stopped: set[str] = set()
        self.errors: dict[str, ConnectorError] = {}

    def erase_rows(self, people: Sequence[Subject]) -> None:
        """Run the waves over the tables."""
        for subject in people:
            self.memory.before.setdefault(subject.ref, dict(subject.already_reported))
        layout = self._statements.layout
        for positions in layout.waves:
            tables = [layout.tables[n] for n in positions]
            self._for_group(people, _TablesWave(self._session, self._statements, tables))

    def erase_edges(self, graph: GraphPolicy, people: Sequence[Subject]) -> None:
        """Delete the edges on which these people stand; they lead to everything else, so they go last."""
        self._for_group(people, _EdgesWave(self._session, self._statements, graph))

    def remember(self) -> None:
        """Save the counts of the last commit.

        Without that, an attempt after a crash works them out from the rows that are left.
        """
        if self.memory.dump() != self._saved:
            self._save()

    def _save(self) -> None:
        self._saved = self.memory.dump()
        self._lease.save(self._saved)

    def goes_on(self, subject: Subject) -> bool:
        """False once the person was stopped or met an error."""
        return subject.ref not in self.stopped and subject.ref not in self.errors

    def _for_group(self, people: Sequence[Subject], wave: _Wave) -> None:
        group = [s for s in people if self.goes_on(s)]
        if not group:
            return
        try:
            self._run(group, wave)
        except ConnectorError as error:
            if error.code not in _ONE_PERSONS:
                raise
            if len(group) == 1:
                self.errors[group[0].ref] = error
                return
            middle = len(group) // 2
            self._for_group(group[:middle], wave)
            self._for_group(group[middle:], wave)

    def _run(self, group: list[Subject], wave: _Wave) -> None:
        while group:
            try:
                with self._session.transaction(keep=True):
                    taken = wave.prepare(group)
                    self.memory.settle(group, wave.tables, taken)
                    self._ask_for(taken)
                    if taken:
                        self.memory.about_to(taken)
                        # Saved before the commit: who dies behind it leaves behind what the commit took.
                        self._save()
                    wave.act()
            except _Stopped:
                # Found anew without them: a row that they share with the others isn't clear any more.
                group = [s for s in group if self.goes_on(s)]
                continue
            self.memory.settle(group, wave.tables, {})
            return

    def _ask_for(self, taken: Counts) -> None:
        refused = {ref for ref in taken if not self._lease.may_proceed(ref)}
        if refused:
            self.stopped |= refused
            raise _Stopped


class _TablesWave:
    def __init__(self, session: Session, statements: Statements, tables: Sequence[Table]) -> None:
        self._session = session
        self._statements = statements
        self._tables = tables

    @property
    def tables(self) -> Collection[str]:
        return [table.name for table in self._tables]

    def prepare(self, people: Sequence[Subject]) -> Counts:
        staging = Staging(self._session, self._statements, people, one_by_one=False)
        staging.find(people, heed_plan=True)
        staging.choose()
        return staging.counts("going", self._tables)

    def act(self) -> None:
        for table in self._tables:
            emptied = table.policy.columns if table.policy.action is Action.NULL else ()
            _take(self._session, self._statements, table.rows, stage("going", table.position), emptied)


class _EdgesWave:
    def __init__(self, session: Session, statements: Statements, graph: GraphPolicy) -> None:
        self._session = session
        self._statements = statements
        self._graph = graph

    @property
    def tables(self) -> Collection[str]:
        return [self._graph.table]

    def prepare(self, people: Sequence[Subject]) -> Counts:
        Staging(self._session, self._statements, people, one_by_one=False)
        stage_edges(self._session, self._graph)
        return {ref: {self._graph.table: n} for ref, n in count_edges(self._session).items()}

    def act(self) -> None:
        _take(self._session, self._statements, named_table(self._graph.table), EDGES, ())


def _take(
    session: Session, statements: Statements, rows: TableClause, staged: TableClause, emptied: tuple[str, ...]
) -> None:
    """Delete the staged rows, or empty these columns of theirs. Raise if one of them stayed."""
    count, take = statements.take(rows, staged, emptied)
    expected = session.rows(count)[0][0]
    if expected and session.change(take) != expected:
        # A trigger or a rule kept some: nothing of this is committed.
        raise AnswerNotUnderstood("effect_count_differs")

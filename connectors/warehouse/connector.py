"""The warehouse connector: people's rows in configured tables, and the identity graph's own rows.

Decides which of the parts in this folder runs when. One system can hold tables, the graph, or both; the graph alone, as
a system of its own with a high `order`, is how its rows go after everything that was found through them.

`erase` is told identifiers and erases what it finds by them, with one exception: a row that also carries an identifier
of somebody outside the batch is only erased when the frozen plan names it (`staging`); else it comes back as `found`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar

from sqlalchemy import exists, select

from connectors.base.config import SystemConfig
from connectors.base.errors import ConnectorError, CredentialsRefused, TemporarilyUnavailable
from connectors.base.interface import (
    Answers,
    Connector,
    Declaration,
    ErasesBy,
    Findings,
    Lease,
    Operation,
)
from connectors.base.values import Answer, Batch, Subject, Visibility
from connectors.warehouse.dialects import ONE, Compiled, WarehouseDialect, named_table
from connectors.warehouse.erasure import Erasure
from connectors.warehouse.layout import read_layout
from connectors.warehouse.location import WarehouseCredentials, database_at, parse_location
from connectors.warehouse.look import Snapshot, answer, located, look, look_at_edges
from connectors.warehouse.names import name_parts
from connectors.warehouse.policy import Action, WarehousePolicy
from connectors.warehouse.session import Session
from connectors.warehouse.staging_statements import Statements

_PEOPLE_PER_CALL = 500


class _EveryKind(frozenset[str]):
    """The identifier kinds of a system with the identity graph's rows: an edge may hold any kind.

    Its members are the kinds that are known beforehand, for callers that list them.
    """

    def __contains__(self, kind: object) -> bool:
        return isinstance(kind, str)


class WarehouseConnector(Connector):
    """Erasure in a DuckDB file or a PostgreSQL database. The instance is bound to one system's tables."""

    declaration: ClassVar[Declaration] = Declaration(
        name="warehouse",
        identifier_kinds=frozenset({"email", "phone", "customer_id", "anonymous_id"}),
        operations=frozenset({Operation.LOCATE, Operation.ERASE, Operation.CONFIRM}),
        erases_by=ErasesBy.IDENTIFIERS,
        max_subjects_per_call=dict.fromkeys((Operation.LOCATE, Operation.ERASE, Operation.CONFIRM), _PEOPLE_PER_CALL),
        # A second writer would only wait for the first one's lock; people travel together instead.
        max_concurrency=1,
        suppress_first=False,
        # Whether the tables are seen depends on the batch: see `_prove_visibility`.
        verifies_visibility=True,
        order=10,
        not_covered=("backups", "freed_storage", "tables_not_listed"),
        level="verified",
    )
    Credentials = WarehouseCredentials
    Policy = WarehousePolicy
    base_url_schemes = frozenset({"duckdb", "postgresql"})

    def __init__(self, system: SystemConfig) -> None:
        super().__init__(system)
        if not isinstance(system.policy, WarehousePolicy) or not isinstance(system.credentials, WarehouseCredentials):
            raise TypeError("the system was not read by WarehouseConnector.parse_system")
        self._policy = system.policy
        location = parse_location(system.base_url, system.credentials, f"systems[{system.name}]")
        self._database = database_at(
            location,
            lock_wait_seconds=system.policy.lock_wait_seconds,
            statement_timeout_seconds=system.policy.statement_timeout_seconds,
        )
        # The key of the last batch of which rows were taken: a look in the same pass comes before that is recorded.
        self._took_rows_of: str | None = None
        self._statements: Statements | None = None
        # Which kinds this warehouse understands is said by its tables, not by the class.
        self.__dict__["declaration"] = replace(type(self).declaration, identifier_kinds=self.kinds_of(system))

    @classmethod
    def parse_system(cls, entry: Mapping[str, Any]) -> SystemConfig:
        """As every connector, and `base_url` must name a warehouse."""
        system = super().parse_system(entry)
        assert isinstance(system.credentials, WarehouseCredentials)
        parse_location(system.base_url, system.credentials, f"systems[{system.name}]")
        return system

    @classmethod
    def kinds_of(cls, system: SystemConfig) -> frozenset[str]:
        """The kinds of its tables' columns; every kind with the identity graph's rows."""
        assert isinstance(system.policy, WarehousePolicy)
        return _kinds(system.policy)

    def check_credentials(self) -> Visibility:
        """Prove that every table and column is there, with the policy's rights, and that a table holds a row.

        This user must see every row of the tables and may change them as the policy says; at least one of the tables
        must hold a row (unless `may_be_empty`).

        One empty table proves nothing, because some are rightly empty. All of them empty means the wrong file or a
        fresh copy, so that is `no_visibility`.
        """
        with self._database.open(write=False) as session:
            return self._prove_visibility(session)

    def locate(self, batch: Batch) -> Findings:
        """Count each person's rows per table, dependents included, and name rows that may be another person's."""
        with self._database.open(write=False) as session:
            self._prove_visibility(session)
            snapshots = self._look(session, batch.subjects, heed_plan=False)
        return {ref: located(snapshot) for ref, snapshot in snapshots.items()}

    def erase(self, batch: Batch, lease: Lease) -> Answers:
        """Delete or empty the rows, children first, then the graph's edges of people without other rows left.

        In PostgreSQL all tables go in one transaction, in DuckDB one transaction a level (`levels_apart`); a crash
        between two leaves the parents, by which the next attempt finds the rest.
        """
        with self._database.open(write=True) as session:
            statements = self._read(session)
            erasure = Erasure(session, statements, lease)
            erasure.erase_rows(batch.subjects)
            working = [s for s in batch.subjects if erasure.goes_on(s)]
            snapshots = look(session, statements, working, one_by_one=False, heed_plan=True)
            graph = self._policy.identity_graph
            if graph is not None:
                erasure.erase_edges(graph, [s for s in working if not snapshots[s.ref].has_left])
                look_at_edges(session, statements, graph, working, snapshots)
        erasure.remember()
        memory = erasure.memory
        if any(memory.has_taken(subject.ref) for subject in working):
            self._took_rows_of = batch.key
        answers: dict[str, Answer | ConnectorError] = {
            s.ref: answer(snapshots[s.ref], memory.unreported(s), has_taken=memory.has_taken(s.ref)) for s in working
        }
        answers |= {ref: TemporarilyUnavailable("stopped") for ref in erasure.stopped}
        return answers | erasure.errors

    def confirm_absence(self, batch: Batch) -> Answers:
        """Look again by every identifier in every table and in the graph; prove visibility before and after."""
        with self._database.open(write=False) as session:
            self._prove_visibility(session, batch)
            snapshots = self._look(session, batch.subjects, heed_plan=True)
            self._prove_visibility(session, batch)
        return {ref: answer(snapshot, {}) for ref, snapshot in snapshots.items()}

    def _prove_visibility(self, session: Session, batch: Batch | None = None) -> Visibility:
        """This user sees every row of every table, and these are the tables where people's rows were or are.

        The second is proven by any row that is left. If none is left, because a person of this batch was the last one,
        it is proven by the rows of theirs that were taken here: they are counted in an earlier answer, or this very
        connector took them. Nothing else makes empty tables the right ones. Raises the four errors.
        """
        self._read(session)
        self._check_rights(session)
        seen = [name for name in self._table_names() if _has_row(session, name)]
        if seen:
            return Visibility("control_record", f"rows in {len(seen)} of the configured tables")
        if batch is not None and (
            batch.key == self._took_rows_of or any(any(s.already_reported.values()) for s in batch.subjects)
        ):
            return Visibility("rows_erased_here", "the last rows of the configured tables were of this batch")
        if self._policy.may_be_empty:
            return Visibility("rights", "rows in 0 of the configured tables")
        raise CredentialsRefused("no_visibility")

    def _look(self, session: Session, people: Sequence[Subject], *, heed_plan: bool) -> dict[str, Snapshot]:
        statements = self._read(session)
        snapshots = look(session, statements, people, one_by_one=True, heed_plan=heed_plan)
        if self._policy.identity_graph is not None:
            look_at_edges(session, statements, self._policy.identity_graph, people, snapshots)
        return snapshots

    def _read(self, session: Session) -> Statements:
        """Compare the policy with the catalogue; keep the compiled statements while the tables are the same."""
        layout = read_layout(session, self._policy)
        known = self._statements
        if known is None or known.layout != layout or known.dialect != session.dialect:
            self._statements = known = Statements(session.dialect, layout)
        return known

    def _table_names(self) -> tuple[str, ...]:
        graph = self._policy.identity_graph
        return (*(table.name for table in self._policy.tables), *(() if graph is None else (graph.table,)))

    def _check_rights(self, session: Session) -> None:
        for table in self._policy.tables:
            emptied = table.columns if table.action is Action.NULL else ()
            session.check_rights(name_parts(table.name), delete=table.action is Action.DELETE, update=emptied)
        if self._policy.identity_graph is not None:
            session.check_rights(name_parts(self._policy.identity_graph.table), delete=True, update=())


def _has_row(session: Session, name: str) -> bool:
    return bool(session.rows(_any_row(session.dialect, name))[0][0])


@lru_cache(maxsize=256)
def _any_row(dialect: WarehouseDialect, name: str) -> Compiled:
    return dialect.compile(select(exists(select(ONE).select_from(named_table(name)))))


def _kinds(policy: WarehousePolicy) -> frozenset[str]:
    named = {kind for table in policy.tables for kind in table.identifiers}
    if policy.identity_graph is None:
        return frozenset(named)
    return _EveryKind(named | WarehouseConnector.declaration.identifier_kinds)

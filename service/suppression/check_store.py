"""Read the suppression list for a check, and how far the list has come.

Decides which requests the list lags by: those that the engine still has to bring onto it. They have a next action and
no plan yet. Three kinds of request have neither and don't count. A linked request has its identifiers in the request
that covers it. A withdrawn one has no place on the list. An erasure that waits for a human, for a review or for the
person's verification, isn't decided: its identifiers may be another person's, and none of its records is erased yet, so
that nothing has to be kept out. An opt-out never waits for a human, so that it always counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import timedelta

from sqlalchemy import Connection, DateTime, and_, func, literal_column, select

from service.domain.suppression.check import Freshness, ListedScope
from service.store.arrays import BinaryArray
from service.store.execute import execute
from service.store.locking import set_local
from service.store.sql_files import load_sql
from service.store.tables.requests import RequestRow


def limit_statements(connection: Connection, patience: timedelta) -> None:
    """Let each later statement of the transaction fail after `patience`, waits for locks included."""
    set_local(connection, "statement_timeout", f"{round(patience.total_seconds() * 1000)}ms")


def read_freshness(connection: Connection) -> Freshness:
    """Return how far the list has come. Read before the entries, so that these are at least as new."""
    row = execute(connection, _FRESHNESS).one()
    return Freshness(row.read_at, row.oldest_unlisted_at)


# Literals, because only then PostgreSQL knows that the partial index ix_requests_unlisted has all of these rows.
_HAS_TO_BE_LISTED = and_(
    RequestRow.next_action.in_([literal_column("'identify'"), literal_column("'freeze'")]),
    RequestRow.plan_version == literal_column("0"),
    RequestRow.kind.in_([literal_column("'erasure'"), literal_column("'suppression'")]),
)
# The statement's start is before its snapshot, so that every request that was accepted before it is seen.
_FRESHNESS = select(
    func.statement_timestamp(type_=DateTime(timezone=True)).label("read_at"),
    select(func.min(RequestRow.created_at)).where(_HAS_TO_BE_LISTED).scalar_subquery().label("oldest_unlisted_at"),
)


def read_scopes(connection: Connection, hashes: Collection[bytes]) -> Mapping[bytes, list[ListedScope]]:
    """Return the scopes in force of those of these hashes that are on the list."""
    found: dict[bytes, list[ListedScope]] = defaultdict(list)
    if hashes:
        for row in execute(connection, _LISTED_SCOPES, {"hashes": BinaryArray(hashes)}).all():
            found[bytes(row.hash)].append(ListedScope(row.scope, row.since))
    return found


_LISTED_SCOPES = load_sql(__package__, "listed_scopes")

"""Read and write the suppression sync's rows: due times, leases, cursors, and pages to be read again.

Decides nothing: `scan_schedule.py` says when a system is scanned. A lease is valid by the database's clock, and only a
worker with its fence may write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    Connection,
    DateTime,
    Integer,
    Interval,
    Text,
    Uuid,
    all_,
    any_,
    bindparam,
    case,
    cast,
    column,
    delete,
    exists,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from connectors.base.transitions.states import ENDED
from service.domain.suppression.scopes import ERASED
from service.store.arrays import BinaryArray, array_parameter, uuid_array
from service.store.execute import execute
from service.store.tables.requests import RequestRow, SuppressionRow
from service.store.tables.suppression import SuppressionSyncRow, SuppressionWaitRow
from service.store.tables.work import StepRow, SystemRow

_NOW = func.clock_timestamp(type_=DateTime(timezone=True))
_SYSTEM = bindparam("of_system", type_=Text())
_IS_FREE = or_(SuppressionSyncRow.lease_until.is_(None), SuppressionSyncRow.lease_until <= _NOW)
# The first page has no cursor; the column isn't nullable because it is a part of the primary key.
_FIRST_PAGE = ""


class LeasedRow(NamedTuple):
    """A sync's row as its new lease found it."""

    fence: int
    cursor: str | None
    consecutive_errors: int


class WaitedPage(NamedTuple):
    """A page whose awaited requests have ended; `cursor` is None for the first page."""

    cursor: str | None
    requests: tuple[UUID, ...]


def mark_due_syncs(connection: Connection, systems: Sequence[str], *, again_after: timedelta) -> list[tuple[str, str]]:
    """Return these systems' due syncs with their connectors, and note that a worker is woken for them.

    Syncs for which a worker was woken within `again_after`, and locked ones, are skipped.
    """
    rows = execute(connection, _MARK_DUE, {"names": BinaryArray(systems), "again": again_after}).all()
    return [(row.system, row.connector) for row in rows]


_DUE = (
    select(SuppressionSyncRow.system, SystemRow.connector)
    .join(SystemRow, SystemRow.name == SuppressionSyncRow.system)
    .where(
        SystemRow.state == literal_column("'active'"),
        SystemRow.name == any_(array_parameter("names", Text())),
        or_(SystemRow.cooldown_until.is_(None), SystemRow.cooldown_until <= _NOW),
        or_(
            SuppressionSyncRow.nudged_at.is_(None),
            SuppressionSyncRow.nudged_at < _NOW - bindparam("again", type_=Interval()),
        ),
        SuppressionSyncRow.due_at <= _NOW,
        _IS_FREE,
    )
    .order_by(SuppressionSyncRow.system)
    .with_for_update(key_share=True, of=SuppressionSyncRow, skip_locked=True)
    .cte("due")
    .prefix_with("MATERIALIZED")
)
_MARK_DUE = (
    update(SuppressionSyncRow)
    .values(nudged_at=_NOW)
    .where(SuppressionSyncRow.system == _DUE.c.system)
    .returning(SuppressionSyncRow.system, _DUE.c.connector)
)


def lease_due_sync(connection: Connection, system: str, length: timedelta) -> LeasedRow | None:
    """Lease the system's sync under a new fence; None if it isn't due, is leased, or is locked."""
    row = execute(connection, _LEASE, {"of_system": system, "length": length}).one_or_none()
    return None if row is None else LeasedRow(*row)


_FREE_SYNC = aliased(SuppressionSyncRow)
_LEASE = (
    update(SuppressionSyncRow)
    .values(
        fence=SuppressionSyncRow.fence + literal_column("1"),
        lease_until=_NOW + bindparam("length", type_=Interval()),
    )
    .where(
        SuppressionSyncRow.system.in_(
            select(_FREE_SYNC.system)
            .where(
                _FREE_SYNC.system == _SYSTEM,
                _FREE_SYNC.due_at <= _NOW,
                or_(_FREE_SYNC.lease_until.is_(None), _FREE_SYNC.lease_until <= _NOW),
            )
            .with_for_update(key_share=True, skip_locked=True)
        )
    )
    .returning(SuppressionSyncRow.fence, SuppressionSyncRow.cursor, SuppressionSyncRow.consecutive_errors)
)


def first_entry_at(connection: Connection) -> datetime:
    """Return when the first erased person was listed; the database's clock where there is none."""
    found: datetime = execute(connection, _FIRST_ENTRY_AT).scalar_one()
    return found


_FIRST_ENTRY_AT = select(
    func.coalesce(
        select(func.min(SuppressionRow.added_at))
        .where(SuppressionRow.removed_at.is_(None), SuppressionRow.scope == ERASED)
        .scalar_subquery(),
        _NOW,
    )
)


def advance(
    connection: Connection,
    system: str,
    fence: int,
    *,
    cursor: str | None,
    due_in: timedelta | None,
    length: timedelta,
    found: int,
) -> bool:
    """Record a successful scan of a page and renew the lease; False if the lease was lost.

    `cursor` None: it stays. `due_in` None: the due time stays. `found` is added to the count of re-appearances.
    """
    values = {
        "of_system": system,
        "of_fence": fence,
        "next": cursor,
        "due_in": due_in,
        "length": length,
        "more": found,
    }
    return execute(connection, _ADVANCE, values).rowcount > 0


_DUE_IN = cast(bindparam("due_in", type_=Interval()), Interval)
_ADVANCE = (
    update(SuppressionSyncRow)
    .values(
        cursor=func.coalesce(bindparam("next", type_=Text()), SuppressionSyncRow.cursor),
        last_success_at=_NOW,
        due_at=func.coalesce(_NOW + _DUE_IN, SuppressionSyncRow.due_at),
        lease_until=_NOW + bindparam("length", type_=Interval()),
        last_error=null(),
        consecutive_errors=literal_column("0"),
        found=SuppressionSyncRow.found + bindparam("more", type_=Integer()),
    )
    .where(
        SuppressionSyncRow.system == _SYSTEM,
        SuppressionSyncRow.fence == bindparam("of_fence"),
        SuppressionSyncRow.lease_until > _NOW,
    )
)


def end_lease(connection: Connection, system: str, fence: int) -> None:
    """End the lease with this fence, so that the next worker may take it at once."""
    execute(connection, _END_LEASE, {"of_system": system, "of_fence": fence})


_END_LEASE = (
    update(SuppressionSyncRow)
    .values(lease_until=null(), nudged_at=null())
    .where(SuppressionSyncRow.system == _SYSTEM, SuppressionSyncRow.fence == bindparam("of_fence"))
)


def postpone(connection: Connection, system: str, fence: int, *, due_in: timedelta, error: str | None) -> None:
    """End the lease and make the sync due later; `error` adds a consecutive failure of this code."""
    values = {"of_system": system, "of_fence": fence, "due_in": due_in, "error": error}
    execute(connection, _POSTPONE, values)


_ERROR = bindparam("error", type_=Text())
_POSTPONE = (
    update(SuppressionSyncRow)
    .values(
        lease_until=null(),
        nudged_at=null(),
        last_error=func.coalesce(_ERROR, SuppressionSyncRow.last_error),
        consecutive_errors=SuppressionSyncRow.consecutive_errors
        + case((_ERROR.is_(None), literal_column("0")), else_=literal_column("1")),
        due_at=_NOW + _DUE_IN,
    )
    .where(SuppressionSyncRow.system == _SYSTEM, SuppressionSyncRow.fence == bindparam("of_fence"))
)


def delete_syncs(connection: Connection) -> None:
    """Delete every system's sync, because scans are switched off."""
    connection.execute(delete(SuppressionSyncRow))


def ensure_syncs(connection: Connection, systems: Sequence[str], interval: timedelta) -> None:
    """Create missing syncs, and make syncs without a failure due within `interval` of their last scan."""
    if systems:
        rows = [{"system": system} for system in systems]
        connection.execute(insert(SuppressionSyncRow).values(rows).on_conflict_do_nothing())
    read_at = func.coalesce(SuppressionSyncRow.last_success_at, _NOW)
    connection.execute(
        update(SuppressionSyncRow)
        .where(SuppressionSyncRow.consecutive_errors == 0)
        .values(due_at=func.least(SuppressionSyncRow.due_at, read_at + interval))
    )


def restart_sync(connection: Connection, system: str) -> None:
    """Forget how far the system's changes were read, and make its sync due now."""
    connection.execute(
        update(SuppressionSyncRow).where(SuppressionSyncRow.system == system).values(cursor=null(), due_at=_NOW)
    )


def insert_waits(connection: Connection, system: str, cursor: str | None, requests: Iterable[UUID]) -> None:
    """Have the page at `cursor` (None: the first) read again after these requests have ended."""
    values = {"of_system": system, "at": _FIRST_PAGE if cursor is None else cursor, "ids": uuid_array(sorted(requests))}
    execute(connection, _INSERT_WAITS, values)


_WAITED_FOR = func.unnest(array_parameter("ids", Uuid())).table_valued(column("id", Uuid)).render_derived(name="n")
_INSERT_WAITS = (
    insert(SuppressionWaitRow)
    .from_select(
        ["system", "request_id", "cursor"],
        select(cast(_SYSTEM, Text), _WAITED_FOR.c.id, cast(bindparam("at", type_=Text()), Text)),
    )
    .on_conflict_do_nothing()
)


def delete_waits(connection: Connection, system: str, page: WaitedPage) -> None:
    """Delete the waits for these requests, because the page was read again."""
    cursor = _FIRST_PAGE if page.cursor is None else page.cursor
    execute(connection, _DELETE_WAITS, {"of_system": system, "at": cursor, "ids": uuid_array(page.requests)})


_DELETE_WAITS = delete(SuppressionWaitRow).where(
    SuppressionWaitRow.system == _SYSTEM,
    SuppressionWaitRow.cursor == bindparam("at", type_=Text()),
    SuppressionWaitRow.request_id == any_(array_parameter("ids", Uuid())),
)


def pages_to_read_again(connection: Connection, system: str, *, limit: int) -> list[WaitedPage]:
    """Return at most `limit` pages whose awaited requests have ended, in the order of cursors."""
    rows = execute(
        connection, _READ_AGAIN, {"of_system": system, "n": limit, "ended": BinaryArray(sorted(ENDED))}
    ).all()
    return [WaitedPage(row.cursor or None, tuple(row.requests)) for row in rows]


_UNFINISHED_STEP = exists(
    select(literal_column("1"))
    .select_from(StepRow)
    .where(
        StepRow.request_id == SuppressionWaitRow.request_id,
        StepRow.system == _SYSTEM,
        StepRow.state != all_(array_parameter("ended", Text())),
    )
)
_READ_AGAIN = (
    select(SuppressionWaitRow.cursor, func.array_agg(SuppressionWaitRow.request_id).label("requests"))
    .join(RequestRow, RequestRow.id == SuppressionWaitRow.request_id)
    .where(
        SuppressionWaitRow.system == _SYSTEM,
        RequestRow.state.not_in([literal_column("'open'"), literal_column("'in_progress'")]),
        ~_UNFINISHED_STEP,
    )
    .group_by(SuppressionWaitRow.cursor)
    .order_by(SuppressionWaitRow.cursor)
    .limit(bindparam("n", type_=Integer()))
)

"""Read and lock requests. Requests are locked by id, so that two transactions never wait in a circle.

Decides nothing. `service.store.locking` says why rows are locked FOR NO KEY UPDATE.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from sqlalchemy import (
    Connection,
    Integer,
    Uuid,
    bindparam,
    column,
    exists,
    func,
    literal_column,
    select,
)

from service.domain.errors import NotFound
from service.domain.execution.fair_queues import DEFAULT_FAIR_QUEUE, URGENT_FAIR_QUEUE, most_of_one_bulk
from service.requests.records.rows import PlannedRequest, StoredRequest
from service.store.arrays import array_parameter, int_array, uuid_array
from service.store.execute import execute
from service.store.sql_files import load_sql
from service.store.tables.requests import RequestRow

_TABLE = RequestRow.__table__
_WHOLE = [_TABLE.c[name] for name in StoredRequest._fields]
_PLANNED = [_TABLE.c[name] for name in PlannedRequest._fields]
_BY_IDS = RequestRow.id == func.any(array_parameter("ids", Uuid()))
UNFINISHED_STATE = RequestRow.state.in_([literal_column("'open'"), literal_column("'in_progress'")])
"""The condition for an unfinished request; literals, because partial indexes have them."""


def read_request(connection: Connection, request_id: UUID) -> StoredRequest | None:
    """Return the request's row; None if there is none."""
    row = execute(connection, _READ, {"id": request_id}).one_or_none()
    return None if row is None else StoredRequest._make(row)


_READ = select(*_WHOLE).where(RequestRow.id == bindparam("id"))


def lock_request(connection: Connection, request_id: UUID) -> StoredRequest:
    """Return the request's row, locked until the transaction ends. Raises NotFound."""
    row = execute(connection, _LOCK, {"id": request_id}).one_or_none()
    if row is None:
        raise NotFound("there is no such request")
    return StoredRequest._make(row)


_LOCK = _READ.with_for_update(key_share=True)


def read_scopes(connection: Connection, request_ids: Iterable[UUID]) -> dict[UUID, tuple[str, ...]]:
    """Return the scopes of these requests."""
    rows = execute(connection, _SCOPES, {"ids": uuid_array(request_ids)}).all()
    return {row.id: tuple(row.scopes) for row in rows}


_SCOPES = select(RequestRow.id, RequestRow.scopes).where(_BY_IDS)


def lock_requests(connection: Connection, request_ids: Iterable[UUID]) -> dict[UUID, StoredRequest]:
    """Return the rows of those requests that exist, locked until the transaction ends."""
    rows = execute(connection, _LOCK_MANY, {"ids": uuid_array(request_ids)}).all()
    return {row.id: StoredRequest._make(row) for row in rows}


def lock_planned(connection: Connection, request_ids: Iterable[UUID]) -> dict[UUID, PlannedRequest]:
    """Lock the same rows and return the fewer columns that plans need, because planning locks many."""
    rows = execute(connection, _LOCK_PLANNED, {"ids": uuid_array(request_ids)}).all()
    return {row.id: PlannedRequest._make(row) for row in rows}


_LOCK_MANY = select(*_WHOLE).where(_BY_IDS).order_by(RequestRow.id).with_for_update(key_share=True)
_LOCK_PLANNED = select(*_PLANNED).where(_BY_IDS).order_by(RequestRow.id).with_for_update(key_share=True)


def lock_with_followers(connection: Connection, request_ids: Sequence[UUID]) -> dict[UUID, StoredRequest]:
    """Lock requests and those linked to them.

    Both are read twice, because one may be linked while the first reading waits for a lock.
    """
    wanted = set(request_ids)
    rows: dict[UUID, StoredRequest] = {}
    for _ in range(2):
        found = followers(connection, request_ids)
        rows = lock_requests(connection, [*request_ids, *(each for each in found if each not in wanted)])
    return {each: row for each, row in rows.items() if each in wanted or row.duplicate_of in wanted}


def followers(connection: Connection, request_ids: Sequence[UUID]) -> list[UUID]:
    """Return the ids of the requests that are linked to these."""
    return execute(connection, _FOLLOWERS, {"ids": uuid_array(request_ids)}).scalars()


_FOLLOWERS = select(RequestRow.id).where(RequestRow.duplicate_of == func.any(array_parameter("ids", Uuid())))


def lock_duplicates(connection: Connection, request_id: UUID) -> list[StoredRequest]:
    """Lock and return the requests that wait for this one, because it covers them."""
    return [StoredRequest._make(row) for row in execute(connection, _LOCK_LINKED, {"id": request_id}).all()]


_LOCK_LINKED = (
    select(*_WHOLE)
    .where(
        RequestRow.duplicate_of == bindparam("id"),
        RequestRow.state == literal_column("'in_progress'"),
        RequestRow.reason == literal_column("'duplicate'"),
    )
    .order_by(RequestRow.id)
    .with_for_update(key_share=True)
)


def head_of_links(connection: Connection, request: StoredRequest) -> UUID:
    """Return the request at the end of a chain of links.

    A linked request that was fulfilled has no plan of its own.
    """
    head, after = request.id, request.duplicate_of
    while after is not None:
        head, after = execute(connection, _LINK, {"id": after}).one()
    return head


_LINK = select(RequestRow.id, RequestRow.duplicate_of).where(RequestRow.id == bindparam("id"))


def submitter_of(connection: Connection, request_id: UUID) -> UUID | None:
    """Return the API key that submitted the request; None if there is no such request. Takes no lock."""
    row = execute(connection, _SUBMITTER, {"id": request_id}).one_or_none()
    return None if row is None else row.submitted_by


_SUBMITTER = select(RequestRow.submitted_by).where(RequestRow.id == bindparam("id"))


def lock_leased(connection: Connection, request_id: UUID, fence: int) -> StoredRequest | None:
    """Lock a request whose identity is being resolved under this fence; None if the lease was lost."""
    row = execute(connection, _LOCK_LEASED, {"id": request_id, "fence": fence}).one_or_none()
    return None if row is None else StoredRequest._make(row)


_IDENTIFYING = RequestRow.next_action == literal_column("'identify'")
_LOCK_LEASED = (
    select(*_WHOLE)
    .where(RequestRow.id == bindparam("id"), RequestRow.fence == bindparam("fence"), _IDENTIFYING)
    .with_for_update(key_share=True)
)


def lock_leased_plain(connection: Connection, fences: Mapping[UUID, int]) -> list[PlannedRequest]:
    """Lock the requests of these with a valid lease that had neither a review nor a doubt."""
    values = {"ids": uuid_array(fences), "fences": int_array(fences.values())}
    return [PlannedRequest._make(row) for row in execute(connection, _LOCK_LEASED_PLAIN, values).all()]


# The rows are locked by primary key first and tested afterwards: in one step, all requests that wait for their search
# were read once for each of these people (5,000 waiting: 190 ms instead of 3 for 200 people).
_LOCKED = (
    select(*_PLANNED, RequestRow.fence, RequestRow.next_action, RequestRow.identity_reviewed, RequestRow.doubts_version)
    .where(_BY_IDS)
    .order_by(RequestRow.id)
    .with_for_update(key_share=True)
    .cte("locked")
    .prefix_with("MATERIALIZED")
)
_FENCES = (
    func.unnest(array_parameter("ids", Uuid()), array_parameter("fences", Integer()))
    .table_valued(column("id", Uuid), column("fence", Integer))
    .render_derived(name="n")
)
_LOCK_LEASED_PLAIN = (
    select(*(_LOCKED.c[name] for name in PlannedRequest._fields))
    .select_from(_LOCKED)
    .join(_FENCES, _FENCES.c.id == _LOCKED.c.id)
    .where(
        _LOCKED.c.fence == _FENCES.c.fence,
        _LOCKED.c.next_action == literal_column("'identify'"),
        ~_LOCKED.c.identity_reviewed,
        _LOCKED.c.doubts_version == 0,
    )
    .order_by(_LOCKED.c.id)
)


def pick_identities(connection: Connection, limit: int) -> list[UUID]:
    """Return up to `limit` requests to search next, by time left.

    At most half of them are taken from one import first.
    """
    values = {"n": limit, "half": most_of_one_bulk(limit), "urgent": URGENT_FAIR_QUEUE, "single": DEFAULT_FAIR_QUEUE}
    return execute(connection, _PICK, values).scalars()


_PICK = load_sql(__package__, "pick_identities")


def lock_missed_deadlines(connection: Connection, limit: int) -> list[StoredRequest]:
    """Lock unmarked unfinished requests whose `respond_by` has passed; locked ones are skipped."""
    return [StoredRequest._make(row) for row in execute(connection, _LOCK_MISSED, {"n": limit}).all()]


_LOCK_MISSED = (
    select(*_WHOLE)
    .where(UNFINISHED_STATE, RequestRow.overdue_at.is_(None), RequestRow.respond_by < func.clock_timestamp())
    .order_by(RequestRow.respond_by)
    .limit(bindparam("n"))
    .with_for_update(key_share=True, skip_locked=True)
)


def due_to_freeze(connection: Connection, limit: int) -> list[UUID]:
    """Return the requests whose searches have run out of time."""
    return execute(connection, _DUE_TO_FREEZE, {"n": limit}).scalars()


def due_to_seal(connection: Connection, limit: int) -> list[UUID]:
    """Return the requests that are to be sealed now."""
    return execute(connection, _DUE_TO_SEAL, {"n": limit}).scalars()


_DUE = (
    select(RequestRow.id)
    .where(RequestRow.due_at <= func.clock_timestamp())
    .order_by(RequestRow.due_at)
    .limit(bindparam("n"))
)
_DUE_TO_FREEZE = _DUE.where(RequestRow.next_action == literal_column("'freeze'"))
_DUE_TO_SEAL = _DUE.where(RequestRow.next_action == literal_column("'seal'"))


def unfinished_of_import(connection: Connection, import_id: UUID, limit: int) -> list[UUID]:
    """Return unfinished requests of an import, up to `limit`."""
    return execute(connection, _UNFINISHED_OF_IMPORT, {"import": import_id, "n": limit}).scalars()


_OF_IMPORT = (RequestRow.import_id == bindparam("import"), UNFINISHED_STATE)
_UNFINISHED_OF_IMPORT = select(RequestRow.id).where(*_OF_IMPORT).order_by(RequestRow.id).limit(bindparam("n"))


def import_has_unfinished(connection: Connection, import_id: UUID) -> bool:
    """Return whether a request of the import is unfinished."""
    return bool(execute(connection, _IMPORT_HAS_UNFINISHED, {"import": import_id}).scalar_one())


_IMPORT_HAS_UNFINISHED = select(exists(select(1).where(*_OF_IMPORT)))

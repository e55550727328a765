"""Read and write imports and refused lines: the only INSERT and UPDATEs of the table `imports`.

Decides nothing; the use cases write the audit entries.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    Connection,
    DateTime,
    Integer,
    Text,
    Uuid,
    bindparam,
    cast,
    column,
    delete,
    exists,
    func,
    literal_column,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from service.requests.records.store import UNFINISHED_STATE
from service.store.arrays import BinaryArray, array_parameter, int_array
from service.store.execute import execute
from service.store.tables.imports import ImportRefusalRow, ImportRow
from service.store.tables.requests import RequestRow


class StoredImport(NamedTuple):
    """An import's row. `received_at`: when its body was last received as a whole."""

    id: UUID
    submitted_by: UUID
    format: str
    state: str
    created_at: datetime
    received_at: datetime | None
    accepted: int
    version: int
    entry_hash: bytes | None


_WHOLE = [ImportRow.__table__.c[name] for name in StoredImport._fields]
_BY_ID = ImportRow.id == bindparam("id")


class ImportKey(NamedTuple):
    """The API key and the Idempotency-Key that name an import."""

    submitted_by: UUID
    key: str


def insert_import(connection: Connection, key: ImportKey, *, import_id: UUID, file_format: str, state: str) -> bool:
    """Write a new import. Return False if there is one with this key already."""
    values = {"new": import_id, "by": key.submitted_by, "key": key.key, "format": file_format, "state": state}
    return bool(execute(connection, _INSERT, values).rowcount)


_INSERT = (
    insert(ImportRow)
    .values(
        {
            "id": bindparam("new"),
            "submitted_by": bindparam("by"),
            "key": bindparam("key"),
            "format": bindparam("format"),
            "state": bindparam("state"),
        }
    )
    .on_conflict_do_nothing(index_elements=[ImportRow.submitted_by, ImportRow.key])
)


def lock_import_by_key(connection: Connection, key: ImportKey) -> StoredImport:
    """Lock and return the import with this key, which exists."""
    return StoredImport._make(execute(connection, _LOCK_BY_KEY, {"by": key.submitted_by, "key": key.key}).one())


_LOCK_BY_KEY = (
    select(*_WHOLE)
    .where(ImportRow.submitted_by == bindparam("by"), ImportRow.key == bindparam("key"))
    .with_for_update(key_share=True)
)


def lock_import_row(connection: Connection, import_id: UUID) -> StoredImport | None:
    """Lock and return an import; None if there is none."""
    row = execute(connection, _LOCK, {"id": import_id}).one_or_none()
    return None if row is None else StoredImport._make(row)


def read_import(connection: Connection, import_id: UUID) -> StoredImport | None:
    """Return an import; None if there is none."""
    row = execute(connection, _READ, {"id": import_id}).one_or_none()
    return None if row is None else StoredImport._make(row)


_READ = select(*_WHOLE).where(_BY_ID)
_LOCK = _READ.with_for_update(key_share=True)


def read_imports(connection: Connection, *, limit: int, after: tuple[datetime, UUID] | None) -> list[StoredImport]:
    """Return up to `limit` imports, newest first.

    `after`: creation and id of the last import of the page before.
    """
    if after is None:
        rows = execute(connection, _FIRST_PAGE, {"n": limit}).all()
    else:
        rows = execute(connection, _NEXT_PAGE, {"n": limit, "after_at": after[0], "after_id": after[1]}).all()
    return [StoredImport._make(row) for row in rows]


_FIRST_PAGE = select(*_WHOLE).order_by(ImportRow.created_at.desc(), ImportRow.id.desc()).limit(bindparam("n"))
_NEXT_PAGE = _FIRST_PAGE.where(
    tuple_(ImportRow.created_at, ImportRow.id)
    < tuple_(bindparam("after_at", type_=DateTime(timezone=True)), bindparam("after_id", type_=Uuid()))
)


def write_state(connection: Connection, import_id: UUID, state: str) -> None:
    """Write the state of a locked import. The caller writes its entry."""
    execute(connection, _WRITE_STATE, {"import": import_id, "to": state})


_OF_IMPORT = ImportRow.id == bindparam("import")
_WRITE_STATE = update(ImportRow).where(_OF_IMPORT).values({ImportRow.state: bindparam("to")})


def write_received(connection: Connection, import_id: UUID) -> None:
    """Write that the whole body of a locked import was received now."""
    execute(connection, _WRITE_RECEIVED, {"import": import_id})


_WRITE_RECEIVED = update(ImportRow).where(_OF_IMPORT).values({ImportRow.received_at: func.clock_timestamp()})


def add_accepted(connection: Connection, import_id: UUID, lines: int) -> None:
    """Add to the number of accepted lines of a locked import."""
    execute(connection, _ADD_ACCEPTED, {"import": import_id, "more": lines})


_ADD_ACCEPTED = (
    update(ImportRow)
    .where(_OF_IMPORT)
    .values({ImportRow.accepted: ImportRow.accepted + bindparam("more", type_=Integer())})
)


def importer_of(connection: Connection, import_id: UUID) -> UUID | None:
    """Return the API key that began the import; None if there is no such import. Takes no lock."""
    row = execute(connection, _IMPORTER, {"id": import_id}).one_or_none()
    return None if row is None else row.submitted_by


_IMPORTER = select(ImportRow.submitted_by).where(_BY_ID)


def next_to_cancel(connection: Connection) -> UUID | None:
    """Return an import that is being cancelled; None if there is none."""
    row = execute(connection, _CANCELLING).one_or_none()
    return None if row is None else row.id


_CANCELLING = (
    select(ImportRow.id).where(ImportRow.state == literal_column("'cancelling'")).order_by(ImportRow.id).limit(1)
)


def complete_candidates(connection: Connection, limit: int) -> list[UUID]:
    """Return running imports that were received as a whole and have no unfinished request."""
    return execute(connection, _CANDIDATES, {"n": limit}).scalars()


_CANDIDATES = (
    select(ImportRow.id)
    .where(
        ImportRow.state == literal_column("'running'"),
        ImportRow.received_at.is_not(None),
        ~exists(select(1).where(RequestRow.import_id == ImportRow.id, UNFINISHED_STATE).correlate(ImportRow)),
    )
    .limit(bindparam("n"))
)


class RequestCount(NamedTuple):
    """How many requests of an import have this state and reason, and how many of them are late."""

    state: str
    reason: str | None
    requests: int
    overdue: int


def count_requests(connection: Connection, import_id: UUID) -> list[RequestCount]:
    """Return the number of the import's requests by state and reason."""
    return [RequestCount._make(row) for row in execute(connection, _COUNT_REQUESTS, {"import": import_id}).all()]


_COUNT_REQUESTS = (
    select(
        RequestRow.state,
        RequestRow.reason,
        func.count().label("requests"),
        func.count().filter(UNFINISHED_STATE, RequestRow.respond_by < func.clock_timestamp()).label("overdue"),
    )
    .where(RequestRow.import_id == bindparam("import"))
    .group_by(RequestRow.state, RequestRow.reason)
    .order_by(RequestRow.state, RequestRow.reason.nulls_first())
)


def count_refused(connection: Connection, import_id: UUID) -> int:
    """Return how many lines of the import are refused."""
    count: int = execute(connection, _COUNT_REFUSED, {"import": import_id}).scalar_one()
    return count


_REFUSED_OF_IMPORT = ImportRefusalRow.import_id == bindparam("import")
_COUNT_REFUSED = select(func.count()).select_from(ImportRefusalRow).where(_REFUSED_OF_IMPORT)


class StoredRefusal(NamedTuple):
    """A refused line."""

    line: int
    code: str
    errors: Sequence[Mapping[str, str]]


def read_refusals(connection: Connection, import_id: UUID, *, after: int, limit: int) -> list[StoredRefusal]:
    """Return refused lines with a number over `after`, in their order."""
    rows = execute(connection, _READ_REFUSALS, {"import": import_id, "after": after, "n": limit}).all()
    return [StoredRefusal._make(row) for row in rows]


_READ_REFUSALS = (
    select(ImportRefusalRow.line, ImportRefusalRow.code, ImportRefusalRow.errors)
    .where(_REFUSED_OF_IMPORT, ImportRefusalRow.line > bindparam("after"))
    .order_by(ImportRefusalRow.line)
    .limit(bindparam("n"))
)


class NewRefusal(NamedTuple):
    """A line that is refused. `errors`: a JSON list of objects."""

    line: int
    code: str
    errors: str


def write_refusals(connection: Connection, import_id: UUID, refusals: Sequence[NewRefusal]) -> None:
    """Write refused lines; a line that was refused before has its new reasons afterwards."""
    values = {
        "import": import_id,
        "lines": int_array(each.line for each in refusals),
        "codes": BinaryArray(each.code for each in refusals),
        "errors": BinaryArray(each.errors for each in refusals),
    }
    execute(connection, _WRITE_REFUSALS, values)


_NEW_REFUSALS = (
    func.unnest(
        array_parameter("lines", Integer()), array_parameter("codes", Text()), array_parameter("errors", Text())
    )
    .table_valued(column("line", Integer), column("code", Text), column("errors", Text))
    .render_derived(name="n")
)
_INSERT_REFUSALS = insert(ImportRefusalRow).from_select(
    ["import_id", "line", "code", "errors"],
    select(
        bindparam("import", type_=Uuid()),
        _NEW_REFUSALS.c.line,
        _NEW_REFUSALS.c.code,
        cast(_NEW_REFUSALS.c.errors, JSONB),
    ),
    include_defaults=False,
)
_WRITE_REFUSALS = _INSERT_REFUSALS.on_conflict_do_update(
    index_elements=[ImportRefusalRow.import_id, ImportRefusalRow.line],
    set_={"code": _INSERT_REFUSALS.excluded.code, "errors": _INSERT_REFUSALS.excluded.errors},
)


def delete_refusals(connection: Connection, import_id: UUID, lines: Collection[int]) -> None:
    """Delete the refusals of lines that are accepted now."""
    execute(connection, _DELETE_REFUSALS, {"import": import_id, "lines": int_array(lines)})


_DELETE_REFUSALS = delete(ImportRefusalRow).where(
    _REFUSED_OF_IMPORT, ImportRefusalRow.line == func.any(array_parameter("lines", Integer()))
)


class KnownLine(NamedTuple):
    """A request that a line of an import may repeat."""

    id: UUID
    import_id: UUID | None
    import_line: int | None
    import_fingerprint: bytes | None
    external_reference: str | None
    duplicate_of: UUID | None
    respond_by: datetime


def known_lines(
    connection: Connection, import_id: UUID, submitted_by: UUID, lines: Collection[int], references: Collection[str]
) -> list[KnownLine]:
    """Return the requests that these lines may repeat.

    A line without a reference is found by its number in the import, another by its reference among the requests of the
    same API key.
    """
    values = {
        "import": import_id,
        "lines": int_array(lines),
        "by": submitted_by,
        "references": list(references),
    }
    return [KnownLine._make(row) for row in execute(connection, _KNOWN, values).all()]


_KNOWN_COLUMNS = [RequestRow.__table__.c[name] for name in KnownLine._fields]
_KNOWN = union_all(
    select(*_KNOWN_COLUMNS).where(
        RequestRow.import_id == bindparam("import"),
        RequestRow.import_line == func.any(array_parameter("lines", Integer())),
        RequestRow.external_reference.is_(None),
    ),
    select(*_KNOWN_COLUMNS).where(
        RequestRow.external_reference == func.any(array_parameter("references", Text())),
        RequestRow.submitted_by == bindparam("by"),
    ),
)

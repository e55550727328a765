"""Read and write identifiers.

The only UPDATEs of the table `identifiers` are here. Decides nothing; the caller holds the requests' locks. Values are
sealed and opened in `service.requests.identifiers`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    Connection,
    DateTime,
    Integer,
    LargeBinary,
    Text,
    Uuid,
    bindparam,
    cast,
    column,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as insert_or_skip
from sqlalchemy.types import NullType

from service.store.arrays import BinaryArray, array_parameter, int_array, timestamp_array, uuid_array
from service.store.execute import execute
from service.store.tables.requests import IdentifierRow, SuppressionRow

_BY_IDS = IdentifierRow.id == func.any(array_parameter("ids", Uuid()))
OF_REQUESTS = IdentifierRow.request_id == func.any(array_parameter("ids", Uuid()))
PLANNED = literal_column("'planned'", Text)
_PENDING = literal_column("'pending'", Text)
IS_USED = IdentifierRow.use.in_([PLANNED, _PENDING])


class SealedIdentifier(NamedTuple):
    """An identifier's row with its value as it is sealed; None once the value is gone."""

    id: UUID
    request_id: UUID
    origin: str
    kind: str
    sealed: bytes | None
    keyed_hash: bytes
    use: str
    exclusion: str | None
    verification_method: str | None
    verified_at: datetime | None


def read_sealed(connection: Connection, request_ids: Iterable[UUID]) -> list[SealedIdentifier]:
    """Return all identifiers of these requests, by request and id."""
    rows = execute(connection, _READ, {"ids": uuid_array(request_ids)}).all()
    return [SealedIdentifier._make(row) for row in rows]


_READ = (
    select(*(IdentifierRow.__table__.c[name] for name in SealedIdentifier._fields))
    .where(OF_REQUESTS)
    .order_by(IdentifierRow.request_id, IdentifierRow.id)
)


class SealedPerson(NamedTuple):
    """The columns of an identifier that a connector's call needs. `id` is text, for the seal's context."""

    request_id: UUID
    id: str
    kind: str
    sealed: bytes
    use: str
    exclusion: str | None


def read_people(connection: Connection, request_ids: Iterable[UUID]) -> list[SealedPerson]:
    """Return the identifiers of these requests whose values are there, by request and id."""
    rows = execute(connection, _READ_PEOPLE, {"ids": uuid_array(request_ids)}).all()
    return [SealedPerson._make(row) for row in rows]


_READ_PEOPLE = (
    select(
        IdentifierRow.request_id,
        cast(IdentifierRow.id, Text).label("id"),
        IdentifierRow.kind,
        IdentifierRow.sealed,
        IdentifierRow.use,
        IdentifierRow.exclusion,
    )
    .where(OF_REQUESTS, IdentifierRow.sealed.is_not(None))
    .order_by(IdentifierRow.request_id, IdentifierRow.id)
)


class OwnIdentifier(NamedTuple):
    """The columns of an identifier that a review reads."""

    id: UUID
    origin: str
    use: str
    verification_method: str | None


def lock_identifiers(connection: Connection, request_id: UUID) -> dict[UUID, OwnIdentifier]:
    """Lock and return the identifiers of a request."""
    rows = execute(connection, _LOCK, {"request": request_id}).all()
    return {row.id: OwnIdentifier._make(row) for row in rows}


_OF_REQUEST = IdentifierRow.request_id == bindparam("request")
_LOCK = (
    select(*(IdentifierRow.__table__.c[name] for name in OwnIdentifier._fields))
    .where(_OF_REQUEST)
    .order_by(IdentifierRow.id)
    .with_for_update(key_share=True)
)


class NewRow(NamedTuple):
    """An identifier that the identity graph adds to a request."""

    id: UUID
    request_id: UUID
    kind: str
    sealed: bytes
    keyed_hash: bytes


def insert_found(connection: Connection, rows: Sequence[NewRow]) -> None:
    """Write identifiers that the identity graph added."""
    if not rows:
        return
    values = {
        "ids": uuid_array(row.id for row in rows),
        "requests": uuid_array(row.request_id for row in rows),
        "kinds": BinaryArray(row.kind for row in rows),
        "sealed": BinaryArray(row.sealed for row in rows),
        "hashes": BinaryArray(row.keyed_hash for row in rows),
    }
    execute(connection, _INSERT_FOUND, values)


_FOUND = (
    func.unnest(
        array_parameter("ids", Uuid()),
        array_parameter("requests", Uuid()),
        array_parameter("kinds", Text()),
        array_parameter("sealed", LargeBinary()),
        array_parameter("hashes", LargeBinary()),
    )
    .table_valued(
        column("id", Uuid),
        column("request", Uuid),
        column("kind", Text),
        column("sealed", LargeBinary),
        column("hash", LargeBinary),
    )
    .render_derived(name="n")
)
_INSERT_FOUND = insert(IdentifierRow).from_select(
    ["id", "request_id", "origin", "kind", "sealed", "keyed_hash", "use"],
    select(
        _FOUND.c.id,
        _FOUND.c.request,
        literal_column("'graph'"),
        _FOUND.c.kind,
        _FOUND.c.sealed,
        _FOUND.c.hash,
        _PENDING,
    ),
    include_defaults=False,
)


def use_again(connection: Connection, identifier_ids: Iterable[UUID]) -> None:
    """Let these identifiers belong to the next plan; those that do already aren't written."""
    execute(connection, _USE_AGAIN, {"ids": uuid_array(identifier_ids)})


_USE_AGAIN = (
    update(IdentifierRow)
    .where(_BY_IDS, or_(IdentifierRow.use != _PENDING, IdentifierRow.exclusion.is_not(None)))
    .values({IdentifierRow.use: _PENDING, IdentifierRow.exclusion: null()})
)


def exclude(connection: Connection, reasons: Mapping[UUID, str]) -> None:
    """Exclude identifiers from every plan, each for its reason."""
    if reasons:
        execute(connection, _EXCLUDE, {"ids": uuid_array(reasons), "reasons": BinaryArray(reasons.values())})


_REASONS = (
    func.unnest(array_parameter("ids", Uuid()), array_parameter("reasons", Text()))
    .table_valued(column("id", Uuid), column("reason", Text))
    .render_derived(name="n")
)
_EXCLUDE = (
    update(IdentifierRow)
    .where(IdentifierRow.id == _REASONS.c.id)
    .values({IdentifierRow.use: literal_column("'excluded'"), IdentifierRow.exclusion: _REASONS.c.reason})
)


def drop(connection: Connection, identifier_ids: Iterable[UUID]) -> int:
    """Drop identifiers that a reviewer says aren't the person's. Return how many weren't dropped before."""
    return execute(connection, _DROP, {"ids": uuid_array(identifier_ids)}).rowcount


_DROPPED = literal_column("'dropped'", Text)
_DROP = (
    update(IdentifierRow)
    .where(_BY_IDS, IdentifierRow.use != _DROPPED)
    .values({IdentifierRow.use: _DROPPED, IdentifierRow.exclusion: null()})
)


class Verification(NamedTuple):
    """How and when an identifier was verified."""

    identifier_id: UUID
    method: str
    verified_at: datetime


def write_verifications(connection: Connection, verifications: Sequence[Verification]) -> None:
    """Write how and when these identifiers were verified."""
    if not verifications:
        return
    values = {
        "ids": uuid_array(each.identifier_id for each in verifications),
        "methods": BinaryArray(each.method for each in verifications),
        "instants": timestamp_array(each.verified_at for each in verifications),
    }
    execute(connection, _VERIFY, values)


_VERIFIED = (
    func.unnest(
        array_parameter("ids", Uuid()), array_parameter("methods", Text()), array_parameter("instants", DateTime(True))
    )
    .table_valued(column("id", Uuid), column("method", Text), column("verified_at", DateTime(timezone=True)))
    .render_derived(name="n")
)
_VERIFY = (
    update(IdentifierRow)
    .where(IdentifierRow.id == _VERIFIED.c.id)
    .values(
        {
            IdentifierRow.verification_method: _VERIFIED.c.method,
            IdentifierRow.verified_at: _VERIFIED.c.verified_at,
        }
    )
)


def destroy_values(connection: Connection, request_id: UUID) -> None:
    """Remove the sealed values of a request; the keyed hashes stay."""
    execute(connection, _DESTROY, {"request": request_id})


_DESTROY = update(IdentifierRow).where(_OF_REQUEST).values({IdentifierRow.sealed: null()})


def planned_hashes(connection: Connection, request_ids: Collection[UUID]) -> list[tuple[UUID, bytes]]:
    """Return request and keyed hash of the identifiers in these requests' earlier plans."""
    if not request_ids:
        return []
    return execute(connection, _PLANNED_HASHES, {"ids": uuid_array(request_ids)}).all()


_PLANNED_HASHES = select(IdentifierRow.request_id, IdentifierRow.keyed_hash).where(
    OF_REQUESTS, IdentifierRow.use == PLANNED
)


def plan_identifiers(
    connection: Connection, versions: Mapping[UUID, int], scopes: Iterable[Sequence[str]], now: datetime
) -> tuple[list[tuple[UUID, bytes]], Counter[UUID]]:
    """Put every pending identifier of these requests into the named version of its plan.

    They go on the suppression list in the same statement, with each of the request's `scopes`, which are in the order
    of `versions`. Returns request and keyed hash of each, and how many entries
    of each request are new on the list. An entry of an earlier version stays as it is.
    """
    values = {
        "ids": uuid_array(versions),
        "versions": int_array(versions.values()),
        "scopes": BinaryArray(",".join(each) for each in scopes),
        "now": now,
    }
    planned: list[tuple[UUID, bytes]] = []
    added: Counter[UUID] = Counter()
    for request_id, keyed_hash in execute(connection, _PLAN, values).all():
        if keyed_hash is None:
            added[request_id] += 1
        else:
            planned.append((request_id, keyed_hash))
    return planned, added


_VERSIONS = (
    func.unnest(
        array_parameter("ids", Uuid()), array_parameter("versions", Integer()), array_parameter("scopes", Text())
    )
    .table_valued(column("id", Uuid), column("version", Integer), column("scopes", Text))
    .render_derived(name="n")
)
_NOW_PLANNED = (
    update(IdentifierRow)
    .where(IdentifierRow.request_id == _VERSIONS.c.id, IdentifierRow.use == _PENDING)
    .values({IdentifierRow.use: PLANNED, IdentifierRow.plan_version: _VERSIONS.c.version})
    .returning(IdentifierRow.request_id, IdentifierRow.keyed_hash, IdentifierRow.kind, _VERSIONS.c.scopes)
    .cte("planned")
)
# No scope has a comma.
_SCOPE = (
    func.unnest(func.string_to_array(_NOW_PLANNED.c.scopes, literal_column("','")))
    .table_valued(column("scope", Text))
    .render_derived(name="s")
    .lateral()
)
_ADDED = (
    insert_or_skip(SuppressionRow)
    .from_select(
        ["keyed_hash", "request_id", "scope", "kind", "added_at"],
        select(
            _NOW_PLANNED.c.keyed_hash,
            _NOW_PLANNED.c.request_id,
            _SCOPE.c.scope,
            _NOW_PLANNED.c.kind,
            cast(bindparam("now", type_=NullType()), DateTime(timezone=True)),
        )
        .select_from(_NOW_PLANNED)
        .join(_SCOPE, true())
        .ext(distinct_on(_NOW_PLANNED.c.request_id, _NOW_PLANNED.c.keyed_hash, _SCOPE.c.scope)),
        include_defaults=False,
    )
    .on_conflict_do_nothing(index_elements=[SuppressionRow.keyed_hash, SuppressionRow.request_id, SuppressionRow.scope])
    .returning(SuppressionRow.request_id)
    .cte("added")
)
_PLAN = union_all(
    select(_NOW_PLANNED.c.request_id, _NOW_PLANNED.c.keyed_hash),
    select(_ADDED.c.request_id, null().label("keyed_hash")),
)

"""Read and write each object's newest logged entry, which the object's next entry must follow.

It guards the sequencer, and isn't evidence. Only the sequencer writes here, under its lock, so that an object without a
head still has none when its first is added.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sqlalchemy import BigInteger, Connection, Text, and_, column, func, select, update

from service.store.arrays import BinaryArray, array_parameter, int_array
from service.store.bulk_copy import copy_rows, rows_in_binary
from service.store.execute import execute
from service.store.sql_files import load_sql
from service.store.tables.audit import AuditHead

_ASKED = (
    func.unnest(array_parameter("objects", Text()), array_parameter("object_ids", Text()))
    .table_valued(column("object", Text), column("object_id", Text))
    .render_derived(name="asked")
)
_HEADS = select(AuditHead.object, AuditHead.object_id, AuditHead.version, AuditHead.digest).join(
    _ASKED, and_(AuditHead.object == _ASKED.c.object, AuditHead.object_id == _ASKED.c.object_id)
)
_MOVED = (
    func.unnest(
        array_parameter("objects", Text()),
        array_parameter("object_ids", Text()),
        array_parameter("versions", BigInteger()),
        array_parameter("digests", Text()),
    )
    .table_valued(
        column("object", Text), column("object_id", Text), column("version", BigInteger), column("digest", Text)
    )
    .render_derived(name="n")
)
_MOVE = (
    update(AuditHead)
    .where(AuditHead.object == _MOVED.c.object, AuditHead.object_id == _MOVED.c.object_id)
    .values(version=_MOVED.c.version, digest=_MOVED.c.digest)
)
_COPY = load_sql(__package__, "copy_heads")
_TYPES = ("varchar", "varchar", "int8", "varchar")

LoggedObject = tuple[str, str]
"""The kind of an object and its id."""


class Head(NamedTuple):
    """The version and digest of an object's newest entry."""

    version: int
    digest: str


def heads_of(connection: Connection, objects: Collection[LoggedObject]) -> dict[LoggedObject, Head]:
    """Return the heads of those of the objects that have an entry."""
    if not objects:
        return {}
    asked = {
        "objects": BinaryArray([kind for kind, _ in objects]),
        "object_ids": BinaryArray([identity for _, identity in objects]),
    }
    return dict(rows_in_binary(connection, _HEADS, asked, _stored))


def _stored(kind: str, identity: str, version: int, digest: str) -> tuple[LoggedObject, Head]:
    return (kind, identity), Head(version, digest)


def move_heads(connection: Connection, before: Mapping[LoggedObject, Head], after: Mapping[LoggedObject, Head]) -> None:
    """Write the heads that changed.

    `before` is the result of `heads_of` for these objects in this transaction.
    """
    new = [(*each, *head) for each, head in after.items() if each not in before]
    if new:
        copy_rows(connection, _COPY, _TYPES, new)
    moved = {each: head for each, head in after.items() if each in before and before[each] != head}
    if moved:
        values = {
            "objects": BinaryArray([kind for kind, _ in moved]),
            "object_ids": BinaryArray([identity for _, identity in moved]),
            "versions": int_array([head.version for head in moved.values()]),
            "digests": BinaryArray([head.digest for head in moved.values()]),
        }
        execute(connection, _MOVE, values)

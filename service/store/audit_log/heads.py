"""Each object's newest logged entry: what the sequencer wants the next one to follow. A guard, no evidence.

Only the sequencer writes here, under its lock, so what isn't there when it looks is still not there when it adds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sqlalchemy import BigInteger, Connection, Text, column, func, update

from service.store.arrays import BinaryArray, array_parameter, int_array
from service.store.bulk_copy import copy_rows, rows_in_binary
from service.store.execute import execute
from service.store.tables.audit import AuditHead

_HEADS = (
    "SELECT object, object_id, version, digest FROM audit_heads "
    "JOIN unnest(CAST(%s AS text[]), CAST(%s AS text[])) AS asked(object, object_id) "
    "USING (object, object_id)"
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
_HEAD = {"object": "varchar", "object_id": "varchar", "version": "int8", "digest": "varchar"}

LoggedObject = tuple[str, str]
"""Its kind and its id."""


class Head(NamedTuple):
    """The version and digest of an object's newest entry."""

    version: int
    digest: str


def heads_of(connection: Connection, objects: Collection[LoggedObject]) -> dict[LoggedObject, Head]:
    """The heads of those of the objects that have an entry."""
    if not objects:
        return {}
    asked = BinaryArray([kind for kind, _ in objects]), BinaryArray([identity for _, identity in objects])
    return {row[:2]: Head(*row[2:]) for row in rows_in_binary(connection, _HEADS, *asked)}


def move_heads(connection: Connection, before: Mapping[LoggedObject, Head], after: Mapping[LoggedObject, Head]) -> None:
    """Write what changed; `before` is what `heads_of` said of these objects in this transaction."""
    new = [(*each, *head) for each, head in after.items() if each not in before]
    if new:
        copy_rows(connection, "audit_heads", _HEAD, new)
    moved = {each: head for each, head in after.items() if each in before and before[each] != head}
    if moved:
        values = {
            "objects": BinaryArray([kind for kind, _ in moved]),
            "object_ids": BinaryArray([identity for _, identity in moved]),
            "versions": int_array([head.version for head in moved.values()]),
            "digests": BinaryArray([head.digest for head in moved.values()]),
        }
        execute(connection, _MOVE, values)

"""Each object's newest logged entry: what the sequencer wants the next one to follow. A guard, no evidence.

Only the sequencer writes here, under its lock, so what isn't there when it looks is still not there when it adds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, text

from service.store.arrays import BinaryArray, int_array
from service.store.bulk_copy import copy_rows, rows_in_binary

_HEADS = (
    "SELECT object, object_id, version, digest FROM audit_heads "
    "JOIN unnest(CAST(%s AS text[]), CAST(%s AS text[])) AS asked(object, object_id) "
    "USING (object, object_id)"
)
_MOVE = text(
    "UPDATE audit_heads h SET version = n.version, digest = n.digest "
    "FROM unnest(CAST(:objects AS text[]), CAST(:object_ids AS text[]), CAST(:versions AS bigint[]), "
    "CAST(:digests AS text[])) AS n(object, object_id, version, digest) "
    "WHERE h.object = n.object AND h.object_id = n.object_id"
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
        connection.execute(_MOVE, values)

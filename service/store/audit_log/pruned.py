"""Read how much of the log's beginning was removed, and remove it in one transaction.

Decides nothing about how much may be removed (audit.prune). The fence is down for this transaction only: if the process
dies in it, nothing has changed.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import BigInteger, Connection, SmallInteger, bindparam, column, delete, exists, func, insert, select

from service.domain.audit.merkle import Node
from service.store.arrays import array_parameter, int_array
from service.store.execute import execute
from service.store.sql_files import load_sql
from service.store.tables.anchors import PrunedLogRow
from service.store.tables.audit import AuditLeaf, AuditNode

_SIZE = select(func.coalesce(func.max(PrunedLogRow.size), 0))
_REMEMBER = insert(PrunedLogRow).values(size=bindparam("size"), root=bindparam("root"))
_REMOVE_LEAVES = delete(AuditLeaf).where(AuditLeaf.index < bindparam("size"))
_KEPT = (
    func.unnest(array_parameter("levels", SmallInteger()), array_parameter("indexes", BigInteger()))
    .table_valued(column("level", SmallInteger), column("index", BigInteger))
    .render_derived(name="kept")
)
# A node is removed if its last leaf is, unless it is one of those to keep.
_REMOVE_NODES = delete(AuditNode).where(
    (AuditNode.index + 1).bitwise_lshift(AuditNode.level) <= bindparam("size", type_=BigInteger()),
    ~exists().where(_KEPT.c.level == AuditNode.level, _KEPT.c.index == AuditNode.index),
)
_LOWER_FENCE = load_sql(__package__, "lower_fence")
_RAISE_FENCE = load_sql(__package__, "raise_fence")


def pruned_prefix(connection: Connection) -> int:
    """Return how many of the log's first entries were removed."""
    size: int = execute(connection, _SIZE).scalar_one()
    return size


def remember_pruned(connection: Connection, size: int, root: bytes) -> None:
    """Write that the first `size` entries were removed, and the root over them."""
    execute(connection, _REMEMBER, {"size": size, "root": root})


def remove_prefix(connection: Connection, size: int, *, keep: Iterable[Node]) -> None:
    """Delete the first `size` leaves and the nodes over them except `keep`, with the fence down meanwhile."""
    kept = list(keep)
    if any(node.level == 0 for node in kept):
        raise ValueError("a leaf's hash is removed with the leaf: prune an even number of entries")
    execute(connection, _LOWER_FENCE)
    execute(connection, _REMOVE_LEAVES, {"size": size})
    nodes = {"levels": int_array(node.level for node in kept), "indexes": int_array(node.place for node in kept)}
    execute(connection, _REMOVE_NODES, {"size": size, **nodes})
    execute(connection, _RAISE_FENCE)

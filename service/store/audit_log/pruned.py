"""The removed beginning of the log: how long it is, and taking it away behind the fence in one transaction.

Decides nothing about what may go (audit.prune). The fence is down for this transaction only; whoever dies in
it leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, text

from service.domain.audit.merkle import Node

_SIZE = text("SELECT coalesce(max(size), 0)::bigint FROM audit_pruned")
_REMEMBER = text("INSERT INTO audit_pruned (size, root) VALUES (:size, :root)")
_REMOVE_LEAVES = text("DELETE FROM audit_leaves WHERE index < :size")
# A node goes if its last leaf is gone, unless it is one of the kept.
_REMOVE_NODES = text(
    "DELETE FROM audit_nodes n WHERE (n.index + 1) << n.level <= :size AND NOT EXISTS ("
    " SELECT 1 FROM unnest(CAST(:levels AS smallint[]), CAST(:indexes AS bigint[])) AS kept(level, index)"
    " WHERE kept.level = n.level AND kept.index = n.index)"
)
_FENCED = ("audit_leaves", "audit_nodes")


def pruned_prefix(connection: Connection) -> int:
    """How many of the log's first entries were removed."""
    size: int = connection.execute(_SIZE).scalar_one()
    return size


def remember_pruned(connection: Connection, size: int, root: bytes) -> None:
    """Note that the first `size` entries are gone, and the root over them."""
    connection.execute(_REMEMBER, {"size": size, "root": root})


def remove_prefix(connection: Connection, size: int, *, keep: Iterable[Node]) -> None:
    """Delete the first `size` leaves and the nodes over them except `keep`, with the fence down meanwhile."""
    kept = list(keep)
    if any(node.level == 0 for node in kept):
        raise ValueError("a leaf's hash goes with the leaf: prune an even number of entries")
    for table in _FENCED:
        connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER only_grows"))
    connection.execute(_REMOVE_LEAVES, {"size": size})
    connection.execute(
        _REMOVE_NODES,
        {"size": size, "levels": [node.level for node in kept], "indexes": [node.place for node in kept]},
    )
    for table in _FENCED:
        connection.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER only_grows"))

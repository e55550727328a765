"""The Merkle tree in its tables: reading node hashes in bulk, proofs from them, and writing what grew.

Stored hashes prove nothing about the entries' bytes (they may be intact while an entry was edited), so callers that
vouch for something hash the bytes themselves: proven_entries, sign_checkpoint and export_audit do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, text

from service.domain.audit.merkle import (
    GrowingTree,
    LeafRange,
    Node,
    assemble,
    hash_of_range,
    nodes_of,
    perfect_subtrees,
    plan_consistency,
    plan_inclusion,
)
from service.store.audit_log.findings import AuditLogBroken
from service.store.bulk_copy import copy_rows

_SIZE = text("SELECT index + 1 FROM audit_leaves ORDER BY index DESC LIMIT 1")
_LEAVES = text("SELECT index AS place, leaf_hash AS hash FROM audit_leaves WHERE index = ANY(:indexes)")
_NODES = text(
    "SELECT level, index AS place, hash FROM audit_nodes "
    "JOIN unnest(CAST(:levels AS smallint[]), CAST(:indexes AS bigint[])) AS wanted(level, index) USING (level, index)"
)
_NODES_COMPLETED = text(
    "SELECT node.level, node.index AS place, node.hash "
    "FROM unnest(CAST(:levels AS smallint[]), CAST(:lows AS bigint[]), CAST(:highs AS bigint[])) "
    "AS span(level, low, high) "
    "JOIN audit_nodes node ON node.level = span.level AND node.index >= span.low AND node.index < span.high"
)
_LEAF = {"index": "int8", "entry": "bytea", "leaf_hash": "bytea", "subject": "varchar"}
_NODE = {"level": "int2", "index": "int8", "hash": "bytea"}


def stored_size(connection: Connection) -> int:
    """How many leaves the tree has (the highest index plus one)."""
    return connection.execute(_SIZE).scalar() or 0


def read_nodes(connection: Connection, nodes: Iterable[Node]) -> Mapping[Node, bytes]:
    """The hashes of these perfect subtrees, in at most two queries. Raises AuditLogBroken where one is missing."""
    wanted = set(nodes)
    leaves = [node.place for node in wanted if node.level == 0]
    inner = [node for node in wanted if node.level > 0]
    hashes: dict[Node, bytes] = {}
    if leaves:
        for row in connection.execute(_LEAVES, {"indexes": leaves}):
            hashes[Node(0, row.place)] = bytes(row.hash)
    if inner:
        asked = {"levels": [node.level for node in inner], "indexes": [node.place for node in inner]}
        for row in connection.execute(_NODES, asked):
            hashes[Node(row.level, row.place)] = bytes(row.hash)
    if missing := wanted - hashes.keys():
        first = min(missing)
        raise AuditLogBroken("node_missing", f"level {first.level} index {first.place}")
    return hashes


def stored_tree(connection: Connection, size: int) -> GrowingTree:
    """The tree of the first `size` leaves, ready to grow, from stored hashes."""
    return GrowingTree.resume(size, read_nodes(connection, perfect_subtrees(LeafRange(0, size))))


def inclusion_proof(connection: Connection, index: int, size: int) -> tuple[bytes, ...]:
    """The RFC 6962 audit path of one leaf in the tree of the first `size` leaves."""
    return inclusion_proofs(connection, [index], size)[index]


def inclusion_proofs(connection: Connection, indexes: Sequence[int], size: int) -> Mapping[int, tuple[bytes, ...]]:
    """The audit paths of many leaves, with the nodes of all of them fetched at once."""
    plans = {index: plan_inclusion(index, size) for index in indexes}
    hashes = read_nodes(connection, nodes_of(leaves for plan in plans.values() for leaves in plan))
    return {index: assemble(plan, hashes) for index, plan in plans.items()}


def consistency_proof(connection: Connection, first: int, second: int) -> tuple[bytes, ...]:
    """The RFC 6962 consistency proof between two sizes of the tree."""
    plan = plan_consistency(first, second)
    return assemble(plan, read_nodes(connection, nodes_of(plan)))


def stored_root(connection: Connection, size: int) -> bytes:
    """The root over the first `size` leaves, from stored hashes."""
    leaves = LeafRange(0, size)
    return hash_of_range(leaves, read_nodes(connection, perfect_subtrees(leaves)))


def nodes_completed_between(connection: Connection, start: int, end: int) -> Mapping[Node, bytes]:
    """The stored inner nodes whose last leaf is one of start <= i < end."""
    levels = range(1, end.bit_length())
    spans = {
        "levels": list(levels),
        "lows": [start >> level for level in levels],
        "highs": [end >> level for level in levels],
    }
    return {Node(row.level, row.place): bytes(row.hash) for row in connection.execute(_NODES_COMPLETED, spans)}


def add_leaves(
    connection: Connection,
    tree: GrowingTree,
    entries: Sequence[bytes],
    leaf_hashes: Sequence[bytes],
    subjects: Sequence[str | None],
) -> None:
    """Writes entries as the next leaves of `tree`, which grows, and every node that became complete."""
    indexes = range(tree.size, tree.size + len(leaf_hashes))
    nodes = tree.extend(leaf_hashes)
    copy_rows(connection, "audit_leaves", _LEAF, zip(indexes, entries, leaf_hashes, subjects, strict=True))
    if nodes:
        copy_rows(connection, "audit_nodes", _NODE, ((*node, hashed) for node, hashed in nodes))

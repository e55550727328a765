"""Read and write the Merkle tree in its tables: node hashes in bulk, proofs, and new leaves.

Stored hashes prove nothing about the entries' bytes (they may be intact while an entry was edited), so that callers
that prove something hash the bytes themselves: proven_entries, sign_checkpoint and export_audit do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import BigInteger, Connection, SmallInteger, and_, any_, column, func, select

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
from service.store.arrays import array_parameter, int_array
from service.store.audit_log.findings import AuditLogBroken
from service.store.bulk_copy import copy_rows
from service.store.execute import execute
from service.store.sql_files import load_sql
from service.store.tables.audit import AuditLeaf, AuditNode

_SIZE = select(AuditLeaf.index + 1).order_by(AuditLeaf.index.desc()).limit(1)
_LEAVES = select(AuditLeaf.index.label("place"), AuditLeaf.leaf_hash.label("hash")).where(
    AuditLeaf.index == any_(array_parameter("indexes", BigInteger()))
)
_WANTED = (
    func.unnest(array_parameter("levels", SmallInteger()), array_parameter("indexes", BigInteger()))
    .table_valued(column("level", SmallInteger), column("index", BigInteger))
    .render_derived(name="wanted")
)
_NODE_HASH = select(AuditNode.level, AuditNode.index.label("place"), AuditNode.hash)
_NODES = _NODE_HASH.join(_WANTED, and_(AuditNode.level == _WANTED.c.level, AuditNode.index == _WANTED.c.index))
_SPAN = (
    func.unnest(
        array_parameter("levels", SmallInteger()),
        array_parameter("lows", BigInteger()),
        array_parameter("highs", BigInteger()),
    )
    .table_valued(column("level", SmallInteger), column("low", BigInteger), column("high", BigInteger))
    .render_derived(name="span")
)
_NODES_COMPLETED = _NODE_HASH.join(
    _SPAN, and_(AuditNode.level == _SPAN.c.level, AuditNode.index >= _SPAN.c.low, AuditNode.index < _SPAN.c.high)
)
_COPY_LEAVES = load_sql(__package__, "copy_leaves")
_LEAF = ("int8", "bytea", "bytea", "varchar")
_COPY_NODES = load_sql(__package__, "copy_nodes")
_NODE = ("int2", "int8", "bytea")


def stored_size(connection: Connection) -> int:
    """How many leaves the tree has (the highest index plus one)."""
    return next(iter(execute(connection, _SIZE).scalars()), 0)


def read_nodes(connection: Connection, nodes: Iterable[Node]) -> Mapping[Node, bytes]:
    """Return the hashes of these perfect subtrees, in at most two queries.

    Raises AuditLogBroken where one is missing.
    """
    wanted = set(nodes)
    leaves = [node.place for node in wanted if node.level == 0]
    inner = [node for node in wanted if node.level > 0]
    hashes: dict[Node, bytes] = {}
    if leaves:
        for row in execute(connection, _LEAVES, {"indexes": int_array(leaves)}).all():
            hashes[Node(0, row.place)] = bytes(row.hash)
    if inner:
        asked = {
            "levels": int_array(node.level for node in inner),
            "indexes": int_array(node.place for node in inner),
        }
        for row in execute(connection, _NODES, asked).all():
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
        "levels": int_array(levels),
        "lows": int_array(start >> level for level in levels),
        "highs": int_array(end >> level for level in levels),
    }
    rows = execute(connection, _NODES_COMPLETED, spans).all()
    return {Node(row.level, row.place): bytes(row.hash) for row in rows}


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
    copy_rows(connection, _COPY_LEAVES, _LEAF, zip(indexes, entries, leaf_hashes, subjects, strict=True))
    if nodes:
        copy_rows(connection, _COPY_NODES, _NODE, ((*node, hashed) for node, hashed in nodes))

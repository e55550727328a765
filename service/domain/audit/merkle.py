"""The Merkle tree of RFC 6962: hashes, growth, proofs of inclusion and consistency, verification.

Decides the form of a root and of a proof. Knows nothing of entries, tables or signatures. Only hashes of *perfect*
subtrees are stored, because they never change once complete; all other hashes are computed from them. A proof is first
planned as ranges of leaves, then assembled from stored node hashes, so that a store can fetch all nodes of many proofs
in one query.

Proofs are made of stored hashes and so prove nothing about the entries' bytes: a verifier must hash the bytes itself.
Source: RFC 6962 §2.1; the verification walks are those of RFC 9162 §2.1.3.2 and §2.1.4.2 (read 2026-11-22).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


class Node(NamedTuple):
    """A perfect subtree: the 2**level leaves that start at place * 2**level. Level 0 is a leaf."""

    level: int
    place: int


class LeafRange(NamedTuple):
    """The leaves start <= i < end of a subtree in RFC 6962's recursion, so `start` is aligned."""

    start: int
    end: int


def leaf_hash(entry: bytes) -> bytes:
    """Return MTH of one entry: SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return MTH of two subtrees: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(size: int) -> int:
    """Return the largest power of two smaller than `size` (size >= 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def perfect_subtrees(leaves: LeafRange) -> tuple[Node, ...]:
    """Return the perfect subtrees that make up a range, largest (leftmost) first."""
    nodes = []
    start, rest = leaves.start, leaves.end - leaves.start
    while rest:
        level = rest.bit_length() - 1
        nodes.append(Node(level, start >> level))
        start += 1 << level
        rest -= 1 << level
    return tuple(nodes)


def fold_peaks(peaks: Sequence[bytes]) -> bytes:
    """Return the root over perfect subtrees given largest first; the empty tree's root for none."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def hash_of_range(leaves: LeafRange, hashes: Mapping[Node, bytes]) -> bytes:
    """Return MTH of a range from the hashes of its perfect subtrees. Raises KeyError if one is missing."""
    return fold_peaks([hashes[node] for node in perfect_subtrees(leaves)])


@dataclass
class GrowingTree:
    """A tree that only grows: its size and the hashes of its perfect subtrees at the right edge ("peaks")."""

    size: int
    peaks: list[bytes]

    @classmethod
    def empty(cls) -> GrowingTree:
        return cls(0, [])

    @classmethod
    def resume(cls, size: int, hashes: Mapping[Node, bytes]) -> GrowingTree:
        """Return the tree of `size` leaves, from stored hashes of `perfect_subtrees(LeafRange(0, size))`."""
        return cls(size, [hashes[node] for node in perfect_subtrees(LeafRange(0, size))])

    def append(self, leaf: bytes) -> list[tuple[Node, bytes]]:
        """Add one leaf hash; return the nodes that became complete, the leaf itself first."""
        return [(Node(0, self.size), leaf), *self.extend([leaf])]

    def extend(self, leaves: Sequence[bytes]) -> list[tuple[Node, bytes]]:
        """Add leaf hashes; return the inner nodes that became complete."""
        complete = []
        for index, current in enumerate(leaves, self.size):
            place, level = index, 0
            while place & 1:
                current = node_hash(self.peaks.pop(), current)
                place >>= 1
                level += 1
                complete.append((Node(level, place), current))
            self.peaks.append(current)
        self.size += len(leaves)
        return complete

    def root(self) -> bytes:
        return fold_peaks(self.peaks)


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes in order."""
    tree = GrowingTree.empty()
    tree.extend(list(leaf_hashes))
    return tree.root()


def plan_inclusion(index: int, size: int) -> tuple[LeafRange, ...]:
    """Return PATH(index, D[size]) of RFC 6962 §2.1.1 as ranges of leaves, the leaf's own neighbour first."""
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    path, start, end = [], 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(LeafRange(middle, end))
            end = middle
        else:
            path.append(LeafRange(start, middle))
            start = middle
    return tuple(reversed(path))


def plan_consistency(first: int, second: int) -> tuple[LeafRange, ...]:
    """Return PROOF(first, D[second]) of RFC 6962 §2.1.2 as ranges of leaves.

    Empty for first == second and for first == 0.
    """
    if not 0 <= first <= second:
        raise ValueError(f"no consistency proof from {first} to {second}")
    if first in (0, second):
        return ()
    path, start, end, known = [], 0, second, True
    while end != first:
        middle = start + _split(end - start)
        if first <= middle:
            path.append(LeafRange(middle, end))
            end = middle
        else:
            path.append(LeafRange(start, middle))
            start, known = middle, False
    if not known:
        path.append(LeafRange(start, end))
    return tuple(reversed(path))


def nodes_of(plan: Iterable[LeafRange]) -> frozenset[Node]:
    """Return the nodes of every stored hash that a plan needs."""
    return frozenset(node for leaves in plan for node in perfect_subtrees(leaves))


def assemble(plan: Iterable[LeafRange], hashes: Mapping[Node, bytes]) -> tuple[bytes, ...]:
    """Return the proof of a plan. Raises KeyError if a node is missing."""
    return tuple(hash_of_range(leaves, hashes) for leaves in plan)


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Return whether `proof` shows that the tree (size, root) has this leaf hash at this index."""
    if not 0 <= index < size or any(len(step) != HASH_BYTES for step in proof):
        return False
    place, last, current = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            current = node_hash(step, current)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            current = node_hash(current, step)
        place, last = place >> 1, last >> 1
    return last == 0 and current == root


def is_consistent(first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Return whether `proof` shows that the second tree only appended leaves to the first."""
    if not 0 <= first <= second or any(len(step) != HASH_BYTES for step in proof):
        return False
    if first == 0:
        return not proof and first_root == EMPTY_ROOT and (second > 0 or second_root == EMPTY_ROOT)
    if first == second:
        return not proof and first_root == second_root
    # A first tree that is a perfect subtree of the second needs no hash of its own in the proof: it is the first root.
    steps = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not steps:
        return False
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, step)
        place, last = place >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root

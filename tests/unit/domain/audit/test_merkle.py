"""The tree against RFC 6962 known answers, and every proof up to 130 leaves with its negative twins.

The vectors are Certificate Transparency's eight leaves (transparency-dev/merkle, testonly; read 2026-11-22).
"""

from functools import cache
from hashlib import sha256

import pytest
from pymerkle import InmemoryTree

from service.domain.audit.merkle import (
    EMPTY_ROOT,
    GrowingTree,
    LeafRange,
    Node,
    assemble,
    hash_of_range,
    is_consistent,
    is_included,
    leaf_hash,
    node_hash,
    nodes_of,
    perfect_subtrees,
    plan_consistency,
    plan_inclusion,
    root_of,
)

LEAVES = [
    bytes.fromhex(entry)
    for entry in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 1): [],
    (0, 2): ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"],
    (1, 2): ["6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
LARGEST = 130


def reference_root(entries: list[bytes]) -> bytes:
    """MTH straight from RFC 6962 §2.1, for comparison."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    middle = 1
    while middle * 2 < len(entries):
        middle *= 2
    return sha256(b"\x01" + reference_root(entries[:middle]) + reference_root(entries[middle:])).digest()


@cache
def grown() -> tuple[dict[Node, bytes], list[bytes]]:
    """The stored nodes and the roots of a tree grown one leaf at a time to LARGEST leaves."""
    tree, nodes, roots = GrowingTree.empty(), {}, [EMPTY_ROOT]
    for number in range(LARGEST):
        nodes.update(tree.append(leaf_hash(b"%d" % number)))
        roots.append(tree.root())
    return nodes, roots


def flipped(value: bytes) -> bytes:
    return bytes([value[0] ^ 1]) + value[1:]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_known_answers(size: int) -> None:
    assert root_of(leaf_hash(entry) for entry in LEAVES[:size]).hex() == ROOTS[size]


def known_nodes() -> dict[Node, bytes]:
    tree, nodes = GrowingTree.empty(), {}
    for entry in LEAVES:
        nodes.update(tree.append(leaf_hash(entry)))
    return nodes


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_proofs_are_the_known_answers(index: int, size: int) -> None:
    proof = assemble(plan_inclusion(index, size), known_nodes())
    assert [step.hex() for step in proof] == INCLUSION[(index, size)]
    assert is_included(leaf_hash(LEAVES[index]), index, size, proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("first", "second"), CONSISTENCY)
def test_consistency_proofs_are_the_known_answers(first: int, second: int) -> None:
    proof = assemble(plan_consistency(first, second), known_nodes())
    assert [step.hex() for step in proof] == CONSISTENCY[(first, second)]
    assert is_consistent(first, bytes.fromhex(ROOTS[first]), second, bytes.fromhex(ROOTS[second]), proof)


def test_the_examples_of_the_rfc() -> None:
    """RFC 6962 §2.1.3 writes the proofs of a seven-leaf tree in letters: d0..d6, g = h(d0 d1), h = h(d2 d3), ..."""
    single = {place: LeafRange(place, place + 1) for place in range(7)}
    g, h, i, k = LeafRange(0, 2), LeafRange(2, 4), LeafRange(4, 6), LeafRange(0, 4)
    ragged = LeafRange(4, 7)
    assert plan_inclusion(0, 7) == (single[1], h, ragged)
    assert plan_inclusion(3, 7) == (single[2], g, ragged)
    assert plan_inclusion(4, 7) == (single[5], single[6], k)
    assert plan_inclusion(6, 7) == (i, k)
    assert plan_consistency(3, 7) == (single[2], single[3], g, ragged)
    assert plan_consistency(4, 7) == (ragged,)
    assert plan_consistency(6, 7) == (i, single[6], k)


def test_growing_gives_the_reference_root_at_every_size() -> None:
    _, roots = grown()
    entries = [b"%d" % number for number in range(LARGEST)]
    assert roots == [reference_root(entries[:size]) for size in range(LARGEST + 1)]


def test_roots_are_those_of_another_implementation() -> None:
    """pymerkle: nobody's code is shared with ours. Its proofs have another form; its roots are RFC 6962's."""
    other = InmemoryTree(algorithm="sha256")
    for number in range(LARGEST):
        other.append_entry(b"%d" % number)
    _, roots = grown()
    assert [other.get_root(size) for size in range(1, LARGEST + 1)] == roots[1:]


def test_a_tree_resumes_from_stored_nodes_at_every_size() -> None:
    nodes, roots = grown()
    for size in range(LARGEST):
        tree = GrowingTree.resume(size, nodes)
        assert tree.root() == roots[size] == hash_of_range(LeafRange(0, size), nodes)
        tree.append(leaf_hash(b"%d" % size))
        assert tree.root() == roots[size + 1]


@pytest.mark.parametrize("first", range(20))
@pytest.mark.parametrize("count", range(20))
def test_a_tree_grows_by_many_leaves_as_it_does_one_by_one(first: int, count: int) -> None:
    nodes, roots = grown()
    tree = GrowingTree.resume(first, nodes)
    complete = tree.extend([nodes[Node(0, index)] for index in range(first, first + count)])
    assert tree.size == first + count
    assert tree.root() == roots[first + count]
    ending = {node for node in nodes if node.level and first < (node.place + 1) << node.level <= first + count}
    assert dict(complete) == {node: nodes[node] for node in ending}
    assert len(complete) == len(ending)


def test_only_perfect_subtrees_are_stored() -> None:
    nodes, _ = grown()
    assert all((node.place + 1) << node.level <= LARGEST for node in nodes)
    assert len(nodes) == sum(LARGEST >> level for level in range(8))
    assert perfect_subtrees(LeafRange(0, 7)) == (Node(2, 0), Node(1, 2), Node(0, 6))
    assert perfect_subtrees(LeafRange(4, 7)) == (Node(1, 2), Node(0, 6))


def test_every_inclusion_proof_holds_and_no_altered_one_does() -> None:
    nodes, roots = grown()
    for size in range(1, LARGEST + 1):
        root = roots[size]
        for index in range(size):
            leaf = leaf_hash(b"%d" % index)
            plan = plan_inclusion(index, size)
            assert nodes_of(plan) <= nodes.keys()
            proof = assemble(plan, nodes)
            assert is_included(leaf, index, size, proof, root)
            assert not is_included(flipped(leaf), index, size, proof, root)
            assert not is_included(leaf, index, size, proof, flipped(root))
            assert not is_included(leaf, index, size, (*proof, root), root)
            assert not is_included(leaf, size, size, proof, root)
            if proof:
                assert not is_included(leaf, index, size, proof[:-1], root)
                assert not is_included(leaf, index ^ 1, size, proof, root)
                middle = len(proof) // 2
                changed = (*proof[:middle], flipped(proof[middle]), *proof[middle + 1 :])
                assert not is_included(leaf, index, size, changed, root)


def test_every_consistency_proof_holds_and_no_altered_one_does() -> None:
    nodes, roots = grown()
    for second in range(1, LARGEST + 1):
        for first in range(1, second + 1):
            proof = assemble(plan_consistency(first, second), nodes)
            old, new = roots[first], roots[second]
            assert is_consistent(first, old, second, new, proof)
            assert not is_consistent(first, flipped(old), second, new, proof)
            assert not is_consistent(first, old, second, flipped(new), proof)
            assert not is_consistent(first, old, second, new, (*proof, new))
            if proof:
                assert not is_consistent(first, old, second, new, proof[:-1])
                middle = len(proof) // 2
                changed = (*proof[:middle], flipped(proof[middle]), *proof[middle + 1 :])
                assert not is_consistent(first, old, second, new, changed)


def test_sizes_that_no_proof_is_about_are_refused() -> None:
    nodes, roots = grown()
    proof = assemble(plan_consistency(3, 7), nodes)
    assert not is_consistent(7, roots[7], 3, roots[3], proof)
    assert not is_consistent(4, roots[3], 7, roots[7], proof)
    assert is_consistent(0, EMPTY_ROOT, 7, roots[7], ())
    assert not is_consistent(0, roots[3], 7, roots[7], ())
    assert not is_consistent(0, EMPTY_ROOT, 7, roots[7], proof)
    assert not is_included(leaf_hash(b"0"), 0, 7, [b"short"], roots[7])
    four = assemble(plan_inclusion(0, 4), nodes)
    assert is_included(leaf_hash(b"0"), 0, 4, four, roots[4])
    assert not is_included(leaf_hash(b"0"), 0, 8, four, roots[4]), "the proof ends below the root of eight leaves"
    for wrong in ((7, 7), (-1, 7), (0, 0)):
        with pytest.raises(ValueError):
            plan_inclusion(*wrong)
    for wrong in ((8, 7), (-1, 7)):
        with pytest.raises(ValueError):
            plan_consistency(*wrong)


def test_a_leaf_and_a_node_never_hash_alike() -> None:
    left, right = leaf_hash(b"left"), leaf_hash(b"right")
    assert leaf_hash(left + right) != node_hash(left, right)

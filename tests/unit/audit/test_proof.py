from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.merkle import EMPTY_ROOT, ProofError, Tree, hash_leaf, verify_consistency, verify_inclusion
from gateway.audit.proof import LeafHashes, prove_consistency, prove_inclusion, tree_root

CORPUS = Path(__file__).parents[2] / "corpora" / "merkle_vectors.jsonl"
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
VECTORS = [json.loads(line) for line in CORPUS.read_text("utf-8").splitlines()]


def leaves(count: int) -> list[bytes]:
    return [hash_leaf(i.to_bytes(4, "big")) for i in range(count)]


def test_the_published_proofs_are_reproduced_byte_for_byte() -> None:
    hashes = [hash_leaf(bytes.fromhex(leaf)) for leaf in LEAVES]
    store = LeafHashes(hashes)
    seen = 0
    for vector in VECTORS:
        if not vector.get("valid") or vector["kind"] not in ("inclusion", "consistency"):
            continue
        if vector["kind"] == "inclusion":
            if vector["leaf_hash_hex"] not in {leaf.hex() for leaf in hashes} or vector["size"] > len(hashes):
                continue
            made = prove_inclusion(store, vector["leaf_index"], vector["size"])
        else:
            if vector["size2"] > len(hashes) or tree_root(store, vector["size2"]).hex() != vector["root2_hex"]:
                continue
            made = prove_consistency(store, vector["size1"], vector["size2"])
        assert [node.hex() for node in made] == vector["proof_hex"], vector["id"]
        seen += 1
    assert seen >= 25


def test_the_published_roots_are_reproduced() -> None:
    for vector in VECTORS:
        if vector["kind"] == "root":
            store = LeafHashes([hash_leaf(bytes.fromhex(leaf)) for leaf in vector["leaves"]])
            assert tree_root(store, vector["size"]).hex() == vector["root_hex"]


@given(st.integers(1, 300), st.data())
def test_what_is_proven_verifies(size: int, data: st.DataObject) -> None:
    hashes = leaves(size)
    store = LeafHashes(hashes)
    tree = Tree()
    tree.extend(hashes)
    assert tree_root(store, size) == tree.root()
    index = data.draw(st.integers(0, size - 1))
    verify_inclusion(index, size, hashes[index], prove_inclusion(store, index, size), tree.root())
    first = data.draw(st.integers(1, size))
    proof = prove_consistency(store, first, size)
    verify_consistency(first, size, tree_root(store, first), tree.root(), proof)
    if proof:
        with pytest.raises(ProofError):
            verify_consistency(first, size, tree_root(store, first), tree.root(), [*proof, proof[0]])
        with pytest.raises(ProofError):
            verify_consistency(first, size, tree_root(store, first), tree.root(), proof[:-1])


def test_nothing_is_to_be_proven_of_an_empty_tree_or_an_equal_one() -> None:
    store = LeafHashes(leaves(5))
    assert prove_consistency(store, 0, 5) == prove_consistency(store, 5, 5) == []
    assert tree_root(LeafHashes([]), 0) == EMPTY_ROOT


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0)])
def test_a_leaf_outside_the_tree_cannot_be_proven(index: int, size: int) -> None:
    with pytest.raises(ProofError, match="not in a tree"):
        prove_inclusion(LeafHashes(leaves(5)), index, size)


def test_a_larger_tree_is_no_prefix_of_a_smaller_one() -> None:
    with pytest.raises(ProofError, match="cannot be a prefix"):
        prove_consistency(LeafHashes(leaves(5)), 5, 4)


def test_a_hash_that_is_not_stored_is_said_to_be_missing() -> None:
    with pytest.raises(ProofError, match="no hash"):
        prove_inclusion(LeafHashes(leaves(5)), 0, 9)

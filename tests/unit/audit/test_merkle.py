from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.merkle import (
    EMPTY_ROOT,
    ProofError,
    Tree,
    hash_children,
    hash_leaf,
    verify_consistency,
    verify_inclusion,
)

CORPUS = Path(__file__).parents[2] / "corpora" / "merkle_vectors.jsonl"

LEAVES = [
    bytes.fromhex(x)
    for x in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
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
"""Known answers for the first n leaves of the certificate transparency test data."""


def grow(leaves: list[bytes]) -> Tree:
    tree = Tree()
    for leaf in leaves:
        tree.append(hash_leaf(leaf))
    return tree


def slow_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return hash_leaf(leaves[0])
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hash_children(slow_root(leaves[:k]), slow_root(leaves[k:]))


def slow_inclusion(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962 section 2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*slow_inclusion(m, leaves[:k]), slow_root(leaves[k:])]
    return [*slow_inclusion(m - k, leaves[k:]), slow_root(leaves[:k])]


def slow_consistency(m: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """RFC 6962 section 2.1.2, word for word."""
    if m == len(leaves):
        return [] if whole else [slow_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*slow_consistency(m, leaves[:k], whole), slow_root(leaves[k:])]
    return [*slow_consistency(m - k, leaves[k:], False), slow_root(leaves[:k])]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_known_answers(size: int) -> None:
    assert grow(LEAVES[:size]).root().hex() == ROOTS[size]


@settings(max_examples=100)
@given(st.lists(st.integers(0, 40), max_size=6))
def test_adding_many_leaves_is_adding_each(counts: list[int]) -> None:
    one, many = Tree(), Tree()
    for round_, count in enumerate(counts):
        leaves = [hash_leaf(bytes([round_, i])) for i in range(count)]
        for leaf in leaves:
            one.append(leaf)
        many.extend(leaves)
        assert (many.size, many.frontier) == (one.size, one.frontier)


def test_an_empty_tree_has_the_root_of_nothing() -> None:
    assert Tree().root() == EMPTY_ROOT == sha256(b"").digest()


@settings(max_examples=60)
@given(st.integers(0, 70))
def test_growing_gives_the_same_root_as_the_definition(size: int) -> None:
    leaves = [bytes([i]) for i in range(size)]
    assert grow(leaves).root() == slow_root(leaves)


def test_a_tree_continues_from_its_frontier() -> None:
    tree = grow(LEAVES[:5])
    copy = Tree(tree.size, tree.frontier)
    other = tree.copy()
    for grown in (tree, copy, other):
        grown.append(hash_leaf(LEAVES[5]))
        assert grown.root().hex() == ROOTS[6]


def test_a_frontier_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="perfect subtrees"):
        Tree(3, [bytes(32)])


@settings(max_examples=60)
@given(st.data())
def test_true_proofs_verify_and_altered_ones_do_not(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 40))
    leaves = [bytes([i]) for i in range(size)]
    root = slow_root(leaves)
    index = data.draw(st.integers(0, size - 1))
    proof = slow_inclusion(index, leaves)
    leaf = hash_leaf(leaves[index])
    verify_inclusion(index, size, leaf, proof, root)
    first = data.draw(st.integers(1, size))
    path = slow_consistency(first, leaves)
    first_root = slow_root(leaves[:first])
    verify_consistency(first, size, first_root, root, path)
    for wrong in ([*proof, bytes(32)], proof[:-1], [bytes(32), *proof[1:]]):
        if wrong != proof:
            with pytest.raises(ProofError):
                verify_inclusion(index, size, leaf, wrong, root)
    for wrong in ([*path, bytes(32)], path[:-1], [bytes(32), *path[1:]]):
        if wrong != path:
            with pytest.raises(ProofError):
                verify_consistency(first, size, first_root, root, wrong)
    with pytest.raises(ProofError):
        verify_inclusion(index, size, bytes(32), proof, root)


def test_impossible_positions_and_sizes_are_refused() -> None:
    root = bytes.fromhex(ROOTS[8])
    for index, size in ((-1, 8), (8, 8), (0, 0)):
        with pytest.raises(ProofError):
            verify_inclusion(index, size, bytes(32), [], root)
    for first, second in ((0, 8), (9, 8), (-1, 3)):
        with pytest.raises(ProofError):
            verify_consistency(first, second, root, root, [])
    with pytest.raises(ProofError):
        verify_consistency(8, 8, root, bytes(32), [])
    with pytest.raises(ProofError):
        verify_consistency(8, 8, root, root, [bytes(32)])


def _corpus(kind: str) -> list[Any]:
    vectors = [json.loads(line) for line in CORPUS.read_text("utf-8").splitlines()]
    return [vector for vector in vectors if vector["kind"] == kind]


def test_every_vector_of_the_corpus_is_judged_as_it_says() -> None:
    for vector in _corpus("root"):
        assert grow([bytes.fromhex(leaf) for leaf in vector["leaves"]]).root().hex() == vector["root_hex"]
    for vector in _corpus("inclusion"):
        proof = [bytes.fromhex(node) for node in vector["proof_hex"]]
        leaf, root = bytes.fromhex(vector["leaf_hash_hex"]), bytes.fromhex(vector["root_hex"])
        try:
            verify_inclusion(vector["leaf_index"], vector["size"], leaf, proof, root)
        except ProofError:
            assert not vector["valid"], vector["id"]
        else:
            assert vector["valid"], vector["id"]
    for vector in _corpus("consistency"):
        proof = [bytes.fromhex(node) for node in vector["proof_hex"]]
        roots = bytes.fromhex(vector["root1_hex"]), bytes.fromhex(vector["root2_hex"])
        try:
            verify_consistency(vector["size1"], vector["size2"], *roots, proof)
        except ProofError:
            assert not vector["valid"], vector["id"]
        else:
            assert vector["valid"], vector["id"]

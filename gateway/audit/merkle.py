"""RFC 6962 Merkle trees: growing one leaf at a time, and checking proofs about one.

Decides what a root is; it never stores leaves, and it knows nothing of what a leaf means.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256

from gateway.exchange.errors import GatewayError

HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()
"""Root of a tree without leaves (RFC 6962 section 2.1)."""


class ProofError(GatewayError):
    """A proof that does not prove what it is for."""


def hash_leaf(data: bytes) -> bytes:
    """Return the hash of a leaf (RFC 6962 section 2.1)."""
    return sha256(b"\0" + data).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """Return the hash of an interior node (RFC 6962 section 2.1)."""
    return sha256(b"\1" + left + right).digest()


class Tree:
    """A tree as its frontier: the roots of its perfect subtrees, largest first, one for each bit of its size."""

    __slots__ = ("frontier", "size")

    def __init__(self, size: int = 0, frontier: Sequence[bytes] = ()) -> None:
        if size.bit_count() != len(frontier):
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} perfect subtrees, not {len(frontier)}")
        self.size = size
        self.frontier = list(frontier)

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf, by its hash."""
        self.size = size = self.size + 1
        frontier = self.frontier
        while not size & 1:
            leaf_hash = sha256(b"\1" + frontier.pop() + leaf_hash).digest()
            size >>= 1
        frontier.append(leaf_hash)

    def extend(self, leaf_hashes: Sequence[bytes]) -> None:
        """Add many leaves, by their hashes: level by level, which costs half of adding them one by one."""
        frontier = self.frontier
        nodes: Sequence[bytes] = leaf_hashes
        size = self.size
        lone: list[bytes] = []
        while nodes:
            if size & 1:
                nodes = [frontier.pop(), *nodes]
            if len(nodes) & 1:
                lone.append(nodes[-1])
            pairs = iter(nodes)
            nodes = [sha256(b"\1" + left + right).digest() for left, right in zip(pairs, pairs, strict=False)]
            size >>= 1
        frontier += reversed(lone)
        self.size += len(leaf_hashes)

    def root(self) -> bytes:
        """Return the Merkle tree hash of all leaves so far."""
        frontier = self.frontier
        if not frontier:
            return EMPTY_ROOT
        root = frontier[-1]
        for left in frontier[-2::-1]:
            root = sha256(b"\1" + left + root).digest()
        return root

    def copy(self) -> Tree:
        """Return an independent tree of the same leaves."""
        return Tree(self.size, self.frontier)


def verify_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf_hash` is leaf number `index` of the tree of `size` leaves with this root.

    RFC 9162 section 2.1.3.2. Raises `ProofError`.
    """
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size}")
    _require_hashes(leaf_hash, root, *proof)
    fn, sn = index, size - 1
    computed = leaf_hash
    for node in proof:
        if sn == 0:
            raise ProofError("the inclusion proof is too long")
        if fn & 1 or fn == sn:
            computed = hash_children(node, computed)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            computed = hash_children(computed, node)
        fn >>= 1
        sn >>= 1
    if sn != 0:
        raise ProofError("the inclusion proof is too short")
    if not hmac.compare_digest(computed, root):
        raise ProofError("the inclusion proof leads to another root")


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `first` leaves is a prefix of the tree of `second` leaves.

    RFC 9162 section 2.1.4.2. Raises `ProofError`.
    """
    if not 0 < first <= second:
        raise ProofError(f"a tree of {first} cannot be proven a prefix of a tree of {second}")
    if first == second:
        if proof or not hmac.compare_digest(first_root, second_root):
            raise ProofError("two roots for one size")
        return
    _require_hashes(first_root, second_root, *proof)
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        raise ProofError("the consistency proof is empty")
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    fr = sr = path[0]
    for node in path[1:]:
        if sn == 0:
            raise ProofError("the consistency proof is too long")
        if fn & 1 or fn == sn:
            fr = hash_children(node, fr)
            sr = hash_children(node, sr)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            sr = hash_children(sr, node)
        fn >>= 1
        sn >>= 1
    if sn != 0:  # attack: a verifier that skips this accepts wrong sizes
        raise ProofError("the consistency proof is too short")
    if not (hmac.compare_digest(fr, first_root) and hmac.compare_digest(sr, second_root)):
        raise ProofError("the consistency proof leads to other roots")


def _require_hashes(*values: bytes) -> None:
    """Refuse what is no SHA-256 (attack: an empty leaf hash equals an empty root)."""
    if any(len(value) != HASH_BYTES for value in values):
        raise ProofError("a hash that is not 32 bytes long")

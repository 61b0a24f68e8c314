"""Proofs that a record is in a tree and that one tree continues another, made from stored hashes (RFC 9162 section 2.1).

Decides which hashes a proof consists of. `merkle` checks what is made here, and knows nothing of
where the hashes come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.audit.merkle import EMPTY_ROOT, ProofError, hash_children


class HashStore(Protocol):
    """The hashes of the perfect subtrees of a log."""

    def node(self, level: int, index: int) -> bytes:
        """Return the hash over the leaves from `index << level` on, `1 << level` of them. Raises `ProofError`."""


class LeafHashes:
    """All hashes of a tree in memory, from those of its leaves; for a log without tiles."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._levels: list[Sequence[bytes]] = [leaves]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            self._levels.append([hash_children(*pair) for pair in zip(below[::2], below[1::2], strict=False)])

    def node(self, level: int, index: int) -> bytes:
        """Return one hash. Raises `ProofError` when the tree is not so large."""
        try:
            return self._levels[level][index]
        except IndexError:
            raise ProofError(f"the tree has no hash {index} at level {level}") from None


def tree_root(store: HashStore, size: int) -> bytes:
    """Return the root of the first `size` leaves. Raises `ProofError` when the store lacks a hash."""
    return _range(store, 0, size) if size else EMPTY_ROOT


def prove_inclusion(store: HashStore, index: int, size: int) -> list[bytes]:
    """Return the proof that leaf `index` is in the tree of `size` leaves: siblings, the leaf's own first.

    RFC 6962 section 2.1.1. Raises `ProofError`: there is no such leaf, or the store lacks a hash.
    """
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size}")
    begin, end = 0, size
    path: list[bytes] = []
    while end - begin > 1:
        split = begin + _left(end - begin)
        if index < split:
            path.append(_range(store, split, end))
            end = split
        else:
            path.append(_range(store, begin, split))
            begin = split
    path.reverse()
    return path


def prove_consistency(store: HashStore, first: int, second: int) -> list[bytes]:
    """Return the proof that the tree of `first` leaves is a prefix of that of `second`; empty for equal sizes and for 0.

    RFC 6962 section 2.1.2. Raises `ProofError`: `first` is larger, or the store lacks a hash.
    """
    if not 0 <= first <= second:
        raise ProofError(f"a tree of {first} cannot be a prefix of a tree of {second}")
    if first in (0, second):
        return []
    begin, end = 0, second
    path: list[bytes] = []
    is_known = True
    """Whoever checks has the hash over `begin` to `first`: it is the first root itself."""
    while first != end:
        split = begin + _left(end - begin)
        if first <= split:
            path.append(_range(store, split, end))
            end = split
        else:
            path.append(_range(store, begin, split))
            begin = split
            is_known = False
    if not is_known:
        path.append(_range(store, begin, end))
    path.reverse()
    return path


def _left(count: int) -> int:
    """Return the largest power of two below `count`, which is more than one: where a tree splits."""
    return 1 << ((count - 1).bit_length() - 1)


def _range(store: HashStore, begin: int, end: int) -> bytes:
    """Return the hash over leaves `begin` to `end`, where `begin` is where a subtree of that size begins."""
    nodes: list[bytes] = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        nodes.append(store.node(level, begin >> level))
        begin += 1 << level
    root = nodes.pop()
    while nodes:
        root = hash_children(nodes.pop(), root)
    return root

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gateway.audit.checkpoint import Signer
from gateway.audit.cosignature import Cosigner
from gateway.audit.merkle import hash_leaf
from gateway.audit.proof import LeafHashes, prove_consistency, tree_root
from gateway.audit.witness import Submission
from gateway.exchange.metrics import Registry
from gateway.witness.service import ServiceMetrics, Witness
from gateway.witness.store import WitnessStore


class GrowingLog:
    """A log that can be asked for a submission at any size, and for one of a history that never was."""

    def __init__(self) -> None:
        self.signer = Signer("gateway/node/security", b"s" * 32)
        self.vkey = self.signer.vkey
        self._store = LeafHashes([hash_leaf(bytes([i])) for i in range(64)])
        self._other = LeafHashes([hash_leaf(b"x" + bytes([i])) for i in range(64)])

    def submit(self, old: int, size: int, *, forked: bool = False, proof: Sequence[bytes] | None = None) -> bytes:
        store = self._other if forked else self._store
        made = prove_consistency(store, old, size) if proof is None else proof
        return Submission(old, tuple(made), self.signer.checkpoint(size, tree_root(store, size))).dump()


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def log() -> GrowingLog:
    return GrowingLog()


@pytest.fixture
def cosigner() -> Cosigner:
    return Cosigner("witness.example/w1", 4, b"w" * 32)


@pytest.fixture
def store(tmp_path: Path, cosigner: Cosigner) -> WitnessStore:
    return WitnessStore(tmp_path / "state", cosigner.key)


@pytest.fixture
def witness(log: GrowingLog, cosigner: Cosigner, store: WitnessStore, registry: Registry) -> Iterator[Witness]:
    made = Witness(cosigner, [log.vkey], store, lambda: 1_790_000_000.5, ServiceMetrics(registry))
    made.start()
    yield made
    made.stop()

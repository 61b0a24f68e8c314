from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.checkpoint import CheckpointError, Signer, split_note
from gateway.audit.cosignature import Cosigner
from gateway.audit.merkle import ProofError, hash_leaf
from gateway.audit.proof import LeafHashes, prove_inclusion, tree_root
from gateway.audit.tlog_proof import MAX_PROOF_BYTES, TlogProof, origin_of, verify_proof
from gateway.audit.trust import TrustPolicy

LOG = Signer("gateway/node/access", b"s" * 32)
WITNESS = Cosigner("witness.example/w1", 4, b"w" * 32)
ENTRIES = [f"entry {i}".encode() for i in range(11)]
STORE = LeafHashes([hash_leaf(entry) for entry in ENTRIES])
HEAD = LOG.checkpoint(len(ENTRIES), tree_root(STORE, len(ENTRIES)))
COSIGNED = HEAD + WITNESS.cosign(split_note(HEAD)[0], 1_790_000_000)
POLICY = TrustPolicy.parse(f"log {LOG.vkey}\nwitness w1 {WITNESS.key}\nquorum w1\n".encode())
H1, H2 = sha256(b"hash1").digest(), sha256(b"hash2").digest()


def proof(index: int, checkpoint: bytes = COSIGNED) -> TlogProof:
    return TlogProof(index, tuple(prove_inclusion(STORE, index, len(ENTRIES))), checkpoint, ENTRIES[index])


@pytest.mark.parametrize("index", range(len(ENTRIES)))
def test_each_entry_is_proven_by_a_proof_of_its_own(index: int) -> None:
    proven = verify_proof(TlogProof.parse(proof(index).dump()), POLICY)
    assert proven.entry == ENTRIES[index]
    assert proven.judged.is_met
    assert proven.judged.time_s == 1_790_000_000


def test_the_form_is_that_of_the_specification() -> None:
    made = TlogProof(10, (H1, H2), b"checkpoint\n", b"extra information").dump().decode()
    assert made == (
        "c2sp.org/tlog-proof@v1\n"
        f"extra {b64encode(b'extra information').decode()}\n"
        "index 10\n"
        f"{b64encode(H1).decode()}\n{b64encode(H2).decode()}\n"
        "\n"
        "checkpoint\n"
    )
    assert TlogProof(0, (), b"checkpoint\n").dump() == b"c2sp.org/tlog-proof@v1\nindex 0\n\ncheckpoint\n"


@given(
    st.integers(0, 10**18),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.binary(max_size=300),
)
def test_a_proof_is_read_back_as_it_was_written(index: int, hashes: list[bytes], extra: bytes) -> None:
    made = TlogProof(index, tuple(hashes), HEAD, extra)
    assert TlogProof.parse(made.dump()) == made


def test_an_entry_that_was_changed_is_not_proven() -> None:
    good = proof(4)
    for bit in range(8 * len(good.extra)):
        changed = bytearray(good.extra)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProofError):
            verify_proof(TlogProof(4, good.hashes, good.checkpoint, bytes(changed)), POLICY)


def test_a_proof_for_another_place_is_refused() -> None:
    good = proof(4)
    for index in (3, 5, 11, 10**17):
        with pytest.raises(ProofError):
            verify_proof(TlogProof(index, good.hashes, good.checkpoint, good.extra), POLICY)
    for hashes in (good.hashes[:-1], (*good.hashes, H1), good.hashes[::-1], ()):
        with pytest.raises(ProofError):
            verify_proof(TlogProof(4, hashes, good.checkpoint, good.extra), POLICY)


def test_a_head_that_the_log_did_not_sign_is_refused() -> None:
    forged = Signer(LOG.vkey.name, b"t" * 32).checkpoint(len(ENTRIES), tree_root(STORE, len(ENTRIES)))
    with pytest.raises(CheckpointError):
        verify_proof(proof(4, forged), POLICY)


def test_a_quorum_that_is_not_met_is_said_and_not_hidden() -> None:
    proven = verify_proof(proof(4, HEAD), POLICY)
    assert not proven.judged.is_met
    assert "w1 has not cosigned" in proven.judged.missing


def test_a_proof_without_an_entry_proves_nothing() -> None:
    good = proof(4)
    with pytest.raises(ProofError, match="no entry"):
        verify_proof(TlogProof(4, good.hashes, good.checkpoint), POLICY)
    with pytest.raises(ProofError, match="longer than an entry"):
        verify_proof(TlogProof(4, good.hashes, good.checkpoint, bytes(65_536)), POLICY)


def test_whose_proof_it_is_can_be_read_before_it_is_checked() -> None:
    assert origin_of(proof(1)) == LOG.vkey.name


GOOD = proof(4).dump()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"wrong-header\nindex 0\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nextra !!notbase64!!\nindex 0\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nextra \nindex 0\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\n\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex notanumber\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex -5\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex 05\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex 99999999999999999999\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n!!notbase64!!\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + b64encode(bytes(64)) + b"\n\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + (b64encode(bytes(32)) + b"\n") * 64 + b"\ncheckpoint\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + b"a" * MAX_PROOF_BYTES + b"\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\nextra AAAA\n\ncheckpoint\n",
        "c2sp.org/tlog-proof@v1\nindex \N{ARABIC-INDIC DIGIT ZERO}\n\ncheckpoint\n".encode(),
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"@v1", b"@v2"),
    ],
)
def test_malformed_proofs_are_refused(data: bytes) -> None:
    with pytest.raises(ProofError):
        TlogProof.parse(data)


@given(st.binary(max_size=300))
def test_no_bytes_are_more_than_refused(data: bytes) -> None:
    for candidate in (data, GOOD[: len(data)] + data, data + GOOD):
        try:
            verify_proof(TlogProof.parse(candidate), POLICY)
        except (ProofError, CheckpointError):
            continue
        assert candidate == GOOD

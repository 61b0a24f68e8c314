from __future__ import annotations

from base64 import b64decode, b64encode
from hashlib import sha256

import pytest

from gateway.audit.checkpoint import CheckpointError, Signer, split_note
from gateway.audit.cosignature import (
    ED25519_COSIGNATURE,
    ML_DSA_44_COSIGNATURE,
    Cosigner,
    WitnessKey,
    cosignatures,
    verify_cosignature,
)

WITNESS = str(Cosigner("witness.example/w1", ED25519_COSIGNATURE, b"w" * 32).key)
LOG = Signer("gateway/node/security", b"s" * 32)
NOTE = LOG.checkpoint(7, b"r" * 32)
TEXT = split_note(NOTE)[0]
KINDS = [ED25519_COSIGNATURE, ML_DSA_44_COSIGNATURE]


def test_the_key_of_a_witness_is_read_and_written_back() -> None:
    key = WitnessKey.parse(WITNESS)
    assert (key.name, key.kind) == ("witness.example/w1", ED25519_COSIGNATURE)
    assert key.key_id == sha256(b"witness.example/w1\n\x04" + key.public).digest()[:4]
    assert str(key) == WITNESS


@pytest.mark.parametrize("kind", KINDS)
def test_what_we_cosign_verifies(kind: int) -> None:
    cosigner = Cosigner("witness.example/w1", kind, b"w" * 32)
    line = cosigner.cosign(TEXT, 1_790_000_000)
    found = cosignatures(NOTE + line, [cosigner.key])
    assert [(item.key, item.time_s, item.line) for item in found] == [(cosigner.key, 1_790_000_000, line)]
    assert WitnessKey.parse(str(cosigner.key)) == cosigner.key


@pytest.mark.parametrize("kind", KINDS)
def test_a_cosignature_holds_for_one_text_one_time_and_one_key(kind: int) -> None:
    cosigner = Cosigner("witness.example/w1", kind, b"w" * 32)
    raw = b64decode(cosigner.cosign(TEXT, 1000).split(b" ")[2])[4:]
    assert verify_cosignature(cosigner.key, TEXT, raw) == 1000
    later = (1001).to_bytes(8, "big") + raw[8:]
    for key, text, signature in (
        (cosigner.key, LOG.checkpoint(8, b"r" * 32).partition(b"\n\n")[0] + b"\n", raw),
        (cosigner.key, TEXT, later),
        (cosigner.key, TEXT, raw[:-1]),
        (cosigner.key, TEXT, raw + b"\0"),
        (cosigner.key, TEXT, bytes(8) + raw[8:]),
        (cosigner.key, TEXT, b"\xff" * 8 + raw[8:]),
        (Cosigner("witness.example/w1", kind, b"x" * 32).key, TEXT, raw),
    ):
        with pytest.raises(CheckpointError):
            verify_cosignature(key, text, signature)


def test_the_post_quantum_cosignature_is_bound_to_its_witness_and_says_nothing_of_extension_lines() -> None:
    cosigner = Cosigner("witness.example/w1", ML_DSA_44_COSIGNATURE, b"w" * 32)
    raw = b64decode(cosigner.cosign(TEXT, 1000).split(b" ")[2])[4:]
    assert verify_cosignature(cosigner.key, TEXT + b"extension\n", raw) == 1000
    renamed = WitnessKey("witness.example/w2", ML_DSA_44_COSIGNATURE, cosigner.key.public)
    with pytest.raises(CheckpointError, match="is wrong"):
        verify_cosignature(renamed, TEXT, raw)


def test_the_classical_cosignature_covers_extension_lines() -> None:
    cosigner = Cosigner("witness.example/w1", ED25519_COSIGNATURE, b"w" * 32)
    raw = b64decode(cosigner.cosign(TEXT, 1000).split(b" ")[2])[4:]
    with pytest.raises(CheckpointError, match="is wrong"):
        verify_cosignature(cosigner.key, TEXT + b"extension\n", raw)


def test_unknown_witnesses_are_ignored_and_so_is_the_right_name_with_another_key() -> None:
    ours = Cosigner("witness.example/w1", ED25519_COSIGNATURE, b"w" * 32)
    stranger = Cosigner("witness.example/w1", ED25519_COSIGNATURE, b"x" * 32)
    note = NOTE + stranger.cosign(TEXT, 1) * 17 + ours.cosign(TEXT, 2)
    assert [item.time_s for item in cosignatures(note, [ours.key])] == [2]
    assert cosignatures(NOTE + stranger.cosign(TEXT, 1), [ours.key]) == []


def test_a_wrong_signature_of_a_known_witness_refuses_the_note_even_beside_a_right_one() -> None:
    ours = Cosigner("witness.example/w1", ED25519_COSIGNATURE, b"w" * 32)
    line = ours.cosign(TEXT, 1)
    raw = bytearray(b64decode(line.split(b" ")[2]))
    raw[-1] ^= 1
    wrong = line.rpartition(b" ")[0] + b" " + b64encode(bytes(raw)) + b"\n"
    with pytest.raises(CheckpointError, match="is wrong"):
        cosignatures(NOTE + line + wrong, [ours.key])


def test_a_log_s_own_signature_is_no_cosignature() -> None:
    """The same key under the type of a log's signature has another key id."""
    key = WitnessKey(LOG.vkey.name, ED25519_COSIGNATURE, LOG.vkey.public)
    assert key.key_id != LOG.vkey.key_id
    assert cosignatures(NOTE, [key]) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        WITNESS.rpartition("+")[0],
        WITNESS.replace(WITNESS.split("+")[1], "00000000"),
        WITNESS.replace("w1", "w2"),
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "w+00000000+BA==",
        "w+00000000+",
        "w+00000000+!!",
        "a b" + WITNESS,
    ],
)
def test_malformed_keys_of_witnesses_are_refused(text: str) -> None:
    with pytest.raises(CheckpointError):
        WitnessKey.parse(text)


@pytest.mark.parametrize(
    ("name", "kind", "seed"),
    [("w", 1, b"s" * 32), ("w", 4, b"s" * 31), ("w w", 4, b"s" * 32), ("", 4, b"s" * 32), ("w" * 256, 6, b"s" * 32)],
)
def test_impossible_witnesses_are_refused(name: str, kind: int, seed: bytes) -> None:
    with pytest.raises(ValueError, match=r"witness|cosignature"):
        Cosigner(name, kind, seed)


@pytest.mark.parametrize("time_s", [0, -1, 1 << 63])
def test_a_cosignature_without_a_time_is_not_made(time_s: int) -> None:
    with pytest.raises(CheckpointError, match="time"):
        Cosigner("w", ED25519_COSIGNATURE, b"s" * 32).cosign(TEXT, time_s)


def test_an_origin_too_long_for_the_post_quantum_kind_is_refused() -> None:
    text = Signer("o" * 256, b"s" * 32).checkpoint(1, b"r" * 32).partition(b"\n\n")[0] + b"\n"
    with pytest.raises(CheckpointError, match="too long"):
        Cosigner("w", ML_DSA_44_COSIGNATURE, b"s" * 32).cosign(text, 1)

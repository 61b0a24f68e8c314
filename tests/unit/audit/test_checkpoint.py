from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from gateway.audit.checkpoint import (
    Checkpoint,
    CheckpointError,
    Signer,
    Vkey,
    parse_checkpoint,
    split_note,
    verify_checkpoint,
    verify_note,
    verify_signature,
)

CORPUS = Path(__file__).parents[2] / "corpora" / "merkle_vectors.jsonl"
SPEC_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()
"""C2SP signed-note, the specification's own example."""
ROOT = b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
SPEC_TEXT = b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
"""C2SP tlog-checkpoint, the specification's own example."""
SIGNER = Signer("gateway/node/main", b"s" * 32)
NOTE = SIGNER.checkpoint(20852163, ROOT)


def test_the_specifications_note_verifies_with_its_key() -> None:
    vkey = Vkey.parse(SPEC_VKEY)
    assert str(vkey) == SPEC_VKEY
    assert vkey.key_id.hex() == "530d903a"
    assert verify_note(SPEC_NOTE, vkey) == b"This is an example message.\n"


def test_the_notes_of_the_go_implementation_are_reproduced_byte_for_byte() -> None:
    """Key and text of golang.org/x/mod/sumdb/note; Ed25519 is deterministic."""
    seed = b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
    vkey = Signer("PeterNeumann", seed).vkey
    assert str(vkey) == "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    line = (
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    assert verify_note((text + "\n" + line).encode(), vkey).decode() == text


def test_the_specifications_checkpoint_is_read_and_written_back() -> None:
    checkpoint = parse_checkpoint(SPEC_TEXT)
    assert checkpoint == Checkpoint("example.com/behind-the-sofa", 20852163, ROOT)
    assert checkpoint.text().encode() == SPEC_TEXT


def test_what_we_sign_has_the_exact_form_and_verifies() -> None:
    head, _, tail = NOTE.partition(b"\n\n")
    assert head == b"gateway/node/main\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    assert tail.startswith("— gateway/node/main ".encode())
    assert b64decode(tail.split(b" ")[2])[:4] == SIGNER.vkey.key_id
    assert verify_checkpoint(NOTE, SIGNER.vkey) == Checkpoint("gateway/node/main", 20852163, ROOT)


def test_signatures_of_unknown_keys_are_ignored_but_one_known_is_needed() -> None:
    other = Signer("witness.example/w1", b"w" * 32).checkpoint(1, ROOT).rpartition(b"\n\n")[2]
    assert verify_note(NOTE + other, SIGNER.vkey)
    assert verify_note(NOTE + other * 20, SIGNER.vkey)
    stranger = Signer("gateway/node/other", b"s" * 32).vkey
    with pytest.raises(CheckpointError, match="not signed by"):
        verify_note(NOTE, stranger)
    with pytest.raises(CheckpointError, match="not signed by"):
        verify_note(SPEC_NOTE, SIGNER.vkey)


def test_the_right_name_with_another_key_is_unknown() -> None:
    with pytest.raises(CheckpointError, match="not signed by"):
        verify_note(NOTE, Signer("gateway/node/main", b"t" * 32).vkey)


def test_a_known_signature_must_be_right_even_beside_a_right_one() -> None:
    line = NOTE.rpartition(b"\n\n")[2]
    raw = bytearray(b64decode(line.split(b" ")[2]))
    raw[-1] ^= 1
    wrong = line.rpartition(b" ")[0] + b" " + b64encode(bytes(raw)) + b"\n"
    for note in (NOTE + wrong, NOTE.replace(line, wrong)):
        with pytest.raises(CheckpointError, match="wrong"):
            verify_note(note, SIGNER.vkey)


def test_flipping_any_bit_of_a_note_is_found() -> None:
    for i in range(len(NOTE)):
        for bit in range(8):
            flipped = NOTE[:i] + bytes([NOTE[i] ^ (1 << bit)]) + NOTE[i + 1 :]
            with pytest.raises(CheckpointError):
                verify_checkpoint(flipped, SIGNER.vkey)


@pytest.mark.parametrize(
    "note",
    [
        b"",
        NOTE.rpartition(b"\n\n")[0] + b"\n",
        NOTE[:-1],
        NOTE.replace(b"\n", b"\r\n"),
        NOTE.replace(b"gateway", b"gate\0way"),
        NOTE.replace("— ".encode(), b"- "),
        NOTE.replace("— gateway/node/main".encode(), "— gateway+node".encode()),
        NOTE.replace("— gateway/node/main ".encode(), "—  ".encode()),
        NOTE[:-3] + b"*=\n",
        NOTE.rpartition(b" ")[0] + b" AAAA\n",
        NOTE.rpartition(b" ")[0] + b" AAAAAB==\n",
        NOTE + b"\n",
        NOTE + NOTE.rpartition(b"\n\n")[2] * 120,
        b"\xff" + NOTE,
        b"x" * 70_000,
    ],
)
def test_malformed_notes_are_refused(note: bytes) -> None:
    with pytest.raises(CheckpointError):
        verify_note(note, SIGNER.vkey)


def test_a_checkpoint_of_another_origin_is_refused_even_if_signed() -> None:
    text = Checkpoint("gateway/elsewhere", 1, ROOT).text().encode()
    key = Signer("gateway/node/main", b"s" * 32)
    signature = b64encode(key.vkey.key_id + key.sign(b"", text))
    note = text + "\n— gateway/node/main ".encode() + signature + b"\n"
    assert verify_note(note, key.vkey) == text
    with pytest.raises(CheckpointError, match="of the log gateway/elsewhere"):
        verify_checkpoint(note, key.vkey)


@pytest.mark.parametrize(
    "text",
    [
        "example.com/x\n020\n{root}\n",
        "example.com/x\n-1\n{root}\n",
        "example.com/x\n+1\n{root}\n",
        "example.com/x\n٣\n{root}\n",
        "example.com/x\n99999999999999999999999\n{root}\n",
        "example.com/x\n20\nCsUYapGGPo4dkMgIAUqom_Xajj7h2fB2MPA3j2jxq2I=\n",
        "example.com/x\n20\nCsUYapGG\n",
        "example.com/x\n20\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=\n",
        "example.com/x\n20\n",
        "\n20\n{root}\n",
        "example.com/x\n20\n{root}",
        "example.com/x\r\n20\r\n{root}\r\n",
        "example.com/x\n20\n{root}\n\nx\n",
    ],
)
def test_malformed_checkpoints_are_refused(text: str) -> None:
    with pytest.raises(CheckpointError):
        parse_checkpoint(text.replace("{root}", b64encode(ROOT).decode()).encode())


def test_a_checkpoint_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(CheckpointError, match="UTF-8"):
        parse_checkpoint(b"\xff\n1\n" + b64encode(ROOT) + b"\n")


def test_extension_lines_and_size_zero_are_allowed() -> None:
    assert parse_checkpoint(SPEC_TEXT + b"extension\n").size == 20852163
    assert parse_checkpoint(b"x\n0\n" + b64encode(ROOT) + b"\n").size == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/foo",
        "example.com/foo+530d903a",
        "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/fo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+BOkyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AekyeRrm",
        "example.com/foo+530d903a+!!!!",
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "a b+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    ],
)
def test_malformed_verifier_keys_are_refused(text: str) -> None:
    with pytest.raises(CheckpointError):
        Vkey.parse(text)


def test_a_bare_signature_is_bound_to_its_context() -> None:
    signature = SIGNER.sign(b"context\n", b"message")
    verify_signature(SIGNER.vkey.public, signature, b"context\n", b"message")
    for public, context, message in (
        (SIGNER.vkey.public, b"other\n", b"message"),
        (SIGNER.vkey.public, b"context\n", b"massage"),
        (bytes(31), b"context\n", b"message"),
    ):
        with pytest.raises(CheckpointError):
            verify_signature(public, signature, context, message)


def test_every_note_of_the_corpus_is_judged_as_it_says() -> None:
    for line in CORPUS.read_text("utf-8").splitlines():
        vector = json.loads(line)
        if vector["kind"] != "checkpoint-note":
            continue
        if vector.get("valid", True):
            parse_checkpoint(vector["text"].encode())
        else:
            with pytest.raises(CheckpointError):
                parse_checkpoint(vector["text"].encode())


def test_split_note_returns_every_signature() -> None:
    text, signatures = split_note(NOTE)
    assert text.endswith(b"=\n")
    assert [name for name, _, _ in signatures] == ["gateway/node/main"]

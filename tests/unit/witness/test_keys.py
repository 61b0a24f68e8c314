from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.exchange.errors import KeyringError
from gateway.witness.keys import KINDS, Algorithm, generate, load


@pytest.mark.parametrize("algorithm", list(KINDS))
def test_a_key_is_read_back_as_it_was_made_and_belongs_to_its_owner_alone(tmp_path: Path, algorithm: Algorithm) -> None:
    path = tmp_path / "key.json"
    made = generate(path, "witness.example/w1", algorithm, lambda n: b"r" * n)
    assert load(path).key == made.key
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_is_never_written_over_another(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    generate(path, "w", "ed25519", os.urandom)
    before = path.read_bytes()
    with pytest.raises(KeyringError, match="cannot be made: file exists"):
        generate(path, "w", "ed25519", os.urandom)
    assert path.read_bytes() == before


def test_an_impossible_name_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name of a witness"):
        generate(tmp_path / "key.json", "w w", "ed25519", os.urandom)
    assert not list(tmp_path.iterdir())


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    generate(path, "w", "ed25519", os.urandom)
    path.chmod(0o640)
    with pytest.raises(KeyringError, match="chmod 600"):
        load(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"version":1,"name":"w","algorithm":"rsa","seed":"AAAA"}',
        '{"version":1,"name":"w","algorithm":"ed25519","seed":"AAAA"}',
        '{"version":1,"name":"w w","algorithm":"ed25519","seed":"' + "A" * 43 + '="}',
        '{"version":1,"name":"w","algorithm":"ed25519","seed":"' + "A" * 43 + '=","more":1}',
    ],
)
def test_what_is_no_key_is_refused_without_a_word_of_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(KeyringError, match="is not the key of a witness") as caught:
        load(path)
    assert "AAAA" not in str(caught.value)


def test_a_key_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.touch(0o600)
    path.write_text('{"version":2,"name":"w","algorithm":"ed25519","seed":"' + "A" * 43 + '="}')
    with pytest.raises(KeyringError, match="has version 2"):
        load(path)


def test_a_missing_key_names_the_verb_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="gateway witness init"):
        load(tmp_path / "key.json")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key.json", 0o600)
    with pytest.raises(KeyringError, match="is not a file"):
        load(tmp_path / "key.json")

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.errors import KeyringError
from gateway.store.keyring import (
    ASSERTION_KEPT_S,
    ASSERTION_LEAD_S,
    SEAL_LEAD_S,
    Keyring,
    read_keyring_bytes,
)

NOW = 1_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "keyring.json"


def created(path: Path) -> Keyring:
    keyring = Keyring.generate(os.urandom, NOW)
    keyring.create(path)
    return keyring


def test_a_created_keyring_is_the_owners_alone_and_loads_again(path: Path) -> None:
    old = os.umask(0)
    try:
        keyring = created(path)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    loaded = Keyring.load(path)
    assert loaded.lookup_key == keyring.lookup_key
    assert loaded.seal_key(1) == keyring.seal_key(1)
    assert loaded.describe(NOW) == keyring.describe(NOW)


def test_a_keyring_is_never_overwritten(path: Path) -> None:
    keyring = created(path)
    with pytest.raises(KeyringError, match="exists already"):
        Keyring.generate(os.urandom, NOW).create(path)
    assert Keyring.load(path).lookup_key == keyring.lookup_key


def test_a_missing_keyring_is_named_with_its_mend(path: Path) -> None:
    with pytest.raises(KeyringError, match=f"{path}: does not exist; restore it"):
        Keyring.load(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_keyring_that_others_may_open_is_refused_and_the_command_is_told(path: Path, mode: int) -> None:
    created(path)
    path.chmod(mode)
    with pytest.raises(KeyringError, match=f"open to other users .*chmod 600 {path}"):
        Keyring.load(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_keyring_of_another_user_is_refused(path: Path) -> None:
    created(path)
    os.chown(path, 65534, 65534)
    with pytest.raises(KeyringError, match="belongs to user 65534"):
        Keyring.load(path)


def test_a_keyring_that_is_no_regular_file_is_refused_and_does_not_hang(path: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="not a regular file"):
        Keyring.load(tmp_path)
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(KeyringError, match="not a regular file"):
        Keyring.load(tmp_path / "fifo")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_refused_and_says_which(path: Path, version: object) -> None:
    created(path)
    data = json.loads(path.read_bytes())
    data["version"] = version
    with pytest.raises(KeyringError, match=r"has version .* reads version 1"):
        Keyring.parse(json.dumps(data).encode())


def damaged(keyring: Keyring, **changes: object) -> bytes:
    return json.dumps({**json.loads(keyring.serialise()), **changes}).encode()


def test_damage_is_refused_without_quoting_a_secret() -> None:
    keyring = Keyring.generate(os.urandom, NOW)
    data = json.loads(keyring.serialise())
    secret = data["seal"][0]["secret"]
    for bad in (
        b"",
        b"[]",
        b"{",
        b"\xff",
        keyring.serialise()[:-20],
        damaged(keyring, seal=[]),
        damaged(keyring, assertion=[]),
        damaged(keyring, extra=1),
        damaged(keyring, root="c2hvcnQ="),
        damaged(keyring, root="not base64!"),
        damaged(keyring, seal=data["seal"] * 2),
        damaged(keyring, assertion=data["assertion"] * 2),
        damaged(keyring, seal=[{**data["seal"][0], "version": 1 << 32}]),
        damaged(keyring, assertion=[{**data["assertion"][0], "seed": secret[:8]}]),
    ):
        with pytest.raises(KeyringError) as refused:
            Keyring.parse(bad)
        assert secret not in str(refused.value)
        assert refused.value.__cause__ is None


@given(st.binary(max_size=300))
def test_no_bytes_make_the_parser_fail_otherwise(data: bytes) -> None:
    with pytest.raises(KeyringError):
        Keyring.parse(data)


def test_the_secrets_do_not_show_in_repr() -> None:
    keyring = Keyring.generate(os.urandom, NOW)
    assert json.loads(keyring.serialise())["root"] not in repr(keyring)


def test_subkeys_differ_by_label_and_survive_rotation() -> None:
    keyring = Keyring.generate(os.urandom, NOW)
    rotated = keyring.rotate(os.urandom, NOW + 5)
    assert len({keyring.derive("a"), keyring.derive("b"), keyring.lookup_key, keyring.limits_key}) == 4
    assert rotated.derive("a") == keyring.derive("a")
    assert rotated.lookup_key == keyring.lookup_key


def test_a_new_sealing_key_is_known_a_minute_before_it_is_used() -> None:
    rotated = Keyring.generate(os.urandom, NOW).rotate(os.urandom, NOW + 10)
    assert rotated.seal_versions == (1, 2)
    assert rotated.seal_version(NOW + 10) == 1
    assert rotated.seal_version(NOW + 10 + SEAL_LEAD_S) == 2
    assert rotated.seal_key(2) not in {None, rotated.seal_key(1)}
    assert rotated.seal_key(3) is None


def test_a_clock_set_back_before_every_key_still_finds_one() -> None:
    rotated = Keyring.generate(os.urandom, NOW).rotate(os.urandom, NOW)
    assert rotated.seal_version(0) == 1
    assert rotated.assertion_key(0).kid == rotated.assertion_keys(0)[0].kid


def test_the_jwks_has_a_new_key_before_it_signs_and_an_old_one_after() -> None:
    first = Keyring.generate(os.urandom, NOW)
    rotated = first.rotate(os.urandom, NOW + 10)
    old, new = (key.kid for key in rotated.assertion_keys(NOW + 10))
    takes_over = NOW + 10 + ASSERTION_LEAD_S
    assert rotated.assertion_key(takes_over - 1).kid == old == first.assertion_key(NOW).kid
    assert rotated.assertion_key(takes_over).kid == new
    assert [key.kid for key in rotated.assertion_keys(takes_over + ASSERTION_KEPT_S - 1)] == [old, new]
    assert [key.kid for key in rotated.assertion_keys(takes_over + ASSERTION_KEPT_S)] == [new]
    assert (
        len(rotated.rotate(os.urandom, takes_over + ASSERTION_KEPT_S).assertion_keys(takes_over + ASSERTION_KEPT_S))
        == 2
    )


def test_the_assertion_key_is_the_same_after_loading(path: Path) -> None:
    keyring = created(path)
    message = b"message"
    signature = keyring.assertion_key(NOW).private.sign(message)
    Keyring.load(path).assertion_key(NOW).private.public_key().verify(signature, message)


def test_the_list_tells_states_and_no_secrets() -> None:
    keyring = Keyring.generate(os.urandom, NOW).rotate(os.urandom, NOW + 10)
    states = [(key.kind, key.state) for key in keyring.describe(NOW + 10)]
    assert states == [("seal", "active"), ("seal", "next"), ("assertion", "active"), ("assertion", "next")]
    later = [(key.kind, key.state) for key in keyring.describe(NOW + 10_000)]
    assert later == [("seal", "previous"), ("seal", "active"), ("assertion", "previous"), ("assertion", "active")]


def test_only_keys_before_the_active_one_can_be_retired() -> None:
    keyring = Keyring.generate(os.urandom, NOW).rotate(os.urandom, NOW + 10)
    assert keyring.retire(frozenset({1, 2}), NOW + 10).seal_versions == (1, 2)
    assert keyring.retire(frozenset({1, 2}), NOW + 10_000).seal_versions == (2,)
    assert keyring.retire(frozenset(), NOW + 10_000).seal_versions == (1, 2)


def test_replacing_is_all_or_nothing_and_keeps_the_mode(path: Path) -> None:
    keyring = created(path)
    keyring.rotate(os.urandom, NOW).replace(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Keyring.load(path).seal_versions == (1, 2)
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(KeyringError, match="cannot be replaced"):
        keyring.replace(path.parent / "missing" / "keyring.json")


def test_a_keyring_that_is_too_large_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b" " * (1024 * 1024 + 1))
    path.chmod(0o600)
    with pytest.raises(KeyringError, match="too large"):
        read_keyring_bytes(path)

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gateway.audit.checkpoint import verify_checkpoint
from gateway.exchange.errors import KeyringError
from gateway.ledger.keys import AuditKeys


def make() -> AuditKeys:
    return AuditKeys.generate(origin="gateway/node", created="2026-01-01T00:00:00Z", random=os.urandom)


def test_keys_survive_the_file_and_sign_the_same(tmp_path: Path) -> None:
    keys = make()
    path = tmp_path / "audit-keys.json"
    keys.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    loaded = AuditKeys.load(path)
    assert (loaded.origin, loaded.public, loaded.kek_id, loaded.created) == (
        keys.origin,
        keys.public,
        keys.kek_id,
        keys.created,
    )
    note = loaded.signer("gateway/node/1").checkpoint(0, bytes(32))
    assert verify_checkpoint(note, keys.vkey("gateway/node/1")).size == 0


def test_keys_are_never_written_over_others(tmp_path: Path) -> None:
    path = tmp_path / "audit-keys.json"
    make().create(path)
    with pytest.raises(KeyringError, match="cannot be made: file exists"):
        make().create(path)


def test_no_two_keys_are_alike_and_none_shows_itself() -> None:
    a, b = make(), make()
    assert a.public != b.public
    assert a.kek_id != b.kek_id
    assert repr(a) == "AuditKeys('gateway/node')"


@pytest.mark.parametrize("origin", ["", "with space", "with+plus", "line\nbreak"])
def test_an_impossible_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="origin"):
        AuditKeys.generate(origin=origin, created="", random=os.urandom)


def test_a_missing_file_is_named_with_its_mend(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match=r"none\.json: the audit keys do not exist; restore them from the backup"):
        AuditKeys.load(tmp_path / "none.json")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o620])
def test_a_file_that_others_can_read_is_refused_with_its_mend(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "audit-keys.json"
    make().create(path)
    path.chmod(mode)
    with pytest.raises(KeyringError, match=rf"mode {mode:04o}\); run: chmod 600"):
        AuditKeys.load(path)


def test_what_is_not_a_file_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    with pytest.raises(KeyringError, match="is not a file"):
        AuditKeys.load(fifo)
    link = tmp_path / "loop"
    link.symlink_to(link)
    with pytest.raises(KeyringError, match="cannot be read"):
        AuditKeys.load(link)


def test_another_version_is_refused_and_says_which() -> None:
    data = make().dump().replace(b'"version": 1', b'"version": 2')
    with pytest.raises(KeyringError, match=r"keys\.json: has version 2, this gateway reads 1"):
        AuditKeys.parse(data, "keys.json")


def test_damage_is_refused_without_a_value_in_the_message() -> None:
    good = json.loads(make().dump())
    seed = good["log_seed"]
    for change in (
        {"log_seed": seed[:-8]},
        {"log_seed": "!" + seed[1:]},
        {"key_encryption_key": ""},
        {"origin": "a b"},
        {"unknown": 1},
        {"log_seed": 5},
    ):
        with pytest.raises(KeyringError, match="damaged") as caught:
            AuditKeys.parse(json.dumps({**good, **change}).encode(), "keys.json")
        assert seed[:16] not in str(caught.value)
    for data in (b"", b"{", b"[]", b"\xff", b"{}"):
        with pytest.raises(KeyringError, match="is not a file of audit keys"):
            AuditKeys.parse(data, "keys.json")


def test_keys_for_reading_open_the_log_and_cannot_sign() -> None:
    keys = make()
    data = keys.dump_for_reading()
    assert json.loads(keys.dump())["log_seed"].encode() not in data
    reading = AuditKeys.parse_for_reading(data)
    assert (reading.origin, reading.public, reading.kek_id) == (keys.origin, keys.public, keys.kek_id)
    assert reading.vkey("o") == keys.vkey("o")
    with pytest.raises(KeyringError, match="cannot sign"):
        reading.signer("o")
    for damaged in (b"", b"{}", data.replace(b'"public"', b'"log_seed"'), keys.dump()):
        with pytest.raises(KeyringError, match="damaged"):
            AuditKeys.parse_for_reading(damaged)


def test_what_the_pages_ask_with_opens_no_slot_and_nobody_without_the_seed_has_it() -> None:
    keys = make()
    assert keys.inquiry_badge() not in {keys.badge(slot) for slot in range(1010)}
    with pytest.raises(KeyringError, match="let nobody ask"):
        AuditKeys.parse_for_reading(keys.dump_for_reading()).inquiry_badge()

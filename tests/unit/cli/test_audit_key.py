"""`gateway audit key list`: which keys it knows, and which only the files of the log know."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path

from click.testing import CliRunner

from gateway.audit.checkpoint import Vkey, verify_checkpoint
from gateway.cli import program
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from tests.fakes.evidence import access, make_keys, write
from tests.unit.cli.conftest import House


def key_file(house: House) -> Path:
    return house.directory / "config" / "audit-keys.json"


def test_each_stream_that_has_begun_is_listed_with_the_key_that_its_checkpoint_verifies_under(house: House) -> None:
    keys = AuditKeys.load(key_file(house))
    write(house.state_dir, keys, Stream.ACCESS, [access(1)])
    write(house.state_dir, keys, Stream.ACCESS, [access(2)])
    shown = house.value("audit", "key", "list")
    signing, encryption = shown["keys"]
    vkey = Vkey.parse(signing["vkey"])
    assert verify_checkpoint(Layout(house.state_dir).checkpoint(Stream.ACCESS).read_bytes(), vkey).size == 2
    assert signing == {
        "kind": "signing",
        "stream": "access",
        "id": vkey.key_id.hex(),
        "vkey": str(vkey),
        "state": "active",
        "since": keys.created,
        "files": 2,
    }
    assert (encryption["kind"], encryption["id"], encryption["files"]) == ("encryption", keys.kek_id.hex(), 2)
    text = house.run("audit", "key", "list").stdout
    assert str(vkey) in text
    assert keys.kek_id.hex() in text


def test_before_the_log_has_begun_no_verifier_key_is_made_up(house: House) -> None:
    shown = house.value("audit", "key", "list")
    assert [(key["kind"], key["state"], key["files"]) for key in shown["keys"]] == [("encryption", "active", 0)]
    assert "No stream has begun yet" in house.run("audit", "key", "list").stdout


def test_nothing_secret_is_shown(house: House) -> None:
    keys = AuditKeys.load(key_file(house))
    write(house.state_dir, keys, Stream.SECURITY, [access(1)])
    output = house.run("audit", "key", "list", "--json").output + house.run("audit", "key", "list").output
    for line in keys.dump().decode().splitlines():
        name, _, value = line.partition(": ")
        if "seed" in name or "encryption" in name:
            secret = value.strip('",')
            assert secret not in output
            assert b64decode(secret).hex() not in output


def test_files_under_keys_that_are_gone_are_told_from_the_others(house: House) -> None:
    lost = make_keys()
    write(house.state_dir, lost, Stream.TRAFFIC, [access(1)])
    Layout(house.state_dir).checkpoint(Stream.TRAFFIC).unlink()
    told = house.run("audit", "key", "list")
    assert told.exit_code == 1
    assert f"{key_file(house)} does not hold every key" in told.stdout
    shown = json.loads(house.run("audit", "key", "list", "--json").stdout)
    found = {(key["kind"], key["id"]): (key["state"], key["files"]) for key in shown["keys"]}
    assert found[("signing", lost.public.hex())] == ("unknown", 1)
    assert found[("encryption", lost.kek_id.hex())] == ("unknown", 1)


def test_a_file_of_which_nothing_can_be_said_is_not_left_out_in_silence(house: House) -> None:
    """Attack: the heads of files under another key are spoilt, and the list says that the key file has every key."""
    keys = AuditKeys.load(key_file(house))
    write(house.state_dir, keys, Stream.ACCESS, [access(1)])
    write(house.state_dir, keys, Stream.ACCESS, [access(2)])
    path = min(Layout(house.state_dir).directory.glob("access-*"))
    path.chmod(0o600)
    path.write_bytes(b"nothing" + path.read_bytes()[7:])
    told = house.run("audit", "key", "list")
    assert told.exit_code == 1
    assert f"{path.name}: its head cannot be read" in told.stdout
    shown = json.loads(house.run("audit", "key", "list", "--json").stdout)
    assert (shown["ok"], shown["unreadable"]) == (False, [path.name])
    assert [key["files"] for key in shown["keys"]] == [1, 1]


def test_a_checkpoint_of_another_key_is_refused_and_named(house: House) -> None:
    write(house.state_dir, make_keys(), Stream.TRAFFIC, [access(1)])
    told = house.run("audit", "key", "list")
    assert told.exit_code == 2
    assert "run gateway audit verify" in told.stderr


def test_without_the_key_file_nothing_is_said(house: House) -> None:
    key_file(house).unlink()
    told = house.run("audit", "key", "list")
    assert told.exit_code == 2
    assert "the audit keys do not exist" in told.stderr


def test_after_a_theft_the_old_log_is_set_aside_and_verifies_and_another_begins_under_new_keys(
    house: House, tmp_path: Path
) -> None:
    """What docs/audit.md says to do."""
    house.add("alice")
    old = house.value("audit", "key", "list")["keys"][0]
    aside = tmp_path / "aside"
    aside.mkdir()
    for name in ("audit", "checkpoints", "cosigned", "tiles", "index"):
        if (house.state_dir / name).exists():
            (house.state_dir / name).rename(aside / name)
    key_file(house).rename(aside / "audit-keys.json")
    other = tmp_path / "other"
    assert CliRunner().invoke(program, ["init", str(other), "--tenant", "main"]).exit_code == 0
    (other / "config" / "audit-keys.json").rename(key_file(house))
    house.add("bob")
    new = house.value("audit", "key", "list")["keys"][0]
    assert (old["stream"], new["stream"]) == ("security", "security")
    assert old["vkey"] != new["vkey"]
    assert house.value("audit", "verify")["ok"]
    text = (house.directory / "gateway.yaml").read_text()
    changed = text.replace("keys: config/audit-keys.json", f"keys: {aside}/audit-keys.json")
    changed = changed.replace("\nstate_dir: state\n", f"\nstate_dir: {aside}\n")
    assert len({text, changed}) == 2
    (house.directory / "aside.yaml").write_text(changed)
    verified = CliRunner().invoke(program, ["audit", "verify", "--json", "-c", str(house.directory / "aside.yaml")])
    assert verified.exit_code == 0, verified.output
    assert old["vkey"] in verified.output

"""A person of a running gateway is erased: from its files, from its log, and again after a restore."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.store.erasures import JOURNAL_NAME
from gateway.store.keyring import Keyring
from gateway.store.state import open_store

pytestmark = pytest.mark.timeout(180)  # whole processes on a busy machine

ADDRESS = "127.0.0.77"
AGENT = "Browser-of-Alice/7"
WHOM = ("--subject", "alice", "--tenant", "main", "--reason", "case 7")


def everything_under(directory: Path) -> bytes:
    files = (path for path in sorted(directory.rglob("*")) if path.is_file() and not path.is_socket())
    return b"\n".join(path.read_bytes() for path in files)


def key_of(gateway: Any) -> Any:
    store = open_store(gateway.directory / "state", Keyring.load(gateway.directory / "config" / "keyring.json"))
    try:
        user = store.user_named("alice")
        assert user is not None
        return user.id, store.subjects.of_person(user.id)
    finally:
        store.close()


def ran(gateway: Any, *arguments: str) -> Any:
    done = gateway.cli(*arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def recorded(gateway: Any) -> list[dict[str, Any]]:
    return [found["record"] for found in ran(gateway, "audit", "query", "--limit", "1000")]


def test_an_erased_person_is_gone_from_every_file_and_stays_gone_when_an_old_backup_comes_back(
    make_gateway: Callable[..., Any], make_browser: Any, tmp_path: Path
) -> None:
    """T-60 and T-61."""
    gateway = make_gateway(workers=1)
    gateway.start()
    browser = make_browser(gateway, address=ADDRESS)
    browser.sign_in()
    assert browser.get("/", {"User-Agent": AGENT}).status == 200
    stranger = make_browser(gateway, address="127.0.0.78")
    assert stranger.get("/").status in (302, 303, 401)
    user_id, keys = key_of(gateway)
    assert len(keys) == 1, "sign-in and requests are sealed under one key"
    seen = recorded(gateway)
    mine = [record for record in seen if record.get("actor", {}).get("user", {}).get("name") == "alice"]
    assert {record["src_endpoint"]["ip"] for record in mine if "ip" in record.get("src_endpoint", {})} == {ADDRESS}
    assert AGENT in {record["http_request"]["user_agent"] for record in mine if "http_request" in record}
    assert {record["src_endpoint"]["ip"] for record in seen if "ip" in record.get("src_endpoint", {})} >= {"127.0.0.78"}
    backup = tmp_path / "backup"
    backup.mkdir()
    state = gateway.directory / "state"
    for path in state.glob("state.sqlite3*"):
        shutil.copy(path, backup)

    (erased,) = ran(gateway, "privacy", "erase", *WHOM, "--yes")
    assert erased["left"] == ""
    assert browser.get("/").status in (302, 303, 401), "the session ended with the key"
    files = everything_under(state)
    for word in (b"alice", ADDRESS.encode(), AGENT.encode(), keys[0].key, user_id.encode()):
        assert word not in files, word
    assert "alice" not in json.dumps(recorded(gateway))
    assert ran(gateway, "audit", "verify")[0]["ok"]

    gateway.stop()
    for path in state.glob("state.sqlite3*"):
        path.unlink()
    for path in backup.iterdir():
        shutil.copy(path, state)
    assert gateway.cli("user", "list", "--json").stdout.count('"alice"') == 1, "the backup knows the person"
    gateway.start()
    assert "privacy.erased_again" in gateway.log.read_text()
    assert gateway.cli("user", "list", "--json").stdout.count('"alice"') == 0
    assert browser.get("/").status in (302, 303, 401)
    assert "alice" not in json.dumps(recorded(gateway))
    assert keys[0].key not in everything_under(state)
    assert (state / JOURNAL_NAME).exists()
    assert ran(gateway, "audit", "verify")[0]["ok"]

"""The verbs of an operator with the state in Redis and the gateway stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.store.keyring import Keyring
from gateway.store.redis_options import Credentials, RedisOptions
from gateway.store.redis_probe import acl_rules
from gateway.store.state import Store, open_store
from tests.fakes.redis_servers import PASSWORD, Server, standalone


@pytest.fixture(scope="module")
def node() -> Iterator[Server]:
    with standalone(f"user gateway on >{PASSWORD} {acl_rules('gateway')}") as server:
        yield server


@pytest.fixture
def shared(house: Any, node: Server) -> Any:
    """The house, with its state in Redis."""
    node.ask("FLUSHALL")
    put(house, f"{{url: 'redis://gateway@127.0.0.1:{node.port}', password: {{file: password}}, timeout: 2s}}")
    write(house.directory / "password", PASSWORD)
    return house


def put(house: Any, state: str) -> None:
    path = house.directory / "gateway.yaml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("state:")]
    path.write_text("\n".join([*lines, f"state: {state}"]) + "\n")


def write(path: Path, secret: str) -> None:
    path.write_text(f"{secret}\n")
    path.chmod(0o600)


def opened(house: Any, node: Server) -> Store:
    options = RedisOptions(
        nodes=(("127.0.0.1", node.port),), credentials=Credentials(username="gateway", password=PASSWORD), timeout_s=2
    )
    keyring = Keyring.load(house.directory / "config" / "keyring.json")
    return open_store(house.state_dir, keyring, redis=options)


def test_people_are_added_listed_disabled_and_deleted(shared: Any, node: Server) -> None:
    shared.add("alice")
    assert not (shared.state_dir / "state.sqlite3").exists()
    assert [user["name"] for user in shared.value("user", "list")["users"]] == ["alice"]
    assert shared.value("user", "disable", "alice")["ok"]
    store = opened(shared, node)
    user = store.user_named("alice")
    assert user is not None
    assert user.disabled
    assert shared.value("session", "list") == {"sessions": []}
    assert shared.value("session", "revoke", "--all")["sessions_ended"] == 0
    assert shared.value("user", "delete", "alice")["ok"]
    assert store.users() == []
    store.close()


def test_keys_are_rotated_and_say_what_they_still_seal(shared: Any) -> None:
    shared.add("alice")
    assert shared.value("keys", "rotate")["ok"]
    sealing = [key for key in shared.value("keys", "list")["keys"] if key.get("values")]
    assert [key["values"] for key in sealing] == [3], "account, factor, and the key of the person in the audit trail"


def test_another_keyring_is_refused(shared: Any) -> None:
    shared.add("alice")
    path = shared.directory / "config" / "keyring.json"
    path.unlink()
    Keyring.generate(os.urandom, 1_700_000_000.0).create(path)
    result = shared.run("user", "list")
    assert result.exit_code == 2
    assert "was written under another keyring" in result.output


def test_check_and_doctor_use_it_and_say_what_is_wrong(shared: Any, node: Server) -> None:
    assert shared.value("check")["ok"]
    node.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        assert any("maxmemory-policy" in warning for warning in shared.value("check")["warnings"])
        assert "weak: state: maxmemory-policy is allkeys-lru" in shared.run("doctor").output
    finally:
        node.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    write(shared.directory / "password", "another")
    for verb in ("check", "doctor", "run"):
        result = shared.run(verb)
        assert result.exit_code != 0
        assert "refuses user 'gateway' or its password" in result.output
        assert "another" not in result.output.replace("another option", "")
    assert shared.run("check", "--offline").exit_code == 0


def test_a_password_that_is_not_there_or_open_to_all_is_an_error(shared: Any) -> None:
    (shared.directory / "password").chmod(0o644)
    for verb in (("check",), ("user", "list")):
        result = shared.run(*verb)
        assert result.exit_code == 2
        assert "readable by others" in result.output
    (shared.directory / "password").unlink()
    assert "does not exist" in shared.run("user", "list").output


def test_a_redis_without_password_or_tls_is_called_weak(house: Any, node: Server) -> None:
    put(house, f"redis://127.0.0.1:{node.port}")
    assert "weak: state: Redis is used without a password" in house.run("doctor").output
    put(house, "redis://192.0.2.1:6379")
    assert "wrong: state: redis://192.0.2.1:6379/0: " in house.run("doctor").output

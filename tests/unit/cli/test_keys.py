from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.server.control import Done, pack, receive
from gateway.store.keyring import Keyring


@pytest.fixture
def aged(house: Any) -> Any:
    """A gateway whose first keys are two hours old and were rotated an hour ago."""
    now = time.time()
    path = house.directory / "config" / "keyring.json"
    Keyring.load(path).rotate(lambda n: bytes([7]) * n, now - 3600).replace(path)
    return house


def test_keys_are_listed_without_their_secrets(house: Any) -> None:
    house.add("alice")
    result = house.run("keys", "list")
    assert result.exit_code == 0
    assert [line.split()[:3:2] for line in result.stdout.splitlines()[1:]] == [
        ["seal", "active"],
        ["assertion", "active"],
    ]
    (seal, assertion) = house.value("keys", "list")["keys"]
    assert seal["values"] == 3
    assert "values" not in assertion
    assert "keys list" in [operation for operation, _ in house.records()]
    text = (house.directory / "config" / "keyring.json").read_text()
    assert not any(word in result.stdout for word in text.split('"') if len(word) == 44)


def test_rotation_adds_keys_that_are_used_later_and_is_recorded(house: Any) -> None:
    value = house.value("keys", "rotate")
    assert value["ok"]
    assert not value["reloaded"]
    assert value["changed"][0] == "seal_key:2"
    states = [(key["kind"], key["state"]) for key in house.value("keys", "list")["keys"]]
    assert states == [("seal", "active"), ("seal", "next"), ("assertion", "active"), ("assertion", "next")]
    operation, record = house.records()[0]
    assert operation == "keys rotate"
    assert [resource["type"] for resource in record["resources"]] == ["seal_key", "assertion_key"]
    assert (house.directory / "config" / "keyring.json").stat().st_mode & 0o777 == 0o600


def test_rotation_reads_back_what_was_sealed_before(house: Any) -> None:
    house.add("alice")
    house.value("keys", "rotate")
    assert [user["name"] for user in house.value("user", "list")["users"]] == ["alice"]


def test_an_old_key_is_dropped_only_when_nothing_needs_it(aged: Any) -> None:
    aged.add("alice")
    assert aged.store().key_use() == {2: 3}
    assert "Dropped sealing keys 1." in aged.run("keys", "rotate", "--retire").stdout
    assert "No key can be dropped yet." in aged.run("keys", "rotate", "--retire").stdout
    assert [user["name"] for user in aged.value("user", "list")["users"]] == ["alice"]


def test_a_key_that_still_opens_something_is_kept(house: Any) -> None:
    house.add("alice")
    path = house.directory / "config" / "keyring.json"
    Keyring.load(path).rotate(lambda n: bytes([7]) * n, time.time() - 3600).replace(path)
    assert house.value("keys", "rotate", "--retire") == {"ok": True, "changed": [], "reloaded": False}
    assert Keyring.load(path).seal_versions == (1, 2)
    house.store().maintain(now=time.time())
    assert house.value("keys", "rotate", "--retire")["changed"] == ["seal_key:1"]


def test_what_cannot_be_recorded_is_not_rotated(house: Any) -> None:
    (house.directory / "config" / "audit-keys.json").unlink()
    path = house.directory / "config" / "keyring.json"
    before = path.read_bytes()
    assert house.run("keys", "rotate").exit_code == 2
    assert path.read_bytes() == before


@pytest.fixture
def running(house: Any) -> Iterator[list[tuple[str, ...]]]:
    """Something that answers like a running gateway; append to the list what its reload shall complain of."""
    directory = house.state_dir / "run"
    directory.mkdir(mode=0o700, parents=True)
    from gateway.server.run_directory import COMMANDS_NAME

    complaints: list[tuple[str, ...]] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / COMMANDS_NAME))
    listener.listen()

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                receive(connection)
                connection.sendall(pack(Done(diagnostics=complaints.pop() if complaints else ())))

    thread = threading.Thread(target=answer)
    thread.start()
    yield complaints
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_a_running_gateway_takes_the_new_keys_over(house: Any, running: list[tuple[str, ...]]) -> None:
    assert running == []
    assert house.value("keys", "rotate")["reloaded"] is True


def test_when_the_running_gateway_refuses_the_old_keyring_comes_back(
    house: Any, running: list[tuple[str, ...]]
) -> None:
    path = house.directory / "config" / "keyring.json"
    before = Keyring.load(path).seal_versions
    running.append(("gateway.yaml:3:1: no",))
    result = house.run("keys", "rotate")
    assert result.exit_code == 2
    assert "gateway.yaml:3:1: no" in result.stderr
    assert Keyring.load(path).seal_versions == before

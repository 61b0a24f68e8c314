"""What a Redis must be and allow before the state is kept there, against real servers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.redis_client import RedisPlace
from gateway.store.redis_options import Credentials, RedisOptions
from gateway.store.redis_probe import COMMANDS, acl_rules, probe
from tests.fakes.redis_servers import PASSWORD, Server, cluster, free_ports, standalone, until, watched


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with standalone() as node:
        yield node


def at(port: int, **more: object) -> RedisOptions:
    return RedisOptions(**({"nodes": (("127.0.0.1", port),), "timeout_s": 2.0} | more))  # type: ignore[arg-type]


def tried(options: RedisOptions) -> list[str]:
    place = RedisPlace(options)
    try:
        return probe(place)
    finally:
        place.close()


def refused(options: RedisOptions) -> str:
    with pytest.raises(StoreUnavailableError) as caught:
        tried(options)
    return str(caught.value)


def user(server: Server, name: str, rules: str) -> Credentials:
    server.ask("ACL", "SETUSER", name, "reset", "on", f">{PASSWORD}", *rules.split())
    return Credentials(username=name, password=PASSWORD)


def test_a_server_that_does_everything_is_fine(server: Server) -> None:
    server.ask("FLUSHALL")
    assert tried(at(server.port)) == []
    assert server.ask("KEYS", "*") == [], "the trial leaves nothing behind"


def test_the_documented_rules_are_enough(server: Server) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "state.md").read_text()
    assert f"user gateway on >PASSWORD {acl_rules('gateway')}\n" in guide
    credentials = user(server, "enough", acl_rules("gateway"))
    assert tried(at(server.port, credentials=credentials)) == []


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"evalsha", "select", "client|setname", "hello"}))
def test_a_command_that_the_acl_refuses_is_named(server: Server, command: str) -> None:
    credentials = user(server, "narrow", f"{acl_rules('gateway')} -{command}")
    text = refused(at(server.port, credentials=credentials))
    assert f"'{command}'" in text
    assert "docs/state.md" in text
    assert PASSWORD not in text


def test_a_user_of_other_keys_is_refused(server: Server) -> None:
    credentials = user(server, "elsewhere", acl_rules("other"))
    assert "the ACL refuses" in refused(at(server.port, credentials=credentials))


@pytest.mark.parametrize("username", ["nobody", "known"])
def test_a_wrong_user_or_password_is_said_without_the_password(server: Server, username: str) -> None:
    user(server, "known", acl_rules("gateway"))
    text = refused(at(server.port, credentials=Credentials(username=username, password="not-it-at-all")))
    assert f"refuses user '{username}' or its password" in text
    assert "not-it-at-all" not in text


def test_nobody_there_is_said_with_the_address() -> None:
    (port,) = free_ports(1)
    assert f"redis://127.0.0.1:{port}/0: cannot be reached" in refused(at(port))


def test_a_server_that_throws_things_away_or_keeps_no_log_is_warned_of() -> None:
    with standalone("maxmemory-policy allkeys-lru", "appendonly no") as careless:
        warnings = tried(at(careless.port))
    assert ["maxmemory-policy is allkeys-lru" in warnings[0], "appendonly is off" in warnings[1]] == [True, True]
    assert len(warnings) == 2


def test_a_server_that_is_too_old_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = RedisPlace.run

    def older(self: RedisPlace, *commands: Any, again: bool = False) -> list[Any]:
        answers = ask(self, *commands, again=again)
        return [{**answers[0], "redis_version": "6.2.14"}] if commands[0] == ("INFO",) else answers

    monkeypatch.setattr(RedisPlace, "run", older)
    assert "is Redis 6.2.14; the gateway needs 7.0 or newer" in refused(at(server.port))


def test_too_few_replicas_are_warned_of_before_the_first_sign_out_is_refused(server: Server) -> None:
    with pytest.raises(StoreUnavailableError, match="0 of 1 replicas confirmed"):
        tried(at(server.port, replicas=1, timeout_s=0.5))


def test_a_node_of_a_cluster_is_no_single_server_and_the_reverse(server: Server) -> None:
    assert "write redis://" in refused(at(server.port, kind="cluster"))
    with cluster(1) as nodes:
        assert "write redis+cluster://" in refused(at(nodes[0].port))
        assert tried(at(nodes[0].port, kind="cluster")) == []


def test_a_replica_is_no_place_for_a_state() -> None:
    with watched() as group:
        until(group.replicated, "in step")
        replica = next(node for node in group.nodes if node.ask("ROLE")[0] != b"master")
        assert "is a replica" in refused(at(replica.port))
        options = at(group.sentinel.port, kind="sentinel", service="portal", replicas=1)
        assert tried(options) == []
        unknown = at(group.sentinel.port, kind="sentinel", service="other")
        assert "no Sentinel knows the service 'other'" in refused(unknown)


@pytest.mark.parametrize(("node_s", "words"), [(-20.0, "is 20 s ahead of"), (20.0, "is 20 s behind")])
def test_a_clock_that_differs_is_worth_a_warning(server: Server, node_s: float, words: str) -> None:
    place = RedisPlace(at(server.port))
    (warning,) = probe(place, lambda: time.time() + node_s)
    place.close()
    assert words in warning


def test_a_redis_that_would_forget_failed_attempts_before_their_end_is_refused(server: Server) -> None:
    """attack: guesses at a password are counted for minutes; a clock that is ahead forgets each count at once."""
    place = RedisPlace(at(server.port))
    with pytest.raises(StoreUnavailableError, match="its clock is 120 s ahead"):
        probe(place, lambda: time.time() - 120)
    place.close()

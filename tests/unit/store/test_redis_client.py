"""Finding the node that has our keys, and what a broken one means: real servers that are stopped, paused and replaced."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from gateway.exchange.errors import ConfigurationError, StoreUnavailableError
from gateway.store.redis_client import RedisPlace
from gateway.store.redis_command import Script
from gateway.store.redis_options import Credentials, RedisOptions, TLSFiles
from tests.fakes.redis_servers import TLSServer, cluster, standalone, tls_standalone, until, watched

KEY = b"{gateway}:key"


@pytest.fixture(scope="module")
def secure() -> Iterator[TLSServer]:
    with tls_standalone("redis.test") as server:
        yield server


def place_at(*ports: int, **more: object) -> RedisPlace:
    nodes = tuple(("127.0.0.1", port) for port in ports)
    return RedisPlace(RedisOptions(**({"nodes": nodes, "timeout_s": 2.0} | more)))  # type: ignore[arg-type]


def works(place: RedisPlace) -> bool:
    try:
        place.run(("SET", KEY, "1"))
    except StoreUnavailableError:
        return False
    return place.run(("GET", KEY), again=True) == [b"1"]


def test_a_server_that_comes_back_is_used_again_without_a_restart() -> None:
    with standalone() as server:
        place = place_at(server.port)
        assert works(place)
        server.stop()
        for again in (True, False):
            with pytest.raises(StoreUnavailableError, match="cannot be reached"):
                place.run(("GET", KEY), again=again)
        server.start()
        until(lambda: works(place), "it is used again")
        place.close()


def test_a_server_that_does_not_answer_is_unavailable_and_a_change_may_have_happened() -> None:
    with standalone() as server:
        place = place_at(server.port, timeout_s=0.1)
        assert works(place)
        server.pause()
        try:
            with pytest.raises(StoreUnavailableError, match="does not answer in time; what was being written may have"):
                place.run(("SET", KEY, "2"))
            with pytest.raises(StoreUnavailableError, match=r"does not answer in time$"):
                place.run(("GET", KEY), again=True)
        finally:
            server.resume()
        until(lambda: works(place), "it is used again")
        place.close()


def test_a_connection_that_the_server_closed_meanwhile_is_no_failure_of_a_read() -> None:
    with standalone() as server:
        place = place_at(server.port)
        assert works(place)
        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert place.run(("GET", KEY), again=True) == [b"1"]
        place.close()


def test_a_script_that_the_server_forgot_is_sent_again_and_runs_once() -> None:
    script = Script("return redis.call('INCR', KEYS[1])")
    with standalone() as server:
        place = place_at(server.port)
        for expected in (1, 2):
            assert place.run(script.call([KEY], [])) == [expected]
            server.ask("SCRIPT", "FLUSH")
        place.close()


def test_a_full_server_refuses_writes_and_still_reads() -> None:
    with standalone() as server:
        place = place_at(server.port)
        assert works(place)
        server.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(StoreUnavailableError, match="is full; raise maxmemory"):
            place.run(("SET", KEY, "2"))
        assert place.run(("GET", KEY), again=True) == [b"1"]
        place.close()


def test_a_failover_by_sentinel_is_followed_without_a_restart() -> None:
    with watched() as group:
        place = place_at(group.sentinel.port, kind="sentinel", service="portal")
        until(group.replicated, "in step")
        assert works(place)
        place.run(("WAIT", 1, 2000))
        old = group.master()
        old.stop()
        with pytest.raises(StoreUnavailableError):
            place.run(("SET", b"{gateway}:other", "1"))
        until(lambda: group.master() is not old, "the Sentinel made the replica the master")
        until(lambda: works(place), "the new master is used")
        place.close()


def test_a_sentinel_that_is_away_is_passed_over_and_without_any_there_is_no_master() -> None:
    with watched() as group:
        place = place_at(1, group.sentinel.port, kind="sentinel", service="portal")
        assert works(place)
        place.close()
        lost = place_at(1, kind="sentinel", service="portal")
        with pytest.raises(StoreUnavailableError, match=r"no master was found: 127\.0\.0\.1:1: cannot be reached"):
            lost.run(("GET", KEY), again=True)
        lost.close()


def test_in_a_cluster_the_node_of_our_slot_is_found_from_any_and_its_successor_after_it_died() -> None:
    with cluster(3, 3) as nodes:
        for seed in nodes[:3]:
            place = place_at(seed.port, kind="cluster")
            assert works(place)
            place.close()
        place = place_at(*(node.port for node in nodes), kind="cluster", timeout_s=0.5)
        assert works(place)
        slot = nodes[0].ask("CLUSTER", "KEYSLOT", KEY)
        owner = next(node for node in nodes[:3] if node.ask("CLUSTER", "COUNTKEYSINSLOT", slot) == 1)
        successor = nodes[nodes.index(owner) + 3]
        until(lambda: successor.ask("DBSIZE") == 1, "the replica has the key")
        owner.stop()
        until(lambda: works(place), "the replica took over")
        place.close()


def test_tls_is_checked_against_authority_and_name(secure: TLSServer, tmp_path: Path) -> None:
    certificate, key = secure.paths["certificate"], secure.paths["key"]
    good = TLSFiles(ca=secure.paths["ca"], certificate=certificate, key=key, server_name="redis.test")
    place = place_at(secure.port, tls=good)
    assert works(place)
    place.close()
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    for files in (
        TLSFiles(ca=other, certificate=certificate, key=key, server_name="redis.test"),
        TLSFiles(ca=secure.paths["ca"], certificate=certificate, key=key, server_name="other.test"),
        TLSFiles(ca=secure.paths["ca"], certificate=certificate, key=key),
        TLSFiles(ca=secure.paths["ca"], server_name="redis.test"),
    ):
        place = place_at(secure.port, tls=files)
        with pytest.raises(StoreUnavailableError):
            place.run(("GET", KEY), again=True)
        place.close()


def test_certificates_that_cannot_be_used_are_an_error_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for files in (TLSFiles(ca=tmp_path / "missing.pem"), TLSFiles(ca=tmp_path / "ca.pem")):
        with pytest.raises(ConfigurationError, match=r"state\.tls"):
            files.context()
    assert TLSFiles().context().minimum_version is ssl.TLSVersion.TLSv1_2


def test_no_password_is_in_what_is_written_of_the_options() -> None:
    secret = Credentials(username="gateway", password="hunter2")
    options = RedisOptions(nodes=(("::1", 1),), credentials=secret, sentinel=secret)
    assert "hunter2" not in f"{options!r} {options} {secret} {options.place}"
    assert options.place == "redis://[::1]:1/0"

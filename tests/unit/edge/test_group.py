"""Several servers behind one name: who is asked, who is out, when nobody is."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.edge.group import Group
from gateway.edge.health import State
from gateway.edge.snapshot import BreakerRules, EjectionRules, HealthCheck, Server
from tests.fakes.portal import OK, Answer, Portal
from tests.unit.edge.conftest import PATIENCE_S, Edge, Entry, session, until

EJECTION = EjectionRules(failures=2, time_s=60.0, max_time_s=60.0, max_share=0.5)
CHECK = HealthCheck(
    path=b"/healthz", host=b"", interval_s=0.05, timeout_s=30.0, healthy=2, unhealthy=2, statuses=frozenset((200,))
)


class Several:
    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.portals = [edge.portal]

    @property
    def servers(self) -> tuple[Server, ...]:
        first = self.edge.worker.snapshot.upstreams["portal"].servers[0]
        return tuple(
            replace(first, port=portal.port, authority=f"127.0.0.1:{portal.port}".encode()) for portal in self.portals
        )

    @property
    def group(self) -> Group:
        found = self.edge.worker._pools["portal"]
        assert isinstance(found, Group)
        return found

    @property
    def states(self) -> list[State]:
        return [member.health.state for member in self.group.members]

    @property
    def counts(self) -> list[int]:
        return [len(portal.heads) for portal in self.portals]

    async def add(self) -> Portal:
        portal = Portal()
        await portal.start()
        self.portals.append(portal)
        return portal

    def count(self, metric: str) -> dict[tuple[str, ...], float]:
        (sample,) = [sample for sample in self.edge.worker.metrics.dump() if sample.name == metric]
        return {labels: value for labels, value in sample.values if value}

    async def get(self, times: int, target: str = "/public/a", *, method: str = "GET", body: bytes = b"") -> list[int]:
        return [(await self.edge.get(target, method=method, body=body)).status for _ in range(times)]

    @property
    def said(self) -> list[str]:
        return [event for event, _ in self.edge.reports]


@pytest.fixture
async def several(edge: Edge) -> AsyncIterator[Several]:
    made = Several(edge)
    await made.add()
    edge.change_upstream(servers=made.servers, ejection=EJECTION)
    yield made
    for portal in made.portals[1:]:
        await portal.stop()


def hangs_up() -> Answer:
    async def answer(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    return answer


def waits_for(held: asyncio.Event) -> Answer:
    async def answer(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        writer.write(OK)

    return answer


async def test_requests_go_round(several: Several) -> None:
    assert await several.get(10) == [200] * 10
    assert several.counts == [5, 5]


async def test_weights_are_shares(several: Several) -> None:
    one, other = several.servers
    several.edge.change_upstream(servers=(replace(one, weight=3), other))
    await several.get(8)
    assert several.counts == [6, 2]


async def test_the_server_with_the_fewest_requests_is_asked(several: Several) -> None:
    several.edge.change_upstream(balance="least_connections")
    held = asyncio.Event()

    for portal in several.portals:
        portal.answers[b"/public/slow"] = waits_for(held)
    waiting = asyncio.create_task(several.edge.get("/public/slow"))
    await until(lambda: sum(several.counts) == 1)
    busy = several.counts.index(1)
    assert await several.get(6) == [200] * 6
    assert several.counts[busy] == 1
    held.set()
    assert (await waiting).status == 200


async def test_a_person_stays_with_one_server_and_people_spread(several: Several) -> None:
    several.edge.change_upstream(balance="user")
    for number in range(40):
        token = f"t{number}".encode()
        several.edge.sessions.entries[token] = Entry(session(handle=f"h{number}", user_id=f"u{number}"))
    for number in range(40):
        before = several.counts
        for _ in range(3):
            assert (await several.edge.get("/", token=f"t{number}")).status == 200
        assert 3 in [after - was for after, was in zip(several.counts, before, strict=True)]
    assert all(count > 20 for count in several.counts), several.counts


async def test_strangers_are_spread_by_address_and_stay(several: Several) -> None:
    several.edge.change_upstream(balance="ip")
    await several.get(6)
    assert sorted(several.counts) == [0, 6]


async def test_a_host_that_is_rewritten_is_that_of_the_server_that_is_asked(several: Several) -> None:
    several.edge.change_upstream(preserve_host=False)
    await several.get(2)
    for portal in several.portals:
        assert portal.field(b"host") == [b"127.0.0.1:%d" % portal.port]


async def test_a_server_that_dies_costs_no_request_and_is_left_out(several: Several) -> None:
    await several.get(4)
    await several.portals[1].stop()
    assert await several.get(10) == [200] * 10
    assert several.states == [State.IN, State.EJECTED]
    name = several.servers[1].name
    assert several.count("gateway_upstream_ejections_total") == {("portal", name): 1}
    assert several.count("gateway_upstream_servers") == {
        ("portal", several.servers[0].name, "in"): 1,
        ("portal", name, "ejected"): 1,
    }
    assert several.count("gateway_upstream_connect_failures_total") == {("portal", name, "upstream_unreachable"): 2}
    assert several.said.count("upstream.server_out") == 1, "said once, not for each request"
    assert name in several.edge.worker.degraded()["portal"]


async def test_a_request_with_a_body_goes_on_to_another_server_before_any_of_it_was_sent(several: Several) -> None:
    await several.portals[1].stop()
    assert await several.get(6, method="POST", body=b"pay") == [200] * 6
    assert several.portals[0].bodies == [b"pay"] * 6


async def test_a_post_is_not_sent_to_a_second_server_when_the_first_hung_up(several: Several) -> None:
    await several.get(2)
    for portal in several.portals:
        portal.answers[b"/public/pay"] = hangs_up()
    assert (await several.edge.get("/public/pay", method="POST", body=b"pay")).status == 502
    assert sum(head.startswith(b"POST") for portal in several.portals for head in portal.heads) == 1


async def test_an_upload_whose_body_began_to_flow_is_not_sent_again(several: Several) -> None:
    await several.get(2)

    async def part(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.transport.abort()

    for portal in several.portals:
        portal.answers[b"/public/file"] = part
    assert (await several.edge.get("/public/file", method="PUT", body=b"x" * 1000)).status == 502
    assert sum(head.startswith(b"PUT") for portal in several.portals for head in portal.heads) == 1


async def test_a_get_on_an_idle_connection_that_was_just_closed_goes_to_the_other_server(several: Several) -> None:
    await several.get(2)
    for portal in several.portals:
        portal.answers[b"/public/b"] = hangs_up()
    asked: list[Portal] = []

    async def well(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not asked:
            asked.append(portal)
            writer.close()
            return
        asked.append(portal)
        writer.write(OK)

    for portal in several.portals:
        portal.answers[b"/public/b"] = well
    assert (await several.edge.get("/public/b")).status == 200
    assert asked[0] is not asked[1]
    assert several.count("gateway_upstream_retries_total") == {("portal", "resent"): 1}


async def test_without_attempts_nothing_is_sent_again(several: Several) -> None:
    several.edge.change_upstream(retries=0)
    await several.get(2)
    for portal in several.portals:
        portal.answers[b"/public/b"] = hangs_up()
    assert (await several.edge.get("/public/b")).status == 502
    assert several.count("gateway_upstream_retries_total") == {("portal", "refused"): 1}


async def test_a_request_on_which_servers_hang_up_is_seen_by_two_of_them_at_most(several: Several) -> None:
    """attack: a request that kills servers must not go through all of them."""
    await several.add()
    several.edge.change_upstream(servers=several.servers)
    for portal in several.portals:
        portal.answers[b"/public/b"] = hangs_up()
    assert (await several.edge.get("/public/b")).status == 502
    assert sorted(several.counts) == [0, 1, 1]


async def test_a_server_that_dies_under_its_first_request_costs_none_where_another_is_in(several: Several) -> None:
    several.portals[0].answers[b"/public/b"] = hangs_up()
    assert await several.get(2, "/public/b") == [200] * 2
    died, answered = several.counts  # which server is asked first is left to chance
    assert (answered, died) in ((2, 1), (2, 2))
    assert several.count("gateway_upstream_retries_total") == {("portal", "resent"): died}


async def test_a_server_that_hangs_up_on_a_new_connection_is_not_asked_again_where_the_others_are_full(
    several: Several,
) -> None:
    """attack: what the other server has no room for must not go to the same one twice."""
    first, other = several.servers
    several.edge.change_upstream(servers=(first, replace(other, max_connections=1)))
    held = asyncio.Event()

    for portal in several.portals:
        portal.answers[b"/public/slow"] = waits_for(held)
        portal.answers[b"/public/b"] = hangs_up()
    waiting = [asyncio.create_task(several.edge.get("/public/slow")) for _ in range(2)]
    await until(lambda: several.counts == [1, 1])
    assert (await several.edge.get("/public/b")).status == 502
    assert several.counts == [2, 1]
    held.set()
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [200, 200]


async def test_an_only_server_that_hangs_up_on_a_new_connection_is_not_asked_again(edge: Edge) -> None:
    edge.portal.answers[b"/public/b"] = hangs_up()
    assert (await edge.get("/public/b")).status == 502
    assert len(edge.portal.heads) == 1


async def test_of_two_servers_one_is_always_asked_however_much_fails(several: Several) -> None:
    """The panic rule: when nearly all fail, the fault is rather ours, or everybody's."""
    for portal in several.portals:
        portal.answers[b"/public/b"] = hangs_up()
    await several.get(12, "/public/b")
    assert sorted(several.states) == [State.EJECTED, State.IN]
    assert several.count("gateway_upstream_ejections_total").popitem()[1] == 1


async def test_an_ejected_server_comes_back_by_one_answered_request(several: Several) -> None:
    several.edge.change_upstream(ejection=replace(EJECTION, time_s=0.1))
    several.portals[1].answers[b"/public/b"] = hangs_up()
    while State.EJECTED not in several.states:
        await several.get(1, "/public/b")
    await until(lambda: several.states[1] is not State.EJECTED)
    del several.portals[1].answers[b"/public/b"]
    assert await several.get(4) == [200] * 4
    assert several.states == [State.IN, State.IN]
    assert several.said[-2:] == ["upstream.server_out", "upstream.server_in"]
    assert several.edge.worker.degraded() == {}


async def test_a_failed_trial_leaves_the_server_out(several: Several) -> None:
    several.edge.change_upstream(ejection=replace(EJECTION, time_s=0.5))
    await several.portals[1].stop()
    while State.EJECTED not in several.states:
        assert await several.get(1) == [200]
    first = several.group.members[1].health.until
    await until(lambda: State.TRIAL in several.states)
    while State.TRIAL in several.states:
        assert await several.get(1) == [200]
    assert several.states == [State.IN, State.EJECTED]
    assert several.group.members[1].health.until > first


async def test_a_server_that_answers_too_late_counts_as_failed(several: Several) -> None:
    several.edge.change_upstream(response_timeout_s=1.0)

    async def never(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    several.portals[1].answers[b"/public/b"] = never
    while State.EJECTED not in several.states:
        assert set(await several.get(1, "/public/b")) <= {200, 504}
    assert several.states == [State.IN, State.EJECTED]
    assert "upstream_timeout" in several.edge.worker.degraded()["portal"]


async def test_answers_that_say_500_eject_nobody(several: Several) -> None:
    for portal in several.portals:
        portal.answers[b"/public/b"] = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
    assert await several.get(12, "/public/b") == [500] * 12
    assert several.states == [State.IN, State.IN]


async def test_a_client_that_goes_away_blames_nobody(several: Several) -> None:
    async def never(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    for portal in several.portals:
        portal.answers[b"/public/b"] = never
    for number in range(8):
        _, writer = await several.edge.connect()
        writer.write(b"GET /public/b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await until(lambda number=number: sum(several.counts) == number + 1)  # type: ignore[misc]  # bound now
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
        writer.transport.abort()
    await until(lambda: all(member.pool.busy == 0 for member in several.group.members))
    assert several.states == [State.IN, State.IN]


# checks


async def test_a_server_that_fails_its_check_gets_no_request_until_it_passes_again(several: Several) -> None:
    several.portals[1].answers[b"/healthz"] = b"HTTP/1.1 503 Draining\r\nContent-Length: 0\r\n\r\n"
    several.edge.change_upstream(health=CHECK)
    await until(lambda: several.states == [State.IN, State.UNHEALTHY])
    before = len([head for head in several.portals[1].heads if b"/public/" in head])
    assert await several.get(6) == [200] * 6
    assert len([head for head in several.portals[1].heads if b"/public/" in head]) == before
    assert "answered 503" in several.edge.worker.degraded()["portal"]
    del several.portals[1].answers[b"/healthz"]
    await until(lambda: several.states == [State.IN, State.IN])
    results = {labels[2] for labels in several.count("gateway_upstream_checks_total")}
    assert results == {"passed", "failed"}


async def test_a_check_is_a_plain_get_that_names_the_host_and_carries_no_identity(several: Several) -> None:
    several.edge.change_upstream(health=replace(CHECK, host=b"portal.example.com"))
    await until(lambda: sum(several.counts) >= 2)
    head = several.portals[0].heads[0]
    assert head.startswith(b"GET /healthz HTTP/1.1\r\nhost: portal.example.com\r\n")
    assert b"x-gateway" not in head.lower()
    assert b"cookie" not in head.lower()


@pytest.mark.parametrize(
    ("answer", "problem", "timeout_s"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "not HTTP", 30.0),
        (b"nonsense\r\n\r\n", "not HTTP", 30.0),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "answered 101", 30.0),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, "not HTTP", 30.0),
        (b"HTTP/1.1 200 OK\r\n", "no answer in time", 0.2),
    ],
)
async def test_a_server_whose_answer_to_a_check_is_none_is_out(
    several: Several, answer: bytes, problem: str, timeout_s: float
) -> None:
    several.portals[1].answers[b"/healthz"] = answer
    several.edge.change_upstream(health=replace(CHECK, timeout_s=timeout_s))
    await until(lambda: several.states[1] is State.UNHEALTHY)
    assert problem in several.edge.worker.degraded()["portal"]


async def test_no_server_is_asked_how_it_is_without_being_told_to(several: Several) -> None:
    await several.get(2)
    await asyncio.sleep(0)
    assert all(member.checks is None for member in several.group.members)
    assert all(b"/public/a" in head for portal in several.portals for head in portal.heads)


async def test_an_upstream_that_is_wholly_out_is_503_with_a_time_to_come_back(several: Several) -> None:
    for portal in several.portals:
        portal.answers[b"/healthz"] = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    several.edge.change_upstream(health=CHECK)
    await until(lambda: several.states == [State.UNHEALTHY] * 2)
    reply = await several.edge.get("/public/a")
    assert reply.status == 503
    assert b"upstream_down" in reply.body
    assert reply.field("retry-after") == [b"1"]
    assert several.edge.audit.records[-1]["unmapped"]["gw"]["outcome"] == "upstream_error"
    assert several.said.count("upstream.down") == 1
    for portal in several.portals:
        del portal.answers[b"/healthz"]
    await until(lambda: several.states == [State.IN] * 2)
    assert await several.get(2) == [200, 200]
    assert several.said.count("upstream.up") == 1


async def test_checks_end_with_their_snapshot(several: Several) -> None:
    several.edge.change_upstream(health=CHECK)
    checks = [member.checks for member in several.group.members]
    several.edge.change_upstream(health=None)
    await until(lambda: all(task is not None and task.done() for task in checks))
    assert all(member.checks is None for member in several.group.members)


# the breaker


async def test_the_breaker_asks_nobody_while_too_much_fails_and_tries_again(several: Several) -> None:
    several.edge.change_upstream(ejection=None, breaker=BreakerRules(ratio=0.5, requests=4, window_s=60.0, open_s=1.0))
    for portal in several.portals:
        portal.answers[b"/public/b"] = hangs_up()
    assert await several.get(4, "/public/b") == [502] * 4
    asked = sum(several.counts)
    reply = await several.edge.get("/public/a")
    assert (reply.status, reply.field("retry-after")) == (503, [b"1"])
    assert b"upstream_down" in reply.body
    assert sum(several.counts) == asked
    assert several.count("gateway_upstream_breakers") == {("portal", "open"): 1}
    assert "not asked" in several.edge.worker.degraded()["portal"]
    statuses: list[int] = []
    async with asyncio.timeout(PATIENCE_S):
        while 200 not in statuses:
            statuses += await several.get(1)
    assert set(statuses[:-1]) <= {503}
    assert several.count("gateway_upstream_breakers") == {("portal", "closed"): 1}
    assert several.said == ["upstream.down", "upstream.up"]


# limits


async def test_a_server_that_is_full_is_passed_over_and_then_requests_wait(several: Several) -> None:
    one, other = several.servers
    several.edge.change_upstream(servers=(replace(one, max_connections=1), replace(other, max_connections=1)))
    held = asyncio.Event()

    for portal in several.portals:
        portal.answers[b"/public/slow"] = waits_for(held)
    waiting = [asyncio.create_task(several.edge.get("/public/slow")) for _ in range(4)]
    await until(lambda: several.counts == [1, 1])
    await until(lambda: several.count("gateway_upstream_queue_requests") == {("portal",): 2})
    held.set()
    assert [(await reply).status for reply in waiting] == [200] * 4
    assert [portal.connections for portal in several.portals] == [1, 1]


async def test_the_upstream_has_fewer_connections_than_its_servers_could(several: Several) -> None:
    several.edge.change_upstream(max_connections=2)
    replies = await asyncio.gather(*(several.edge.get("/public/a") for _ in range(12)))
    assert {reply.status for reply in replies} == {200}
    assert sum(portal.connections for portal in several.portals) <= 2


async def test_idle_connections_of_one_server_do_not_keep_people_from_another(several: Several) -> None:
    several.edge.change_upstream(balance="user", max_connections=1)
    for number in range(20):
        several.edge.sessions.entries[f"t{number}".encode()] = Entry(session(handle=f"h{number}", user_id=f"u{number}"))
    homes: dict[int, int] = {}
    for number in (*range(20), *range(20)):
        before = several.counts
        assert (await several.edge.get("/", token=f"t{number}")).status == 200
        home = [after - was for after, was in zip(several.counts, before, strict=True)].index(1)
        assert homes.setdefault(number, home) == home
    assert set(homes.values()) == {0, 1}
    assert sum(member.pool.size for member in several.group.members) == 1


@pytest.mark.parametrize("servers", [1, 2])
async def test_more_than_may_wait_are_refused_at_once_and_the_rest_in_time(several: Several, servers: int) -> None:
    several.edge.change_upstream(
        servers=several.servers[:servers],
        max_connections=1,
        max_waiting=2,
        queue_timeout_s=1.5,
    )

    held = asyncio.Event()

    for portal in several.portals:
        portal.answers[b"/public/slow"] = waits_for(held)
    holding = asyncio.create_task(several.edge.get("/public/slow"))
    await until(lambda: sum(several.counts) == 1)
    replies = await asyncio.gather(*(several.edge.get("/public/a") for _ in range(3)))
    assert [reply.status for reply in replies] == [503] * 3
    assert all(b"overloaded" in reply.body for reply in replies)
    assert several.count("gateway_upstream_queue_refused_total") == {("portal", "full"): 1, ("portal", "timeout"): 2}
    held.set()
    assert (await holding).status == 200


# reload


async def test_a_reload_does_not_bring_an_ejected_server_back(several: Several) -> None:
    await several.portals[1].stop()
    await several.get(8)
    several.edge.change_upstream(response_timeout_s=7.0)
    assert several.states == [State.IN, State.EJECTED]
    assert several.count("gateway_upstream_servers")[("portal", several.servers[1].name, "ejected")] == 1


async def test_a_server_with_other_certificates_is_another_server(several: Several) -> None:
    await several.portals[1].stop()
    await several.get(8)
    changed = tuple(replace(server, fingerprint="new") for server in several.servers)
    several.edge.change_upstream(servers=changed)
    assert several.states == [State.IN, State.IN]


async def test_a_server_that_came_back_for_an_old_request_is_back_for_new_ones(several: Several) -> None:
    several.edge.change_upstream(ejection=replace(EJECTION, time_s=0.1))
    await several.portals[1].stop()
    await several.get(8)
    several.edge.change_upstream(response_timeout_s=7.0)
    await until(lambda: several.states[1] is not State.EJECTED)
    await until(lambda: not several.group.members[1].pool.is_out)


async def test_numbers_of_a_group_that_is_over_are_gone(several: Several) -> None:
    await several.get(4)
    several.edge.change_upstream(servers=several.servers[:1])
    await several.get(2)
    await until(lambda: not several.edge.worker._old_pools)
    assert several.count("gateway_upstream_servers") == {}
    await until(lambda: several.count("gateway_upstream_connections") == {("portal", "idle"): 1})


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("balance", ["round_robin", "least_connections", "ip"])
async def test_whatever_servers_do_every_request_is_answered_and_all_is_well_after_it(
    several: Several, seed: int, balance: str
) -> None:
    """Servers end, come back, hang up and answer late while requests queue for few connections."""
    chance = random.Random(f"{seed} {balance}")
    third = await several.add()
    several.edge.change_upstream(
        servers=several.servers, balance=balance, max_connections=4, max_waiting=64, queue_timeout_s=20.0,
        response_timeout_s=0.3, ejection=replace(EJECTION, time_s=0.1, max_time_s=0.2),
        breaker=BreakerRules(ratio=0.9, requests=10, window_s=1.0, open_s=0.1) if seed % 2 else None,
    )  # fmt: skip

    async def moody(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match chance.choice(["well", "well", "well", "hang up", "never", "nonsense", "half"]):
            case "well":
                writer.write(OK)
            case "hang up":
                writer.close()
            case "never":
                await reader.read()
            case "nonsense":
                writer.write(b"nonsense\r\n\r\n")
            case _:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nha")
                writer.transport.abort()

    for portal in several.portals:
        portal.answers[b"/public/moody"] = moody

    async def visit() -> int:
        try:
            return (await several.edge.get("/public/moody")).status
        except ConnectionError:
            return 0  # broken off in the middle, as it must be

    visits = [asyncio.create_task(visit()) for _ in range(20)]
    await asyncio.sleep(0)
    await third.stop()
    several.edge.change_upstream(servers=several.servers[: chance.choice([2, 3])])
    visits += [asyncio.create_task(visit()) for _ in range(20)]
    statuses = await asyncio.gather(*visits)
    assert set(statuses) <= {0, 200, 502, 503, 504}
    for portal in several.portals:
        portal.answers.clear()
    several.edge.change_upstream(response_timeout_s=20.0)
    async with asyncio.timeout(PATIENCE_S):
        while not all(state is State.IN for state in several.states[:2]) or await several.get(5) != [200] * 5:
            await asyncio.sleep(0.02)
    await until(lambda: not several.edge.worker._old_pools)
    await until(lambda: several.count("gateway_upstream_queue_requests") == {})
    assert sum(member.pool.busy for member in several.group.members) == 0

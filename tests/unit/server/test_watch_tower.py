"""Where detectors watch: recorded first, then answered; what cannot be recorded is not answered, and what was counted goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from jsonschema import Draft202012Validator

from gateway.audit.schema import record_schema
from gateway.audit.subject import reveal
from gateway.edge.gate import Gate
from gateway.edge.lookout import Lookout
from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.metrics import Registry
from gateway.inspection.abuse.rule import Answer, Scope
from gateway.inspection.abuse.sighting import Sighting, What
from gateway.inspection.abuse.standing import Standing
from gateway.ledger.layout import Layout
from gateway.server import messenger as messenger_module
from gateway.server import watch_tower
from gateway.server.abuse import abuse_rules, watch_rules
from gateway.server.control import Boot
from gateway.server.messenger import Messenger
from gateway.server.settings import Settings, load_settings
from gateway.server.validate import read_and_validate
from gateway.server.watch_tower import AbuseMetrics, WatchTower
from gateway.store.executor import BoundedExecutor
from gateway.store.keyring import Keyring
from gateway.store.standings import StandingStore
from gateway.store.state import Store, open_store
from tests.fakes.audit_daemon import FakeAuditDaemon

VALID = Draft202012Validator(record_schema())
PATIENCE_S = 20.0
BLOCKING = "{D-19: {action: block, for: 15m}, D-14: {action: slow_down}, D-01: {action: block}}"


@pytest.fixture
def boot(directory: Path) -> Boot:
    validated = read_and_validate(directory / "gateway.yaml")
    return Boot(
        kind="pages",
        slot=1000,
        workers=1,
        shares_limits=False,
        listeners=(),
        bundle=validated.bundle,
        state_dir=str(validated.settings.state_dir),
        run_dir=str(directory),
        pages_socket="pages.sock",
        node="node-a",
        boot_id="boot",
        version="1",
        badge=bytes(16),
    )


@pytest.fixture
def keyring(directory: Path) -> Keyring:
    return Keyring.load(read_and_validate(directory / "gateway.yaml").settings.keyring)


@pytest.fixture
def store(boot: Boot, keyring: Keyring) -> Iterator[Store]:
    opened = open_store(Path(boot.state_dir), keyring, create=True)
    yield opened
    opened.close()


@pytest.fixture
async def daemon(boot: Boot) -> AsyncIterator[FakeAuditDaemon]:
    layout = Layout(Path(boot.state_dir))
    layout.create()
    fake = FakeAuditDaemon()
    await fake.start(layout.socket)
    yield fake
    await fake.stop()


def settings(directory: Path, detectors: str, more: str = "") -> Settings:
    path = directory / "gateway.yaml"
    text = f"{path.read_text()}\ninspection:\n  detectors: {detectors}\n{more}"
    return load_settings(text, path)


@pytest.fixture
async def tower(
    boot: Boot, directory: Path, store: Store, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[WatchTower]:
    monkeypatch.setattr(watch_tower, "LOOK_S", 0.05)
    monkeypatch.setattr(watch_tower, "_AGAIN_S", 0.05)
    executor = BoundedExecutor("store", threads=1, waiting=64)
    made = WatchTower(boot, executor, AbuseMetrics(Registry()))
    made.adopt(store, abuse_rules(settings(directory, BLOCKING), keyring))
    running = asyncio.get_running_loop().create_task(made.run())
    yield made
    running.cancel()
    await asyncio.wait({running})
    executor.close()


def told(*sightings: Sighting) -> bytes:
    return msgspec.msgpack.encode(list(sightings))


def hostile(network: str = "203.0.113.66", **more: Any) -> Sighting:
    return Sighting(what=What.HOSTILE, at=float(int(time.time())), network=network, count=12, **more)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


def standings(store: Store) -> list[Standing]:
    return StandingStore(store.rows, store.sealer).all(time.time())


async def test_a_finding_is_recorded_and_its_answer_stands(
    tower: WatchTower, daemon: FakeAuditDaemon, store: Store
) -> None:
    await tower.take(told(hostile()))
    await until(lambda: standings(store))
    (standing,) = standings(store)
    assert (standing.subject, standing.answer, standing.detector) == ("203.0.113.66", Answer.BLOCK, "D-19")
    assert standing.until - standing.since == 900
    (found,) = daemon.records
    VALID.validate(found)
    assert found["class_uid"] == 2004
    assert found["finding_info"]["title"] == "Attacks from one network"
    assert found["attacks"] == [{"technique": {"uid": "T1190"}}]
    said = found["unmapped"]["gw"]["abuse"]
    assert said == {
        "answer": "block",
        "detector": "D-19",
        "numbers": {"events": 12},
        "reference": standing.reference,
        "rule": "refused",
        "scope": "network",
        "until": int(standing.until * 1000),
        "within_s": 300,
    }


async def test_addresses_and_people_are_sealed_in_the_record(
    tower: WatchTower, daemon: FakeAuditDaemon, store: Store
) -> None:
    take = [
        Sighting(what=What.TAKEN, at=time.time(), person="u_alice", name="alice", item=f"i{n}", classified=True)
        for n in range(25)
    ]
    await tower.take(told(hostile(), *take))
    await until(lambda: len(daemon.payloads) == 2)
    stored = b"".join(daemon.payloads)
    assert b"203.0.113.66" not in stored
    assert b"alice" not in stored
    keys = store.subjects.finder(now=time.time())
    one, other = (reveal(each, keys) for each in daemon.records)
    assert one["src_endpoint"]["ip"] == "203.0.113.66"
    assert (other["user"]["uid"], other["user"]["name"]) == ("u_alice", "alice")


async def test_an_alert_is_recorded_and_nothing_stands(
    tower: WatchTower, daemon: FakeAuditDaemon, store: Store
) -> None:
    sightings = [Sighting(what=What.STRAYED, at=time.time(), network="203.0.113.66", item=f"p{n}") for n in range(100)]
    await tower.take(told(*sightings))
    await until(lambda: daemon.payloads)
    assert daemon.records[0]["unmapped"]["gw"]["abuse"]["answer"] == "alert"
    assert standings(store) == []


async def test_what_cannot_be_recorded_is_not_answered_until_it_can(
    tower: WatchTower, boot: Boot, store: Store
) -> None:
    await tower.take(told(hostile()))
    await asyncio.sleep(0.3)
    assert standings(store) == [], "the audit daemon is away"
    layout = Layout(Path(boot.state_dir))
    layout.create()
    fake = FakeAuditDaemon()
    await fake.start(layout.socket)
    await until(lambda: standings(store))
    assert len(fake.payloads) == 1
    await fake.stop()


async def test_who_is_spared_is_told_of_and_not_answered(
    tower: WatchTower, daemon: FakeAuditDaemon, store: Store, directory: Path, keyring: Keyring
) -> None:
    spared = "  spared: [{network: 203.0.113.0/24, reason: our own scanner, expires: never}]\n"
    tower.adopt(store, abuse_rules(settings(directory, BLOCKING, spared), keyring))
    await tower.take(told(hostile()))
    await until(lambda: daemon.payloads)
    said = daemon.records[0]["unmapped"]["gw"]["abuse"]
    assert (said["answer"], said["spared"]) == ("alert", "our own scanner")
    assert standings(store) == []


async def test_whoever_is_let_go_begins_anew(tower: WatchTower, daemon: FakeAuditDaemon, store: Store) -> None:
    await tower.take(told(hostile()))
    await until(lambda: standings(store))
    kept = StandingStore(store.rows, store.sealer)
    await until(lambda: tower._known)
    kept.lift(standings(store))
    await until(lambda: not tower._known)
    await tower.take(told(msgspec.structs.replace(hostile(), count=9)))
    await asyncio.sleep(0.2)
    assert standings(store) == [], "what they did before is not held against them"
    await tower.take(told(msgspec.structs.replace(hostile(), count=1)))
    await until(lambda: standings(store))
    assert len(daemon.payloads) == 2


async def test_strangers_may_not_try_a_held_account_and_other_accounts_are_free(
    tower: WatchTower, daemon: FakeAuditDaemon, store: Store
) -> None:
    failed = Sighting(what=What.SIGN_IN_FAILED, at=float(int(time.time())), account="9f", network="n", count=5)
    await tower.take(told(failed))
    await until(lambda: tower.holds("9f", time.time()))
    assert not tower.holds("8e", time.time())
    assert not tower.holds("9f", time.time() + 901)
    assert len(daemon.payloads) == 1


async def test_an_account_that_is_slowed_down_lets_somebody_try_now_and_then(
    tower: WatchTower, daemon: FakeAuditDaemon, store: Store
) -> None:
    now = time.time()
    slow = Standing(
        reference="a_1", detector="D-06", rule="r", scope=Scope.ACCOUNT, subject="9f", answer=Answer.SLOW_DOWN,
        since=now, until=now + 900, rate_per_s=0.1, burst=2,
    )  # fmt: skip
    StandingStore(store.rows, store.sealer).add(slow, now=now)
    await until(lambda: tower._known)
    assert [tower.holds("9f", now + each) for each in (0.0, 0.1, 0.2, 10.5, 10.6)] == [False, False, True, False, True]
    assert daemon.payloads == []


async def test_what_was_counted_goes_on_over_a_reload_and_over_a_restart(
    tower: WatchTower, daemon: FakeAuditDaemon, store: Store, directory: Path, keyring: Keyring
) -> None:
    await until(lambda: tower._is_recalled)
    await tower.take(told(msgspec.structs.replace(hostile(), count=4)))
    tower.adopt(store, abuse_rules(settings(directory, BLOCKING), keyring))
    await tower.take(told(msgspec.structs.replace(hostile(), count=4)))
    await tower.remember()
    executor = BoundedExecutor("store", threads=1, waiting=64)
    after = WatchTower(tower._boot, executor, AbuseMetrics(Registry()))
    after.adopt(store, abuse_rules(settings(directory, BLOCKING), keyring))
    running = asyncio.get_running_loop().create_task(after.run())
    await until(lambda: after._is_recalled)
    await after.take(told(msgspec.structs.replace(hostile(), count=2)))
    await until(lambda: standings(store))
    assert daemon.records[-1]["unmapped"]["gw"]["abuse"]["numbers"] == {"events": 10}
    running.cancel()
    await asyncio.wait({running})
    executor.close()


@pytest.mark.parametrize(
    "junk", [b"", b"\xc1", b"junk", msgspec.msgpack.encode({"a": 1}), msgspec.msgpack.encode([{"what": "x"}])]
)
async def test_anything_else_than_sightings_is_refused(tower: WatchTower, junk: bytes) -> None:
    with pytest.raises(ValueError):
        await tower.take(junk)


async def test_too_many_sightings_at_once_are_refused(tower: WatchTower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_tower, "MAX_TOLD", 3)
    with pytest.raises(ValueError):
        await tower.take(told(*[hostile(f"n{number}") for number in range(4)]))


async def test_an_edge_reads_what_stands_only_when_it_changed(store: Store) -> None:
    gate = Gate()
    messenger = Messenger(Lookout(), gate, store.rows, store.sealer, lambda: "nowhere")
    now = time.time()
    await messenger.read(now)
    before = gate.standings
    await messenger.read(now)
    assert gate.standings is before
    blocked = Standing(
        reference="a_1", detector="D-19", rule="r", scope=Scope.NETWORK, subject="203.0.113.66", answer=Answer.BLOCK,
        since=now, until=now + 900,
    )  # fmt: skip
    kept = StandingStore(store.rows, store.sealer)
    kept.add(blocked, now=now)
    await messenger.read(now)
    assert gate.standings.on_network("203.0.113.66", now) == (blocked,)
    kept.lift([blocked])
    await messenger.read(now)
    assert gate.standings.on_network("203.0.113.66", now) == ()


async def test_what_stood_goes_on_while_the_store_is_away(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> bytes:
        raise StoreUnavailableError("locked")

    gate = Gate()
    messenger = Messenger(Lookout(), gate, store.rows, store.sealer, lambda: "nowhere")
    before = gate.standings
    monkeypatch.setattr(StandingStore, "version", away)
    await messenger.read(time.time())
    assert gate.standings is before


async def test_whatever_goes_wrong_the_messenger_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messenger_module, "TELL_S", 0.01)
    tried: list[int] = []

    def broken(*_: object) -> bytes:
        tried.append(1)
        raise RuntimeError("a bug")

    monkeypatch.setattr(StandingStore, "version", broken)
    messenger = Messenger(Lookout(), Gate(), store.rows, store.sealer, lambda: "nowhere")
    running = asyncio.get_running_loop().create_task(messenger.run())
    await until(lambda: len(tried) > 3)
    running.cancel()
    await asyncio.wait({running})


async def test_what_cannot_be_told_is_kept(store: Store) -> None:
    lookout = Lookout()
    lookout.put_back([hostile()])
    messenger = Messenger(lookout, Gate(), store.rows, store.sealer, lambda: "/nowhere/pages.sock")
    await messenger.tell()
    (kept,) = lookout.take()
    assert kept.count == 12


def test_where_every_detector_is_off_no_edge_looks(directory: Path, keyring: Keyring) -> None:
    off = ", ".join(f"D-{number:02}: {{action: off}}" for number in (*range(1, 20), 32, 33))
    assert watch_rules(settings(directory, f"{{{off}}}"), keyring) is None
    assert watch_rules(settings(directory, "{D-01: {action: off}}"), keyring) is not None


def test_watched_owners_are_digests_of_the_key_that_edges_have(directory: Path, keyring: Keyring) -> None:
    rules = abuse_rules(settings(directory, "{D-15: {watched: [p7]}}"), keyring)
    (watching,) = [each for each in rules.detectors if each.watched]
    assert watching.watched.isdisjoint({"p7"})
    assert orjson.dumps(sorted(watching.watched)).count(b'"') == 2


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -1.0])
async def test_a_worker_that_was_taken_over_tells_no_time_that_is_none(tower: WatchTower, at: float) -> None:
    with pytest.raises(ValueError):
        await tower.take(told(msgspec.structs.replace(hostile(), at=at)))


@pytest.mark.parametrize("count", [0, -5, 10**12])
async def test_a_worker_that_was_taken_over_tells_no_number_that_is_none(tower: WatchTower, count: int) -> None:
    with pytest.raises(ValueError):
        await tower.take(told(msgspec.structs.replace(hostile(), count=count)))


async def test_a_sighting_from_the_future_is_one_of_now(
    tower: WatchTower, daemon: FakeAuditDaemon, store: Store
) -> None:
    await tower.take(told(msgspec.structs.replace(hostile(), at=time.time() + 10 * 86_400, count=4)))
    await tower.take(told(msgspec.structs.replace(hostile(), count=6)))
    await until(lambda: standings(store))
    assert len(daemon.payloads) == 1


async def test_an_answer_waits_for_a_store_that_is_away_and_is_not_forgotten(
    tower: WatchTower, daemon: FakeAuditDaemon, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, tried = StandingStore.add, []

    def away(kept: StandingStore, standing: Standing, *, now: float) -> bool:
        tried.append(1)
        if len(tried) < 3:
            raise StoreUnavailableError("locked")
        return add(kept, standing, now=now)

    monkeypatch.setattr(StandingStore, "add", away)
    await tower.take(told(hostile()))
    await until(lambda: standings(store))
    assert len(daemon.payloads) == 1, "recorded once"


async def test_what_the_detectors_do_not_take_is_not_told_for_ever(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookout = Lookout()
    lookout.put_back([hostile()])
    messenger = Messenger(lookout, Gate(), store.rows, store.sealer, lambda: "nowhere")
    monkeypatch.setattr(messenger, "_post", lambda _: 400, raising=False)
    await messenger.tell()
    assert lookout.take() == []
    assert lookout.dropped == 12


async def test_an_answer_that_was_renewed_was_not_lifted(
    tower: WatchTower, daemon: FakeAuditDaemon, store: Store
) -> None:
    await tower.take(told(hostile()))
    await until(lambda: tower._known)
    (before,) = standings(store)
    renewed = msgspec.structs.replace(before, reference="a_2", until=before.until + 60)
    StandingStore(store.rows, store.sealer).add(renewed, now=time.time())
    await until(lambda: "a_2" in tower._known)
    await tower.take(told(msgspec.structs.replace(hostile(), at=time.time(), count=1)))
    (memory,) = [each for each in tower._watch._memories if each.detector.id == "D-19"]
    assert memory.dump()["entries"][0][2] != [], "what was counted goes on"
    assert sum(count for _, count, _ in memory.dump()["entries"][0][2]) == 13
    assert len(daemon.payloads) == 1

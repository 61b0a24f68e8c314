from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.audit.checkpoint import parse_checkpoint, split_note
from gateway.audit.cosignature import Cosigner, cosignatures
from gateway.audit.record import CRITICAL, HIGH, MEDIUM, Stamp
from gateway.audit.trust import TrustPolicy
from gateway.custody import witnesses
from gateway.custody.station import Station
from gateway.custody.trail import Build, Mark, Trail
from gateway.custody.witness_client import WitnessClient
from gateway.custody.witness_metrics import WitnessMetrics
from gateway.custody.witnesses import INCIDENT_S, LOST_S, REFRESH_S, Witnesses
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.metrics import Registry
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.log import open_log
from gateway.server.fields import Address
from gateway.server.sections.witness import WitnessServer
from gateway.server.witness_process import WitnessService
from gateway.witness.service import ServiceMetrics
from tests.machine import free_port

STREAM = Stream.SECURITY
NOW_NS = 1_790_000_000_000_000_000
STAMP = Stamp(uid="u", sequence=1, time_ms=1, mono_ns=1, boot_uid="b", node="n", version="1")
DEADLINE_S = 20.0


class Clock:
    now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


class RecordingTrail(Trail):
    """Keeps what the custodian says instead of writing it."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout, node="n", boot_uid="b", version="1")
        self.said: list[dict[str, Any]] = []
        self.is_down = False

    async def record(self, build: Build, *, stream: Stream = Stream.SECURITY, mark: Mark | None = None) -> None:
        if self.is_down:
            raise AuditUnavailableError("the audit daemon does not answer")
        self.said.append(dict(build(STAMP)))

    def events(self) -> list[tuple[str, int]]:
        return [(record["unmapped"]["gw"]["event"], record["severity_id"]) for record in self.said]

    def about(self) -> dict[str, Any]:
        found = self.said[-1]["unmapped"]["gw"]["witness"]
        assert isinstance(found, dict)
        return found


class Site:
    """A node's log and the witnesses it asks."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.layout = Layout(directory / "state")
        self.keys = AuditKeys.generate(origin="gateway/node", created="2026-11-23T00:00:00Z", random=os.urandom)
        self.trail = RecordingTrail(self.layout)
        self.registry = Registry()
        self.metrics = WitnessMetrics(self.registry)
        self.services: list[WitnessService] = []
        self.policy = ""
        self._directory = directory
        self._sequence = 0
        self._task: asyncio.Task[None] | None = None
        self.append(3)

    def append(self, count: int, text: str = "") -> None:
        """Write records as the daemon does, and the checkpoint of them."""
        log = open_log(self.layout.state_dir, self.keys, STREAM, boot="b", capacity=1 << 16)
        rows = [b'{"n":%d,"t":"%s"}' % (self._sequence + i, text.encode()) for i in range(count)]
        first = self._sequence + 1
        log.append([(0, range(first, first + count), rows)], is_safe=True, now_ns=NOW_NS)
        log.close()
        self._sequence += count

    async def witness(self, name: str, *, logs: list[str] | None = None, forgets: bool = False) -> WitnessService:
        """Start a witness that knows the log, and name it in the policy."""
        port = free_port()
        origin = self.layout.checkpoint(STREAM).read_bytes().partition(b"\n")[0].decode()
        cosigner = Cosigner(f"witness.example/{name}", 4, name.encode().ljust(32, b"w"))
        settings = WitnessServer.model_construct(
            listen=Address("127.0.0.1", port), tls=None, unsafe_plaintext=False, key=Path("k"),
            logs=(self.keys.vkey(origin),) if logs is None else (), rate=1000.0, burst=1000,
        )  # fmt: skip
        service = WitnessService(
            settings, self._directory / name, cosigner=cosigner, tls=None, metrics=ServiceMetrics(Registry())
        )
        await service.start()
        self.services.append(service)
        self.policy += f"witness {name} {cosigner.key} http://127.0.0.1:{port}\n"
        return service

    def begin(self, quorum: str, *, timeout_s: float = 5.0) -> Station:
        """Start the duty, as the custodian does."""
        station = Station.open(self.layout, self.keys, self.trail, self.registry)
        duty = Witnesses(
            station,
            STREAM,
            policy=TrustPolicy.parse(f"{self.policy}{quorum}\n".encode()),
            client=partial(WitnessClient, timeout_s=timeout_s, ca=None),
            metrics=self.metrics,
            clock=self.clock,
            interval_s=0.01,
        )
        self.duty = duty
        self._station = station
        self._task = asyncio.create_task(self._run(station, duty))
        return station

    async def _run(self, station: Station, duty: Witnesses) -> None:
        async def look() -> None:
            while True:
                station.tails[STREAM].look()
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            group.create_task(look())
            group.create_task(duty.run())

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                if self._task is not None and self._task.done():
                    self._task.result()
                await asyncio.sleep(0.01)

    def cosigned(self) -> int:
        try:
            return parse_checkpoint(split_note(self.layout.cosigned(STREAM).read_bytes())[0]).size
        except FileNotFoundError:
            return -1

    def has_cosigned(self, size: int) -> bool:
        return self.cosigned() == size

    def gauge(self, name: str, *labels: str) -> float:
        self.duty.measure()
        return next(dict(sample.values).get(labels, 0.0) for sample in self.registry.dump() if sample.name == name)

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            self._station.close()

    async def close(self) -> None:
        await self.end()
        for service in self.services:
            await service.stop()


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(witnesses, "_TILES_S", 0.0)  # there are none, and none will come
    made = Site(tmp_path)
    with structlog.testing.capture_logs():
        yield made
    await made.close()


async def test_every_checkpoint_of_a_growing_log_is_cosigned(site: Site) -> None:
    service = await site.witness("w1")
    site.begin("quorum w1")
    await site.until(lambda: site.cosigned() == 3)
    for size in (4, 9, 40, 300):
        site.append(size - site._sequence)
        await site.until(partial(site.has_cosigned, size))
    note = site.layout.cosigned(STREAM).read_bytes()
    assert [found.key for found in cosignatures(note, [service.witness.key])] == [service.witness.key]
    await site.until(lambda: site.gauge("gateway_audit_cosigned_entries", "security") == 300)
    assert site.gauge("gateway_audit_witness_age_seconds", "security") == 0
    assert site.trail.said == []


async def test_the_duty_goes_on_where_the_witness_is_after_a_restart(site: Site) -> None:
    await site.witness("w1")
    site.begin("quorum w1")
    await site.until(lambda: site.cosigned() == 3)
    await site.end()
    site.append(5)
    site.begin("quorum w1")
    await site.until(lambda: site.cosigned() == 8)
    await site.end()
    site.layout.cosigned(STREAM).unlink()  # nothing is known here: the witness says what it has seen
    site.append(2)
    site.begin("quorum w1")
    await site.until(lambda: site.cosigned() == 10)
    assert site.trail.said == []


async def test_a_quorum_does_not_wait_for_a_witness_that_is_not_there(site: Site) -> None:
    await site.witness("w1")
    await site.witness("w2")
    gone = await site.witness("w3")
    await gone.stop()
    site.services.remove(gone)
    site.begin("group g 2 w1 w2 w3\nquorum g")
    await site.until(lambda: site.cosigned() == 3)
    site.append(4)
    await site.until(lambda: site.cosigned() == 7)


async def test_nothing_is_published_without_the_quorum_and_the_loss_is_said_once_and_then_louder(site: Site) -> None:
    gone = await site.witness("w1")
    await gone.stop()
    site.services.remove(gone)
    site.begin("quorum w1")
    site.clock.now += LOST_S + 1
    await site.until(lambda: len(site.trail.said) == 1)
    assert site.trail.events() == [("audit.witness_lost", MEDIUM)]
    assert site.cosigned() == -1
    assert site.gauge("gateway_audit_witness_age_seconds", "security") == LOST_S + 1
    site.clock.now += INCIDENT_S
    await site.until(lambda: len(site.trail.said) == 2)
    assert site.trail.events()[1] == ("audit.witness_lost", CRITICAL)
    assert site.trail.about()["stream"] == "security"


async def test_a_witness_that_comes_back_ends_the_alarm(site: Site) -> None:
    service = await site.witness("w1")
    await service.stop()
    site.begin("quorum w1")
    site.clock.now += LOST_S + 1
    await site.until(lambda: len(site.trail.said) == 1)
    await service.start()
    await site.until(lambda: site.cosigned() == 3)
    await site.until(lambda: len(site.trail.said) == 2)
    assert site.trail.events()[1][0] == "audit.witness_restored"


async def test_an_idle_log_is_cosigned_again_so_that_a_lost_witness_is_noticed(site: Site) -> None:
    service = await site.witness("w1")
    site.begin("quorum w1")
    await site.until(lambda: site.gauge("gateway_audit_cosigned_entries", "security") == 3)
    await service.stop()
    site.services.remove(service)
    site.clock.now += REFRESH_S + LOST_S
    await site.until(lambda: len(site.trail.said) == 1)
    assert site.trail.events() == [("audit.witness_lost", MEDIUM)]


async def test_a_log_that_was_cut_off_is_noticed_by_what_was_published(site: Site, tmp_path: Path) -> None:
    """Attack: put an old state of the log back, checkpoint included, and go on."""
    await site.witness("w1")
    shutil.copytree(site.layout.state_dir, tmp_path / "old")
    site.append(20)
    site.begin("quorum w1")
    await site.until(lambda: site.cosigned() == 23)
    await site.end()
    for name in ("audit", "checkpoints"):
        shutil.rmtree(site.layout.state_dir / name)
        shutil.copytree(tmp_path / "old" / name, site.layout.state_dir / name)
    site.begin("quorum w1")
    await site.until(lambda: len(site.trail.said) >= 2)
    assert site.trail.events()[:2] == [("audit.witness_refused", CRITICAL)] * 2
    assert {record["unmapped"]["gw"]["witness"]["seen"] for record in site.trail.said} == {23}
    assert site.gauge("gateway_audit_witness_refused", "security", "w1") == 1


@pytest.mark.parametrize("count", [20, 40])
async def test_a_log_that_was_cut_off_and_continued_is_noticed_by_the_witness(
    site: Site, tmp_path: Path, count: int
) -> None:
    """Attack (the FSS one; with the key of the log): cut off, wipe what was published, write on until it is as long, or longer."""
    await site.witness("w1")
    shutil.copytree(site.layout.state_dir, tmp_path / "old")
    site.append(20, "what happened")
    site.begin("quorum w1")
    await site.until(lambda: site.cosigned() == 23)
    await site.end()
    shutil.rmtree(site.layout.state_dir)
    shutil.copytree(tmp_path / "old", site.layout.state_dir)
    site._sequence = 3
    site.append(count, "what did not")
    site.begin("quorum w1")
    await site.until(lambda: len(site.trail.said) >= 1)
    assert site.trail.events() == [("audit.witness_refused", CRITICAL)]
    assert site.trail.about() == {"stream": "security", "size": 3 + count, "witness": "w1", "seen": 23}
    assert site.cosigned() == -1
    assert site.services[0].witness.checkpoint("0" * 64).status == 404


async def test_the_same_accusation_is_recorded_once(site: Site, tmp_path: Path) -> None:
    await site.witness("w1")
    shutil.copytree(site.layout.state_dir, tmp_path / "old")
    site.append(20, "what happened")
    site.begin("quorum w1")
    await site.until(lambda: site.cosigned() == 23)
    await site.end()
    shutil.rmtree(site.layout.state_dir)
    shutil.copytree(tmp_path / "old", site.layout.state_dir)
    site._sequence = 3
    site.append(40, "what did not")
    site.begin("quorum w1")
    before = 3
    await site.until(
        lambda: (
            sum(
                number
                for sample in site.registry.dump()
                if sample.name == "gateway_audit_witness_requests_total"
                for labels, number in sample.values
                if labels == ("w1", "422")
            )
            > before
        )
    )
    assert len(site.trail.said) == 1


async def test_a_witness_that_does_not_know_the_log_is_said_without_crying_fraud(site: Site) -> None:
    await site.witness("w1", logs=[])
    site.begin("quorum w1")
    await site.until(lambda: len(site.trail.said) == 1)
    assert site.trail.events() == [("audit.witness_refused", HIGH)]
    assert "it answered 404" in site.trail.said[0]["status_detail"]


async def test_a_witness_that_signs_with_another_key_does_not_count(site: Site) -> None:
    await site.witness("w1")
    stranger = Cosigner("witness.example/w1", 4, b"x" * 32)
    known = site.policy
    site.policy = f"witness w1 {stranger.key} {known.split()[-1]}\n"
    site.begin("quorum w1")
    site.clock.now += LOST_S + 1
    await site.until(lambda: len(site.trail.said) == 1)
    assert site.trail.events() == [("audit.witness_lost", MEDIUM)]
    assert site.cosigned() == -1


async def test_an_alarm_that_cannot_be_recorded_does_not_end_the_duty(site: Site) -> None:
    service = await site.witness("w1")
    await service.stop()
    site.trail.is_down = True
    site.begin("quorum w1")
    site.clock.now += LOST_S + 1
    await site.until(lambda: site.duty._alarm == 1)
    await service.start()
    await site.until(lambda: site.cosigned() == 3)


@pytest.mark.parametrize("text", [b"", b"nonsense", b"gateway/other\n9\n" + b"A" * 43 + b"=\n\n"])
async def test_a_damaged_file_of_the_last_checkpoint_is_as_if_it_were_not_there(site: Site, text: bytes) -> None:
    await site.witness("w1")
    site.layout.cosigned(STREAM).parent.mkdir()
    site.layout.cosigned(STREAM).write_bytes(text)
    site.begin("quorum w1")
    await site.until(lambda: site.layout.cosigned(STREAM).read_bytes() != text and site.cosigned() == 3)

"""Fills a real, small file system under a real daemon, or takes files away from it otherwise: run in a mount namespace of its own.

Prints one JSON object: what was acknowledged, what is in the log, which levels were told in which order.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from gateway.audit.pressure import Watermarks
from gateway.audit.protocol import CLI_SLOT, Ack
from gateway.ledger.disk import LocalDisk
from tests.mounts import mount
from tests.unit.ledger.conftest import Bench
from tests.unit.ledger.running import Running

PAYLOAD = b'{"pad":"' + b"x" * 30_000 + b'"}'
MARKS = Watermarks(warn=0.5, high=0.35, critical=0.2)
FILLER_BYTES = 1 << 20


class Scene:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.bench = Bench(place / "state")
        self.bench.disk = LocalDisk()  # type: ignore[assignment]  # nothing armed: the kernel's own answers
        self.running = Running(self.bench, capacity=1 << 20, marks=MARKS, ballast_bytes=3 << 20)
        self.producer = self.running.producer(0)
        self.sequence = 0
        self.acked: list[int] = []

    def store(self) -> bool:
        self.sequence += 1
        self.running.clock.now += 2.0
        is_stored = self.running.store(self.producer, self.sequence, [PAYLOAD]) == Ack(self.sequence)
        if is_stored:
            self.acked.append(self.sequence)
        return is_stored

    def fill(self, kind: str) -> list[Path]:
        """Fill the disk with others' data while records come in: large files, then small ones; or files alone."""
        fillers: list[Path] = []
        size = FILLER_BYTES if kind == "bytes" else 0
        while True:
            filler = self.place / f"filler{len(fillers)}"
            try:
                with filler.open("wb") as file:
                    fillers.append(filler)
                    if size:
                        os.posix_fallocate(file.fileno(), 0, size)
            except OSError:
                if size <= 4096:
                    return fillers
                size //= 4
            self.store()

    def obstruct(self, kind: str) -> Callable[[], object]:
        """Let no file be made any more; returns what lets it again."""
        match kind:
            case "descriptors":
                before = resource.getrlimit(resource.RLIMIT_NOFILE)
                used = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
                resource.setrlimit(resource.RLIMIT_NOFILE, (used, before[1]))
                return partial(resource.setrlimit, resource.RLIMIT_NOFILE, before)
            case "read-only":
                place = str(self.bench.layout.directory)
                subprocess.run(["mount", "--bind", place, place], check=True)
                subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
                return partial(subprocess.run, ["umount", place], check=True)
            case _:
                return partial(remove, self.fill(kind))

    def finish(self) -> dict[str, Any]:
        self.running.turn(2)
        self.running.daemon.close()
        stored = self.bench.stored()
        levels = [
            orjson.loads(one.entry.payload)["unmapped"]["gw"]["disk"]["level"]
            for one in stored
            if b'"event":"audit.disk_level"' in one.entry.payload
        ]
        verdict = self.bench.verify()
        for sock in self.bench.sockets:
            sock.close()
        return {
            "acked": self.acked,
            "stored": [one.entry.sequence for one in stored if one.entry.slot == 0],
            "levels": levels,
            "failures": [str(finding) for finding in verdict.failures],
            "sent": self.sequence,
        }


def remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()


def main() -> None:
    """Take the directory, the kind of file system, its options, and what is to run out."""
    place, system, options, kind = Path(sys.argv[1]), *sys.argv[2:5]
    mount(place, system, options)
    scene = Scene(place)
    scene.store()
    administrator = scene.running.producer(CLI_SLOT)
    relieve = scene.obstruct(kind)
    refused = 0
    for _ in range(60):
        refused += not scene.store()
    scene.running.clock.now += 2.0
    scene.running.turn(2)
    health = scene.running.daemon.health()["detail"]
    operator = scene.running.store(administrator, 1, [b'{"a":1}'])
    relieve()
    scene.running.clock.now += 2.0
    scene.running.turn(2)
    assert scene.store(), "intake resumes by itself"
    told = scene.finish()
    told |= {"refused": refused, "health": health, "operator": operator == Ack(1)}
    print(json.dumps(told))


if __name__ == "__main__":
    main()

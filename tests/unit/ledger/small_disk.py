"""Fills a real, small file system under a real daemon: run in a mount namespace of its own, with the directory and the options.

Prints one JSON object: what was acknowledged, what is in the log, which levels were told in which order.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

from gateway.audit.pressure import Watermarks
from gateway.audit.protocol import CLI_SLOT, Ack
from gateway.ledger.disk import LocalDisk
from tests.unit.ledger.conftest import Bench
from tests.unit.ledger.test_daemon import Running

PAYLOAD = b'{"pad":"' + b"x" * 30_000 + b'"}'
MARKS = Watermarks(warn=0.5, high=0.35, critical=0.2)
FILLER_BYTES = 1 << 20


class Scene:
    def __init__(self, mount: Path) -> None:
        self.mount = mount
        self.bench = Bench(mount / "state")
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
            filler = self.mount / f"filler{len(fillers)}"
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


def main() -> None:
    mount, options, kind = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mount)], check=True)
    scene = Scene(mount)
    scene.store()
    fillers = scene.fill(kind)
    refused = 0
    for _ in range(60):
        refused += not scene.store()
    scene.running.clock.now += 2.0
    scene.running.turn(2)
    health = scene.running.daemon.health()["detail"]
    administrator = scene.running.producer(CLI_SLOT)
    operator = scene.running.store(administrator, 1, [b'{"a":1}'])
    for filler in fillers:
        filler.unlink()
    scene.running.clock.now += 2.0
    scene.running.turn(2)
    assert scene.store(), "intake resumes by itself"
    told = scene.finish()
    told |= {"refused": refused, "health": health, "operator": operator == Ack(1)}
    print(json.dumps(told))


main()

"""T-34: an implementation that shares no code with ours judges an exported log (golang.org/x/mod/sumdb, from Debian)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.log import open_log
from gateway.ledger.tlog_tiles import write_tlog_tiles
from tests.machine import cannot_run

SOURCE = Path(__file__).parents[1] / "independent" / "tlog_tiles.go"
DEBIAN = Path("/usr/share/gocode")
STREAM = Stream.ACCESS


@pytest.fixture(scope="session")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifier, built without the network."""
    if not shutil.which("go") or not (DEBIAN / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        cannot_run("needs golang-go and golang-golang-x-mod-dev; tests/install-packages installs them")
    directory = tmp_path_factory.mktemp("verifier")
    environment = {
        **os.environ, "GOPATH": str(DEBIAN), "GO111MODULE": "off", "GOFLAGS": "", "CGO_ENABLED": "0",
        "GOCACHE": str(directory / "cache"), "HOME": str(directory),
    }  # fmt: skip
    program = directory / "tlog_tiles"
    done = subprocess.run(
        ["go", "build", "-o", str(program), str(SOURCE)], env=environment, capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stderr
    return program


class Exported:
    def __init__(self, directory: Path, size: int) -> None:
        layout = Layout(directory / "state")
        keys = AuditKeys.generate(origin="gateway/node", created="2026-11-23T00:00:00Z", random=os.urandom)
        log = open_log(layout.state_dir, keys, STREAM, boot="b", capacity=1 << 22)
        rows = [b'{"n":%d}' % i for i in range(size)]
        log.append([(0, range(1, size + 1), rows)], is_safe=True, now_ns=1)
        log.close()
        self.path = directory / "out"
        written = write_tlog_tiles(layout, keys, STREAM, self.path)
        assert written is not None
        self.vkey = str(keys.vkey(written.origin))
        self.size = size

    def judge(self, verifier: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(verifier), str(self.path), self.vkey], capture_output=True, text=True, timeout=60, env={}
        )


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 1000, 66_000])
def test_an_exported_log_is_accepted_by_another_implementation(tmp_path: Path, verifier: Path, size: int) -> None:
    done = Exported(tmp_path, size).judge(verifier)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[::2] == [str(size), str(size)]


def test_whatever_is_changed_in_an_exported_log_is_found_by_another_implementation(
    tmp_path: Path, verifier: Path
) -> None:
    exported = Exported(tmp_path, 700)
    paths = [path for path in exported.path.rglob("*") if path.is_file()]
    assert len(paths) == 1 + 2 * 3 + 1
    for path in paths:
        good = path.read_bytes()
        data = bytearray(good)
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
        done = exported.judge(verifier)
        assert done.returncode == 1, (path, done.stdout)
        path.write_bytes(good)
    assert exported.judge(verifier).returncode == 0


def test_the_key_of_another_node_is_not_accepted(tmp_path: Path, verifier: Path) -> None:
    exported = Exported(tmp_path / "a", 3)
    exported.vkey = Exported(tmp_path / "b", 3).vkey
    assert exported.judge(verifier).returncode == 1

"""The aiohttp reference proxy, see `tests/bench/reference_proxy.py`."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

from tests.bench.candidates.candidate import Candidate
from tests.bench.upstream import PROJECT


class AiohttpProxy(Candidate):
    """aiohttp server and aiohttp client on uvloop."""

    name = "aiohttp"
    work = "proxy, JSON log"

    def binary(self) -> str:
        return sys.executable

    def version(self) -> str:
        versions = importlib.metadata.version
        return f"aiohttp {versions('aiohttp')}, uvloop {versions('uvloop')}, Python {sys.version.split()[0]}"

    def configure(self, room: Path) -> None:
        """Write nothing: the command line has it all."""

    def command(self, room: Path) -> list[str]:
        numbers = (self.port, self.tls_port, self.site.upstream_port, self.site.echo_port)
        ends = [str(room), *map(str, numbers), str(self.site.certificate), str(self.site.key)]
        return [self.binary(), "-m", "tests.bench.reference_proxy", *ends]

    def environment(self, room: Path) -> dict[str, str]:
        del room
        return {"PYTHONPATH": str(PROJECT)}

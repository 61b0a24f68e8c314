"""HAProxy: a stick-table that counts requests by address, and a JSON log line."""

from __future__ import annotations

from pathlib import Path

from tests.bench.candidates.candidate import Candidate, executable, first_line
from tests.bench.site import HOST, write
from tests.bench.upstream import CHAT

CONFIGURATION = """\
global
  nbthread 1
  maxconn 8000
  log stdout format raw local0
defaults
  mode http
  log global
  option http-keep-alive
  timeout connect 2s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  timeout tunnel 1h
frontend public
  bind {host}:{port} backlog 4096
  bind {host}:{tls_port} ssl crt {both} ssl-min-ver TLSv1.2 alpn h2,http/1.1 backlog 4096
  stick-table type ip size 100k expire 1m store http_req_rate(10s)
  http-request track-sc0 src
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 100000000 }}
  http-request set-header X-Forwarded-For %[src]
  http-request capture req.hdr(User-Agent) len 200
  log-format '{{"t":"%[date,ltime(%Y-%m-%dT%H:%M:%S)]","m":%{{+Q}}HM,"u":%{{+Q}}HU,"s":%ST,"b":%B,"d":%Ta,"ip":"%ci","ua":%{{+Q}}[capture.req.hdr(0)]}}'
  use_backend chat if {{ path_beg {chat} }}
  default_backend portal
backend portal
  http-reuse always
  server portal {host}:{upstream} pool-max-conn 256 pool-purge-delay 1h
backend chat
  server chat {host}:{echo}
"""


class HAProxy(Candidate):
    """One process, one thread; the log goes to a file through standard output, one write a line."""

    name = "haproxy"
    work = "proxy, 1 limit, JSON log"
    speaks_http2 = True

    def binary(self) -> str:
        return executable("haproxy", hint="Debian: haproxy")

    def version(self) -> str:
        return " ".join(first_line([self.binary(), "-v"]).split()[:3])

    def configure(self, room: Path) -> None:
        write(
            room / "haproxy.cfg",
            CONFIGURATION.format(
                host=HOST,
                port=self.port,
                tls_port=self.tls_port,
                both=self.site.chain_and_key,
                upstream=self.site.upstream_port,
                echo=self.site.echo_port,
                chat=CHAT,
            ),
        )

    def command(self, room: Path) -> list[str]:
        return [self.binary(), "-f", str(room / "haproxy.cfg")]

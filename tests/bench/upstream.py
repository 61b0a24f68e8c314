"""The upstream: nginx that answers 1 KiB to every path and 10 MiB to one, and a WebSocket echo beside it."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.process import Program, wait_until
from tests.bench.site import BODY_BYTES, DOWNLOAD_BYTES, HOST, Site, user, write

PAGE = "/invoices/2024-11"
DOWNLOAD = "/download/file.bin"
CHAT = "/chat/room"
PROJECT = Path(__file__).resolve().parents[2]

CONFIGURATION = """\
user {user};
daemon off;
worker_processes 1;
pid {room}/nginx.pid;
error_log {room}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  default_type text/html;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  sendfile on;
  tcp_nopush on;
  client_body_temp_path {room}/body; proxy_temp_path {room}/proxy; fastcgi_temp_path {room}/fastcgi;
  uwsgi_temp_path {room}/uwsgi; scgi_temp_path {room}/scgi;
  server {{
    listen {host}:{port} backlog=4096;
    location = {download} {{ default_type application/octet-stream; root {room}/files; }}
    location / {{ return 200 "{body}"; }}
  }}
}}
"""


def page() -> str:
    """Return the 1 KiB body: text that cannot be mistaken for another program's page."""
    line = "An ordinary page of the portal, one kibibyte long. "
    return (line * (BODY_BYTES // len(line) + 1))[:BODY_BYTES]


@contextlib.contextmanager
def serving(site: Site) -> Iterator[None]:
    """Run the upstream on the load cores. Raises StartError."""
    room = site.room("upstream")
    file = room / "files" / DOWNLOAD.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"\xa5" * DOWNLOAD_BYTES)
    text = CONFIGURATION.format(
        user=user(), room=room, host=HOST, port=site.upstream_port, download=DOWNLOAD, body=page()
    )
    configuration = write(room / "nginx.conf", text)
    with contextlib.ExitStack() as stack:
        http = stack.enter_context(
            Program(
                ["nginx", "-c", str(configuration), "-e", str(room / "error.log")],
                cores=site.cores.load,
                output=room / "output",
            )
        )
        echo = stack.enter_context(
            Program(
                [sys.executable, "-m", "tests.bench.echo", str(site.echo_port)],
                cores=site.cores.load,
                output=room / "echo.output",
                directory=PROJECT,
            )
        )
        for program, port in ((http, site.upstream_port), (echo, site.echo_port)):
            wait_until(functools.partial(listens, port), program, seconds=10)
        yield


def listens(port: int) -> bool:
    """Tell whether somebody accepts connections on a loopback port."""
    import socket

    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False

"""A proxy that passes TLS on, and says by the PROXY protocol for whom: HAProxy as Debian ships it."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.machine import free_port
from tests.process.conftest import PROGRAM

PERSON = "127.0.0.77"
CONFIG = """
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend one
  bind 127.0.0.1:{one}
  default_backend one
frontend two
  bind 127.0.0.1:{two}
  default_backend two
backend one
  server gateway 127.0.0.1:{gateway} send-proxy
backend two
  server gateway 127.0.0.1:{gateway} send-proxy-v2 proxy-v2-options crc32c,unique-id check-send-proxy check inter 200ms
"""


@pytest.fixture
def proxied(make_gateway: Callable[..., Any]) -> Any:
    """A gateway whose listener asks for PROXY headers."""
    gateway = make_gateway(workers=1)
    gateway.edit(
        ("trusted_proxies: []", "trusted_proxies: [127.0.0.1]"),
        (
            f"  - address: 127.0.0.1:{gateway.port}\n",
            f"  - address: 127.0.0.1:{gateway.port}\n    proxy_protocol: true\n",
        ),
    )
    gateway.start()
    return gateway


@pytest.fixture
def haproxy(proxied: Any, tmp_path: Path) -> Iterator[dict[str, int]]:
    """HAProxy in front of it; ports by the version of the protocol."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/bin")
    assert program, "install haproxy: tests/install-packages"
    ports = {"one": free_port(), "two": free_port()}
    config = tmp_path / "haproxy.cfg"
    config.write_text(CONFIG.format(gateway=proxied.port, **ports))
    with subprocess.Popen([program, "-db", "-f", str(config)], stderr=subprocess.DEVNULL) as process:
        try:
            proxied.wait_until(lambda: all(is_open(port) for port in ports.values()))
            yield ports
        finally:
            process.terminate()


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def ask(gateway: Any, port: int, address: str = PERSON) -> int:
    context = ssl.create_default_context(cafile=str(gateway.directory / "config" / "tls" / "cert.pem"))
    connection = http.client.HTTPSConnection(
        "localhost", port, timeout=20, context=context, source_address=(address, 0)
    )
    try:
        fields = {"Host": f"localhost:{gateway.port}", "X-Forwarded-For": "6.6.6.6"}
        connection.request("GET", "/.gateway/jwks.json", headers=fields)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("version", ["one", "two"])
def test_the_client_behind_haproxy_is_who_the_header_names(proxied: Any, haproxy: dict[str, int], version: str) -> None:
    assert ask(proxied, haproxy[version]) == 200
    lines = proxied.cli("audit", "query", "--json").stdout
    assert f'"ip":"{PERSON}"' in lines.replace(" ", "")
    assert "6.6.6.6" not in lines
    assert proxied.ready()[0] == 200


def test_who_reaches_the_listener_of_the_proxies_directly_gets_nothing(proxied: Any) -> None:
    with pytest.raises(OSError):
        ask(proxied, proxied.port)
    assert proxied.metric('gateway_connections_refused_total{reason="not_a_proxy"}') == 1
    with pytest.raises(OSError):
        ask(proxied, proxied.port, "127.0.0.1")
    assert proxied.metric('gateway_connections_refused_total{reason="proxy_header"}') == 1
    proxied.wait_until(lambda: '"connections.refused"' in proxied.log.read_text())
    assert PERSON not in proxied.log.read_text()


def test_the_protocol_is_switched_by_a_restart_only(proxied: Any) -> None:
    proxied.edit(("proxy_protocol: true", "proxy_protocol: false"))
    done = proxied.cli("reload")
    assert done.returncode == 2
    assert "listen: changed" in done.stderr


def test_a_worker_with_too_few_files_says_how_many_clients_it_serves(make_gateway: Callable[..., Any]) -> None:
    gateway = make_gateway(workers=1)
    command = ["prlimit", "--nofile=1200:1200", *PROGRAM, "run", "-c", str(gateway.config)]
    with gateway.log.open("ab") as log:
        gateway.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
    gateway.wait_until(lambda: gateway.ready()[0] == 200)
    (line,) = [json.loads(line) for line in gateway.log.read_text().splitlines() if '"connections.limited"' in line]
    assert line["open_files_allowed"] == 1200
    assert line["max_connections"] == 1200 - (line["open_files_needed"] - 8192)

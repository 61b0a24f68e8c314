"""Whole gateways in front of a portal with faults."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fault.upstream import Upstream
from tests.process.conftest import Browser, Gateway

SETTINGS = """
version: 1
public_url: https://localhost:{port}
listen:
  - address: 127.0.0.1:{port}
    tls: {{certificate: config/tls/cert.pem, key: config/tls/key.pem}}
admin: {{address: 127.0.0.1:{admin_port}}}
workers: auto
state_dir: state
upstreams:
  portal: {{servers: ["http://127.0.0.1:{portal}"], timeout: {{connect: 2s, response: 3s, idle: 5m}}}}
tenants:
  main: {{hosts: [localhost]}}
identity:
  providers:
    - {{id: local, type: password}}
mfa: {{required: always, methods: [totp, recovery]}}
sessions: {{idle: 15m, absolute: 8h}}
policies: policies/
limits:
  client: {{rate: 100000/s, burst: 100000, per: ip}}
  login: {{rate: 1000/s, burst: 1000, per: ip}}
http: {{head_timeout: 2s, body_timeout: 2s, max_connections: 4000}}
logging: {{requests: false}}
audit: {{durability: group, keys: config/audit-keys.json}}
"""
CASES = """
cases:
  - name: a client opens the portal
    as: {{user: alice, tenant: main, roles: [client], mfa_age: 60s}}
    request: GET https://localhost:{port}/
    expect: {{decision: allow, route: portal}}
"""
POLICY = """
version: 1
roles:
  client: {}
routes:
  - name: portal
    match: {path: "/**", methods: [GET, HEAD, POST, PUT, PATCH, DELETE]}
    upstream: portal
    allow:
      - roles: [client]
  - name: upload
    match: {path: "/sink/**", methods: [POST]}
    upstream: portal
    max_body: 2GiB
    allow:
      - roles: [client]
  - name: public
    match: {path: "/public/**", methods: [GET, POST]}
    upstream: portal
    public: true
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """A portal with faults, for the tests of one file."""
    portal = Upstream()
    yield portal
    portal.close()


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Gateway:
    """A configuration without tight limits, with the user alice; tests run copies of it."""
    gateway = Gateway(tmp_path_factory.mktemp("configured") / "g")
    gateway.init(upstream)  # type: ignore[arg-type]  # it needs the port alone
    ports = {"port": gateway.port, "admin_port": gateway.admin_port, "portal": upstream.port}
    gateway.config.write_text(SETTINGS.format(**ports))
    (gateway.directory / "policies" / "tests" / "portal.yaml").write_text(CASES.format(**ports))
    (gateway.directory / "policies" / "portal.yaml").write_text(POLICY)
    gateway.add_user()
    return gateway


@pytest.fixture
def make_gateway(tmp_path: Path, configured: Gateway) -> Iterator[Callable[..., Gateway]]:
    """Make configured gateways, not started; those that run are stopped at the end, and killed if they do not."""
    made: list[Gateway] = []

    def make(name: str = "g", *, workers: int = 2, directory: Path | None = None) -> Gateway:
        gateway = configured.copy(directory or tmp_path / name)
        gateway.edit(("workers: auto", f"workers: {workers}"))
        made.append(gateway)
        return gateway

    yield make
    for gateway in made:
        if gateway.process:
            try:
                gateway.stop()
            finally:
                with suppress(ProcessLookupError):
                    os.kill(gateway.process.pid, signal.SIGKILL)


@pytest.fixture
def gateway(make_gateway: Callable[..., Gateway], upstream: Upstream) -> Gateway:
    """A gateway of two workers that is ready."""
    upstream.effects.clear()
    upstream.release.clear()
    made = make_gateway()
    made.start()
    return made


@pytest.fixture
def browser(gateway: Gateway) -> Browser:
    """A browser in which alice has signed in."""
    browser = Browser(gateway)
    browser.sign_in()
    return browser


@pytest.fixture
def make_browser() -> type[Browser]:
    """A browser for a gateway of the test's own."""
    return Browser

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
    gateway.edit(
        ("client: {rate: 50/s, burst: 200, per: ip}", "client: {rate: 100000/s, burst: 100000, per: ip}"),
        ("login: {rate: 10/m, burst: 10, per: ip}", "login: {rate: 1000/s, burst: 1000, per: ip}"),
        ("response: 30s", "response: 3s"),
        ("audit: {", "http: {head_timeout: 2s, body_timeout: 2s, max_connections: 4000}\nlogging: {requests: false}\naudit: {"),
    )
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

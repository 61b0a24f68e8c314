"""What the system allows decides how many clients fit, and a process that could serve nobody does not start."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.exchange.errors import GatewayError
from gateway.server.descriptors import FEWEST, RESERVE, allow_files, files_needed, room_for_clients
from gateway.server.settings import Settings, load_settings

TEXT = """
version: 1
public_url: https://portal.example.com
listen: [{address: "127.0.0.1:8443", tls: {certificate: a, key: b}}]
upstreams:
  portal: {servers: ["http://127.0.0.1:3000"], max_connections: 100}
  wiki: {servers: ["http://127.0.0.1:3001"], max_connections: 50}
http: {max_connections: 1000}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(TEXT, tmp_path / "gateway.yaml")


@pytest.fixture
def few_files() -> Iterator[int]:
    """A soft limit far below the hard one; returns the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_clients_portals_and_our_own_files_are_counted(settings: Settings) -> None:
    assert files_needed(settings) == 1000 + 150 + RESERVE


def test_the_limit_is_raised_as_far_as_is_needed(few_files: int) -> None:
    assert allow_files(512) == 512
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 512
    assert allow_files(300) == 300
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 512


def test_the_limit_is_never_raised_beyond_what_the_system_allows(few_files: int) -> None:
    if few_files == resource.RLIM_INFINITY:
        assert allow_files(1 << 20) == 1 << 20
    else:
        assert allow_files(few_files + 1) == few_files


def test_fewer_files_leave_room_for_fewer_clients(settings: Settings) -> None:
    assert room_for_clients(settings, 5000) == 1000
    assert room_for_clients(settings, files_needed(settings)) == 1000
    assert room_for_clients(settings, files_needed(settings) - 400) == 600


def test_a_process_that_could_serve_nobody_says_so(settings: Settings) -> None:
    with pytest.raises(GatewayError, match="limit on open files is 470"):
        room_for_clients(settings, 470)
    assert room_for_clients(settings, 150 + RESERVE + FEWEST) == FEWEST

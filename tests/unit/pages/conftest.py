from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest

from gateway.store.keyring import Keyring
from gateway.store.redis_options import RedisOptions
from tests.fakes.pages_site import Browser, Site, make_state, open_site
from tests.fakes.redis_servers import Server, standalone


class SiteMaker(Protocol):
    """Serves the pages with other options."""

    def __call__(self, **options: Any) -> AbstractAsyncContextManager[Site]: ...


@pytest.fixture(scope="session")
def empty_state(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Keyring]:
    directory = tmp_path_factory.mktemp("state")
    return directory, make_state(directory)


OVER_TWO_NODES = frozenset(
    (
        "test_account",
        "test_factor",
        "test_kept",
        "test_new_device",
        "test_oidc",
        "test_passkey",
        "test_reset",
        "test_session_room",
        "test_sign_in",
    )
)
"""Everything about signing in runs on two gateways over one Redis too, one request here, the next one there."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("sqlite"):
        return
    if "nodes" in metafunc.fixturenames and metafunc.module.__name__.rpartition(".")[2] in OVER_TWO_NODES:
        metafunc.parametrize("nodes", [1, 2], indirect=True, ids=["one-node", "two-nodes"])


@pytest.fixture
def nodes(request: pytest.FixtureRequest) -> int:
    """How many gateways serve the pages."""
    return getattr(request, "param", 1)


@pytest.fixture(scope="session")
def redis() -> Iterator[Server]:
    """A Redis for all tests; each has a prefix of its own."""
    with standalone() as server:
        yield server


@pytest.fixture
def make_site(
    tmp_path: Path, empty_state: tuple[Path, Keyring], nodes: int, request: pytest.FixtureRequest
) -> SiteMaker:
    options_of_redis = None
    if nodes > 1:
        port = request.getfixturevalue("redis").port
        options_of_redis = RedisOptions(
            nodes=(("127.0.0.1", port),), prefix=f"gateway-{os.urandom(8).hex()}", timeout_s=2.0
        )

    def make(**options: Any) -> AbstractAsyncContextManager[Site]:
        return open_site(tmp_path, *empty_state, redis=options_of_redis, **options)

    return make


@pytest.fixture
async def site(make_site: SiteMaker) -> AsyncIterator[Site]:
    """The pages with two people: alice with an authenticator app, bob without."""
    async with make_site() as site:
        site.add_user("alice")
        site.add_user("bob", totp=False)
        yield site


@pytest.fixture
def browser(site: Site) -> Browser:
    return site.browser()

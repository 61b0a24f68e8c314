from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest

from gateway.store.keyring import Keyring
from tests.fakes.pages_site import Browser, Site, make_state, open_site


class SiteMaker(Protocol):
    """Serves the pages with other options."""

    def __call__(self, **options: Any) -> AbstractAsyncContextManager[Site]: ...


@pytest.fixture(scope="session")
def empty_state(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Keyring]:
    directory = tmp_path_factory.mktemp("state")
    return directory, make_state(directory)


@pytest.fixture
def make_site(tmp_path: Path, empty_state: tuple[Path, Keyring]) -> SiteMaker:
    def make(**options: Any) -> AbstractAsyncContextManager[Site]:
        return open_site(tmp_path, *empty_state, **options)

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

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.pages_site import Browser, Site, open_site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """The pages with two people: alice with an authenticator app, bob without."""
    async with open_site(tmp_path) as site:
        site.add_user("alice")
        site.add_user("bob", totp=False)
        yield site


@pytest.fixture
def browser(site: Site) -> Browser:
    return site.browser()

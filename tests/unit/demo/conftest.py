from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import CookieJar
from aiohttp.test_utils import TestClient, TestServer

from gateway.demo.portal import portal

BILLING = {"X-Gateway-User": "billing", "X-Gateway-Tenant": "acme", "X-Gateway-Roles": "billing, client"}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[TestClient[Any, Any]]:
    """A browser of acme's, straight at the portal."""
    async with TestClient(TestServer(portal(tmp_path)), headers=BILLING, cookie_jar=CookieJar(unsafe=True)) as made:
        yield made

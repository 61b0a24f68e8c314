"""What people bring along to portals, put together for an edge out of the state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from gateway.edge.escorts import Escorts, Tokens
from gateway.store.generations import Generations
from gateway.store.keyring import Keyring
from gateway.store.portal_accounts import PortalAccounts
from gateway.store.state import Store
from gateway.store.vaults import VaultCache, Vaults


def build_escorts(
    store: Store,
    keyring: Keyring,
    tokens: Tokens | None,
    *,
    loop: asyncio.AbstractEventLoop,
    report: Callable[[str, str], None],
) -> Escorts:
    """Make the escorts of one edge worker. Where the state is not on this machine, nothing of it is remembered."""
    generations = cast("Generations | None", getattr(store.rows, "generations", None))  # SQLite's alone
    return Escorts(
        VaultCache(Vaults(store.rows, store.sealer, keyring), generations),
        PortalAccounts(store.rows, store.sealer),
        tokens,
        loop=loop,
        report=report,
    )

"""Disables emergency accounts for good that are over and that nobody closed, with a record of each before it is done.

The pages process does it, once a minute, because it looks after the store. What cannot be recorded is not done, and tried again.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import Final

import structlog

from gateway.audit import record
from gateway.audit.protocol import PAGES_SLOT
from gateway.audit.subject import CHANGED_NAME, CHANGED_UID, Sealing, seal_fields
from gateway.exchange.errors import AuditUnavailableError
from gateway.ledger.producer import Build, append_with_badge
from gateway.server.control import Boot
from gateway.store.executor import BoundedExecutor
from gateway.store.records import User
from gateway.store.sealing import SealBrokenError
from gateway.store.state import Store

EVENT: Final = "break_glass.expired"
_RECORD_WAIT_S: Final = 5.0
_log = structlog.get_logger()


class EmergencyKeeper:
    """Ends the emergencies of one gateway."""

    def __init__(self, boot: Boot, storing: BoundedExecutor) -> None:
        self._boot = boot
        self._storing = storing
        self._has_looked = False

    async def end_those_over(self, store: Store, *, seals: bool, now: float) -> int:
        """Disable every account that is over and end its sessions; returns how many. Raises `StoreUnavailableError`.

        `seals`: records name people under their keys. The first time all accounts are looked at: the state may be a backup.
        """
        over = await self._storing.run(partial(store.emergencies.over, now, everybody=not self._has_looked))
        self._has_looked = True
        ended = 0
        for user in over:
            build = partial(_build, store, user, seals=seals, now=now)
            try:
                await asyncio.to_thread(self._record, await self._storing.run(build))
                undone = await self._storing.run(partial(_close, store, user, now))
                if undone:
                    untrue = partial(build, reason=undone)
                    await asyncio.to_thread(self._record, await self._storing.run(untrue))
            except AuditUnavailableError as error:
                _log.warning("break_glass.not_ended", reason=str(error))
                return ended
            ended += not undone
        return ended

    def _record(self, build: Build) -> None:
        append_with_badge(
            self._boot.state_dir,
            self._boot.badge,
            [build],
            slot=PAGES_SLOT,
            node=self._boot.node,
            boot_uid=self._boot.boot_id,
            timeout_s=_RECORD_WAIT_S,
        )


def _close(store: Store, user: User, now: float) -> str:
    """Have an account rest again; returns why not, empty when it does."""
    try:
        changed = store.change_user(user, user.closed(), now=now)
    except SealBrokenError as error:  # of an API key of theirs; the others are ended all the same
        _log.warning("break_glass.not_ended", reason=str(error))
        return "damaged"
    return "changed_meanwhile" if changed is None else ""  # somebody closed or opened it: looked at again


def _build(store: Store, user: User, *, seals: bool, now: float, reason: str = "") -> Build:
    """Return the record; with a `reason`, that it was not done after all."""
    build: Build = partial(
        record.account_change,
        event=EVENT,
        actor=record.system_actor("gateway", ""),
        user_uid=user.id,
        user_name=user.name,
        tenant=user.tenant,
        success=not reason,
        reason=reason,
        more={"break_glass": {"until": int(user.until * 1000)}},
    )
    if not seals:
        return build
    # attack: a bit of one row, and the account and all behind it stay open
    sealing = Sealing(store.subjects.of_despite_damage(user.id, user.tenant, now=now), os.urandom)
    return partial(_sealed, build, sealing)


def _sealed(build: Build, sealing: Sealing, stamp: record.Stamp) -> dict[str, object]:
    return seal_fields(build(stamp), {CHANGED_UID: sealing, CHANGED_NAME: sealing})

"""Gives events of the pages the keys under which the audit record seals their people.

A key that cannot be had leaves the event without: the edge then takes one of its own. Nothing is refused for it.
"""

from __future__ import annotations

import time
from functools import partial

import msgspec

from gateway.exchange.envelope import Event
from gateway.exchange.errors import StoreUnavailableError
from gateway.store.executor import BoundedExecutor, OverloadedError
from gateway.store.subjects import SubjectKeys


class SubjectEvents:
    """The seam of the pages over the keys of one store."""

    __slots__ = ("_executor", "_keys")

    def __init__(self, keys: SubjectKeys, executor: BoundedExecutor) -> None:
        self._keys = keys
        self._executor = executor

    async def seal(self, events: list[Event]) -> list[Event]:
        """Return the events, each with the key of whom it names."""
        if not any(event.user_id for event in events):
            return events
        try:
            return await self._executor.run(partial(self._sealed, events))
        except (StoreUnavailableError, OverloadedError):
            return events

    def _sealed(self, events: list[Event]) -> list[Event]:
        now = time.time()
        return [
            msgspec.structs.replace(event, subject=self._keys.of(event.user_id, event.tenant, now=now))
            if event.user_id
            else event
            for event in events
        ]

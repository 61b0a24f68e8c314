"""Sends what waits in the queue, in a rhythm of its own: each letter until it is taken, refused, or too old.

A try is announced in the queue before it is made, so two nodes never send one letter at once, and a letter whose
try nobody reported on is tried again under the same Message-ID. It never wakes for a letter: how long an answer
took must not tell whether one was queued.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import msgspec
import structlog

from gateway.exchange.errors import GatewayError
from gateway.exchange.letter import Letter
from gateway.exchange.metrics import Registry
from gateway.post.smtp import NotTakenError
from gateway.post.writing import Writer

TICK_S: Final = 1.0
BATCH: Final = 50
_EXPIRED: Final = "expired"
_UNWRITABLE: Final = "unwritable"
_log = structlog.get_logger("gateway.post")


class Queue(Protocol):
    """Where letters wait; called in a thread. Raises GatewayErrors when it cannot be used."""

    def due(self, *, now: float, limit: int) -> list[Letter]:
        """Return letters whose time has come."""
        ...

    def claim(self, letter: Letter, *, now: float, until: float) -> Letter | None:
        """Announce one try; None when the letter is somebody else's or gone."""
        ...

    def defer(self, letter: Letter, *, now: float, due: float) -> bool:
        """Offer a claimed letter again from `due` on."""
        ...

    def remove(self, letter: Letter) -> bool:
        """Forget a letter."""
        ...

    def count(self, *, now: float) -> int:
        """Count the letters that wait."""
        ...


class Carrier(Protocol):
    """Hands over finished mail."""

    async def submit(self, *, sender: str, recipient: str, mail: bytes) -> None:
        """Hand over one mail. Raises NotTakenError."""
        ...


class Threads(Protocol):
    """Runs work that blocks."""

    async def __call__(self, work: Callable[[], Any]) -> Any:
        """Run it, and return what it returns."""
        ...


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """When a letter is tried again. Seconds."""

    first_s: float = 30.0
    longest_s: float = 1800.0
    lease_s: float = 120.0
    """Longer than any try takes."""

    def wait(self, tries: int) -> float:
        """Return the wait after so many tries."""
        return min(self.first_s * 2.0 ** min(tries - 1, 32), self.longest_s)


class MailMetrics:
    """What mail did, counted once a process."""

    def __init__(self, registry: Registry) -> None:
        """Declare the metrics."""
        self.queued = registry.counter(
            "gateway_mail_queued_total", "Letters put into the queue, by what they are about.", ("matter",)
        )
        self.sent = registry.counter(
            "gateway_mail_sent_total", "Letters the mail server took, by what they are about.", ("matter",)
        )
        self.deferred = registry.counter(
            "gateway_mail_deferred_total", "Tries after which a letter waits on, by what went wrong.", ("fault",)
        )
        self.failed = registry.counter(
            "gateway_mail_failed_total", "Letters that were given up or not accepted, by why.", ("fault",)
        )
        self.waiting = registry.gauge("gateway_mail_queue_letters", "Letters that wait to be sent.")


class Postman:
    """Delivers for one process. Cancel `run` to stop; a letter in hand is offered again after its lease."""

    def __init__(
        self,
        queue: Queue,
        writer: Writer,
        carrier: Carrier,
        *,
        retry: Retry,
        threads: Threads,
        metrics: MailMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._queue = queue
        self._writer = writer
        self._carrier = carrier
        self._retry = retry
        self._threads = threads
        self._metrics = metrics
        self._clock = clock
        self._is_away = False

    async def run(self) -> None:
        """Deliver for ever. A queue that cannot be used is waited for."""
        while True:
            try:
                await self.deliver()
                self._is_away = False
            except GatewayError as error:
                if not self._is_away:
                    _log.warning("mail.queue_unavailable", error=str(error))
                self._is_away = True
            await asyncio.sleep(TICK_S)

    async def deliver(self) -> int:
        """Try every letter that is due, one after the other; returns how many were taken. Raises GatewayErrors of the queue."""
        taken = 0
        now = self._clock()
        for letter in await self._threads(partial(self._queue.due, now=now, limit=BATCH)):
            taken += await self._deliver(letter)
        self._metrics.waiting.set(await self._threads(partial(self._queue.count, now=self._clock())))
        return taken

    async def _deliver(self, letter: Letter) -> bool:
        now = self._clock()
        if not letter.to:
            await self._threads(partial(self._queue.remove, letter))
            return False
        if now >= letter.expires:
            return await self._give_up(letter, _EXPIRED)
        claimed = await self._threads(partial(self._queue.claim, letter, now=now, until=now + self._retry.lease_s))
        if claimed is None:
            return False
        try:
            mail = self._writer.write(claimed)
        except ValueError:
            return await self._give_up(claimed, _UNWRITABLE)
        try:
            await self._carrier.submit(sender=self._writer.sender, recipient=claimed.to, mail=mail)
        except NotTakenError as error:
            return await self._put_off(claimed, error)
        await self._threads(partial(self._queue.remove, claimed))
        self._metrics.sent.inc((claimed.matter,))
        _log.info("mail.sent", letter=claimed.id, matter=str(claimed.notice or claimed.matter), tries=claimed.tries)
        return True

    async def _put_off(self, letter: Letter, error: NotTakenError) -> bool:
        now = self._clock()
        due = now + self._retry.wait(letter.tries)
        if error.is_final or due >= letter.expires:
            return await self._give_up(letter, error.fault)
        await self._threads(partial(self._queue.defer, letter, now=now, due=due))
        self._metrics.deferred.inc((error.fault,))
        _log.warning(
            "mail.deferred",
            letter=letter.id,
            matter=str(letter.notice or letter.matter),
            fault=str(error.fault),
            error=str(error),
            tries=letter.tries,
            wait_s=round(due - now),
        )
        return False

    async def _give_up(self, letter: Letter, fault: str) -> bool:
        await self._threads(partial(self._queue.remove, letter))
        self._metrics.failed.inc((fault,))
        _log.error(
            "mail.failed",
            letter=letter.id,
            matter=str(letter.notice or letter.matter),
            fault=str(fault),
            tries=letter.tries,
            user_id=letter.user_id,
        )
        return False

"""Tells people what happened to their account: the gateway's `Notices`.

A notice is a letter in the queue. Nothing that goes wrong here reaches whoever did the thing: it is logged and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import structlog

from gateway.authn.address import is_address
from gateway.exchange.errors import GatewayError
from gateway.exchange.letter import Letter, Matter
from gateway.exchange.notice import NOWHERE, Circumstances, Notice
from gateway.post.postman import MailMetrics, Threads

ID_BYTES: Final = 16
_log = structlog.get_logger("gateway.post")


class Person(Protocol):
    """Who is told."""

    @property
    def id(self) -> str:
        """Opaque."""
        ...

    @property
    def name(self) -> str:
        """Canonical."""
        ...

    @property
    def tenant(self) -> str:
        """Whose brand the letter shows."""
        ...

    @property
    def email(self) -> str:
        """Empty = the person cannot be told."""
        ...


class MailedNotices:
    """`Notices` by mail."""

    def __init__(
        self,
        *,
        person: Callable[[str], Person | None],
        put: Callable[[Letter, float], bool],
        host: Callable[[str], str],
        describe: Callable[[Circumstances], Circumstances],
        threads: Threads,
        metrics: MailMetrics,
        keep_s: float,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        """Take what is needed of the rest of the gateway.

        Args:
            person: finds an account by its id; runs in a thread.
            put: queues a letter at a time, False when the queue is full; runs in a thread.
            host: names the host of a tenant.
            describe: puts device and place into words.
            threads: runs the two.
            metrics: are counted.
            keep_s: for how long a notice is tried.
            clock: unix seconds.
            random: of the operating system.

        """
        self._person = person
        self._put = put
        self._host = host
        self._describe = describe
        self._threads = threads
        self._metrics = metrics
        self._keep_s = keep_s
        self._clock = clock
        self._random = random

    async def notify(self, user_id: str, notice: Notice, *, circumstances: Circumstances = NOWHERE) -> None:
        """Queue a notice to the owner of an account; an account without a plain address is not told."""
        try:
            await self._threads(partial(self.tell, user_id, notice, circumstances))
        except GatewayError as error:  # no thread was free
            self._metrics.failed.inc(("queue_unavailable",))
            _log.error("mail.not_queued", notice=str(notice), user_id=user_id, error=str(error))

    def tell(self, user_id: str, notice: Notice, circumstances: Circumstances = NOWHERE) -> None:
        """Do the same at once, for callers in the store's thread."""
        try:
            is_full = not self.queue(user_id, notice, circumstances)
        except GatewayError as error:
            self._metrics.failed.inc(("queue_unavailable",))
            _log.error("mail.not_queued", notice=str(notice), user_id=user_id, error=str(error))
            return
        if is_full:
            self._metrics.failed.inc(("queue_full",))
            _log.error(
                "mail.not_queued", notice=str(notice), user_id=user_id, error="the queue is full; see mail.queue"
            )

    def queue(self, user_id: str, notice: Notice, circumstances: Circumstances = NOWHERE) -> bool:
        """Do the same for callers who say themselves what went wrong; False when the queue is full.

        Raises:
            GatewayError: the queue cannot be used.

        """
        now = self._clock()
        person = self._person(user_id)
        if person is None or not is_address(person.email):
            return True
        letter = Letter(
            id=self._random(ID_BYTES).hex(),
            matter=Matter.NOTICE,
            notice=notice,
            to=person.email,
            user=person.name,
            user_id=person.id,
            tenant=person.tenant,
            host=self._host(person.tenant),
            circumstances=self._describe(circumstances),
            created=now,
            expires=now + self._keep_s,
        )
        is_taken = self._put(letter, now)
        if is_taken:
            self._metrics.queued.inc((letter.matter,))
        return is_taken

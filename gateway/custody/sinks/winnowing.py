"""Finds the records of a batch that a receiver will never take, and delivers the others.

A batch that is refused is offered in halves, down to single records. What was settled stays settled while
deliveries fail in between. A record counts as refused only if the receiver refuses it again after it took another one
of the batch: else whatever it was offered while it was out of order would be given up. Whether it is the receiver's own
fault that it takes nothing at all is not decided here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gateway.audit.delivery import Batch
from gateway.custody.sinks.sink import RefusedRecordsError


class Winnowing:
    """One batch on its way to one receiver."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.has_taken = False
        """The receiver has at least one of its records, or is known to take others."""
        self._left = [batch]
        """Parts that are still to be offered, the first last."""
        self._doubtful: dict[int, str] = {}
        """Refused alone, and to be offered once more."""
        self._refused: dict[int, str] = {}

    async def deliver(self, hand_over: Callable[[Batch], Awaitable[None]]) -> dict[int, str]:
        """Deliver what is left; returns what is refused for good, and why: all of it where nothing was taken.

        After a failure, which `hand_over` raises, call it again: it goes on from there.
        """
        while self._left:
            await self._offer(self._left[-1], hand_over)
        while self._doubtful and self.has_taken:
            index = next(iter(self._doubtful))
            place = index - self.batch.first
            try:
                await hand_over(self.batch.part(place, place + 1))
            except RefusedRecordsError as error:
                self._refused[index] = error.detail
            del self._doubtful[index]
        return self._refused | self._doubtful

    async def _offer(self, part: Batch, hand_over: Callable[[Batch], Awaitable[None]]) -> None:
        count = len(part.deliveries)
        try:
            await hand_over(part)
        except RefusedRecordsError as error:
            self._left.pop()
            if error.indexes is not None and len(error.indexes) < count:  # it took the others in the same breath
                self._refused |= dict.fromkeys(error.indexes, error.detail)
                self.has_taken = True
            elif error.indexes is not None:
                self._doubtful |= dict.fromkeys(error.indexes, error.detail)
            elif count == 1:
                self._doubtful[part.first] = error.detail
            else:
                self._left += (part.part(count // 2, count), part.part(0, count // 2))
            return
        self._left.pop()
        self.has_taken = True

"""What stops an answer on its way to the client."""

from __future__ import annotations

from gateway.edge.exchange import Refusal


class WithheldError(Exception):
    """The rest of an answer must not reach the client."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason.value)
        self.refusal = refusal

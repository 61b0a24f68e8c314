"""One producer's connection to the audit daemon, and what is known of it."""

from __future__ import annotations

import socket
from collections import deque

from gateway.audit.protocol import RequestDecoder
from gateway.exchange.stream import Stream

MAX_REMOTE = 8192
"""Frames of one producer that wait for a sink: who waited longer gave up long ago."""


class Connection:
    """Not trusted with anything until its slot is known."""

    __slots__ = ("decoder", "expected", "is_waiting", "out", "remote", "slot", "sock")

    def __init__(self, sock: socket.socket) -> None:
        """`sock` does not block."""
        self.sock = sock
        self.decoder = RequestDecoder()
        self.slot = -1
        """That of its producer; -1 before HELLO."""
        self.expected = 0
        """Next sequence; 0 before the first frame."""
        self.is_waiting = False
        """Said HELLO while another connection still has the slot."""
        self.out = bytearray()
        """Replies that the socket does not take yet."""
        self.remote: deque[tuple[int, dict[Stream, int]]] = deque(maxlen=MAX_REMOTE)
        """Last sequence of each frame that has to be elsewhere too, and the size that each stream has with it."""

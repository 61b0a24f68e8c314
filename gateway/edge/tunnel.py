"""A WebSocket between a client and an upstream: when it may be spoken to from the middle, and how it ends.

A tunnel that must end is told so by a Close frame on both sides (RFC 6455 §7.4), which may only stand
between two frames: until the frame under way is complete, the rest of it passes and nothing else. Says
nothing about why a tunnel ends, and looks into no message.
"""

from __future__ import annotations

import os
from typing import Final

from gateway.edge.upstream import UpstreamConnection
from gateway.wire.websocket import FrameTracker, close_frame, masked_close_frame

FRAME_GRACE_S: Final = 0.25
"""How long a tunnel that must end waits for the end of a frame before it is cut."""
LEAVING_SHARE: Final = 0.7
"""Part of the time to drain over which open tunnels and streams are sent away: their clients come back at once."""
_GOLDEN: Final = 0.6180339887498949


class Tunnel:
    """Both directions of one WebSocket."""

    __slots__ = ("_from_client", "_from_server", "_is_upstream_told", "code", "is_ending", "is_open")

    def __init__(self) -> None:
        self._from_client = FrameTracker(from_client=True)
        self._from_server = FrameTracker(from_client=False)
        self._is_upstream_told = False
        self.is_open = False
        """The 101 left for the client."""
        self.is_ending = False
        """It was decided that the tunnel ends: nothing of the client passes any more."""
        self.code = 0
        """What the client will be told."""

    # what passes

    def take_from_client(self, data: bytes) -> bool:
        """Follow what the client sends; False when it must not go on (RFC 6455 §5.1: the server closes)."""
        self._from_client.feed(data)
        return not self._from_client.is_faulty

    def take_from_server(self, data: bytes) -> bytes:
        """Follow what the upstream sends; returns what of it may pass."""
        if self.is_ending:
            return self._from_server.rest_of_frame(data)
        self._from_server.feed(data)
        return data

    # how it stands

    @property
    def is_between_frames(self) -> bool:
        """The client can be told something now."""
        return self._from_server.at_boundary

    @property
    def is_closed_by_client(self) -> bool:
        """The client sent its Close frame."""
        return self._from_client.is_closed

    @property
    def is_closed_by_server(self) -> bool:
        """The upstream sent its Close frame."""
        return self._from_server.is_closed

    def has_spoken(self) -> bool:
        """Whether the client sent a message since this was last asked: pings and their answers are none."""
        spoke, self._from_client.has_message = self._from_client.has_message, False
        return spoke

    # how it ends

    def word_to_client(self, code: int) -> bytes:
        """A Close frame for the client; nothing when it had one, or would take it for a part of another frame."""
        if self._from_server.is_closed or not self._from_server.at_boundary:
            return b""
        return close_frame(code)

    def tell_upstream(self, connection: UpstreamConnection, code: int) -> None:
        """Send the upstream a Close frame, once, if it can be told from what the client sent."""
        if not self._is_upstream_told and self._from_client.at_boundary and not self._from_client.is_closed:
            connection.write(masked_close_frame(code, os.urandom(4)))
        self._is_upstream_told = True

    def leave_upstream(self, connection: UpstreamConnection, code: int) -> None:
        """Tell the upstream and hang up; one that does not take its bytes is not waited for."""
        transport = connection.transport
        connection.exchange = None
        if transport is None or transport.is_closing():
            return
        self.tell_upstream(connection, code)
        if transport.get_write_buffer_size():
            connection.abort()
        else:
            connection.close()


def leaving_share(request_id: bytes) -> float:
    """When in the time to drain a tunnel is sent away, 0 to 1: the numbers of requests, spread evenly.

    attack: a stampede of the gateway's own making, when all browsers come back in the same instant.
    """
    return int(request_id[-8:], 16) * _GOLDEN % 1.0 * LEAVING_SHARE

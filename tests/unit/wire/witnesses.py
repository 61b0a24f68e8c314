"""Other parsers of HTTP/1, asked the same question: which message do these bytes hold, and what is left of them?

llhttp (Node's, inside aiohttp), aiohttp's own in Python, and h11. None of them shares a line with `gateway.wire`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import h11
from aiohttp import http_exceptions
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy


class Message(NamedTuple):
    """A request as one parser reads it."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    """Names in lower case, in order."""
    body: bytes


class RefusedError(Exception):
    """The parser says that the bytes are no request."""


Witness = Callable[[bytes, asyncio.AbstractEventLoop], list[Message]]


def _aiohttp(parser: Any, data: bytes, loop: asyncio.AbstractEventLoop) -> list[Message]:
    made = parser(
        BaseProtocol(loop),
        loop,
        1 << 16,
        max_line_size=1 << 17,
        max_field_size=1 << 17,
        max_headers=1000,
        auto_decompress=False,
    )
    try:
        messages, _, _ = made.feed_data(data)
    except (http_exceptions.HttpProcessingError, ValueError) as error:
        raise RefusedError(str(error)) from error
    found = []
    for message, payload in messages:
        if not payload.is_eof():
            raise RefusedError("the body does not end")
        if payload.exception() is not None:
            raise RefusedError(str(payload.exception()))
        body = b"".join(getattr(payload, "_buffer", ()))
        fields = tuple((bytes(name).lower(), bytes(value)) for name, value in message.raw_headers)
        found.append(
            Message(message.method.encode("ascii"), message.path.encode("utf-8", "surrogateescape"), fields, body)
        )
    return found


def llhttp(data: bytes, loop: asyncio.AbstractEventLoop) -> list[Message]:
    """Read all requests of a connection with llhttp."""
    return _aiohttp(HttpRequestParser, data, loop)


def pure(data: bytes, loop: asyncio.AbstractEventLoop) -> list[Message]:
    """Read all requests of a connection with aiohttp's parser in Python."""
    return _aiohttp(HttpRequestParserPy, data, loop)


def h11s(data: bytes, loop: asyncio.AbstractEventLoop) -> list[Message]:
    """Read all requests of a connection with h11."""
    found: list[Message] = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 18)
    connection.receive_data(data)
    request: h11.Request | None = None
    body = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise RefusedError(str(error)) from error
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            fields = tuple((bytes(name), bytes(value)) for name, value in request.headers)
            found.append(Message(request.method, request.target, fields, body))
            rest = connection.trailing_data[0]
            if not rest:
                return found
            connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 18)
            connection.receive_data(rest)
        else:
            if not found or connection.their_state is not h11.IDLE or connection.trailing_data[0]:
                raise RefusedError("the message does not end")
            return found


WITNESSES: tuple[Witness, ...] = (llhttp, pure, h11s)

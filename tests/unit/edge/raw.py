"""Raw bytes to an edge and back: what was answered, and every byte that the portal heard."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import NamedTuple

from tests.unit.edge.conftest import Edge

MARKER = b"GET /public/marker HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
"""The innocent request behind every case, on the same connection."""
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [^\r\n]*\r\n")


class Answer(NamedTuple):
    """One answer on a connection."""

    status: int
    head: bytes
    body: bytes


class Heard(NamedTuple):
    """One request as the portal read it: by length or by chunks, as a strict server does."""

    line: str
    fields: tuple[tuple[str, str], ...]
    body: bytes
    complete: bool

    def values(self, name: str) -> list[str]:
        return [value for known, value in self.fields if known == name]


@dataclass
class Exchange:
    answers: list[Answer]
    heard: list[Heard]
    wire: bytes
    """Everything that the portal got, in the order of its connections."""


async def send(edge: Edge, raw: bytes, *, bytewise: bool = False) -> bytes:
    """Send, and read until the gateway closes."""
    reader, writer = await edge.connect()
    try:
        if bytewise:
            for at in range(len(raw)):
                writer.write(raw[at : at + 1])
                await asyncio.sleep(0)
        else:
            writer.write(raw)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


def split_answers(raw: bytes, heads: list[bool]) -> list[Answer]:
    """Split what the gateway wrote; `heads` says which requests were HEAD. Fails on anything that is no answer."""
    answers: list[Answer] = []
    while raw:
        found = _STATUS.match(raw)
        assert found is not None, f"not an answer: {raw[:80]!r}"
        head, mark, rest = raw.partition(b"\r\n\r\n")
        assert mark, "an answer without the end of its head"
        status = int(found[1])
        lengths = re.findall(rb"(?mi)^content-length: ([0-9]+)\r?$", head)
        chunked = re.search(rb"(?mi)^transfer-encoding: chunked\r?$", head) is not None
        assert len(lengths) <= 1, "two lengths in an answer"
        assert not (lengths and chunked), "a length and a coding in an answer"
        body = b""
        bodiless = status < 200 or status in (204, 304) or (len(heads) > len(answers) and heads[len(answers)])
        if not bodiless and chunked:
            while True:
                size, _, rest = rest.partition(b"\r\n")
                piece, rest = rest[: int(size, 16)], rest[int(size, 16) :]
                assert rest.startswith(b"\r\n")
                rest = rest[2:]
                body += piece
                if not piece:
                    break
        elif not bodiless and lengths:
            size_of = int(lengths[0])
            assert len(rest) >= size_of, "an answer shorter than its length"
            body, rest = rest[:size_of], rest[size_of:]
        elif not bodiless:
            body, rest = rest, b""
        if status >= 200:
            answers.append(Answer(status, head + b"\r\n", body))
        raw = rest
    return answers


def split_requests(raw: bytes) -> list[Heard]:
    """Read one connection as the portal would that knows nothing but the grammar."""
    requests: list[Heard] = []
    while raw:
        head, mark, rest = raw.partition(b"\r\n\r\n")
        assert mark, f"a head without an end: {raw[:80]!r}"
        line, *lines = head.split(b"\r\n")
        assert re.fullmatch(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [!-~]+ HTTP/1\.1", line), line
        fields = []
        for text in lines:
            found = re.fullmatch(rb"([a-z0-9-]+): ([\t -~\x80-\xff]*)", text)
            assert found is not None, f"a line that is not ours: {text!r}"
            fields.append((found[1].decode(), found[2].decode("latin-1")))
        lengths = [value for name, value in fields if name == "content-length"]
        codings = [value for name, value in fields if name == "transfer-encoding"]
        assert len(lengths) + len(codings) <= 1, f"two framings: {head!r}"
        assert codings in ([], ["chunked"])
        assert sum(name == "host" for name, _ in fields) == 1
        body, complete = b"", True
        if lengths:
            assert re.fullmatch("0|[1-9][0-9]*", lengths[0])
            body, rest = rest[: int(lengths[0])], rest[int(lengths[0]) :]
            complete = len(body) == int(lengths[0])
        while codings:
            found = re.match(rb"([0-9a-f]+)\r\n", rest)
            if found is None:
                assert rest == b"", f"not a chunk of ours: {rest[:40]!r}"
                complete = False
                break
            size = int(found[1], 16)
            piece, rest = rest[found.end() : found.end() + size], rest[found.end() + size :]
            assert rest.startswith(b"\r\n")
            rest = rest[2:]
            body += piece
            if size == 0:
                break
        requests.append(Heard(line.rsplit(b" ", 1)[0].decode(), tuple(fields), body, complete))
        raw = rest
    return requests


async def exchange(edge: Edge, raw: bytes, *, bytewise: bool = False, follow: bytes = MARKER) -> Exchange:
    """Send `raw` with the marker behind it."""
    marks = [len(heard) for heard in edge.portal.wire]
    written = await send(edge, raw + follow, bytewise=bytewise)
    methods = re.findall(rb"(?m)^(?:\r?\n)?([A-Z]+) [^\r\n]+ HTTP/1", raw + follow)
    marks += [0] * (len(edge.portal.wire) - len(marks))
    wires = [bytes(heard[mark:]) for heard, mark in zip(edge.portal.wire, marks, strict=True)]
    heard = [request for wire in wires for request in split_requests(wire)]
    return Exchange(split_answers(written, [method == b"HEAD" for method in methods]), heard, b"".join(wires))

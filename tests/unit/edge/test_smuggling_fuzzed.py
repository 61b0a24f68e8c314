"""The corpus, mutated: whatever a client sends, the portal hears whole requests in framing of ours, and other parsers agree."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.edge.conftest import Edge
from tests.unit.edge.raw import MARKER, split_answers, split_requests
from tests.unit.edge.test_smuggling import cases
from tests.unit.wire.witnesses import WITNESSES

CORPUS = Path(__file__).parents[2] / "corpora" / "requests"
SEEDS = tuple(
    raw
    for path in sorted(CORPUS.glob("*.yaml"))
    for _, raw, case in cases(path)
    if "forward" in case and len(raw) < 1500
)
LINES = (
    b"Content-Length: 5", b"Content-Length: 0", b"content-length:5", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"Transfer_Encoding: chunked", b"Connection: close",
    b"Connection: content-length, host", b"Expect: 100-continue", b"Host: 127.0.0.1", b"Host: evil.example", b"X-A: b", b"X-A:", b"X-Gateway-User: EVIL", b"x_gateway_user: EVIL", b"Via: 1.1 x",
    b"Cookie: gw=tok", b"Upgrade: h2c", b"TE: trailers", b"Max-Forwards: 3", b"5", b"hello", b"0", b"", b"5;a=b", b"GET /public/x HTTP/1.1", b"POST /public/y HTTP/1.1", b"GET /admin HTTP/1.1",
)  # fmt: skip
BYTES = (
    b"\r",
    b"\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"\x0b",
    b"\xff",
    b"0",
    b"5",
    b"a",
    b"_",
    b"-",
    b"%2f",
    b"\r\n",
    b"\r\n\r\n",
)
AT_ONCE = 30


def mutated(chooser: random.Random) -> bytes:
    """Change one or two things: a line more, less, twice or elsewhere, or a byte."""
    raw = chooser.choice(SEEDS)
    for _ in range(chooser.randint(1, 2)):
        lines = raw.split(b"\r\n")
        at = chooser.randrange(1, len(lines) + 1)
        match chooser.randrange(6):
            case 0 | 1:
                lines.insert(at, chooser.choice(LINES))
            case 2 if len(lines) > 1:
                del lines[at - 1]
            case 3:
                lines.insert(at, chooser.choice(lines))
            case 4:
                other = chooser.choice(SEEDS).split(b"\r\n")
                lines[at:at] = other[: chooser.randint(1, len(other))]
            case _:
                line = lines[at - 1]
                cut = chooser.randint(0, len(line))
                lines[at - 1] = line[:cut] + chooser.choice(BYTES) + line[cut + chooser.randint(0, 1) :]
        raw = b"\r\n".join(lines)
    return raw


async def ask(edge: Edge, raw: bytes) -> bytes:
    """Send, and read to the end; what never becomes whole ends by a time-out of the gateway."""
    reader, writer = await edge.connect()
    writer.write(raw)
    answer = b""
    with suppress(ConnectionError):  # broken off: a body that never became whole
        async with asyncio.timeout(15):
            while piece := await reader.read(65536):
                answer += piece
    writer.close()
    return answer


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_a_client_sends_the_portal_hears_whole_requests(edge: Edge, seed: int) -> None:
    chooser = random.Random(seed)
    loop = asyncio.get_running_loop()
    edge.change_wire(head_timeout_s=0.3, body_timeout_s=0.3, idle_timeout_s=0.3)
    for _ in range(12):
        batch = [mutated(chooser) + MARKER for _ in range(AT_ONCE)]
        for raw, written in zip(batch, await asyncio.gather(*(ask(edge, raw) for raw in batch)), strict=True):
            heads = [True] * 50 if b"HEAD" in raw else []
            if not heads:
                assert all(100 <= answer.status < 600 for answer in split_answers(written, heads)), raw
    for wire in edge.portal.wire:
        heard = split_requests(bytes(wire))
        assert all(sum(name == "host" for name, _ in request.fields) == 1 for request in heard)
        assert not any(
            value == "EVIL" for request in heard for name, value in request.fields if name.startswith("x-gateway")
        )
        if heard and heard[-1].complete:
            for witness in WITNESSES:
                theirs = witness(bytes(wire), loop)
                assert [(f"{each.method.decode()} {each.target.decode()}", each.body) for each in theirs] == [
                    (request.line, request.body) for request in heard
                ]
    assert any(
        request.line == "GET /public/marker" for wire in edge.portal.wire for request in split_requests(bytes(wire))
    )

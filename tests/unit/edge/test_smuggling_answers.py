"""An upstream may be hostile too: no answer of it is framed in two ways, and none reaches the next request."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import yaml

from tests.fakes.portal import Portal
from tests.unit.edge.conftest import Edge
from tests.unit.edge.raw import Answer, send, split_answers
from tests.unit.edge.test_smuggling import spelled

CASES = yaml.safe_load((Path(__file__).parents[2] / "corpora" / "responses.yaml").read_text(encoding="utf-8"))["cases"]
HEAD = "{method} /public/case HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n"


async def answers_to(edge: Edge, case: dict[str, Any]) -> bytes:
    """Everything that the client gets: the case, then an innocent request on the same connection."""
    raw = spelled(case["raw"])

    async def answer(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        writer.write_eof()

    edge.portal.answers[b"/public/case"] = answer
    request = HEAD.format(method=case.get("method", "GET"), fields="")
    innocent = "GET /public/after HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    return await send(edge, (request + innocent).encode("ascii"))


def values(answer: Answer, name: str) -> list[str]:
    return [
        found.decode("latin-1") for found in re.findall(rb"(?mi)^" + name.encode() + rb": ([^\r\n]*)\r?$", answer.head)
    ]


def wrong(case: dict[str, Any], written: bytes) -> str | None:
    if b"POISON" in written or b"CLIENTFRAMING" in written:
        return f"what the upstream smuggled came out: {written!r}"
    if case.get("cut"):
        head, mark, body = written.partition(b"\r\n\r\n")
        ended = b"\r\ntransfer-encoding: chunked" in head and body.endswith(b"0\r\n\r\n")
        whole = head.startswith(b"HTTP/1.1 502 ")
        return f"looks whole: {written!r}" if mark and ended and not whole else None
    answers = split_answers(written, [case.get("method") == "HEAD", False])
    if not answers or answers[0].status != case["status"]:
        return f"answered {[answer.status for answer in answers]}"
    first = answers[0]
    if case["status"] != 502 and first.body != spelled(case["body"]):
        return f"the body is {first.body!r}"
    for line in case.get("has", ()):
        name, _, value = line.partition(": ")
        if values(first, name) != [value]:
            return f"{name} is {values(first, name)}"
    for name in case.get("lacks", ()):
        if values(first, name) not in ([], ["max-age=63072000"]):
            return f"{name} is {values(first, name)}"
    for name in (*case.get("once", ()), "x-request-id"):
        if len(values(first, name)) != 1:
            return f"{name} stands {len(values(first, name))} times"
    if len(answers) > 1:
        return None if (answers[1].status, answers[1].body) == (200, b"ok") else f"the next request got {answers[1]}"
    return None if values(first, "connection") == ["close"] else "the connection ended without a word"


async def test_no_answer_is_framed_in_two_ways(edge: Edge) -> None:
    complaints = {}
    for case in CASES:
        try:
            complaint = wrong(case, await answers_to(edge, case))
        except (AssertionError, TimeoutError, ConnectionError) as error:
            complaint = f"{type(error).__name__}: {error}"
        if complaint is not None:
            complaints[case["name"]] = complaint
    assert complaints == {}
    assert len(CASES) >= 70


async def test_an_answer_never_reaches_another_request(edge: Edge) -> None:
    """Response queue poisoning: what an upstream says after its answer is nobody's."""
    for case in CASES:
        await answers_to(edge, case)
        assert (await edge.get("/public/next")).body == b"ok", case["name"]

"""Every case of the corpus, on a real socket: refused and closed, or forwarded in framing of ours.

Each is followed by an innocent request on the same connection: were the end of the case seen in two
places, that request would be lost, doubled, or answered with another's answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.edge.conftest import Edge
from tests.unit.edge.raw import Exchange, exchange

CORPUS = Path(__file__).parents[2] / "corpora" / "requests"
FILES = sorted(CORPUS.glob("*.yaml"))
_REPEATED = re.compile(rb"\{([^{}]*)\*([0-9]+)\}", re.DOTALL)
OURS = frozenset(
    (
        "host",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "forwarded",
        "x-request-id",
        "via",
    )
)
Case = dict[str, Any]


def spelled(text: str) -> bytes:
    """Bytes of a case; `{text*count}` is written out."""
    return _REPEATED.sub(lambda found: found[1] * int(found[2]), text.encode("latin-1"))


def cases(path: Path) -> Iterator[tuple[str, bytes, Case]]:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    for case in document["cases"]:
        start = case.get("start", document.get("start", ""))
        raw = case["raw"] if "raw" in case else f"{start}{case.get('head', '')}\r\n{case.get('body', '')}"
        yield case["name"], spelled(raw), case


def misjudged(case: Case, raw: bytes, seen: Exchange) -> str | None:
    """Say what is wrong; None when the outcome is the one the case asks for."""
    if b"CLIENTFRAMING" in seen.wire:
        return f"the client's framing reached the portal: {seen.wire!r}"
    for heard in seen.heard:
        names = [name for name, _ in heard.fields]
        if any(names.count(name) != 1 for name in OURS):
            return f"our fields do not stand exactly once: {heard}"
    ends = "refuse" in case or case.get("closes") or case.get("breaks")
    first = case.get("refuse") or case.get("answer") or 200
    expected = [first, *case.get("then", ()), *(() if ends else (200,))]
    statuses = [answer.status for answer in seen.answers]
    if statuses != expected:
        return f"answered {statuses}, not {expected}"
    if ends and b"\r\nconnection: close\r\n" not in seen.answers[-1].head:
        return "the last answer does not say close"
    complete = [heard.line for heard in seen.heard if heard.complete]
    if "refuse" in case:
        if complete or (seen.heard and not case.get("late")):
            return f"reached the portal: {seen.heard}"
        return None
    target = case.get("forward")
    line = b" ".join(raw.lstrip(b"\r\n").split(b" ", 2)[:2]).decode("latin-1")
    wanted = case.get("portal") or ([spelled(target.get("line", line)).decode()] if target is not None else [])
    if complete != [*wanted, *(() if ends else ("GET /public/marker",))] or len(complete) != len(seen.heard):
        return f"the portal heard {seen.heard}"
    if target is None:
        return None
    heard = seen.heard[0]
    if heard.body != spelled(target.get("body", "")):
        return f"the portal heard the body {heard.body!r}"
    for text in target.get("has", ()):
        name, _, value = text.partition(": ")
        if heard.values(name) != [value]:
            return f"the portal heard {name}: {heard.values(name)}"
    for name in target.get("lacks", ()):
        if heard.values(name):
            return f"the portal heard {name}: {heard.values(name)}"
    return None


@pytest.mark.parametrize("bytewise", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_every_case_is_refused_or_forwarded_in_framing_of_ours(edge: Edge, path: Path, bytewise: bool) -> None:
    wrong = {}
    for name, raw, case in cases(path):
        if bytewise and len(raw) > 2048:
            continue
        try:
            seen = await exchange(edge, raw, bytewise=bytewise)
            complaint = misjudged(case, raw, seen)
        except (AssertionError, TimeoutError) as error:
            complaint = f"{type(error).__name__}: {error}"
        if complaint is not None:
            wrong[name] = complaint
    assert wrong == {}


def test_the_corpus_is_whole() -> None:
    found = [(path.stem, name) for path in FILES for name, _, _ in cases(path)]
    assert len(found) >= 530
    assert len(set(found)) == len(found)

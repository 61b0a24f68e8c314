"""What data loss prevention and bounds of bodies cost: CPU for a page, a JSON answer, hostile texts, and bodies that are weighed.

    python -m tests.bench.leak_cost

Each number is the least of several rounds: what the machine does beside it only adds.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Callable

from gateway.inspection.decompress import Budget, Coding, Decompressor
from gateway.inspection.leak.scanner import Scanner
from gateway.inspection.leak.sighting import Action, Kind
from gateway.inspection.leak.text_form import of_content_type
from gateway.inspection.shape import form, json_text, xml_document
from gateway.inspection.shape.limits import FormLimits, JsonLimits, XmlLimits

ROUNDS = 7
LEAST_S = 0.02
PIECE = 16_384
USUAL = {Kind.CARDS.value: Action.MASK, Kind.SECRETS.value: Action.BLOCK}
EVERYTHING = {kind.value: Action.MASK for kind in Kind}
ROW = (
    b"<div class='row'><a href='https://www.example.com/path/to'>some text about 42 things &amp; more</a>"
    b" <p>Lorem ipsum dolor sit amet, 1234567 2024-01-01T12:00:00Z</p></div>\n"
)
ANSWER = json.dumps(
    {"id": 123, "name": "O'Brien", "lines": [{"sku": "A-1", "price": 12.5, "at": 1_700_000_000_000}] * 12}
).encode()
OBJECTS = json.dumps([{"id": n, "sku": f"A-{n}", "name": "x y z"} for n in range(6_000)]).encode()
HOSTILE = [
    b"AKIA0000000000", b"4", b"4111 ", b"eyJaaaaaaaa.", b"-----BEGIN ", b"ws://a:bc", b";pwd=aaaa", b"<span>1", b"card 4111111111111111 ",
]  # fmt: skip


def least_s(work: Callable[[], object]) -> float:
    """Seconds of CPU for one call."""
    calls, best = 1, float("inf")
    while True:
        start = time.process_time()
        for _ in range(calls):
            work()
        spent = time.process_time() - start
        if spent >= LEAST_S:
            break
        calls *= 2
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(calls):
            work()
        best = min(best, (time.process_time() - start) / calls)
    return best


def scan(text: bytes, content_type: bytes, actions: dict[str, Action]) -> None:
    """Look through a text as it would come."""
    text_form = of_content_type(content_type)
    assert text_form is not None
    looking = Scanner(text_form, actions, key=b"k" * 32)
    for start in range(0, len(text), PIECE):
        looking.feed(text[start : start + PIECE])
    looking.finish()


def main() -> int:
    """Print the figures."""
    page = ROW * 600
    print("looked through, microseconds (nanoseconds a byte)")
    for name, text, kind, actions in (
        ("page, cards and secrets", page, b"text/html", USUAL),
        ("page, every kind", page, b"text/html", EVERYTHING),
        ("JSON of 0.6 KiB", ANSWER, b"application/json", USUAL),
        ("JSON of small objects", OBJECTS, b"application/json", USUAL),
    ):
        spent = least_s(lambda text=text, kind=kind, actions=actions: scan(text, kind, actions))  # type: ignore[misc]  # bound here
        print(f"  {name:28} {len(text):8} bytes {spent * 1e6:10.1f} ({spent / len(text) * 1e9:.1f})")
    for unit in HOSTILE:
        text = unit * (262_144 // len(unit))
        spent = least_s(lambda text=text: scan(text, b"text/html", USUAL))  # type: ignore[misc]
        print(f"  {unit.decode()!r:28} {len(text):8} bytes {spent * 1e6:10.1f} ({spent / len(text) * 1e9:.1f})")
    print("weighed, microseconds")
    xml = b"<a>" + b"<b c='d'>text</b>" * 5_000 + b"</a>"
    for name, size, work in (
        ("form of 4 KiB", 4_096, lambda: form.check(b"a=1&note=" + b"x" * 4_087, FormLimits())),
        ("JSON of 0.6 KiB", len(ANSWER), lambda: json_text.check(ANSWER, JsonLimits())),
        ("JSON of small objects", len(OBJECTS), lambda: json_text.check(OBJECTS, JsonLimits())),
        ("XML", len(xml), lambda: xml_document.check(xml, XmlLimits())),
    ):
        print(f"  {name:28} {size:8} bytes {least_s(work) * 1e6:10.1f}")
    packed = gzip.compress(page)
    spent = least_s(lambda: list(Decompressor(Coding.GZIP, Budget()).feed(packed)))
    print(f"  {'page, unpacked':28} {len(page):8} bytes {spent * 1e6:10.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

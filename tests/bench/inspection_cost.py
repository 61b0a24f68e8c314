"""What inspection costs: microseconds of CPU for each ordinary request, and for the worst that are known.

    python -m tests.bench.inspection_cost [--paranoia 1] [--profile NAME]

Each number is the least of several rounds: what the machine does beside it only adds.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import pstats
import random
import string
import sys
import time
from collections.abc import Callable
from urllib.parse import quote_plus

from gateway.inspection.bodies import BodyTooComplexError, BodyUnreadableError, Limits
from gateway.inspection.engine import Inspection, RequestLine, specials_of
from gateway.inspection.finding import Position
from gateway.inspection.mechanisms import MECHANISMS
from gateway.inspection.sign import Mechanism
from gateway.inspection.tuning import Mode, Settings, tuned
from tests.bench.inspection_corpus import NOW, rules_of_the_house

ROUNDS = 7
LEAST_S = 0.02
FORM = b"application/x-www-form-urlencoded"
JSON = b"application/json"
PROSE = (
    "Dear Ms O'Brien, thank you for your message of 12 May. We've moved the order (no. 4711-B) to the new address & "
    "expect it at Rock 'n' Roll Avenue 5 on Friday; the price is 49.90 \u20ac as agreed. Please select a plan from the list, "
    "or write to me@example.com. If a < b and c > d, see section 3.2 of C:\\Users\\me\\terms.pdf \u2013 it's all there! "
)
FIELDS = [
    (
        b"User-Agent",
        b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36",
    ),
    (b"Accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    (b"Accept-Language", b"de-DE,de;q=0.8,en-US;q=0.5,en;q=0.3"),
    (b"Accept-Encoding", b"gzip, deflate, br"),
    (b"Referer", b"https://portal.example.com/invoices?year=2026&page=2"),
    (b"Sec-Fetch-Site", b"same-origin"),
    (b"X-Requested-With", b"XMLHttpRequest"),
    (b"Host", b"portal.example.com"),
]


def get(number: int) -> tuple[RequestLine, list[tuple[bytes, bytes]], bytes, bytes]:
    """A GET of a portal: 8 fields, 2 cookies, 4 parameters, some of which differ from request to request."""
    target = b"/invoices/2026-%d/items?q=O%%27Brien+%%26+Sons&page=%d&sort=date_desc&from=2026-01-31" % (number, number)
    cookie = b"session=%032x; csrftoken=kJ8sX0qLzW3vTnB5cYhGdR7f%08x" % (number * 7919, number)
    return RequestLine("GET", target, target.partition(b"?")[0].decode()), [*FIELDS, (b"Cookie", cookie)], b"", b""


def plain_get(number: int) -> tuple[RequestLine, list[tuple[bytes, bytes]], bytes, bytes]:
    """A GET without anything special."""
    target = b"/invoices/%d?page=2&sort=date" % number
    return RequestLine("GET", target, target.partition(b"?")[0].decode()), FIELDS, b"", b""


def form(number: int) -> tuple[RequestLine, list[tuple[bytes, bytes]], bytes, bytes]:
    """A form of 4 KiB as it is sent: a few short fields and a long message."""
    body = f"name=Se%C3%A1n+O%27Brien&id={number}&csrf=9f8e7d6c5b4a39281706f5e4d3c2b1a0&message="
    body += quote_plus(PROSE * 20)[: 4096 - len(body)].rpartition("%")[0]
    return RequestLine("POST", b"/messages", "/messages"), FIELDS, FORM, body.encode()


def document(number: int) -> tuple[RequestLine, list[tuple[bytes, bytes]], bytes, bytes]:
    """A JSON document of 1 KiB."""
    items = [{"sku": f"AB-{n}{number}", "qty": n, "note": "2 m cable, black (RAL 9005)"} for n in range(9)]
    data = {"customer": {"name": "Se\u00e1n O'Brien", "email": "sean@example.com", "vip": True}, "items": items}
    body = json.dumps({**data, "comment": PROSE[:380]}, ensure_ascii=False)
    return RequestLine("POST", b"/api/orders", "/api/orders"), FIELDS, JSON, body.encode()


def small_objects(number: int) -> tuple[RequestLine, list[tuple[bytes, bytes]], bytes, bytes]:
    """A JSON document of 345 KB, made of many small objects."""
    rows = [{"id": n, "name": f"item {n}", "ok": True} for n in range(8000)]
    return RequestLine("PUT", b"/api/items", "/api/items"), FIELDS, JSON, json.dumps([number, *rows]).encode()


WORST_BYTES = 65_536


def _worst(text: str) -> Callable[[int], tuple[RequestLine, list[tuple[bytes, bytes]], bytes, bytes]]:
    body = b"a=" + quote_plus((text * (WORST_BYTES // len(text) + 1))[:WORST_BYTES], errors="surrogateescape").encode()

    def request(_number: int) -> tuple[RequestLine, list[tuple[bytes, bytes]], bytes, bytes]:
        return RequestLine("POST", b"/a", "/a"), [], FORM, body

    return request


_NOISE = random.Random(7)
WORST = {
    "quotes": "'",
    "double quotes": '"',
    "angle": "<",
    "tags": "<a b='c' ",
    "closed tags": "<b>x</b>",
    "open brackets": "([{",
    "escapes": "%25",
    "entities": "&amp;",
    "back slashes": "\\u0061",
    "comments": "/*",
    "closed comments": "/**/",
    "dots": "../",
    "semicolons": ";a",
    "dollars": "${",
    "backticks": "`a`",
    "sql": "1 or 1=1 union select a,b from c -- \n",
    "sql open": "'||(select ",
    "shell": "; ls -la | cat /etc/passwd && $(id)",
    "spaces": " ",
    "lines": "a\r\n",
    "equals": "a=b&c=d ",
    "url": "http://a.b/c?d=e ",
    "letters": "a",
    "prose": PROSE,
    "noise": "".join(_NOISE.choice(string.printable) for _ in range(8192)),
    "wide": "\uff1c\uff53\u00e4",
    "bytes": "\udcff",
}


def seconds_each(act: Callable[[int], None]) -> float:
    """Time an act: the least of some rounds, each long enough for the clock."""
    act(0)
    count, best = 1, float("inf")
    gc.disable()
    try:
        for _ in range(ROUNDS):
            while True:
                begun = time.process_time()
                for number in range(count):
                    act(number)
                taken = time.process_time() - begun
                if taken >= LEAST_S:
                    break
                count *= 2
            best = min(best, taken / count)
    finally:
        gc.enable()
    return best


def mechanisms() -> None:
    """Print what the gate of each mechanism says to some texts, and what it costs to look behind it."""
    texts = {"prose": (PROSE * 20)[:4096], "noise": WORST["noise"], "short": "O'Brien & Sons", "name": "Miller, Ann"}
    texts |= {"mail": "ann.miller@example.com", "money": "49.90", "agent": FIELDS[0][1].decode()}
    print(f"{'':16}" + "".join(f"{name:>20}" for name in texts) + "   us at the gate, behind it")
    for mechanism in MECHANISMS:
        cells = []
        for text in texts.values():
            plain = text.encode("ascii", "ignore")
            gate, behind = _gate_and_behind(mechanism, text, specials_of(plain), plain.lower().decode())
            cells.append(f"{gate:9.2f} " + ("        -" if behind is None else f"{behind:9.1f}"))
        name = str(getattr(mechanism, "__name__", "")).rpartition(".")[2]
        print(f"{name:16}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


def _gate_and_behind(
    mechanism: Mechanism, text: str, specials: frozenset[str], lowered: str
) -> tuple[float, float | None]:
    def ask(_number: int) -> None:
        mechanism.can_occur(specials, lowered)

    def look(_number: int) -> None:
        list(mechanism.signs(text, Position.FORM))

    behind = 1e6 * seconds_each(look) if mechanism.can_occur(specials, lowered) else None
    return 1e6 * seconds_each(ask), behind


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paranoia", type=int, default=1)
    parser.add_argument("--profile", default="", help="show where one of them spends its time")
    parser.add_argument("--mechanisms", action="store_true", help="what each mechanism costs on a form and on noise")
    parser.add_argument("--worst", action="store_true", help="the worst inputs, 64 KiB each, in milliseconds")
    chosen = parser.parse_args()
    rules = rules_of_the_house(is_complete=False)
    engine = Inspection(rules)
    tuning = tuned(Settings(mode=Mode.BLOCK, paranoia=chosen.paranoia), rules)
    limits = Limits()

    def judged(
        request: Callable[[int], tuple[RequestLine, list[tuple[bytes, bytes]], bytes, bytes]],
    ) -> Callable[[int], None]:
        prepared = [request(number) for number in range(64)] if "worst" not in request.__qualname__ else [request(0)]

        def act(number: int) -> None:
            line, fields, content_type, body = prepared[number % len(prepared)]
            verdict = engine.judge_head(line, fields, tuning, now=NOW)
            if body:
                try:
                    verdict = verdict.merge(engine.judge_body(line, content_type, body, tuning, limits=limits, now=NOW))
                except (BodyTooComplexError, BodyUnreadableError):
                    return

        return act

    ordinary = {
        "plain GET": plain_get,
        "typical GET": get,
        "form 4 KiB": form,
        "JSON 1 KiB": document,
        "JSON 345 KB": small_objects,
    }
    if chosen.profile:
        request = ordinary.get(chosen.profile) or _worst(WORST[chosen.profile])
        act = judged(request)
        act(0)
        profile = cProfile.Profile()
        profile.enable()
        for number in range(300 if chosen.profile in ordinary else 1):
            act(number)
        profile.disable()
        pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(25)
        return
    if chosen.mechanisms:
        mechanisms()
        return
    for name, request in ordinary.items():
        verdict = engine.judge_head(*request(1)[:2], tuning, now=NOW)
        print(
            f"{name:16} {1e6 * seconds_each(judged(request)):10.1f} us{'  STOPPED' if verdict.is_blocked else ''}",
            flush=True,
        )
    if chosen.worst:
        for name, text in WORST.items():
            print(f"worst {name:16} {1e3 * seconds_each(judged(_worst(text))):10.1f} ms", flush=True)


if __name__ == "__main__":
    main()

"""What people, and attackers, write into portals, in every place where they write it.

The texts are the project's own (`tests/corpora/inspection`); how each travels in a request is made here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import yaml

from gateway.exchange.reason import Reason
from gateway.inspection.engine import RequestLine
from gateway.wire.authority import Authority
from gateway.wire.target import parse_target
from tests.bench.inspection_sample import Sample

TEXTS: Final = Path(__file__).resolve().parents[1] / "corpora" / "inspection"
BOUNDARY: Final = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
HARD: Final = "hard"
"""Texts that say what an attack says; nobody can tell."""
HOST: Final = Authority("portal.example", None, "portal.example")
AGENT: Final = (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0")


def _request(
    method: str, target: str, content_type: str = "", body: str = "", cookie: str = ""
) -> Callable[..., Sample]:
    fields = [AGENT]
    if content_type:
        fields.append((b"content-type", content_type.encode()))
    if cookie:
        fields.append((b"cookie", cookie.encode()))
    line = RequestLine(method, target.encode(), target.partition("?")[0])

    def made(number: int, attack: str, place: str, payload: str) -> Sample:
        name = f"portal-{attack}-{number}"
        tier = "hard" if attack == HARD else "core"
        return Sample(name, attack, tier, place, payload, line, tuple(fields), content_type.encode(), body.encode(), "")

    return made


def _as_query(text: str) -> Callable[..., Sample]:
    return _request("GET", f"/tickets?page=2&q={quote_plus(text)}&sort=date")


def _as_form(text: str) -> Callable[..., Sample]:
    body = f"csrf=8f14e45fceea167a&subject=Question&message={quote_plus(text)}&send=1"
    return _request("POST", "/tickets", "application/x-www-form-urlencoded", body)


def _as_json(text: str) -> Callable[..., Sample]:
    body = json.dumps({"ticket": {"id": 42, "tags": ["a", "b"], "message": text}}, ensure_ascii=False)
    return _request("POST", "/api/tickets", "application/json; charset=utf-8", body)


def _as_part(text: str) -> Callable[..., Sample]:
    parts = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (("subject", "Question"), ("message", text))
    )
    return _request("POST", "/tickets", f"multipart/form-data; boundary={BOUNDARY}", f"{parts}--{BOUNDARY}--\r\n")


def _as_xml(text: str) -> Callable[..., Sample]:
    shown = "".join(letter for letter in text if letter >= " " or letter in "\t\n")
    return _request("POST", "/soap", "text/xml", f"<order><id>42</id><note>{escape(shown)}</note></order>")


def _as_cookie(text: str) -> Callable[..., Sample]:
    return _request("GET", "/", cookie=f"theme=dark; filter={quote(text, safe='')}; lang=de")


def _as_body(text: str) -> Callable[..., Sample]:
    return _request("POST", "/import", "text/xml", text)


EVERYWHERE: Final = {
    "query": _as_query,
    "form": _as_form,
    "json": _as_json,
    "part": _as_part,
    "xml": _as_xml,
    "cookie": _as_cookie,
}
_OF_MESSAGES: Final = {place: how for place, how in EVERYWHERE.items() if place != "cookie"}
"""A portal keeps names, filters and settings in cookies, never what somebody wrote."""
OF_A_CLASS: Final = {
    "xxe": {"body": _as_body, "form": _as_form, "json": _as_json, "part": _as_part},
    **dict.fromkeys(("messages", "technical_text", "de", "fr", "es", "ops", "web", "life"), _OF_MESSAGES),
}


OF_A_TYPE: Final = {
    "form": "application/x-www-form-urlencoded",
    "json": "application/json",
    "xml": "application/soap+xml",
    "text": "text/plain",
}


def whole_requests(name: str) -> Iterator[Sample]:
    """Read the requests that are written out whole: a line, fields, or a body of some type."""
    for number, asked in enumerate(yaml.safe_load((TEXTS / f"{name}.yaml").read_text(encoding="utf-8")), 1):
        line, fields, content_type, body, refused = RequestLine("GET", b"/", "/"), [AGENT], b"", b"", ""
        if isinstance(asked, str):
            method, _, target = asked.partition(" ")
            raw = target.encode()
            parsed = parse_target(quote(target, safe="".join(map(chr, range(33, 127)))).encode(), HOST)
            line = RequestLine(method, raw, "/" if isinstance(parsed, Reason) else parsed.path)
            refused = parsed.value if isinstance(parsed, Reason) else ""
        elif "headers" in asked:
            fields = [(name.encode(), value.encode()) for name, value in asked["headers"].items()]
        else:
            ((kind, said),) = asked.items()
            content_type = OF_A_TYPE[kind].encode()
            body = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            line = RequestLine("POST", b"/", "/")
        yield Sample(
            f"request-{number}", "request", "core", "", str(asked), line, tuple(fields), content_type, body, refused
        )


def portal_samples(name: str) -> Iterator[Sample]:
    """Make the requests of one file of texts, `benign` or `attacks`, with those that are written out whole."""
    yield from whole_requests("requests" if name == "benign" else "attack_requests")
    texts: dict[str, list[object]] = yaml.safe_load((TEXTS / f"{name}.yaml").read_text(encoding="utf-8"))
    for attack, items in texts.items():
        for number, text in enumerate(items, 1):
            for place, how in OF_A_CLASS.get(attack, EVERYWHERE).items():
                yield how(str(text))(number, attack, place, str(text))

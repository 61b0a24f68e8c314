"""Requests of a portal that are written one a line: how they are sent, where to, and what somebody wrote.

A line is `HOW PATH [FIELD]| TEXT`; `## class` stands above the lines of a class, `## hard` above those that say what an
attack says, whoever sends them. In TEXT, U+23CE is a line feed, U+240D a
carriage return. HOW is one of

    get     the text is the last value of a query        GET /search?q| O'Brien
    path    the text is the last segment of a path       path /users/| d'angelo
    form    a field of an urlencoded form                 form /login username| o'brien
    part    a field of a multipart form                   part /reviews comment| ...
    file    the name of a file in a multipart form        file /upload document| ...
    json    a string in a JSON document                   json /api/orders note| ...
    xml     the text of an element                        xml /soap Note| ...
    body    a whole body of a type                        body application/json /graphql| {...}
    cookie  a value, percent-encoded; cookieraw, as it is cookie theme| dark
    head    a header field                                head Referer| https://...
    raw     a method and a target, no bar                 raw GET /orders?id=5
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

from gateway.exchange.reason import Reason
from gateway.inspection.engine import RequestLine
from gateway.wire.authority import Authority
from gateway.wire.target import parse_target
from tests.bench.inspection_portal import HARD
from tests.bench.inspection_sample import Sample

TEXTS: Final = Path(__file__).resolve().parents[1] / "corpora" / "inspection"
HOST: Final = Authority("portal.example", None, "portal.example")
BOUNDARY: Final = "----WebKitFormBoundaryq2Xc81LkWmZ0"
AGENT: Final = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/131.0.0.0 Safari/537.36"
FORM: Final = "application/x-www-form-urlencoded"
LEFT_BY_BROWSERS: Final = "".join(chr(code) for code in range(33, 127) if chr(code) not in '"<>')
"""What a browser sends as it was typed into its address bar."""


def line_samples(name: str) -> Iterator[Sample]:
    """Make the requests of one file of lines, `honest` or `hostile`."""
    attack = ""
    lines = (TEXTS / f"{name}_lines.txt").read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, 1):
        if line.startswith("## "):
            attack = line.removeprefix("## ")
        elif line and not line.startswith("# "):
            yield _made(f"{name}-{number}", attack, line)


def _made(name: str, attack: str, line: str) -> Sample:
    head, _, text = line.partition("| ")
    how, *words = (line if line.startswith("raw ") else head).split(" ")
    text = text.replace("\u23ce", "\n").replace("\u240d", "\r")
    method, target, content_type, body = "POST", words[-2] if len(words) > 1 else "/", "", ""
    fields = {"Host": "portal.example", "User-Agent": AGENT, "Accept": "*/*"}
    field = words[-1]
    match how:
        case "raw":
            method, target = words[0], quote(" ".join(words[1:]), safe=LEFT_BY_BROWSERS)
        case "get":
            method, target = "GET", f"{field}={quote_plus(text)}"
        case "path":
            method, target = "GET", f"{field}{quote(text, safe='')}"
        case "form":
            content_type, body = FORM, f"_token=8f14e45fceea167a&{field}={quote_plus(text)}&submit=Send"
        case "part":
            content_type, body = _multipart(f'name="{field}"', text)
        case "file":
            escaped = text.replace('"', "%22")
            content_type, body = _multipart(f'name="{field}"; filename="{escaped}"', "Some text of a file.")
        case "json":
            content_type, body = "application/json", json.dumps({"id": 17, field: text, "draft": False})
        case "xml":
            content_type, body = "text/xml", f"<order><id>17</id><{field}>{escape(text)}</{field}></order>"
        case "body":
            content_type, target, body = words[0], words[1], text
        case "cookie" | "cookieraw":
            method, fields["Cookie"] = "GET", f"{field}={quote(text, safe='') if how == 'cookie' else text}"
        case "head":
            method, fields[field] = "GET", text
        case _:
            raise ValueError(how)
    if content_type:
        fields["Content-Type"] = content_type
    parsed = parse_target(target.encode(), HOST)
    refused = isinstance(parsed, Reason)
    return Sample(
        name,
        attack,
        HARD if attack == HARD else "core",
        how,
        line,
        RequestLine(method, target.encode(), target.partition("?")[0] if isinstance(parsed, Reason) else parsed.path),
        tuple((key.lower().encode(), value.encode()) for key, value in fields.items()),
        content_type.encode(),
        body.encode(),
        str(parsed) if refused else "",
    )


def _multipart(disposition: str, text: str) -> tuple[str, str]:
    parts = "".join(
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {about}\r\n\r\n{value}\r\n"
        for about, value in (('name="_token"', "8f14e45fceea167a"), (disposition, text))
    )
    return f"multipart/form-data; boundary={BOUNDARY}", f"{parts}--{BOUNDARY}--\r\n"

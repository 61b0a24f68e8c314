"""Bodies at the edge: what they may grow to, and how intricate they may be."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import msgspec
import pytest
from backports import zstd

from gateway.edge.snapshot import CrsRules, RouteInspection, WafRules
from gateway.inspection.engine import Inspection
from gateway.inspection.shape.limits import BodyLimits, FormLimits, JsonLimits, XmlLimits
from gateway.inspection.tuning import Mode, Settings, tuned
from tests.unit.edge.conftest import Edge
from tests.unit.edge.test_inspection import ATTACK, HARMLESS, RULES, Second, told

FORM = "application/x-www-form-urlencoded"
ACCEPT = "Accept: application/json\r\n"


def bound(edge: Edge, *, mode: Mode | None = None, is_bounded: bool = True, **limits: Any) -> None:
    waf = None
    if mode is not None:
        waf = WafRules(Inspection(RULES, mechanisms=(), digest_key=b"k" * 32), tuned(Settings(mode=mode), RULES))
    body = msgspec.structs.replace(BodyLimits(), **limits)
    rules = RouteInspection(waf=waf, max_body=1 << 16, body=body, is_bounded=is_bounded)
    edge.change(inspections={"public": rules})


async def post(edge: Edge, body: bytes, content_type: str = FORM, coding: str = "") -> tuple[int, str]:
    fields = f"Content-Type: {content_type}\r\n{ACCEPT}" + (f"Content-Encoding: {coding}\r\n" if coding else "")
    reply = await edge.get("/public/x", method="POST", fields=fields, body=body)
    return reply.status, json.loads(reply.body)["reason"] if reply.status >= 400 else ""


@pytest.mark.parametrize(
    ("coding", "encode"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", brotli.compress), ("zstd", zstd.compress)],
)
async def test_an_attack_in_a_compressed_body_is_seen(
    edge: Edge, coding: str, encode: Callable[[bytes], bytes]
) -> None:
    bound(edge, mode=Mode.BLOCK)
    assert await post(edge, encode(b"q=" + ATTACK.encode()), coding=coding) == (403, "hostile_input")
    honest = encode(b"q=O%27Brien")
    assert await post(edge, honest, coding=coding) == (200, "")
    assert edge.portal.bodies == [honest]
    assert edge.portal.field(b"content-encoding") == [coding.encode()]


async def test_a_second_engine_is_asked_about_what_a_body_says_and_not_about_its_coding(edge: Edge) -> None:
    engine = Second(HARMLESS)
    crs = CrsRules(engine, blocks=True, may_fail=False)
    edge.change(inspections={"public": RouteInspection(crs=crs, max_body=1 << 16, is_bounded=True)})
    packed = gzip.compress(b"q=hello")
    assert await post(edge, packed, coding="gzip") == (200, "")
    (question,) = engine.questions
    fields = dict(question.fields)
    assert (question.body, fields[b"content-length"]) == (b"q=hello", b"7")
    assert b"content-encoding" not in fields
    assert edge.portal.bodies == [packed]
    assert edge.portal.field(b"content-encoding") == [b"gzip"]


@pytest.mark.parametrize("coding", ["compress", "gzip, gzip", "br, gzip", "aes128gcm"])
async def test_an_unknown_or_doubled_coding_is_refused_before_the_body_comes(edge: Edge, coding: str) -> None:
    bound(edge, mode=Mode.BLOCK)
    assert await post(edge, b"x", coding=coding) == (415, "encoding_not_accepted")
    assert edge.portal.heads == []
    assert told(edge)[-1]["body"]["outcome"] == "refused"


async def test_two_lines_of_codings_are_two_codings(edge: Edge) -> None:
    bound(edge, mode=Mode.BLOCK)
    fields = f"Content-Type: {FORM}\r\nContent-Encoding: gzip\r\nContent-Encoding: gzip\r\n{ACCEPT}"
    assert (await edge.get("/public/x", method="POST", fields=fields, body=b"x")).status == 415


@pytest.mark.parametrize("encode", [gzip.compress, brotli.compress, zstd.compress])
async def test_decompression_bomb_is_refused(edge: Edge, encode: Callable[[bytes], bytes]) -> None:
    bound(edge)
    coding = {gzip.compress: "gzip", brotli.compress: "br", zstd.compress: "zstd"}[encode]
    assert await post(edge, encode(b"\0" * (16 << 20)), coding=coding) == (413, "body_too_large")
    assert edge.portal.heads == []


async def test_a_damaged_coding_is_refused(edge: Edge) -> None:
    bound(edge)
    assert await post(edge, b"a=1", coding="gzip") == (415, "body_unreadable")
    assert await post(edge, gzip.compress(b"a=1") + b"b", coding="gzip") == (415, "body_unreadable")


@pytest.mark.parametrize(
    ("body", "content_type", "reason", "because"),
    [
        (b"[" * 5, "application/json", "body_too_complex", "json_depth"),
        (b"[" * 5, "application/vnd.api+json; charset=utf-8", "body_too_complex", "json_depth"),
        (b'{"a":1,"a":2}', "application/json", "body_too_complex", "json_duplicate"),
        (b'{"a":"\xff"}', "application/json", "body_unreadable", "encoding"),
        (b"<a><b><c/></b></a>", "application/xml", "body_too_complex", "xml_depth"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "application/soap+xml", "body_too_complex", "xml_doctype"),
        (b"<a>", "text/xml", "body_unreadable", "malformed"),
        (b"a&b&c", FORM, "body_too_complex", "form_fields"),
        (b"no parts", "multipart/form-data; boundary=b", "body_unreadable", "malformed"),
        (b"no parts", "multipart/form-data", "body_unreadable", "malformed"),
    ],
)
async def test_a_body_beyond_a_bound_of_its_type_is_refused(
    edge: Edge, body: bytes, content_type: str, reason: str, because: str
) -> None:
    bound(
        edge,
        json=JsonLimits(depth=4, refuse_duplicates=True),
        xml=XmlLimits(depth=2),
        form=FormLimits(fields=2),
    )
    status, said = await post(edge, body, content_type)
    assert (status in {413, 415}, said) == (True, reason)
    assert edge.portal.heads == []
    word = told(edge)[-1]["body"]
    assert (word["outcome"], word["because"]) == ("refused", because)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"name":"O\'Brien","lines":[1,2,3]}', "application/json"),
        (b"<order><line/></order>", "application/xml"),
        (b"name=O%27Brien&note=%3C3", FORM),
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n', "multipart/form-data; boundary=b"),
        (b"anything at all", "text/plain"),
        (b"\x00\x01", "application/octet-stream"),
    ],
)
async def test_ordinary_bodies_pass_byte_for_byte(edge: Edge, body: bytes, content_type: str) -> None:
    bound(edge)
    assert await post(edge, body, content_type) == (200, "")
    assert edge.portal.bodies == [body]


async def test_where_attacks_are_only_recorded_a_bound_is_too(edge: Edge) -> None:
    bound(edge, mode=Mode.DETECT, is_bounded=False)
    assert await post(edge, b"x", coding="compress") == (200, "")
    assert told(edge)[-1]["body"] == {"outcome": "unread", "because": "unknown_coding"}
    assert await post(edge, b"a=1", coding="gzip") == (200, "")
    assert edge.portal.bodies == [b"x", b"a=1"]


async def test_the_place_is_told_and_nothing_that_stands_there(edge: Edge) -> None:
    bound(edge, json=JsonLimits(depth=2))
    await post(edge, b'{"secret-name":{"b":{"c":1}}}', "application/json")
    assert told(edge)[-1]["body"] == {"outcome": "refused", "because": "json_depth", "offset": 20}
    assert "secret-name" not in json.dumps(edge.audit.records)

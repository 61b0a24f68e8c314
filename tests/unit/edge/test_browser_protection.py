"""What pages of other sites may do through the gateway, and what scripts of the portal's pages may: on real sockets."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from gateway.edge.snapshot import BrowserRules, ForwardAuthRules, RouteInspection
from gateway.inspection.cors import CorsRules
from gateway.inspection.csp.policy import Policy, read_directives
from gateway.inspection.csp.scripts import hash_of, read_approved
from gateway.inspection.form_token import make_token
from gateway.inspection.origin import OriginRules
from gateway.wire.forwarded import TrustedProxies
from tests.fakes.portal import Portal
from tests.unit.edge.conftest import Edge, Http2Edge, KeyEntry, Reply, session

FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
JSON = "Accept: application/json\r\n"
APP = "https://app.example.com"
KEY = b"f" * 32
CROSS = "Sec-Fetch-Site: cross-site\r\nOrigin: https://evil.example\r\n"
PAGE = "Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nAccept: text/html\r\n"


def protect(edge: Edge, on: str = "home", **rules: Any) -> None:
    inspection = RouteInspection(max_body=4096, browser=BrowserRules(**rules))
    edge.change(inspections={on: inspection})


def noticed(edge: Edge, part: str) -> list[Any]:
    return [
        record["unmapped"]["gw"]["inspection"][part]
        for record in edge.audit.records
        if part in record["unmapped"]["gw"].get("inspection", {}) and record["unmapped"]["gw"]["phase"] != "intent"
    ]


def events(edge: Edge) -> list[str]:
    return [record["unmapped"]["gw"]["event"] for record in edge.audit.records if "event" in record["unmapped"]["gw"]]


def count(edge: Edge, metric: str) -> dict[tuple[str, ...], float]:
    (sample,) = [sample for sample in edge.worker.metrics.dump() if sample.name == metric]
    return dict(sample.values)


def page(body: bytes, fields: bytes = b"Content-Type: text/html; charset=utf-8\r\n") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (fields, len(body), body)


def reason(reply: Reply) -> str:
    return str(json.loads(reply.body)["reason"])


# forged requests


async def test_a_form_on_another_site_cannot_use_somebodys_session(edge: Edge) -> None:
    protect(edge, senders=OriginRules())
    reply = await edge.get("/", method="POST", token="tok", fields=FORM + JSON + CROSS, body=b"amount=1")
    assert (reply.status, reason(reply)) == (403, "cross_origin")
    assert edge.portal.heads == []
    assert noticed(edge, "csrf") == [{"outcome": "blocked", "sender": "foreign", "origin": "https://evil.example"}]
    assert "request.forged" in events(edge)
    assert count(edge, "gateway_requests_forged_total") == {("home", "foreign", "blocked"): 1}


async def test_where_forged_requests_are_only_recorded_they_pass(edge: Edge) -> None:
    protect(edge, senders=OriginRules(mode="detect"))
    reply = await edge.get("/", method="POST", token="tok", fields=FORM + CROSS, body=b"amount=1")
    assert reply.status == 200
    assert noticed(edge, "csrf")[0]["outcome"] == "detected"


@pytest.mark.parametrize(
    "fields",
    [
        "Sec-Fetch-Site: same-origin\r\nOrigin: http://127.0.0.1\r\n",
        "Sec-Fetch-Site: same-origin\r\nOrigin: null\r\n",
        "Sec-Fetch-Site: none\r\n",
        "Origin: http://127.0.0.1\r\n",
        "Referer: http://127.0.0.1/form\r\n",
        "",
    ],
)
async def test_the_portals_own_forms_and_programs_that_say_nothing_pass(edge: Edge, fields: str) -> None:
    protect(edge, senders=OriginRules())
    reply = await edge.get("/", method="POST", token="tok", fields=FORM + fields, body=b"amount=1")
    assert reply.status == 200
    assert edge.portal.bodies[-1] == b"amount=1"


async def test_a_forged_request_is_counted_once_however_often_it_is_judged(edge: Edge) -> None:
    protect(edge, senders=OriginRules(mode="detect"))
    edge.change(candidate=edge.worker.snapshot.policy)
    await edge.get("/", method="POST", token="tok", fields=FORM + CROSS, body=b"amount=1")
    assert count(edge, "gateway_requests_forged_total") == {("home", "foreign", "detected"): 1}
    assert sum(count(edge, "gateway_policy_shadow_total").values()) == 1


async def test_who_says_nothing_is_refused_where_the_operator_wants_that(edge: Edge) -> None:
    protect(edge, senders=OriginRules(missing="refuse"))
    reply = await edge.get("/", method="POST", token="tok", fields=FORM + JSON, body=b"a=1")
    assert (reply.status, reason(reply)) == (403, "cross_origin")
    assert noticed(edge, "csrf") == [{"outcome": "blocked", "sender": "unsaid"}]


async def test_reading_is_no_forgery(edge: Edge) -> None:
    protect(edge, senders=OriginRules())
    assert (await edge.get("/", token="tok", fields=CROSS)).status == 200


async def test_a_get_that_changes_something_is_subject_where_the_operator_says_so(edge: Edge) -> None:
    protect(edge, senders=OriginRules(methods=frozenset((b"GET",))))
    assert (await edge.get("/", token="tok", fields=CROSS + JSON)).status == 403
    assert (await edge.get("/", method="HEAD", token="tok", fields=CROSS)).status == 403
    assert edge.portal.heads == []
    assert (await edge.get("/", token="tok", fields="Sec-Fetch-Site: same-origin\r\n")).status == 200


async def test_without_cookies_nobodys_authority_goes_along(edge: Edge) -> None:
    protect(edge, "public", senders=OriginRules())
    assert (await edge.get("/public/x", method="POST", fields=FORM + CROSS, body=b"a=1")).status == 200
    reply = await edge.get("/public/x", method="POST", fields=FORM + JSON + CROSS + "Cookie: sid=1\r\n", body=b"a=1")
    assert reply.status == 403
    basic = "Authorization: Basic YTpi\r\n"
    assert (await edge.get("/public/x", method="POST", fields=FORM + JSON + CROSS + basic, body=b"a=1")).status == 403
    bearer = "Authorization: Bearer abc\r\nCookie: sid=1\r\n"
    assert (await edge.get("/public/x", method="POST", fields=FORM + CROSS + bearer, body=b"a=1")).status == 200


async def test_an_identity_provider_may_answer_by_a_form_where_it_is_trusted(edge: Edge) -> None:
    protect(edge, senders=OriginRules(trusted_origins=frozenset((b"https://idp.example",))))
    fields = FORM + "Sec-Fetch-Site: cross-site\r\nOrigin: https://idp.example\r\n"
    assert (await edge.get("/", method="POST", token="tok", fields=fields, body=b"a=1")).status == 200


async def test_an_api_key_is_sent_by_no_page(edge: Edge) -> None:
    protect(edge, "public", senders=OriginRules())
    edge.sessions.keys[b"gwk_" + b"a" * 43] = KeyEntry(session(credential="api_key"))
    fields = FORM + CROSS + "Authorization: Bearer gwk_" + "a" * 43 + "\r\n"
    assert (await edge.get("/public/x", method="POST", fields=fields, body=b"a=1")).status == 200


# tokens of forms


def token_rules(**changes: Any) -> dict[str, Any]:
    return {"senders": OriginRules(token=True, **changes), "form_key": KEY}


async def test_a_form_gets_a_token_that_is_taken_out_again(edge: Edge) -> None:
    protect(edge, **token_rules(missing="refuse"))
    edge.portal.answers[b"/"] = page(b"<form method=post><input name=a></form>")
    reply = await edge.get("/", token="tok", fields=PAGE)
    found = re.search(rb'name="gw_csrf" value="([A-Za-z0-9_-]{86})"', reply.body)
    assert found is not None
    assert edge.portal.field(b"accept-encoding") == [b"identity"]
    edge.portal.answers.clear()
    reply = await edge.get("/", method="POST", token="tok", fields=FORM, body=b"gw_csrf=" + found[1] + b"&a=%20x")
    assert reply.status == 200
    assert edge.portal.bodies[-1] == b"a=%20x"
    assert edge.portal.field(b"content-length") == [b"6"]


@pytest.mark.parametrize("body", [b"a=1", b"gw_csrf=&a=1", b"gw_csrf=" + b"A" * 86 + b"&a=1"])
async def test_a_form_of_nobody_knows_whom_needs_its_token(edge: Edge, body: bytes) -> None:
    protect(edge, **token_rules())
    reply = await edge.get("/", method="POST", token="tok", fields=FORM + JSON, body=body)
    assert (reply.status, reason(reply)) == (403, "form_token_missing")
    assert edge.portal.heads == []
    assert count(edge, "gateway_requests_forged_total") == {("home", "tokenless", "blocked"): 1}


async def test_a_form_that_cannot_bring_a_token_does_not_get_around_it(edge: Edge) -> None:
    protect(edge, **token_rules())
    assert (await edge.get("/", method="POST", token="tok", fields=FORM)).status == 403
    plain = "Content-Type: text/plain\r\n"
    assert (await edge.get("/", method="POST", token="tok", fields=plain, body=b"a=1")).status == 403
    json_type = "Content-Type: application/json\r\n"
    assert (await edge.get("/", method="POST", token="tok", fields=json_type, body=b"{}")).status == 200


async def test_where_forged_requests_are_only_recorded_a_form_of_any_size_passes(edge: Edge) -> None:
    protect(edge, **token_rules(mode="detect"))
    body = b"a=" + b"x" * 5000
    assert (await edge.get("/", method="POST", token="tok", fields=FORM, body=body)).status == 200
    assert edge.portal.bodies == [body]
    protect(edge, **token_rules())
    assert (await edge.get("/", method="POST", token="tok", fields=FORM, body=body)).status == 413


async def test_the_token_of_somebody_else_is_none(edge: Edge) -> None:
    protect(edge, **token_rules())
    entry = edge.sessions.entries[b"tok"]
    stolen = make_token(KEY, "handle2", entry.session.created, bytes(32))
    reply = await edge.get("/", method="POST", token="tok", fields=FORM, body=b"gw_csrf=" + stolen)
    assert reply.status == 403


async def test_a_browser_that_vouches_for_the_page_needs_no_token(edge: Edge) -> None:
    protect(edge, **token_rules())
    same = "Sec-Fetch-Site: same-origin\r\n"
    assert (await edge.get("/", method="POST", token="tok", fields=FORM + same, body=b"a=1")).status == 200
    assert edge.portal.bodies[-1] == b"a=1"


async def test_a_multipart_form_brings_its_token_and_keeps_it(edge: Edge) -> None:
    protect(edge, **token_rules())
    token = make_token(KEY, "handle1", edge.sessions.entries[b"tok"].session.created, bytes(32))
    body = b'--b\r\nContent-Disposition: form-data; name="gw_csrf"\r\n\r\n%b\r\n--b--\r\n' % token
    fields = "Content-Type: multipart/form-data; boundary=b\r\n"
    assert (await edge.get("/", method="POST", token="tok", fields=fields, body=body)).status == 200
    assert edge.portal.bodies[-1] == body
    assert (await edge.get("/", method="POST", token="tok", fields=fields, body=b"--b--\r\n")).status == 403


async def test_nobody_gets_a_token_without_a_session(edge: Edge) -> None:
    protect(edge, "public", **token_rules())
    edge.portal.answers[b"/public/x"] = page(b"<form method=post></form>")
    reply = await edge.get("/public/x", fields=PAGE)
    assert reply.body == b"<form method=post></form>"


# SameSite


async def test_cookies_of_the_portal_do_not_go_along_with_other_sites_requests(edge: Edge) -> None:
    protect(edge, senders=OriginRules(), cookies="lax")
    edge.portal.answers[b"/"] = page(
        b"ok", b"Set-Cookie: sid=1; SameSite=None; Secure\r\nSet-Cookie: a=b; SameSite=Strict\r\n"
    )
    reply = await edge.get("/", token="tok")
    assert reply.field("set-cookie") == [b"sid=1; Secure; SameSite=Lax", b"a=b; SameSite=Strict"]


# sharing

SHARING = CorsRules(
    origins=frozenset((APP.encode(),)),
    methods=frozenset((b"GET", b"PUT")),
    fields=frozenset((b"x-one",)),
    credentials=True,
)
PREFLIGHT = f"Origin: {APP}\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: X-One\r\n"


async def test_a_preflight_is_answered_here_and_never_reaches_the_portal(edge: Edge) -> None:
    protect(edge, "public", sharing=SHARING)
    reply = await edge.get("/public/x", method="OPTIONS", fields=PREFLIGHT)
    assert reply.status == 204
    assert reply.field("access-control-allow-origin") == [APP.encode()]
    assert reply.field("access-control-allow-methods") == [b"GET, PUT"]
    assert reply.field("access-control-allow-headers") == [b"x-one"]
    assert edge.portal.heads == []
    assert count(edge, "gateway_cors_preflights_total") == {("public", "granted"): 1}


async def test_the_method_that_will_come_picks_the_route_of_a_preflight(edge: Edge) -> None:
    protect(edge, "invoice", sharing=replace(SHARING, methods=frozenset((b"GET",))))
    asked = f"Origin: {APP}\r\nAccess-Control-Request-Method: GET\r\n"
    reply = await edge.get("/invoices/7", method="OPTIONS", fields=asked)
    assert reply.status == 204  # without a session: a preflight never has one
    assert edge.portal.heads == []
    assert (await edge.get("/invoices/7", method="OPTIONS", fields=asked.replace("GET", "DELETE"))).status == 405


@pytest.mark.parametrize(
    "fields",
    [
        PREFLIGHT.replace(APP, "https://evil.example"),
        PREFLIGHT.replace(APP, "null"),
        PREFLIGHT.replace("PUT", "POST"),
        PREFLIGHT.replace("X-One", "X-Two"),
    ],
)
async def test_a_preflight_for_what_is_not_listed_is_refused(edge: Edge, fields: str) -> None:
    protect(edge, "public", sharing=SHARING)
    reply = await edge.get("/public/x", method="OPTIONS", fields=fields)
    assert reply.status == 403
    assert edge.portal.heads == []
    assert reply.field("access-control-allow-methods") == []
    assert noticed(edge, "cors")[0]["outcome"] == "refused"


async def test_without_rules_a_preflight_is_what_policy_says(edge: Edge) -> None:
    assert (await edge.get("/invoices/7", method="OPTIONS", fields=PREFLIGHT)).status == 405
    assert (
        await edge.get("/public/x", method="OPTIONS", fields=PREFLIGHT)
    ).status == 200  # it lists OPTIONS and is public
    assert edge.portal.head.startswith(b"OPTIONS /public/x")


async def test_what_the_portal_says_of_sharing_is_replaced(edge: Edge) -> None:
    protect(edge, "public", sharing=SHARING)
    edge.portal.answers[b"/public/x"] = page(
        b"ok", b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Private-Network: true\r\nVary: Accept\r\n"
    )
    reply = await edge.get("/public/x", fields=f"Origin: {APP}\r\n")
    assert reply.field("access-control-allow-origin") == [APP.encode()]
    assert reply.field("access-control-allow-private-network") == []
    assert reply.field("vary") == [b"Accept", b"Origin"]
    reply = await edge.get("/public/x", fields="Origin: https://evil.example\r\n")
    assert reply.field("access-control-allow-origin") == []


async def test_a_script_that_may_read_answers_may_read_that_a_sign_in_is_needed(edge: Edge) -> None:
    protect(edge, "invoice", sharing=SHARING)
    reply = await edge.get("/invoices/7", fields=f"Origin: {APP}\r\nSec-Fetch-Mode: cors\r\n")
    assert (reply.status, reason(reply)) == (401, "sign_in_required")
    assert reply.field("access-control-allow-origin") == [APP.encode()]


async def test_a_portal_that_reflects_any_origin_is_stopped_where_the_operator_is_strict(edge: Edge) -> None:
    edge.portal.answers[b"/public/x"] = page(
        b"ok", b"Access-Control-Allow-Origin: https://evil.example\r\nAccess-Control-Allow-Credentials: true\r\n"
    )
    reply = await edge.get("/public/x", fields="Origin: https://evil.example\r\n")
    assert reply.field("access-control-allow-origin") == [b"https://evil.example"]
    protect(edge, "public", is_strict=True)
    reply = await edge.get("/public/x", fields="Origin: https://evil.example\r\n")
    assert reply.field("access-control-allow-origin") == reply.field("access-control-allow-credentials") == []
    assert "answer.overshared" in events(edge)
    assert count(edge, "gateway_cors_overshared_total") == {("public", "reflected_origin"): 1}


# policies

POLICY = Policy(mode="enforce")
APPROVED = read_approved([hash_of("start()"), "/app.js"])
BODY = (
    b"<script>start()</script><script>evil()</script><script src=/app.js></script><script src=/evil.js?user=7></script>"
)


async def test_approved_scripts_get_the_nonce_of_the_policy_of_their_page(edge: Edge) -> None:
    protect(edge, "public", policy=POLICY, approved=APPROVED)
    edge.portal.answers[b"/public/x"] = page(
        BODY, b'Content-Type: text/html; charset=utf-8\r\nETag: "1"\r\nLast-Modified: x\r\nCache-Control: public\r\n'
    )
    first, second = [
        await edge.get("/public/x", fields=PAGE + 'If-None-Match: "1"\r\nRange: bytes=0-1\r\n') for _ in range(2)
    ]
    policies = first.field("content-security-policy")
    found = re.search(rb"script-src 'nonce-([A-Za-z0-9+/=]{24})' 'strict-dynamic'", policies[0])
    assert found is not None
    nonce = b' nonce="%b"' % found[1]
    assert policies[0].endswith(b"report-uri /.gateway/csp-report?route=public")
    assert policies[1] == b"object-src 'none'; base-uri 'self'; frame-ancestors 'self'"
    body = re.sub(rb"^[0-9a-f]+\r\n|\r\n0?\r?\n?$", b"", first.body).split(b"\r\n")[0]
    assert body == BODY.replace(b"<script>start", b"<script%b>start" % nonce).replace(
        b"<script src=/app", b"<script%b src=/app" % nonce
    )
    assert nonce not in second.raw
    assert first.field("etag") == first.field("last-modified") == first.field("content-length") == []
    assert first.field("cache-control") == [b"no-store"]
    assert edge.portal.field(b"if-none-match") == edge.portal.field(b"range") == []
    assert {count.what for count in edge.worker.tally.of("public")} == {hash_of("evil()"), "/evil.js"}
    assert count(edge, "gateway_pages_rewritten_total") == {("public", "whole"): 2}


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        (PAGE, page(BODY, b"Content-Type: text/html; charset=utf-16\r\n")),
        (PAGE, page(BODY, b"Content-Type: text/html\r\nContent-Encoding: gzip\r\n")),
        (PAGE, page(BODY, b"Content-Type: application/xhtml+xml\r\n")),
        (PAGE, page(BODY, b"Content-Type: image/svg+xml\r\n")),
        ("Sec-Fetch-Dest: empty\r\n", page(BODY)),
        (PAGE, page(BODY).replace(b"200 OK", b"206 Partial Content")),
    ],
)
async def test_a_document_that_is_not_rewritten_runs_nothing(edge: Edge, fields: str, answer: bytes) -> None:
    protect(edge, "public", policy=POLICY, approved=APPROVED)
    edge.portal.answers[b"/public/x"] = answer
    reply = await edge.get("/public/x", fields=fields)
    assert reply.body == BODY
    assert reply.field("content-security-policy")[0].startswith(b"script-src 'strict-dynamic'; ")
    assert reply.field("content-length") == [b"%d" % len(BODY)]


@pytest.mark.parametrize(
    "kind",
    ["text/html, x", "image/png, text/html", "text/html/x", "*/*", "text/xsl", "multipart/x-mixed-replace;boundary=b"],
)
async def test_an_odd_type_that_browsers_take_for_a_document_does_not_escape_the_policy(edge: Edge, kind: str) -> None:
    protect(edge, "public", policy=POLICY, approved=APPROVED)
    edge.portal.answers[b"/public/x"] = page(BODY, f"Content-Type: {kind}\r\n".encode())
    reply = await edge.get("/public/x", fields=PAGE)
    assert reply.field("content-security-policy")[0].startswith(b"script-src 'strict-dynamic'")


async def test_a_cached_document_keeps_its_policy_when_it_is_validated(edge: Edge) -> None:
    protect(edge, "public", policy=Policy(mode="enforce", nonces=False))
    edge.portal.answers[b"/public/x"] = b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n'
    reply = await edge.get("/public/x", fields=PAGE + 'If-None-Match: "1"\r\n')
    assert reply.status == 304
    assert [value.partition(b" ")[0] for value in reply.field("content-security-policy")] == [
        b"script-src",
        b"object-src",
    ]


async def test_no_cache_before_the_gateway_keeps_a_page_with_a_nonce(edge: Edge) -> None:
    protect(edge, "public", policy=POLICY, approved=APPROVED)
    edge.portal.answers[b"/public/x"] = page(
        BODY,
        b"Content-Type: text/html; charset=utf-8\r\nCDN-Cache-Control: max-age=99\r\nSurrogate-Control: max-age=99\r\n"
        b"X-Accel-Expires: 99\r\n",
    )
    head = (await edge.get("/public/x", fields=PAGE)).head
    assert b"max-age=99" not in head
    assert b"expires: 99" not in head.lower()


async def test_what_is_no_document_has_no_policy_of_a_page(edge: Edge) -> None:
    protect(edge, "public", policy=POLICY, approved=APPROVED)
    edge.portal.answers[b"/public/x"] = page(b"{}", b'Content-Type: application/json\r\nETag: "1"\r\n')
    reply = await edge.get("/public/x")
    assert len(reply.field("content-security-policy")) == 1
    assert reply.field("etag") == [b'"1"']


async def test_a_policy_on_trial_stands_in_its_own_field_and_alone(edge: Edge) -> None:
    headers = replace(edge.worker.snapshot.headers, csp_report_only=b"default-src 'self'")
    edge.change(headers=headers)
    protect(edge, "public", policy=Policy(mode="report"), approved=APPROVED)
    edge.portal.answers[b"/public/x"] = page(BODY)
    reply = await edge.get("/public/x", fields=PAGE)
    assert len(reply.field("content-security-policy-report-only")) == 1
    assert b"'nonce-" in reply.field("content-security-policy-report-only")[0]


async def test_a_head_request_says_what_the_page_would(edge: Edge) -> None:
    protect(edge, "public", policy=POLICY, approved=APPROVED)
    edge.portal.answers[b"/public/x"] = (
        b'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\nETag: "1"\r\n\r\n'
    )
    reply = await edge.get("/public/x", method="HEAD", fields=PAGE)
    assert reply.status == 200
    assert reply.field("content-length") == reply.field("etag") == []


async def test_a_page_that_comes_in_drops_is_rewritten_as_it_passes(edge: Edge) -> None:
    async def slowly(_: Portal, __: bytes, ___: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"<p>a</p><scr", b"ipt>start", b"()</scrip", b"t><p>"):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    protect(edge, "public", policy=POLICY, approved=APPROVED)
    edge.portal.answers[b"/public/x"] = slowly
    reply = await edge.get("/public/x", fields=PAGE)
    assert re.sub(rb"\r\n[0-9a-f]*\r\n|^[0-9a-f]+\r\n", b"", reply.body).count(b"<script nonce=") == 1
    assert reply.body.endswith(b"0\r\n\r\n")


async def test_who_may_frame_pages_is_the_routes_to_say(edge: Edge) -> None:
    directives = read_directives({"frame-ancestors": "https://partner.example"})
    protect(edge, "public", policy=Policy(mode="enforce", directives=directives, nonces=False))
    reply = await edge.get("/public/x")
    assert reply.field("x-frame-options") == []
    policies = reply.field("content-security-policy")
    assert b"frame-ancestors https://partner.example" in policies[0]
    assert policies[1] == b"object-src 'none'; base-uri 'self'; frame-ancestors https://partner.example"
    edge.portal.answers[b"/public/pdf"] = page(b"%PDF-", b"Content-Type: application/pdf\r\n")
    reply = await edge.get("/public/pdf")
    assert reply.field("x-frame-options") == []
    assert [
        b"frame-ancestors https://partner.example" in value for value in reply.field("content-security-policy")
    ] == [True], "nobody else may, although it is no page"
    protect(edge, "public", policy=Policy(mode="report", directives=directives, nonces=False))
    reply = await edge.get("/public/x")
    assert reply.field("x-frame-options") == [b"SAMEORIGIN"]


# reports


def report(route: str = "?route=public", **about: Any) -> tuple[str, bytes]:
    told = {
        "document-uri": "http://127.0.0.1/public/x?secret",
        "effective-directive": "img-src",
        "blocked-uri": "https://x.example/p?q",
        **about,
    }
    return f"/.gateway/csp-report{route}", json.dumps({"csp-report": told}).encode()


async def send(edge: Edge, target: str, body: bytes, kind: str = "application/csp-report") -> int:
    return (await edge.get(target, method="POST", fields=f"Content-Type: {kind}\r\n", body=body)).status


async def test_reports_are_counted_by_route_directive_and_origin(edge: Edge) -> None:
    protect(edge, "public", policy=POLICY)
    assert await send(edge, *report()) == 204
    assert await send(edge, *report()) == 204
    (count,) = edge.worker.tally.of("public")
    assert (count.directive, count.what, count.times) == ("img-src", "https://x.example", 2)
    assert "secret" not in str(edge.worker.tally.of_route("public"))
    assert edge.portal.heads == []


async def test_reports_about_no_policy_of_ours_are_taken_and_forgotten(edge: Edge) -> None:
    protect(edge, "public", policy=POLICY)
    assert await send(edge, *report("?route=home")) == 204
    assert await send(edge, *report("?route=public&x")) == 204
    assert await send(edge, *report("")) == 204
    assert await send(edge, *report(), kind="text/plain") == 204
    assert await send(edge, "/.gateway/csp-report?route=public", b"{nonsense") == 204
    assert not edge.worker.tally
    assert count(edge, "gateway_csp_reports_total") == {("-", "unread"): 4, ("-", "img-src"): 1}


async def test_a_flood_of_reports_is_refused(edge: Edge) -> None:
    target, body = report()
    found = [await send(edge, target, body) for _ in range(52)]
    assert found[0] == 204
    assert 429 in found
    assert await send(edge, target, b"x" * 70_000) in {413, 429}


# where another proxy asks


def ask_by_proxy(edge: Edge) -> None:
    everywhere = TrustedProxies([ip_network("127.0.0.0/8")])
    edge.change(forward_auth=ForwardAuthRules(style="envoy", askers=everywhere, proxies=everywhere))


async def test_another_proxy_is_not_told_to_let_a_preflight_through_to_a_private_route(edge: Edge) -> None:
    protect(edge, "invoice", sharing=replace(SHARING, methods=frozenset((b"GET",))))
    ask_by_proxy(edge)
    fields = f"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\nOrigin: {APP}\r\nAccess-Control-Request-Method: GET\r\n"
    assert (await edge.get("/.gateway/check/invoices/7", method="OPTIONS", fields=fields)).status == 405


async def test_another_proxy_is_told_of_a_forged_request(edge: Edge) -> None:
    protect(edge, senders=OriginRules())
    ask_by_proxy(edge)
    fields = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\n"
    assert (await edge.get("/.gateway/check/", method="POST", token="tok", fields=fields)).status == 200
    assert (await edge.get("/.gateway/check/", method="POST", token="tok", fields=fields + CROSS)).status == 403


# over HTTP/2


async def test_all_of_it_holds_over_http2(http2: Http2Edge) -> None:
    edge = http2.edge
    protect(
        edge, "public", sharing=SHARING, policy=POLICY, approved=APPROVED, senders=OriginRules(token=True), form_key=KEY
    )
    edge.portal.answers[b"/public/x"] = page(BODY + b"<form method=post>")
    client = await http2.client()
    answer = await client.ask(
        "/public/x", (b"sec-fetch-dest", b"document"), (b"cookie", b"__Host-gw=secure"), (b"if-none-match", b'"1"')
    )
    assert answer.body.count(b"<script nonce=") == 2
    assert answer.body.count(b'name="gw_csrf"') == 1
    assert answer.field(b"content-length") == []
    assert edge.portal.field(b"if-none-match") == []

    asked = (b"origin", APP.encode()), (b"access-control-request-method", b"GET")
    granted = await client.ask("/public/x", *asked, method=b"OPTIONS")
    assert (granted.status, granted.field(b"access-control-allow-origin")) == (204, [APP.encode()])
    assert len(edge.portal.heads) == 1

    stream = client.request(
        client.get(
            "/public/x",
            (b"cookie", b"__Host-gw=secure"),
            (b"content-type", b"application/x-www-form-urlencoded"),
            method=b"POST",
        ),
        end=False,
    )
    client.data(stream, b"a=1", end=True)
    assert (await client.answer(stream)).status == 403

    target, body = report()
    reported = client.request(
        client.get(target, (b"content-type", b"application/csp-report"), method=b"POST"), end=False
    )
    client.data(reported, body.replace(b"http://127.0.0.1", b"https://portal.test"), end=True)
    assert (await client.answer(reported)).status == 204
    assert "https://x.example" in {count.what for count in edge.worker.tally.of("public")}

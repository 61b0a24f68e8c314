"""Paths that are others at the upstream: what reaches it, what is refused, what comes back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.resolve import Resolver
from gateway.exchange.reason import Reason
from gateway.policy import PolicyTable, compile_policy
from gateway.policy.judgement import judge, parse_request
from gateway.wire.authority import parse_authority
from gateway.wire.rewriting import PathMapping
from gateway.wire.target import readings
from tests.unit.edge.conftest import POLICY as EDGE_POLICY
from tests.unit.edge.conftest import Edge, Reply

POLICY = """
version: 1
routes:
  - {name: root, match: {path: "/**", methods: [GET]}, upstream: portal, public: true}
  - {name: app, match: {path: "/app/**", methods: [GET, POST]}, upstream: portal, public: true, allow_encoded_slash: true}
  - {name: admin, match: {path: "/app/admin/**", methods: [GET]}, upstream: portal, deny: true}
  - {name: plain, match: {path: "/plain/**", methods: [GET]}, upstream: plain, public: true}
"""
AUTHORITY = parse_authority(b"127.0.0.1")
assert AUTHORITY is not None
STRIP, ADD, BOTH = PathMapping("/app", ""), PathMapping("", "/v2"), PathMapping("/app", "/v2/api")


def compiled(text: str, mapping: PathMapping | None) -> PolicyTable:
    made, _ = compile_policy(
        {"policies/test.yaml": text}, upstreams=["portal", "plain"], tenants=[], hosts=["127.0.0.1"],
        paths={"portal": mapping} if mapping is not None else {},
    )  # fmt: skip
    return made


TABLES = {mapping: compiled(POLICY, mapping) for mapping in (STRIP, ADD, BOTH)}


def forwarded(target: bytes, mapping: PathMapping) -> bytes | Reason:
    assert AUTHORITY is not None
    found = Resolver(TABLES[mapping]).resolve(AUTHORITY, target, b"GET")
    return found.refusal if found.refusal is not None else found.forwarded or found.text


@pytest.mark.parametrize(
    ("mapping", "target", "sent"),
    [
        (STRIP, b"/app/a/b?x=/app&y", b"/a/b?x=/app&y"),
        (STRIP, b"/app", b"/"),
        (STRIP, b"/app?", b"/?"),
        (STRIP, b"/app/", b"/"),
        (STRIP, b"/app/app/a", b"/app/a"),
        (STRIP, b"/app/%41", b"/A"),
        (STRIP, b"/app/a%23b", b"/a%23b"),
        (STRIP, b"/app/items;color=red", b"/items;color=red"),
        (STRIP, b"/app/x/../a", b"/a"),
        (STRIP, b"/app/a%2Fb", b"/a%2Fb"),
        (ADD, b"/a", b"/v2/a"),
        (ADD, b"/", b"/v2/"),
        (BOTH, b"/app/a", b"/v2/api/a"),
        (BOTH, b"/app", b"/v2/api"),
        (STRIP, b"http://127.0.0.1/app/a", b"/a"),
    ],
)
def test_the_upstream_gets_its_own_path_and_the_exact_query(mapping: PathMapping, target: bytes, sent: bytes) -> None:
    assert forwarded(target, mapping) == sent


def test_a_route_without_a_mapping_forwards_what_it_judged() -> None:
    assert forwarded(b"/plain/a", STRIP) == b"/plain/a"


@pytest.mark.parametrize("target", [b"/", b"/other", b"/apple", b"/app2/a", b"/APP/a"])
def test_what_is_not_under_the_prefix_has_no_place_at_the_upstream(target: bytes) -> None:
    assert forwarded(target, STRIP) in (Reason.NO_ROUTE, Reason.AMBIGUOUS_PATH)


@pytest.mark.parametrize(
    ("mapping", "target"),
    [
        # CVE-2025-66490 and its kin: a rewrite makes `..` after the check
        (BOTH, b"/app/..;/admin"),
        (BOTH, b"/app/..;x/..;y/etc"),
        (BOTH, b"/app/%252e%252e/admin"),
        (BOTH, b"/app/..%2Fadmin"),
        (BOTH, b"/app/..%5Cadmin"),
        (BOTH, b"/app/%E2%80%A5/admin"),
        (ADD, b"/..;/x"),
        (ADD, b"/%252e%252e/x"),
        # the path begins with what some server takes for a host
        (STRIP, b"/app//evil.example/"),
        (STRIP, b"/app///evil.example/"),
        # what is denied under the prefix, by another way to read what is left of it
        (STRIP, b"/app/..;/admin"),
        (STRIP, b"/app/x/..;/admin"),
        (STRIP, b"/app/%61dmin;x"),
        (STRIP, b"/app/ADMIN"),
        (STRIP, b"/app/admin%23"),
        (STRIP, b"/app/%2561dmin"),
    ],
)
def test_a_path_that_means_something_else_once_it_is_rewritten_is_refused(mapping: PathMapping, target: bytes) -> None:
    found = forwarded(target, mapping)
    assert found in (Reason.AMBIGUOUS_PATH, Reason.INVALID_TARGET, Reason.NO_ROUTE), found


def test_what_hides_behind_the_prefix_is_seen_only_after_the_rewrite() -> None:
    """attack: all readings of the public path lie on one route, and the stripped one is the denied page."""
    assert AUTHORITY is not None
    policy = """
version: 1
routes:
  - {name: root, match: {path: "/**", methods: [GET]}, upstream: portal, public: true}
  - {name: secret, match: {path: "/app/secret", methods: [GET]}, upstream: portal, deny: true}
"""
    target = b"/app/..;/secret"
    plain = Resolver(compiled(policy, None)).resolve(AUTHORITY, target, b"GET")
    assert plain.refusal is None, "one route, however it is read"
    rewritten = Resolver(compiled(policy, STRIP)).resolve(AUTHORITY, target, b"GET")
    assert rewritten.refusal is Reason.AMBIGUOUS_PATH


SEGMENTS = st.sampled_from(
    ["a", "admin", "ADMIN", "..", ".", "", ";", "..;", "%2e%2e", "%252e%252e", "%2f", "%5c", "%61dmin", "app", "admin;x", "admin.", "%00", "%23", "..;a=b", "v2", ".gateway", "%E2%80%A5"]
)  # fmt: skip


@given(
    st.sampled_from([STRIP, ADD, BOTH]),
    st.lists(SEGMENTS, max_size=5).map("/".join),
    st.sampled_from(["/", "/app/", "/app"]),
)
def test_no_reading_of_a_rewritten_path_leaves_its_prefix_or_its_route(
    mapping: PathMapping, rest: str, start: str
) -> None:
    assert AUTHORITY is not None
    found = Resolver(TABLES[mapping]).resolve(AUTHORITY, (start + rest).encode(), b"GET")
    if found.refusal is not None or found.internal:
        return
    assert found.target is not None
    node = TABLES[mapping].match("127.0.0.1", found.target.path)
    if found.route.name == "plain":
        return
    path = found.forwarded.decode().partition("?")[0]
    assert not path.startswith("//")
    for reading in readings(path) or ():
        low = reading.lower()
        assert low == mapping.add or low.startswith(mapping.add + "/")
        assert TABLES[mapping].match_folded("127.0.0.1", mapping.strip + reading[len(mapping.add) :]) is node


@pytest.mark.parametrize(
    "target", ["/app/a", "/app", "/other", "/app/..;/admin", "/app//evil.example/", "/app/x/..;/a"]
)
@pytest.mark.parametrize("mapping", [STRIP, ADD, BOTH])
def test_what_a_person_is_told_by_explain_is_what_the_edge_does(mapping: PathMapping, target: str) -> None:
    facts = parse_request("GET", f"https://127.0.0.1{target}")
    verdict = judge(TABLES[mapping], {"127.0.0.1": ""}, facts, None, 0.0)
    done = forwarded(target.encode(), mapping)
    assert verdict.decision.reason == (done if isinstance(done, Reason) else Reason.PUBLIC)


# through a whole edge


def rewrite(edge: Edge, old: str, new: str) -> None:
    """Change a text in the policy of the test's edge."""
    assert old in EDGE_POLICY
    table, _ = compile_policy(
        {"policies/test.yaml": EDGE_POLICY.replace(old, new)}, upstreams=["portal"], tenants=["acme", "globex"],
        hosts=["127.0.0.1", "globex.example"],
    )  # fmt: skip
    edge.change(policy=table, resolver=Resolver(table))


@pytest.fixture
def mapped(edge: Edge) -> Edge:
    public = "OPTIONS]}, upstream: portal, public: true"
    rewrite(edge, public, public + ", path: {strip_prefix: /public, add_prefix: /v2}")
    return edge


async def test_the_portal_sees_the_rewritten_path_and_the_record_the_public_one(mapped: Edge) -> None:
    assert (await mapped.get("/public/a?b=c", fields="X-Forwarded-Prefix: /evil\r\n")).status == 200
    assert mapped.portal.head.startswith(b"GET /v2/a?b=c HTTP/1.1\r\n")
    assert mapped.portal.field(b"x-forwarded-prefix") == [b"/public"]
    assert mapped.audit.records[-1]["http_request"]["url"]["path"] == "/public/a"


async def test_a_route_without_a_prefix_tells_none(mapped: Edge) -> None:
    assert (await mapped.get("/invoices/1", token="tok", fields="X-Forwarded-Prefix: /evil\r\n")).status == 200
    assert mapped.portal.field(b"x-forwarded-prefix") == []


async def test_what_an_answer_names_is_named_publicly(mapped: Edge) -> None:
    mapped.portal.answers[b"/v2/a"] = (
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://10.0.0.9:3000/v2/next?a=/v2\r\n"
        b'Content-Location: /v2/a.en\r\nLink: </v2/b>; rel="next"\r\nRefresh: 5; url=/v2/c\r\n'
        b"Set-Cookie: a=1; Path=/v2; Domain=10.0.0.9; HttpOnly\r\n\r\n"
    )
    reply = await mapped.get("/public/a")
    assert reply.field("location") == [b"http://127.0.0.1/public/next?a=/v2"]
    assert reply.field("content-location") == [b"/public/a.en"]
    assert reply.field("link") == [b'</public/b>; rel="next"']
    assert reply.field("refresh") == [b"5; url=/public/c"]
    assert reply.field("set-cookie") == [b"a=1; Path=/public; HttpOnly; SameSite=Lax"]
    assert b"10.0.0.9" not in reply.raw


async def test_the_same_answer_is_named_by_each_route_in_its_own_way(mapped: Edge) -> None:
    """The hardened head is remembered: by route, or the second route would get the first one's names."""
    answer = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /v2/next\r\n\r\n"
    mapped.portal.answers[b"/v2/a"] = mapped.portal.answers[b"/files/a"] = answer
    replies: list[Reply] = [await mapped.get(target) for target in ("/public/a", "/files/a", "/public/a")]
    assert [reply.field("location") for reply in replies] == [[b"/public/next"], [b"/v2/next"], [b"/public/next"]]


async def test_a_redirect_after_sign_in_leads_to_the_public_path(mapped: Edge) -> None:
    resource = '    resource: {type: invoice, id: "{id}"}'
    rewrite(mapped, resource, resource + "\n    path: {strip_prefix: /invoices}")
    reply = await mapped.get("/invoices/1", fields="Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n")
    assert reply.status == 302
    assert b"return_to=/invoices/1" in reply.field("location")[0]


async def test_a_literal_host_is_sent_and_turned_back_into_the_public_one(edge: Edge) -> None:
    server = edge.worker.snapshot.upstreams["portal"].servers[0]
    edge.change_upstream(
        preserve_host=False,
        servers=(replace(server, authority=b"portal.internal"),),
        authorities=frozenset((b"portal.internal",)),
    )
    edge.portal.answers[b"/public/a"] = (
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: https://PORTAL.internal:443/next\r\n\r\n"
    )
    reply = await edge.get("/public/a")
    assert edge.portal.field(b"host") == [b"portal.internal"]
    assert edge.portal.field(b"x-forwarded-host") == [b"127.0.0.1"]
    assert reply.field("location") == [b"http://127.0.0.1/next"]

"""Advisories about paths, URLs and hosts: policy saw one resource, the upstream another. docs/advisories.md lists them all."""

from __future__ import annotations

import pytest

from gateway.edge.resolve import Resolver
from gateway.exchange.reason import Reason
from gateway.policy import compile_policy
from gateway.wire.authority import parse_authority
from tests.unit.edge.conftest import Edge
from tests.unit.edge.raw import exchange

POLICY = """
version: 1
routes:
  - {name: open, match: {path: "/open", methods: [GET]}, upstream: portal, public: true}
  - {name: status, match: {path: "/api/status", methods: [GET]}, upstream: portal, public: true}
  - {name: public, match: {path: "/public/**", methods: [GET]}, upstream: portal, public: true}
  - {name: admin, match: {path: "/admin/**", methods: [GET]}, upstream: portal, deny: true}
  - {name: rest, match: {path: "/**", methods: [GET]}, upstream: portal, deny: true}
"""


def resolver(text: str = POLICY, hosts: tuple[str, ...] = ("portal.example",)) -> Resolver:
    return Resolver(compile_policy({"p.yaml": text}, upstreams=["portal"], tenants=[], hosts=list(hosts))[0])


def outcome(target: str, host: str = "portal.example", resolving: Resolver | None = None) -> str:
    """Name of the route, or the reason of the refusal."""
    authority = parse_authority(host.encode("ascii"))
    assert authority is not None
    found = (resolving or resolver()).resolve(authority, target.encode("ascii"), b"GET")
    return found.refusal.value if found.refusal is not None else found.route.name


@pytest.mark.parametrize(
    "target", ["/open%23/admin", "/open%2523/secret", "/secret%23/open", "/open%3f/secret", "/open%23"]
)
def test_cve_2026_41059_an_encoded_fragment_does_not_make_a_path_public(target: str) -> None:
    assert outcome(target) in {"ambiguous_path", "rest"}


def test_cve_2026_41059_what_stays_public_under_every_reading_passes_as_it_is() -> None:
    assert outcome("/public/secret%23/endpoint") == "public"


@pytest.mark.parametrize(
    "target", ["/api/private?path=/api/status", "/api/private?/api/status", "/api/private?x=/open", "/?/open"]
)
def test_cve_2025_54576_a_query_takes_no_part_in_routing(target: str) -> None:
    assert outcome(target) == "rest"


@pytest.mark.parametrize(
    "target",
    [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/..;/admin",
        "/public/.%2e/admin",
        "/public/x/../../admin",
        "/public/%252e%252e/admin",
    ],
)
def test_cve_2026_33494_dots_are_resolved_before_a_rule_is_picked(target: str) -> None:
    assert outcome(target) in {"admin", "ambiguous_path"}


@pytest.mark.parametrize(
    "target",
    ["/admin/a%2fb", "/admin/a%2Fb", "/admin/x/../a", "/%61dmin/a", "/admin/./a", "http://PORTAL.example/admin/a"],
)
@pytest.mark.parametrize("host", ["portal.example", "PORTAL.example", "Portal.Example."])
def test_cve_2026_42274_42272_42273_32811_six_spellings_are_one_rule(target: str, host: str) -> None:
    assert outcome(target, host) in {"admin", "ambiguous_path"}


@pytest.mark.parametrize("target", ["/%41dmin/a", "/admin%2Fa", "/%61%64%6D%69%6e/a", "/ADMIN/a"])
def test_cve_2026_27587_escapes_and_case_match_no_other_rule(target: str) -> None:
    assert outcome(target) in {"admin", "ambiguous_path"}


@pytest.mark.parametrize("count", [1, 99, 100, 101, 1000])
def test_cve_2026_27588_hosts_are_compared_without_case_however_many_there_are(count: int) -> None:
    hosts = tuple(f"h{number}.example" for number in range(count))
    text = f"""
version: 1
routes:
  - {{name: bound, match: {{path: "/**", methods: [GET], hosts: [{", ".join(hosts)}]}}, upstream: portal, deny: true}}
"""
    resolving = resolver(text, hosts)
    for host in (hosts[0], hosts[-1]):
        for spelling in (host, host.upper(), host.title(), host + "."):
            assert outcome("/x", spelling, resolving) == "bound"


@pytest.mark.parametrize("target", ["/public\\..\\admin", "/public/..%5cadmin", "/public%5cx", "/%5cadmin"])
def test_cve_2026_52844_a_backslash_is_refused_however_it_is_written(target: str) -> None:
    assert outcome(target) in {"ambiguous_path", "invalid_target"}


@pytest.mark.parametrize(
    "target", ["/public/a#/b", "/a#/../public/b", "/public/a?b#c", "http://portal.example/public/a#b"]
)
def test_cve_2023_47106_cve_2021_32779_cve_2021_39156_a_fragment_in_a_target_is_400(target: str) -> None:
    assert outcome(target) == "invalid_target"


@pytest.mark.parametrize("target", ["/public%2fadmin", "/public/..%2Fadmin", "/%2fadmin", "/admin%2F"])
def test_cve_2021_29492_an_encoded_slash_is_refused(target: str) -> None:
    assert outcome(target) == "ambiguous_path"


@pytest.mark.parametrize("target", ["/./admin/x", "//admin/x", "/.//admin/x", "/admin//x", "/admin/%00", "/admin%00"])
def test_cve_2019_9901_a_path_is_normalised_or_refused(target: str) -> None:
    assert outcome(target) in {"admin", "ambiguous_path", "invalid_target"}


async def test_cve_2019_9900_a_nul_in_a_field_is_400(edge: Edge) -> None:
    seen = await exchange(edge, b"GET /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b\x00c\r\n\r\n")
    assert (seen.answers[0].status, seen.heard) == (400, [])


@pytest.mark.parametrize(
    "target", ["//x/admin", "//x/admin/y", "//portal.example/admin", "///admin", "http://portal.example//x/admin"]
)
def test_cve_2026_26205_two_slashes_name_no_host(target: str) -> None:
    assert outcome(target) in {"rest", "ambiguous_path"}


def test_cve_2025_29914_cve_2024_1019_what_is_judged_is_what_is_forwarded() -> None:
    """`%3F` is no `?`: the split comes before any decoding, and the upstream gets what policy saw."""
    authority = parse_authority(b"portal.example")
    assert authority is not None
    found = resolver().resolve(authority, b"/public/a%3Fb=c?d=%3f", b"GET")
    assert found.target is not None
    assert (found.target.path, found.target.query, found.text) == (
        "/public/a%3Fb=c",
        b"d=%3f",
        b"/public/a%3Fb=c?d=%3f",
    )
    assert outcome("/admin%3F/../../public/x") in {"ambiguous_path", "public"}
    assert outcome("/open%3Fx") == "ambiguous_path"


@pytest.mark.parametrize("rule", ["allow: [{roles: [client]}]", "public: true", "deny: true"])
@pytest.mark.parametrize("host", ["admin.example", "ADMIN.EXAMPLE", "Admin.Example", "admin.EXAMPLE."])
def test_cve_2026_48794_cve_2021_39155_a_host_in_capitals_meets_the_same_rule(rule: str, host: str) -> None:
    text = f"""
version: 1
roles: {{client: {{}}}}
routes:
  - {{name: bound, match: {{path: "/**", methods: [GET], hosts: [admin.example]}}, upstream: portal, {rule}}}
  - {{name: other, match: {{path: "/**", methods: [GET], hosts: [www.example]}}, upstream: portal, public: true}}
"""
    assert outcome("/x", host, resolver(text, ("admin.example", "www.example"))) == "bound"


def test_cve_2023_33189_routes_are_picked_once() -> None:
    """The property over fuzzed targets is `test_the_route_of_policy_is_the_route_of_the_upstream`; here is its reason."""
    authority = parse_authority(b"portal.example")
    assert authority is not None
    found = resolver().resolve(authority, b"/public/x", b"GET")
    assert found.match is not None
    assert found.match.route is found.route
    assert Reason.AMBIGUOUS_PATH.value == outcome("/public/%2e%2e%3b/admin")


@pytest.mark.parametrize(
    "host",
    [
        "globex.example.evil.tld", "globex.example.evil.tld:80", "evil-globex.example", "evilglobex.example", "globexXexample",
        "globex-example", "globex.examplf", "globex.exampl", "lobex.example", "a.globex.example", ".globex.example", "globex.example..",
        "globex.example%2eevil.tld", "globex.example@evil.tld", "globex.example,evil.tld", "globex.example evil.tld",
    ],
)  # fmt: skip
async def test_cve_2026_41569_cve_2024_52289_a_host_is_compared_whole(edge: Edge, host: str) -> None:
    """authentik compared its beginning, and took the dots of a name for an expression's."""
    seen = await exchange(edge, b"GET /public/a HTTP/1.1\r\nHost: " + host.encode("ascii") + b"\r\n\r\n")
    assert seen.answers[0].status in {400, 421}
    assert [heard for heard in seen.heard if heard.line != "GET /public/marker"] == []


@pytest.mark.parametrize(
    "origin",
    [
        "http://127.0.0.1.evil.tld", "http://evil.tld/127.0.0.1", "http://127x0.0.1", "http://evil127.0.0.1", "http://127.0.0.1@evil.tld",
        "http://127.0.0.1:81", "https://127.0.0.1", "null", "http://127.0.0.1, http://evil.tld", "http://127.0.0.1#", "http://127.0.0.",
    ],
)  # fmt: skip
async def test_cve_2026_41569_cve_2024_52289_an_origin_is_compared_whole(edge: Edge, origin: str) -> None:
    handshake = (
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    reply = await edge.get("/ws", fields=f"{handshake}Origin: {origin}\r\n")
    assert reply.status == 403
    assert edge.portal.heads == []

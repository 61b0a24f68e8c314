"""Ways to say /admin to one server or another, against a plain deny on /admin: none may get through to be read so.

The readers below are servers as they are, written from their documentation and independent of
`gateway.wire.target`: what each would serve for a target that reached it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.edge.resolve import Resolver
from gateway.exchange.reason import Reason
from gateway.policy import PolicyTable, compile_policy
from gateway.ratelimit.gcra import Bucket
from gateway.wire.authority import Authority
from tests.unit.edge.conftest import Edge
from tests.unit.edge.raw import exchange

CORPORA = Path(__file__).parents[2] / "corpora"
SPELLINGS = (CORPORA / "admin_spellings.txt").read_text(encoding="ascii").splitlines()
ORDINARY = (CORPORA / "ordinary_paths.txt").read_text(encoding="ascii").splitlines()
HOST = Authority("127.0.0.1", None, "127.0.0.1")
ADMIN = re.compile(r"/admin(?:/.*)?", re.IGNORECASE | re.DOTALL).fullmatch
EXACTLY_ADMIN = re.compile(r"/admin/?", re.IGNORECASE).fullmatch
Reader = Callable[[str], str]


def policy(admin: str, extra: str = "") -> PolicyTable:
    text = f"""
version: 1
routes:
  - {{name: all, match: {{path: "/**", methods: [GET]}}, upstream: portal, public: true{extra}}}
  - {{name: admin, match: {{path: "{admin}", methods: [GET]}}, upstream: portal, deny: true}}
"""
    return compile_policy({"p.yaml": text}, upstreams=["portal"], tenants=[], hosts=["127.0.0.1"])[0]


# what servers do


def dots(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept)


def merged(path: str) -> str:
    return re.sub("/+", "/", path)


def tomcat(path: str) -> str:
    """Path parameters go first, then one decoding, then dots; a backslash is a slash where it is allowed."""
    path = "/".join(segment.partition(";")[0] for segment in path.split("/"))
    return dots(merged(unquote(path).replace("\\", "/")))


def old_tomcat(path: str) -> str:
    """Decodes overlong UTF-8 (CVE-2008-2938)."""
    raw = unquote_to_bytes(path)
    raw = re.sub(
        rb"[\xc0\xc1]([\x80-\xbf])", lambda found: bytes((((found[0][0] & 31) << 6 | found[1][0] & 63) & 127,)), raw
    )
    raw = re.sub(
        rb"\xe0[\x80\x81]([\x80-\xbf])", lambda found: bytes((((found[0][1] & 63) << 6 | found[1][0] & 63) & 127,)), raw
    )
    return dots(merged(raw.decode("utf-8", "replace")))


def spring(path: str) -> str:
    """Matches a suffix and a slash more."""
    path = tomcat(path).rstrip("/") or "/"
    return re.sub(r"\.[^./]+$", "", path)


def rails(path: str) -> str:
    return re.sub(r"\(?\.[^./?]+\)?$", "", merged(dots(unquote(path))).rstrip("/") or "/")


def iis(path: str) -> str:
    """Wide escapes, backslashes, trailing dots and spaces, streams, cookieless sessions, best-fit characters."""
    path = re.sub(r"%[uU]([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), path)
    path = unicodedata.normalize("NFKC", unquote(path)).replace("\\", "/")
    path = "".join(c for c in unicodedata.normalize("NFKD", path) if not unicodedata.combining(c))
    path = re.sub(r"/\((?:[A-Za-z]\([^)]*\))+\)(?=/|$)", "", path)
    path = re.sub(r":[^:/]*:\$[^/]*", "", path)
    return dots(merged("/".join(part if part in (".", "..") else part.rstrip(". ") for part in path.split("/"))))


def iis_twice(path: str) -> str:
    return iis(unquote(path))


def php(path: str) -> str:
    """Cuts at NUL, and takes what follows the script as the path."""
    path = unquote(path).partition("\0")[0]
    path = dots(merged(path))
    return re.sub(r"^.*?/[^/]+\.(?:php|cgi|aspx)(?=/)", "", path, flags=re.IGNORECASE)


def apache(path: str) -> str:
    """Content negotiation finds `admin.*`, and a rewrite may decode once more and cut at `?` (CVE-2024-38474)."""
    path = dots(merged(unquote(unquote(path)).partition("?")[0]))
    return re.sub(r"(?<=[^/])\.[^/]*$", "", path)


def nginx(path: str) -> str:
    return dots(merged(unquote(path.partition("#")[0])))


def express(path: str) -> str:
    return unquote(path.partition("?")[0].partition("#")[0]).rstrip("/") or "/"


def trimming(path: str) -> str:
    """Drops what does not show."""
    path = unquote(path)
    return dots(
        "".join(
            c for c in path if not c.isspace() and unicodedata.category(c) not in ("Cf", "Cc", "Mn") and c != "\ufffd"
        )
    )


def thrice(path: str) -> str:
    return nginx(unquote(unquote(path)))


READERS: tuple[Reader, ...] = (
    tomcat,
    old_tomcat,
    spring,
    rails,
    iis,
    iis_twice,
    php,
    apache,
    nginx,
    express,
    trimming,
    thrice,
)


@pytest.mark.parametrize("admin", ["/admin/**", "/admin"])
async def test_no_spelling_of_admin_reaches_a_portal_that_understands_it(edge: Edge, admin: str) -> None:
    table = policy(admin)
    edge.change(
        policy=table,
        resolver=Resolver(table),
        limits_of={name: tuple[Bucket, ...]() for name in table.routes},
        version=admin,
    )
    is_admin = ADMIN if admin.endswith("**") else EXACTLY_ADMIN
    through = {}
    for spelling in SPELLINGS:
        raw = f"GET {spelling} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode("ascii")
        seen = await exchange(edge, raw, follow=b"")
        assert [answer.status for answer in seen.answers] in ([200], [400], [401]), spelling
        for heard in seen.heard:
            path = heard.line.partition(" ")[2].partition("?")[0]
            understood = [reader.__name__ for reader in READERS if is_admin(reader(path))]
            if understood:
                through[spelling] = (path, understood)
    assert through == {}
    assert len(SPELLINGS) >= 251


@pytest.mark.parametrize("admin", ["/admin/**", "/admin"])
def test_ordinary_paths_pass(admin: str) -> None:
    resolver = Resolver(policy(admin))
    refused = [path for path in ORDINARY if resolver.resolve(HOST, path.encode("ascii"), b"GET").refusal is not None]
    assert refused == []


def test_the_upstream_gets_what_policy_judged() -> None:
    """Forwarded again, every target that passes means the same: the same route, byte for byte."""
    resolver = Resolver(policy("/admin"))
    for path in (*SPELLINGS, *ORDINARY):
        first = resolver.resolve(HOST, path.encode("ascii"), b"GET")
        if first.refusal is None:
            second = resolver.resolve(HOST, first.text, b"GET")
            assert (second.refusal, second.route, second.text) == (None, first.route, first.text)


@pytest.mark.parametrize("target", ["/a%2fb", "/a%5cb"])
def test_an_encoded_slash_passes_only_where_its_route_says_so(target: str) -> None:
    raw = target.encode("ascii")
    assert Resolver(policy("/admin")).resolve(HOST, raw, b"GET").refusal is Reason.AMBIGUOUS_PATH
    relaxed = Resolver(policy("/admin", ", allow_encoded_slash: true"))
    assert relaxed.resolve(HOST, raw, b"GET").text == target.upper().replace("/A", "/a").replace("B", "b").encode(
        "ascii"
    )


@pytest.mark.parametrize(
    "target", ["/public/..%2fadmin", "/%2fadmin", "/public/..%5cadmin", "/%5cadmin", "/admin%2f", "/x%2f..%2fadmin"]
)
def test_an_encoded_slash_leads_nowhere_else_where_it_is_allowed(target: str) -> None:
    relaxed = Resolver(policy("/admin/**", ", allow_encoded_slash: true"))
    assert relaxed.resolve(HOST, target.encode("ascii"), b"GET").refusal is not None


def test_a_suffix_passes_where_the_route_says_that_it_is_a_name() -> None:
    assert Resolver(policy("/admin")).resolve(HOST, b"/admin.css", b"GET").refusal is Reason.AMBIGUOUS_PATH
    relaxed = Resolver(policy("/admin", ", allow_suffix: true"))
    assert relaxed.resolve(HOST, b"/admin.css", b"GET").refusal is None
    assert relaxed.resolve(HOST, b"/admin;x.css", b"GET").refusal is Reason.AMBIGUOUS_PATH


ROUTES = """
version: 1
routes:
  - {name: all, match: {path: "/**", methods: [GET]}, upstream: portal, public: true, allow_encoded_slash: true}
  - {name: admin, match: {path: "/admin/**", methods: [GET]}, upstream: portal, deny: true}
  - {name: one, match: {path: "/a/{id}", methods: [GET]}, upstream: portal, public: true}
  - {name: file, match: {path: "/a/b.json", methods: [GET]}, upstream: portal, public: true}
  - {name: Deep, match: {path: "/a/b/**", methods: [GET]}, upstream: portal, public: true}
  - {name: capital, match: {path: "/Capital", methods: [GET]}, upstream: portal, public: true}
"""
TABLE = compile_policy({"p.yaml": ROUTES}, upstreams=["portal"], tenants=[], hosts=["127.0.0.1"])[0]
PIECES = st.sampled_from(
    ["/", "//", "a", "b", "admin", "Admin", "capital", ".", "..", "/../", "/./", ";", ";x", "%2e", "%2E", "%2f", "%5c", "%25", "%252e", "%61", "%c0%ae", "%c0%2e", "%EF%BC%8F", "%EF%BD%81",
     "%20", "%09", "%3b", "%3f", "%23", "%u0061", "%25u0061", "::$DATA", "(S(a))", ".json", "+", "%E2%80%8B", "%C3%A0", "dmin", "%ff", ":", "\\", "?", "?x=/admin", "b.json", "index.php", "/.gateway/"]
)  # fmt: skip


@settings(max_examples=500)
@given(st.lists(PIECES, max_size=9).map("".join))
@example("/..;/admin")
@example("/a/b.json/../../admin")
def test_the_route_of_policy_is_the_route_of_the_upstream(text: str) -> None:
    """CVE-2023-33189: policy and proxy picked a route each for itself."""
    resolver = Resolver(TABLE)
    first = resolver.resolve(HOST, b"/" + text.encode("ascii"), b"GET")
    if first.refusal is not None or first.internal:
        return
    second = resolver.resolve(HOST, first.text, b"GET")
    assert (second.refusal, second.route, second.text) == (None, first.route, first.text)
    path = first.text.partition(b"?")[0].decode("ascii")
    for reader in READERS:
        understood = reader(path)
        assert first.route.name == "admin" or not ADMIN(understood), (path, reader.__name__, understood)

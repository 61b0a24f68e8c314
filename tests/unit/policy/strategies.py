"""Policies, people and requests at random, for properties that must hold for all of them.

A policy is drawn as plain data and written as JSON, which is YAML. What a draw cannot know, `compiled` finds out: a policy
that does not compile (an entry that another one hides, a rest that narrower templates take) is not tried.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from hypothesis import assume
from hypothesis import strategies as st

from gateway.document.diagnostic import DocumentError
from gateway.policy import PolicyTable, compile_policy
from gateway.policy.judgement import Person
from gateway.policy.template import parse_template
from gateway.wire.rewriting import PathMapping

HOSTS: Final = {"127.0.0.1": "", "acme.example": "acme", "globex.example": "globex"}
"""Each host and its tenant."""
TENANTS: Final = ("acme", "globex")
ROLES: Final = {"client": (), "billing": ("client",), "admin": ("billing",), "auditor": ()}
"""Each role and what it includes."""
METHODS: Final = ("GET", "POST", "DELETE", "OPTIONS")
UPSTREAMS: Final = {"portal": PathMapping("", "")}

_OF_REQUESTS: Final = (
    'request.method == "GET"',
    'network.is_in("127.0.0.0/8")',
    'network.is_in("10.0.0.0/8")',
    'request.query == "q=1"',
    "int(request.query) > 0",
    'request.path.endsWith("/")',
    'request.host == "127.0.0.1"',
    'request.tenant == "acme"',
    "request.secure",
)
_OF_PEOPLE: Final = (
    'tenant == "acme"',
    'session.roles.exists(role, role == "client")',
    'session.mfa_age < duration("1h")',
    'session.acr == "phr"',
    "session.known_device",
    'user.name == "bob"',
    'session.credential == "api_key"',
)
_OF_PATHS: Final = ('path.p == "a"', "int(path.p) > 1")

_segments = st.sampled_from(("a", "b", "ab", "A1", "x.json", "a%20b", "{p}", "{q}", "*"))
templates = st.builds(
    lambda segments, tail: "/" + "/".join(segments) + (tail if segments else tail[1:]),
    st.lists(_segments, max_size=3, unique=True),
    st.sampled_from(("", "", "/", "/**")),
)
"""Templates of paths; each name of a parameter at most once."""
_roles = st.lists(st.sampled_from(tuple(ROLES)), min_size=1, max_size=2, unique=True)
_tenants = st.lists(st.sampled_from(TENANTS), min_size=1, max_size=2, unique=True)


def _conditions(template: str, *, public: bool) -> st.SearchStrategy[str]:
    known = [*_OF_REQUESTS, *(() if public else _OF_PEOPLE), *(_OF_PATHS if "{p}" in template else ())]
    return st.sampled_from(known)


@st.composite
def denials(draw: st.DrawFn, template: str, *, public: bool) -> dict[str, Any]:
    """Draw an entry of `deny`."""
    when = draw(_conditions(template, public=public))
    if public:
        return {"when": when}
    entry: dict[str, Any] = {}
    if draw(st.booleans()):
        entry["roles"] = draw(_roles)
    if draw(st.booleans()):
        entry["tenants"] = draw(_tenants)
    if not entry or draw(st.booleans()):
        entry["when"] = when
    return entry


@st.composite
def _grants(draw: st.DrawFn, template: str, credentials: list[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"roles": draw(_roles)}
    if draw(st.integers(0, 3)) == 0:
        entry["tenants"] = draw(_tenants)
    if draw(st.booleans()):
        entry["when"] = draw(_conditions(template, public=False))
    if "api_key" in credentials and draw(st.booleans()):
        entry["scopes"] = draw(st.sampled_from((["read"], ["read", "write"])))
    return entry


@st.composite
def _requirements(draw: st.DrawFn) -> dict[str, Any]:
    choices: dict[str, st.SearchStrategy[Any]] = {
        "factor": st.sampled_from(("any", "totp", "webauthn")),
        "mfa_age": st.sampled_from(("5m", "2h")),
        "auth_age": st.sampled_from(("5m", "2h")),
        "acr": st.sampled_from(("aal2", "phr")),
        "device": st.just("known"),
        "network": st.sampled_from((["10.0.0.0/8"], ["127.0.0.0/8"])),
    }
    keys = draw(st.lists(st.sampled_from(tuple(choices)), min_size=1, max_size=2, unique=True))
    return {key: draw(choices[key]) for key in keys}


@st.composite
def _routes(draw: st.DrawFn, name: str, template: str, methods: list[str]) -> dict[str, Any]:
    match: dict[str, Any] = {"path": template, "methods": methods}
    if draw(st.integers(0, 4)) == 0:
        match["hosts"] = draw(st.lists(st.sampled_from(tuple(HOSTS)), min_size=1, max_size=2, unique=True))
    route: dict[str, Any] = {"name": name, "match": match, "upstream": "portal"}
    kind = draw(st.sampled_from(("public", "deny", *["allow"] * 5)))
    if draw(st.integers(0, 3)) == 0:
        route["allow_encoded_slash"] = True
    if draw(st.integers(0, 3)) == 0:
        route["allow_suffix"] = True
    if kind == "deny":
        return route | {"deny": True}
    public = kind == "public"
    bindings: list[Any] = [*TENANTS, {"header": "X-Tenant"}, *([{"path": "p"}] if "{p}" in template else [])]
    if draw(st.integers(0, 3)) == 0:
        route["tenant"] = draw(st.sampled_from(bindings))
    if draw(st.integers(0, 2)) == 0:
        route["deny"] = draw(st.lists(denials(template, public=public), min_size=1, max_size=2, unique_by=json.dumps))
    if public:
        if draw(st.integers(0, 4)) == 0:
            route["require"] = {"network": draw(st.sampled_from((["10.0.0.0/8"], ["127.0.0.0/8"])))}
        return route | {"public": True}
    credentials = draw(st.sampled_from(([], [], ["session", "api_key"], ["api_key"], ["session", "bearer"])))
    if credentials:
        route["credentials"] = credentials
    if draw(st.integers(0, 2)) == 0:
        route["require"] = draw(_requirements())
    elif draw(st.integers(0, 5)) == 0:
        route["unsafe_without_mfa"] = True
    if template.startswith("/a/") and draw(st.integers(0, 3)) == 0:
        route["path"] = {"strip_prefix": "/a"}
    allow = st.lists(
        _grants(template, credentials), min_size=1, max_size=2, unique_by=lambda entry: str(entry["roles"])
    )
    return route | {"allow": draw(allow)}


class Policy(NamedTuple):
    """A policy that compiles."""

    routes: tuple[dict[str, Any], ...]
    table: PolicyTable


def files_of(routes: tuple[dict[str, Any], ...], *, parts: int = 1) -> dict[str, str]:
    """Write routes into so many files, the roles into the first."""
    roles = {name: {"includes": list(included)} if included else {} for name, included in ROLES.items()}
    files = {}
    for part in range(parts):
        own = routes[part::parts]
        content = {"version": 1, **({"roles": roles} if part == 0 else {}), **({"routes": own} if own else {})}
        if len(content) > 1:
            files[f"policies/{part}.yaml"] = json.dumps(content, indent=1)
    return files


def compiled(files: Mapping[str, str]) -> PolicyTable:
    """Compile, or give the example up."""
    try:
        return compile_policy(files, upstreams=UPSTREAMS, tenants=TENANTS, hosts=HOSTS)[0]
    except DocumentError:
        assume(condition=False)
        raise


@st.composite
def policies(draw: st.DrawFn, *, max_routes: int = 6) -> Policy:
    """Draw a policy."""
    drawn = draw(
        st.lists(
            templates,
            min_size=1,
            max_size=max_routes,
            unique_by=lambda text: parse_template(text).folded,
        )
    )
    routes: list[dict[str, Any]] = []
    for number, template in enumerate(drawn):
        methods = draw(st.lists(st.sampled_from(METHODS), min_size=1, max_size=4, unique=True))
        cut = draw(st.integers(0, len(methods) - 1))
        for part, own in enumerate((methods[:cut], methods[cut:])):
            if own:
                routes.append(draw(_routes(f"r{number}{'ab'[part]}", template, own)))
    return Policy(tuple(routes), compiled(files_of(tuple(routes))))


@st.composite
def people(draw: st.DrawFn) -> Person:
    """Draw somebody who is signed in, or a program with an API key."""
    mfa_age = draw(st.sampled_from((None, 0.0, 1800.0, 10_000.0)))
    factor = draw(st.sampled_from(("otp", "hwk")))
    is_program = draw(st.integers(0, 4)) == 0
    return Person(
        user=draw(st.sampled_from(("alice", "bob"))),
        tenant=draw(st.sampled_from((*TENANTS, "zeta"))),
        roles=tuple(draw(st.lists(st.sampled_from((*ROLES, "unknown")), max_size=2, unique=True))),
        amr=("pwd", factor, "mfa"),
        mfa_age=mfa_age,
        auth_age=draw(st.sampled_from((0.0, 1800.0, 10_000.0))),
        known_device=draw(st.booleans()),
        credential="api_key" if is_program else "cookie",
        scopes=("read",) if is_program and draw(st.booleans()) else (),
    )


_spellings = st.sampled_from(
    (
        lambda path: path,
        lambda path: path,
        lambda path: path + "/",
        lambda path: path.rstrip("/") or "/",
        lambda path: path.upper(),
        lambda path: path.replace("a", "%61", 1),
        lambda path: path.replace("a", "%2561", 1),
        lambda path: path.replace("/", "//", 1),
        lambda path: path.replace("/a", "/./a", 1),
        lambda path: path + "/../b",
        lambda path: "/b/.." + path,
        lambda path: "/b/%2e%2e" + path,
        lambda path: "/b/..;" + path,
        lambda path: path + ";x=1",
        lambda path: path + "%2F",
        lambda path: path[:1] + path[1:].replace("/", "%2f"),
        lambda path: path[:1] + path[1:].replace("/", "%5C"),
        lambda path: path + ".json",
        lambda path: path + "%00",
        lambda path: path + "%20",
        lambda path: path + "?q=1",
        lambda path: path + "?5",
    )
)


@st.composite
def targets(draw: st.DrawFn, routes: tuple[dict[str, Any], ...]) -> str:
    """Draw a request-target that some route is, or could be taken to be, meant by."""
    template: str = draw(st.sampled_from([route["match"]["path"] for route in routes] + ["/nowhere"]))
    values = st.sampled_from(("a", "7", "acme", "globex", "A1", "x%2Fy", "b;c", "%C3%A4"))
    path = "/".join(
        draw(values)
        if part in {"{p}", "{q}", "*"}
        else draw(values) + draw(st.sampled_from(("", "/b")))
        if part == "**"
        else part
        for part in template.split("/")
    )
    return str(draw(_spellings)(path))


class Asked(NamedTuple):
    """A request."""

    host: str
    method: str
    target: str
    fields: tuple[tuple[str, str], ...]
    """Header fields: names in lower case."""

    @property
    def url(self) -> str:
        """As an absolute URL."""
        return f"http://{self.host}{self.target}"


@st.composite
def requests(draw: st.DrawFn, routes: tuple[dict[str, Any], ...]) -> Asked:
    """Draw a request that means, or could be taken to mean, one of `routes`."""
    named = st.sampled_from(((), (("x-tenant", "acme"),), (("x-tenant", "globex"),), (("x-tenant", "zeta"),)))
    return Asked(
        draw(st.sampled_from((*HOSTS, "127.0.0.1"))),
        draw(st.sampled_from((*METHODS, "HEAD", "GET"))),
        draw(targets(routes)),
        draw(named),
    )

"""From a raw request-target to one route, or to the reason why there is none.

The path alone picks the template. Every plausible reading of the path must select the same route as
the canonical path does: else policy and upstream could see different resources. A path that is rewritten for
its upstream is judged again after it. A pure function of (host, target, method) and the policy table; remembered per snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import orjson

from gateway.audit.access import MAX_PATH_BYTES, Blemish, encode_text, readable
from gateway.audit.resource import encode_resources, names_people, own_resource
from gateway.exchange.reason import Reason
from gateway.exchange.route import OWN_PAGES, Route
from gateway.policy import Match, PolicyTable
from gateway.wire.authority import Authority
from gateway.wire.rewriting import PathMapping
from gateway.wire.target import Target, parse_target

SERVER_WIDE: Final = "options"
"""`OPTIONS *`: asks about the gateway itself (RFC 9110 §9.3.7)."""
INTERNAL_PAGES: Final = (
    "login",
    "mfa",
    "device",
    "enrol",
    "recovery",
    "reset",
    "logout",
    "account",
    "admin",
    "kept",
    "sign-on",
    "portal-account",
    "oidc",
    "session",
    "sessions",
    "static",
    "jwks.json",
    "csp-report",
)
MEMO_ENTRIES: Final = 8192
MEMO_TARGET_BYTES: Final = 512

_LOCAL_METHODS: Final = {
    "jwks.json": ("GET", "HEAD", "OPTIONS"),
    "csp-report": ("POST",),
    "session": ("GET", "HEAD", "POST"),
}

NO_ROUTE: Final = Route(name="none", template="", methods=("GET",), upstream="", public=True)


@dataclass(slots=True, eq=False)
class Resolution:
    """What one target means."""

    target: Target | None
    route: Route
    match: Match | None
    """None for our own pages and for refusals."""
    refusal: Reason | None
    internal: str
    """Name of our own page (`login`, `jwks.json`, …), `other` for the rest of `/.gateway/`, empty for the portal."""
    text: bytes
    """Target as forwarded: canonical path and byte-exact query."""
    path_json: bytes
    resources: bytes
    methods: tuple[str, ...] = ()
    """What the path allows, for the Allow field of a 405 and of an answer to OPTIONS."""
    demands_tls: bool = False
    """The target itself says `https:`."""
    mapping: PathMapping | None = None
    """How paths of the upstream are named in public; None = as they are."""
    forwarded: bytes = b""
    """Target as the upstream gets it; empty = `text`."""
    blemish: Blemish | None = None
    """What was taken out of `path_json` and `resources`, or is not shown; None = nothing."""
    names_people: bool = False
    """What the route says about its data names somebody: `resources` is made for each request."""


class Resolver:
    """Resolves targets against one policy table."""

    def __init__(self, table: PolicyTable) -> None:
        self._table = table
        self._memo: dict[tuple[str, bytes, bytes], Resolution] = {}
        self._internal = {
            name: Route(
                name=f"gateway.{name}",
                template=f"{OWN_PAGES}/{name}",
                methods=("GET", "POST"),
                upstream="gateway",
                public=True,
                authorization="drop",
                cache="portal",
                max_body_bytes=64 * 1024,
            )
            for name in (*INTERNAL_PAGES, "other")
        }

    def resolve(self, authority: Authority, raw: bytes, method: bytes) -> Resolution:
        """Resolve one target; refusals are resolutions too."""
        key = (authority.text, raw, method)
        known = self._memo.get(key)
        if known is None:
            if len(self._memo) >= MEMO_ENTRIES:
                self._memo.clear()
            known = self._resolve(authority, raw, method)
            if len(raw) <= MEMO_TARGET_BYTES:
                self._memo[key] = known
        return known

    def _resolve(self, authority: Authority, raw: bytes, method: bytes) -> Resolution:
        target = parse_target(raw, authority)
        if isinstance(target, Reason):
            return self._server_wide(raw) if raw == b"*" and method == b"OPTIONS" else self._refused(raw, target)
        path, host = target.path, authority.host
        if self._table.is_ambiguous(host, path):
            return self._refused(raw, Reason.AMBIGUOUS_PATH)
        shown, redactions = readable(path.encode("ascii"), MAX_PATH_BYTES)
        path_json = orjson.dumps(shown)
        if path.startswith(OWN_PAGES + "/") or path == OWN_PAGES:
            page = path[len(OWN_PAGES) + 1 :].partition("/")[0]
            page = page if page in INTERNAL_PAGES else "other"
            methods = _LOCAL_METHODS.get(page, ())
            route = self._internal[page]
            demands_tls = target.demands_tls
            return Resolution(
                target,
                route,
                None,
                None,
                page,
                target.text,
                path_json,
                b"",
                methods,
                demands_tls,
                blemish=_blemish(redactions, len(path)),
            )
        found = self._table.resolve(host, path, method.decode("ascii"))
        if isinstance(found, Reason):
            refused = self._refused(raw, found, path)
            if found is Reason.METHOD_NOT_ALLOWED and (node := self._table.match(host, path)) is not None:
                refused.methods = node.methods
            return refused
        if target.escapes_slash and not found.route.allow_encoded_slash:
            return self._refused(raw, Reason.AMBIGUOUS_PATH, path)
        if not found.is_clear(path) or self._table.is_disguised(host, path, method.decode("ascii"), found):
            return self._refused(raw, Reason.AMBIGUOUS_PATH, path)
        mapping, forwarded = found.rule.mapping, b""
        if mapping is not None:
            rewritten = self._table.rewrite(host, path, mapping)
            if isinstance(rewritten, Reason):
                return self._refused(raw, rewritten, path)
            forwarded = Target(rewritten, target.query, target.has_query, target.escapes_slash).text
        is_about_people = names_people(found.route)
        resources = b""
        if found.route.resource is not None and not is_about_people:
            own = own_resource(found.route, found.resource_id())
            resources, taken = encode_resources(found.route, (own,) if own is not None else ())
            redactions += taken
        methods = node.methods if method == b"OPTIONS" and (node := self._table.match(host, path)) is not None else ()
        return Resolution(
            target,
            found.route,
            found,
            None,
            "",
            target.text,
            path_json,
            resources,
            methods,
            target.demands_tls,
            mapping=mapping,
            forwarded=forwarded,
            blemish=_blemish(redactions, len(path)),
            names_people=is_about_people,
        )

    def _server_wide(self, raw: bytes) -> Resolution:
        route = Route(name="gateway.options", template="*", methods=("OPTIONS",), upstream="gateway", public=True)
        methods = tuple(sorted({method for rule in self._table.routes.values() for method in rule.methods}))
        path_json = encode_text(raw, MAX_PATH_BYTES)
        return Resolution(None, route, None, None, SERVER_WIDE, raw, path_json, b"", methods)

    @staticmethod
    def _refused(raw: bytes, reason: Reason, canonical: str = "") -> Resolution:
        path = canonical.encode("ascii") or raw.partition(b"?")[0]
        shown, redactions = readable(path, MAX_PATH_BYTES)
        return Resolution(
            None,
            NO_ROUTE,
            None,
            reason,
            "",
            b"",
            orjson.dumps(shown),
            b"",
            blemish=_blemish(redactions, len(path)),
        )


def _blemish(redactions: int, length: int) -> Blemish | None:
    cut = max(0, length - MAX_PATH_BYTES)
    return Blemish(redactions, cut) if redactions or cut else None

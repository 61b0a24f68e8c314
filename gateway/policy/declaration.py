"""What one policy file says, read word by word.

Checks everything that one file can be wrong about by itself and reports it with its place. What
only shows when all files are together (unknown roles, ambiguity) is `compiler`'s and `conflicts`'.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, cast

from gateway.document.place import Place
from gateway.document.quantity import duration, rate, size
from gateway.document.source import did_you_mean
from gateway.exchange.built_in import RESERVED_SENTENCE, is_reserved
from gateway.exchange.route import DELEGATED, Action, Durability, LimitSpec, Resource, Route
from gateway.exchange.step_up import Assurance, Requirement
from gateway.policy.entries import DenialDeclaration, GrantDeclaration, Mode, read_denials, read_grants, read_mode
from gateway.policy.template import Template, TemplateError, parse_template
from gateway.policy.tenancy import read_tenant
from gateway.wire.target import remove_dot_segments

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names of roles, routes, upstreams and tenants; they travel in header fields and metric labels."""
NAME_SENTENCE: Final = "a name starts with a letter or digit and has letters, digits, '.', '_' and '-', 64 at most"
PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]{1,64}){1,16}")
PREFIX_SENTENCE: Final = "a prefix is a path such as /app: letters, digits, - . _ ~ and no slash at the end"
RESOURCE_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_REFERENCE = re.compile(r"\{([^{}]*)\}")

METHODS: Final = (
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
    "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH",
)  # fmt: skip
"""RFC 9110 section 9 and RFC 5789 without CONNECT and TRACE, then WebDAV (RFC 4918, 3253, 5323)."""
MAX_BURST: Final = 1_000_000
_STEP_UP_RUNGS: Final = (Assurance.AAL2, Assurance.PHISHING_RESISTANT)
"""Every session stands on the first."""

REQUIRED: Final = ("name", "match", "upstream")
OPTIONAL: Final = (
    "public", "allow", "deny", "action", "resource", "rate_limit", "audit", "authorization", "cache", "credentials",
    "activity", "allow_encoded_slash", "allow_suffix", "allow_service_worker", "client_certificate", "cookies", "max_body", "timeout", "path", "unsafe_without_mfa",
    "mfa_age", "auth_age", "acr", "tenant", "mode",
)  # fmt: skip


@dataclass(slots=True)
class RoleDeclaration:
    """A role and the roles it includes, with their places."""

    name: str
    place: Place
    includes: dict[str, Place]
    shadow: bool = False
    """Its file says `mode: shadow`."""


@dataclass(slots=True)
class RouteDeclaration:
    """One route as written. `route` is complete but for what other files must confirm."""

    place: Place
    name: str
    template: Template
    template_place: Place
    hosts: dict[str, Place]
    upstream: Place
    route: Route
    verdict: Place
    """Where `public`, `allow` or `deny` stands, or the route where none does."""
    grants: list[GrantDeclaration] = field(default_factory=list)
    denials: list[DenialDeclaration] = field(default_factory=list)
    shadow: bool = False
    """It says `mode: shadow`, or its file does."""
    tenant: Place | None = None
    """Where it says what names the tenant; None = it does not."""

    @property
    def slots(self) -> list[tuple[str, str]]:
        """Host (`*` = every) and method of each request the route takes; GET brings HEAD with it."""
        methods = {*self.route.methods, *(("HEAD",) if "GET" in self.route.methods else ())}
        return [(host, method) for host in self.hosts or ("*",) for method in sorted(methods)]


@dataclass(slots=True)
class Declarations:
    """All that the files say. `names` has every route that has a name, also those that are otherwise wrong."""

    roles: list[RoleDeclaration] = field(default_factory=list)
    routes: list[RouteDeclaration] = field(default_factory=list)
    names: list[tuple[str, Place]] = field(default_factory=list)

    @property
    def has_shadow(self) -> bool:
        """Whether anything says `mode: shadow`."""
        return any(role.shadow for role in self.roles) or any(
            route.shadow or any(grant.shadow for grant in route.grants) or any(denial.shadow for denial in route.denials)
            for route in self.routes
        )

    def enforced(self) -> Declarations:
        """Return all that is not in shadow."""
        return Declarations(
            roles=[role for role in self.roles if not role.shadow],
            routes=[
                replace(
                    route,
                    grants=[grant for grant in route.grants if not grant.shadow],
                    denials=[denial for denial in route.denials if not denial.shadow],
                )
                for route in self.routes
                if not route.shadow
            ],
            names=self.names,
        )


def read_declarations(root: Place, into: Declarations) -> None:
    """Read one policy file and add what it declares."""
    entries = root.fields(("version",), ("roles", "routes", "mode"))
    if entries is None:
        return
    if entries["version"].value != 1 or isinstance(entries["version"].value, bool):
        entries["version"].fail("the version of this format is 1", name="unknown-version")
    if "roles" not in entries and "routes" not in entries:
        root.fail("the file declares neither roles nor routes", name="nothing-declared")
    mode = read_mode(entries)
    if "roles" in entries:
        _read_roles(entries["roles"], into, shadow=mode == "shadow")
    for place in (entries["routes"].items() or []) if "routes" in entries else []:
        route = _read_route(place, into, mode)
        if route is not None:
            into.routes.append(route)


def _read_roles(place: Place, into: Declarations, *, shadow: bool) -> None:
    entries = place.entries()
    if entries is not None and not entries:
        place.fail("no role is declared; name one, or remove the key", name="nothing-declared")
    for name, entry in (entries or {}).items():
        if not NAME.fullmatch(name):
            entry.key().fail(f"{name!r}: {NAME_SENTENCE}", name="malformed-name")
            continue
        if is_reserved(name):
            entry.key().fail(f"the role {name!r} cannot be declared: {RESERVED_SENTENCE}", name="reserved-role")
            continue
        fields = entry.fields((), ("includes",))
        includes = fields["includes"].texts() if fields and "includes" in fields else None
        into.roles.append(RoleDeclaration(name, entry.key(), includes or {}, shadow))


def _read_route(place: Place, into: Declarations, file_mode: Mode | None) -> RouteDeclaration | None:
    entries = place.fields(REQUIRED, OPTIONAL)
    if entries is None:
        return None
    name = entries["name"].text(NAME, NAME_SENTENCE, name="malformed-name")
    if name is not None:
        into.names.append((name, entries["name"]))
    match = entries["match"].fields(("path", "methods"), ("hosts",))
    upstream = entries["upstream"].text()
    template = _read_template(match["path"]) if match else None
    methods = match["methods"].texts(_read_method) if match else None
    hosts = match["hosts"].texts() if match and "hosts" in match else {}
    verdict, grants, denials = _read_verdict(place, entries)
    shadow = (read_mode(entries) or file_mode) == "shadow"
    options = _read_options(entries, name or "", template)
    if match is None or name is None or upstream is None or template is None or methods is None or hosts is None:
        return None
    route = Route(
        name=name,
        template=template.text,
        methods=tuple(methods),
        hosts=tuple(hosts),
        upstream=upstream,
        source=str(place),
        **options,
    )
    return RouteDeclaration(
        place,
        name,
        template,
        match["path"],
        hosts,
        entries["upstream"],
        route,
        verdict,
        grants,
        denials,
        shadow,
        entries.get("tenant"),
    )


def _read_template(place: Place) -> Template | None:
    text = place.text()
    if text is None:
        return None
    try:
        return parse_template(text)
    except TemplateError as error:
        place.fail_inside(1, error.offset + 1, str(error), name=error.name)
        return None


def _read_method(place: Place) -> str | None:
    text = place.text()
    if text is None or text in METHODS:
        return text
    hint = f"; did you mean {text.upper()!r}?" if text.upper() in METHODS else did_you_mean(text.upper(), METHODS)
    place.fail(f"unknown method {text!r}{hint}", name="unknown-method")
    return None


def _read_verdict(
    place: Place, entries: dict[str, Place]
) -> tuple[Place, list[GrantDeclaration], list[DenialDeclaration]]:
    """Read who may take the route: exactly one of `public: true`, `allow` and `deny: true`, and whom `deny: [...]` refuses."""
    listed = "deny" in entries and isinstance(entries["deny"].value, list)
    for word in ("public", "deny"):
        if word in entries and not (listed and word == "deny") and entries[word].flag() is False:
            entries[word].fail(f"{word}: false changes nothing; remove it", name="no-effect")
    present = [word for word in ("public", "allow", "deny") if word in entries and not (listed and word == "deny")]
    denials = read_denials(entries["deny"], public="public" in entries) if listed else []
    if not present:
        place.fail(
            "the route says neither allow, nor public: true, nor deny: true; without one nobody could use it",
            name="missing-verdict",
        )
        return place, [], denials
    for word in present[1:]:
        entries[word].key().fail(
            f"a route has only one of public, allow and deny; this one already says {present[0]}", name="contradiction"
        )
    grants = read_grants(entries["allow"]) if "allow" in entries else []
    return entries[present[0]].key(), grants, denials


def _read_options(entries: dict[str, Place], name: str, template: Template | None) -> dict[str, Any]:
    """Read the options of a route as fields of `Route`; what is wrong is reported and left out."""
    public = "public" in entries
    closed = "deny" in entries and not isinstance(entries["deny"].value, list)
    options: dict[str, Any] = {"public": public}
    if "action" in entries:
        word = entries["action"].one_of([action.value for action in Action])
        options["action"] = None if word is None else Action(word)
    if "resource" in entries:
        options["resource"] = _read_resource(entries["resource"], template)
    if "rate_limit" in entries:
        options["limit"] = _read_limit(entries["rate_limit"], name, public=public)
    if "audit" in entries:
        options["durability"] = _read_durability(entries["audit"])
    for key, choices in (("authorization", ("gateway", "portal", "drop")), ("cache", ("no-store", "portal"))):
        if key in entries:
            options[key] = entries[key].one_of(choices) or choices[0]
    options |= _read_credentials(entries, unasked=public or closed)
    if "cookies" in entries:
        inner = entries["cookies"].fields(("vault",))
        options["vault"] = (inner["vault"].one_of(("none", "http_only", "all")) or "") if inner else ""
    if "client_certificate" in entries:
        options["client_certificate"] = entries["client_certificate"].one_of(("optional", "required")) or "required"
    for key in ("allow_encoded_slash", "allow_suffix", "allow_service_worker"):
        if key in entries:
            options[key] = entries[key].flag() is True
    if "activity" in entries:
        options["activity"] = entries["activity"].flag() is not False
        if closed:
            entries["activity"].key().fail("activity has no effect on a route that refuses everybody", name="no-effect")
    if "max_body" in entries:
        options["max_body_bytes"] = _positive(entries["max_body"], entries["max_body"].quantity(size))
    if "timeout" in entries:
        options |= _read_timeout(entries["timeout"])
    if "path" in entries:
        options |= _read_rewrite(entries["path"])
    if "unsafe_without_mfa" in entries:
        place = entries["unsafe_without_mfa"]
        options["mfa"] = place.flag() is not True
        if public or closed:
            place.key().fail("unsafe_without_mfa has no effect on a route that asks for no session", name="no-effect")
    if "tenant" in entries:
        options["tenant"] = read_tenant(entries["tenant"], template)
        if closed:
            entries["tenant"].key().fail("tenant has no effect on a route that refuses everybody", name="no-effect")
    options["requirement"] = _read_step_up(entries, unasked=public or closed)
    return options


def _read_credentials(entries: dict[str, Place], *, unasked: bool) -> dict[str, Any]:
    """Read what may prove who asks; a route that takes what comes in Authorization keeps that field for the gateway."""
    place = entries.get("credentials")
    if place is None:
        return {}
    if unasked:
        place.key().fail("credentials has no effect on a route that asks nobody who they are", name="no-effect")
    words = place.texts(_read_credential)
    if words is None:
        return {}
    kept = entries["authorization"].value if "authorization" in entries else "gateway"
    if "bearer" in words and kept != "gateway":
        entries["authorization"].fail(
            "bearer tokens come in Authorization; write gateway, or leave the key out", name="contradiction"
        )
    found: dict[str, Any] = {"credentials": tuple(words)}
    if not DELEGATED.isdisjoint(words):
        found["authorization"] = kept
    return found


def _read_credential(place: Place) -> str | None:
    if place.value == "certificate":
        place.fail("certificates are asked for by client_certificate: optional or required", name="unknown-word")
        return None
    return place.one_of(("session", "api_key", "bearer"))


def _read_step_up(entries: dict[str, Place], *, unasked: bool) -> Requirement | None:
    """Read how fresh and how strong the sign-in must be; `unasked`: the route looks at no session."""
    found: dict[str, Any] = {}
    for key in ("mfa_age", "auth_age"):
        if key in entries:
            found[f"{key}_s"] = _positive(entries[key], entries[key].quantity(duration))
    if "acr" in entries:
        word = entries["acr"].one_of([rung.value for rung in _STEP_UP_RUNGS])
        found["acr"] = None if word is None else Assurance(word)
    for key in ("mfa_age", "auth_age", "acr"):
        if key in entries and unasked:
            entries[key].key().fail(f"{key} has no effect on a route that asks for no session", name="no-effect")
        elif key in entries and key != "auth_age" and "unsafe_without_mfa" in entries:
            entries[key].key().fail(
                f"{key} asks for a second factor, and unsafe_without_mfa for none; keep one of them",
                name="contradiction",
            )
    return Requirement(**found) if found else None


def _read_timeout(place: Place) -> dict[str, Any]:
    """Read how long this route waits for its upstream, seconds."""
    entries = place.fields((), ("response", "idle"))
    if place.value == {}:
        place.fail("write response, idle or both, or remove the key", name="empty-value")
    return {f"{key}_timeout_s": _positive(item, item.quantity(duration)) for key, item in (entries or {}).items()}


def _read_rewrite(place: Place) -> dict[str, Any]:
    """Read how the path for the upstream differs from the public one; it replaces what the upstream says."""
    entries = place.fields((), ("strip_prefix", "add_prefix"))
    if place.value == {}:
        place.fail("write strip_prefix, add_prefix or both, or remove the key", name="empty-value")
    found = {}
    for key, item in (entries or {}).items():
        text = item.text(PREFIX, PREFIX_SENTENCE)
        if text is not None and remove_dot_segments(text) != text:
            item.fail(f"{text!r}: {PREFIX_SENTENCE}", name="malformed-value")
        found[key] = text
    if found.get("strip_prefix") and found.get("strip_prefix") == found.get("add_prefix"):
        place.fail("what is stripped is added again; remove the key", name="no-effect")
    return found


def _positive(place: Place, value: float | None) -> float | None:
    if value is not None and value <= 0:
        place.fail("must be more than 0", name="malformed-quantity")
        return None
    return value


def _read_resource(place: Place, template: Template | None) -> Resource | None:
    entries = place.fields(("type",), ("id",))
    if entries is None:
        return None
    kind = entries["type"].text(
        RESOURCE_TYPE, "a type starts with a letter and has letters, digits, '.', '_' and '-', 64 at most"
    )
    text = entries["id"].text() if "id" in entries else ""
    if text and template is not None:
        known = template.names
        for found in _REFERENCE.finditer(text):
            if found[1] not in known:
                hint = did_you_mean(found[1], known)
                entries["id"].fail_inside(
                    1, found.start() + 1, f"the path has no parameter {found[0]}{hint}", name="unknown-parameter"
                )
        stray = re.search(r"[{}]", _REFERENCE.sub(lambda found: " " * len(found[0]), text))
        if stray:
            entries["id"].fail_inside(1, stray.start() + 1, "a brace without its partner", name="malformed-value")
    return None if kind is None or text is None else Resource(type=kind, id=text)


def _read_limit(place: Place, name: str, *, public: bool) -> LimitSpec | None:
    entries = place.fields(("rate", "burst", "per"))
    if entries is None:
        return None
    per_second = _positive(entries["rate"], entries["rate"].quantity(rate))
    burst = entries["burst"].count(maximum=MAX_BURST)
    per = entries["per"].one_of(("ip", "user", "tenant", "route", "key"))
    if per in {"user", "key"} and public:
        entries["per"].fail(f"a public route knows no {per}; count per ip, tenant or route", name="contradiction")
    if per_second is None or burst is None or per is None:
        return None
    kind = cast("Literal['ip', 'user', 'tenant', 'route', 'key']", per)  # one_of has checked it
    return LimitSpec(name=f"route:{name}", rate_per_s=per_second, burst=burst, per=kind)


def _read_durability(place: Place) -> Durability | None:
    entries = place.fields(("durability",))
    if entries is None:
        return None
    if entries["durability"].value == "strict+remote":
        entries["durability"].fail("the durability strict+remote is not built yet; use strict", name="not-built")
        return None
    word = entries["durability"].one_of([durability.value for durability in Durability])
    return None if word is None else Durability(word)

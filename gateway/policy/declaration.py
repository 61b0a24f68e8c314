"""What one policy file says, read word by word.

Checks everything that one file can be wrong about by itself and reports it with its place. What
only shows when all files are together (unknown roles, ambiguity) is `compiler`'s and `conflicts`'.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.document.place import Place
from gateway.document.source import did_you_mean
from gateway.exchange.built_in import RESERVED_SENTENCE, is_reserved
from gateway.exchange.route import Route
from gateway.policy.entries import (
    DenialDeclaration,
    GrantDeclaration,
    Mode,
    Owner,
    read_denials,
    read_entry,
    read_grants,
    read_mode,
)
from gateway.policy.options import OPTIONS, REUSABLE, Subject, read_options
from gateway.policy.reuse import (
    ENTRY_KEYS,
    Keys,
    Reuse,
    find_named,
    gather,
    lend,
    read_named,
    read_named_networks,
    refuse_closing,
    warn_about_idle,
)
from gateway.policy.template import Template, TemplateError, parse_template

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names of roles, routes, upstreams and tenants; they travel in header fields and metric labels."""
NAME_SENTENCE: Final = "a name starts with a letter or digit and has letters, digits, '.', '_' and '-', 64 at most"

METHODS: Final = (
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
    "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH",
)  # fmt: skip
"""RFC 9110 section 9 and RFC 5789 without CONNECT and TRACE, then WebDAV (RFC 4918, 3253, 5323)."""
REQUIRED: Final = ("name", "match")
OPTIONAL: Final = ("public", "allow", "profile", "mode", *OPTIONS)
FILE_KEYS: Final = ("roles", "routes", "mode", "defaults", "profiles", "entries", "networks")


@dataclass(slots=True)
class _Pending:
    """A route that is read once all files are: it may use what any of them declares."""

    place: Place
    defaults: Keys
    mode: Mode | None


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
    profile: str = ""

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
    reuse: Reuse = field(default_factory=Reuse)
    pending: list[_Pending] = field(default_factory=list)

    @property
    def has_shadow(self) -> bool:
        """Whether anything says `mode: shadow`."""
        return (
            bool(self.reuse.network_shadows)
            or any(role.shadow for role in self.roles)
            or any(
                route.shadow
                or any(grant.shadow for grant in route.grants)
                or any(denial.shadow for denial in route.denials)
                for route in self.routes
            )
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
            reuse=replace(self.reuse, networks=self.reuse.enforced_networks()),
        )


def read_declarations(root: Place, into: Declarations) -> None:
    """Read one policy file and add what it declares; its routes wait for `read_routes`."""
    entries = root.fields(("version",), FILE_KEYS)
    if entries is None:
        return
    if entries["version"].value != 1 or isinstance(entries["version"].value, bool):
        entries["version"].fail("the version of this format is 1", name="unknown-version")
    if entries.keys() <= {"version", "mode", "defaults"}:
        root.fail("the file declares neither roles nor routes", name="nothing-declared")
    mode = read_mode(entries)
    shadow = mode == "shadow"
    if "roles" in entries:
        _read_roles(entries["roles"], into, shadow=shadow)
    if "profiles" in entries:
        read_named(entries["profiles"], "profile", REUSABLE, into.reuse.profiles, shadow=shadow)
    if "entries" in entries:
        read_named(entries["entries"], "entry", ENTRY_KEYS, into.reuse.entries, shadow=shadow)
    if "networks" in entries:
        read_named_networks(entries["networks"], into.reuse, shadow=shadow)
    defaults = (entries["defaults"].fields((), REUSABLE) or {}) if "defaults" in entries else {}
    refuse_closing(defaults)
    if "defaults" in entries and not ("routes" in entries and defaults):
        entries["defaults"].key().fail(
            "defaults are for the routes of the same file; without a key, or without routes, they change nothing",
            name="no-effect",
        )
    for place in (entries["routes"].items() or []) if "routes" in entries else []:
        into.pending.append(_Pending(place, defaults, mode))


def read_routes(into: Declarations, *, all_files: bool) -> None:
    """Read the routes of all files; `all_files` says whether every file could be read, so that an unknown name is an error."""
    for pending in into.pending:
        route = _read_route(pending, into, all_files=all_files)
        if route is not None:
            into.routes.append(route)
    if all_files:
        _read_idle(into.reuse)


def _read_idle(reuse: Reuse) -> None:
    """Report profiles and entries that nothing uses, and what is wrong in them: nobody else will."""
    warn_about_idle(reuse.profiles, "profile")
    warn_about_idle(reuse.entries, "entry")
    nowhere = Subject("", None, public=False, closed=False, networks=reuse.networks, all_files=True)
    nobody = Owner("", "", public=False, shadow=True, durability=None, bound="", all_files=True)
    for named in reuse.profiles.values():
        if not named.used:
            gathered = gather({}, named.keys, {}, public=False, closed=False)
            read_options(gathered, nowhere)
            for place, _ in gathered.denials:
                read_denials(place, reuse, nobody)
    for named in reuse.entries.values():
        if not named.used:
            read_entry(named.keys, nobody)


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


def _read_route(pending: _Pending, into: Declarations, *, all_files: bool) -> RouteDeclaration | None:
    place = pending.place
    entries = place.fields(REQUIRED, OPTIONAL)
    if entries is None:
        return None
    name = entries["name"].text(NAME, NAME_SENTENCE, name="malformed-name")
    if name is not None:
        into.names.append((name, entries["name"]))
    match = entries["match"].fields(("path", "methods"), ("hosts",))
    template = _read_template(match["path"]) if match else None
    methods = match["methods"].texts(_read_method) if match else None
    hosts = match["hosts"].texts() if match and "hosts" in match else {}
    shadow = (read_mode(entries) or pending.mode) == "shadow"
    verdict = _read_verdict(place, entries)
    public, closed = "public" in entries, verdict is not None and "deny" in entries and _is_flag(entries["deny"])
    title = f"the route {name!r} at {place}" if name else f"the route at {place}"
    reuse = into.reuse
    profile = (
        find_named(entries["profile"], "profile", reuse.profiles, all_files=all_files, shadow=shadow)
        if "profile" in entries
        else None
    )
    gathered = gather(
        {key: item for key, item in entries.items() if key in OPTIONS and not (key == "deny" and closed)},
        lend(profile.keys, title, reuse.told) if profile is not None else {},
        lend(pending.defaults, title, reuse.told),
        public=public,
        closed=closed,
    )
    required = gathered.requirement.get("network")
    if required is not None and isinstance(required.value, list):
        reuse.networks_used.update(text for text in required.value if isinstance(text, str))
    networks = reuse.networks if shadow else reuse.enforced_networks()
    subject = Subject(name or "", template, public=public, closed=closed, networks=networks, all_files=all_files)
    options = read_options(gathered, subject)
    binding = options.get("tenant")
    owner = Owner(
        name or "",
        title,
        public=public,
        shadow=shadow,
        durability=options.get("durability"),
        bound=binding.value if binding is not None and binding.by == "header" else "",
        all_files=all_files,
    )
    if closed and gathered.denials:
        gathered.denials[0][0].key().fail("deny has no effect on a route that refuses everybody", name="no-effect")
    grants = read_grants(entries["allow"], reuse, owner) if "allow" in entries else []
    denials = [
        denial
        for listed, is_default in gathered.denials
        if not closed
        for denial in read_denials(listed, reuse, owner, is_default=is_default)
    ]
    upstream = _read_upstream(place, gathered.keys)
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
        gathered.keys["upstream"],
        route,
        verdict or place,
        grants,
        denials,
        shadow,
        gathered.keys.get("tenant"),
        profile=entries["profile"].value if profile is not None else "",
    )


def _read_upstream(place: Place, keys: Keys) -> str | None:
    if "upstream" not in keys:
        place.fail("the key 'upstream' is missing", name="missing-key")
        return None
    return keys["upstream"].text()


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


def _is_flag(place: Place) -> bool:
    return not isinstance(place.value, list)


def _read_verdict(place: Place, entries: Keys) -> Place | None:
    """Find where a route says who may take it: exactly one of `public: true`, `allow` and `deny: true`; None where none is.

    `deny: [...]` says who may not, beside the first two.
    """
    words = [word for word in ("public", "allow", "deny") if word in entries]
    if "deny" in words and not _is_flag(entries["deny"]):
        words.remove("deny")
    for word in words:
        if word != "allow" and entries[word].flag() is False:
            entries[word].fail(f"{word}: false changes nothing; remove it", name="no-effect")
    if not words:
        place.fail(
            "the route says neither allow, nor public: true, nor deny: true; without one nobody could use it",
            name="missing-verdict",
        )
        return None
    for word in words[1:]:
        entries[word].key().fail(
            f"a route has only one of public, allow and deny; this one already says {words[0]}",
            name="contradiction",
        )
    return entries[words[0]].key()

"""Which tenant a request is about, on a route that binds it: by name, path, header or subdomain.

A value names a tenant or nothing, compared exactly: what an upstream could read as another tenant's name names none
here. It never looks at who asks; the pipeline compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from gateway.document.place import Place
from gateway.document.source import did_you_mean
from gateway.exchange.decision import Decision
from gateway.exchange.reason import Reason
from gateway.exchange.tenancy import TenantBinding
from gateway.policy.template import Template
from gateway.wire.names import fold, is_reserved

NO_FIELDS: Final[tuple[tuple[str, str], ...]] = ()
_KINDS: Final = ("path", "header", "subdomain")
FIELD_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_HOST: Final = re.compile(r"[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,30}")
_BESIDE_LETTERS: Final = re.compile(r"[^a-z0-9-]")
_CLAIMABLE: Final = frozenset(("x-tenant", "x-tenant-id"))
"""Of the names that no client may send, those that only ever named a tenant: bound, they are judged and sent on."""
_STANDARD: Final = re.compile(
    r"(?:accept|access-control|cache|content|if|sec|service-worker)(?:-.*)?"
    r"|age|allow|date|from|origin|pragma|priority|range|referer|upgrade-insecure-requests|user-agent|x-request(?:ed-with)?"
)
"""Fields that mean something else: on routes that are not bound they must reach the portal."""


class Tenancy:
    """How one route finds the tenant of its requests."""

    __slots__ = ("binding", "field", "folded", "index", "mismatch", "parameter", "tenants")

    def __init__(self, binding: TenantBinding, *, template: Template, tenants: Collection[str], source: str) -> None:
        """Bind the requests of a route to one of `tenants`; `source` is the place of the key."""
        self.binding = binding
        self.tenants = frozenset(tenants)
        self.parameter = binding.value if binding.by == "path" else ""
        self.index = dict(template.parameters).get(self.parameter, -1)
        """Segment of the path that names the tenant; -1 = none does."""
        self.field = binding.value if binding.by == "header" else ""
        """Header field that names the tenant, lower case; empty = none does."""
        self.folded = fold(self.field.encode("ascii"))
        """The field as the most careless upstream would read it."""
        self.mismatch = Decision(allowed=False, reason=Reason.TENANT_MISMATCH, rule=source)

    def __eq__(self, other: object) -> bool:
        """Whether both find the same tenant for the same request."""
        return isinstance(other, Tenancy) and (self.binding, self.index) == (other.binding, other.index)

    def __hash__(self) -> int:
        """Hash as `==` compares."""
        return hash((self.binding, self.index))

    def named(self, *, host: str, parameters: Mapping[str, str], fields: Collection[tuple[str, str]]) -> str:
        """Return the tenant that a request names; empty where it names none, or more than once.

        `host` is lower case and has no port; `fields` are names (lower case) and values of header fields that may be meant.
        """
        match self.binding.by:
            case "name":
                name = self.binding.value
            case "path":
                name = parameters.get(self.parameter, "")
            case "header":
                name = self._of_field(fields)
            case _:
                label, _, parent = host.partition(".")
                name = label if parent == self.binding.value else ""
        return name if name in self.tenants else ""

    def settle(
        self, owner: str, *, host: str, parameters: Mapping[str, str], fields: Collection[tuple[str, str]]
    ) -> str | None:
        """Return the tenant of a request on a host of `owner` (empty = shared); None where none is named, or two are."""
        named = self.named(host=host, parameters=parameters, fields=fields)
        return named if named and owner in ("", named) else None

    def _of_field(self, fields: Collection[tuple[str, str]]) -> str:
        """Take the one value of the bound field."""
        found = ""
        for name, value in fields:
            if not self.is_meant(name):
                continue
            if found or name != self.field:  # attack: two readers, one of which takes the other field
                return ""
            found = value
        return found

    def is_meant(self, name: str) -> bool:
        """Whether some upstream reads a field of this name (lower case) as the bound one: `x_tenant` is `x-tenant` to a CGI."""
        return fold(_BESIDE_LETTERS.sub("-", name).encode("ascii", "replace")) == self.folded


def read_tenant(place: Place, template: Template | None) -> TenantBinding | None:
    """Read `tenant: acme`, `{path: NAME}`, `{header: X-Tenant}` or `{subdomain: portal.example.com}`; whether it exists is not asked here."""
    if isinstance(place.value, str):
        text = place.text()
        return None if text is None else TenantBinding(by="name", value=text)
    entries = place.fields((), _KINDS)
    if entries is None:
        return None
    if len(entries) != 1:
        place.fail("write the name of a tenant, or one of path, header and subdomain", name="tenant-binding")
        return None
    [(kind, item)] = entries.items()
    match kind:
        case "path":
            return _read_parameter(item, template)
        case "header":
            return _read_field(item)
        case _:
            text = item.text(
                _HOST,
                "write the domain above the hosts of the tenants, such as portal.example.com",
                name="tenant-binding",
            )
            return None if text is None else TenantBinding(by="subdomain", value=text)


def _read_parameter(place: Place, template: Template | None) -> TenantBinding | None:
    text = place.text()
    if text is None or template is None:
        return None
    if text not in template.names:
        place.fail(
            f"the path {template.text} has no parameter {{{text}}}{did_you_mean(text, template.names)}",
            name="unknown-parameter",
        )
        return None
    return TenantBinding(by="path", value=text)


def _read_field(place: Place) -> TenantBinding | None:
    text = place.text(FIELD_NAME, "a header name is made of letters, digits and -", name="tenant-binding")
    if text is None:
        return None
    name = text.lower()
    taken = name not in _CLAIMABLE and is_reserved(name.encode("ascii"), frozenset())
    if taken or _STANDARD.fullmatch(name):
        place.fail(
            f"{text} means something else already; name a field that only says the tenant", name="tenant-binding"
        )
        return None
    return TenantBinding(by="header", value=name)


def check_tenant(
    place: Place,
    binding: TenantBinding,
    *,
    tenants: Collection[str],
    owners: Mapping[str, str],
    hosts: Collection[str],
) -> None:
    """Report a binding under which every request would be refused.

    `owners` maps each host of the gateway to its tenant (empty = shared); `hosts` are those the route is limited to.
    """
    if not tenants:
        place.fail("gateway.yaml has no tenants, so that no request could name one", name="unknown-tenant")
        return
    served = {host: owner for host, owner in owners.items() if not hosts or host in hosts}
    if binding.by == "name":
        if binding.value not in tenants:
            place.fail(f"unknown tenant {binding.value!r}{did_you_mean(binding.value, tenants)}", name="unknown-tenant")
        elif served and all(owner not in ("", binding.value) for owner in served.values()):
            place.fail(
                f"every host of the route belongs to another tenant than {binding.value}", name="crossing-tenant"
            )
    elif binding.by == "subdomain":
        _check_subdomain(place, binding.value, tenants, served)


def _check_subdomain(place: Place, parent: str, tenants: Collection[str], served: Mapping[str, str]) -> None:
    below = {host: owner for host, owner in served.items() if host.partition(".")[2] == parent}
    if served and not below:
        place.fail(f"no host of the route is directly below {parent}", name="crossing-tenant")
    for host, owner in sorted(below.items()):
        label = host.partition(".")[0]
        if label in tenants and owner not in ("", label):
            place.fail(f"{host} belongs to the tenant {owner}, and its name says {label}", name="crossing-tenant")
    if below and all(host.partition(".")[0] not in tenants for host in below):
        place.fail(f"no host below {parent} begins with the name of a tenant", name="crossing-tenant")

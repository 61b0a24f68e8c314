"""How programs prove who they are: API keys of the gateway's own, and the access tokens of issuers it believes.

It says what one issuer may vouch for, as `sections.identity` does for people. Whether the roles exist in a policy is `validate`'s
to find out; whether a token is genuine is `authn`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, StrictStr, model_validator

from gateway.authn.discovery import is_loopback
from gateway.document.source import did_you_mean
from gateway.server.fields import Duration, FieldName, Host, Location, Name, Origin, Period, parse_origin
from gateway.server.sections import identity as people
from gateway.server.sections.identity import (
    EmailRule,
    IssuerURL,
    Place,
    RoleRule,
    SecondFactorRule,
    TenantRule,
    UserRule,
)
from gateway.server.sections.section import Section
from gateway.wire.names import is_reserved

DAY_S: Final = 86_400.0
MAX_LEEWAY_S: Final = 300.0
UNTYPED: Final = "untyped"
"""Stands among `types` for tokens that say no type."""
_HTTPS_OWN: Final = frozenset(
    {"authorization", "cookie", "host", "connection", "content-length", "content-type", "origin"}
)

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


def _key_field(value: str) -> str:
    name = value.lower()
    if name in _HTTPS_OWN or is_reserved(name.encode("ascii"), frozenset()):
        raise ValueError(f"{value} has a meaning of its own; choose another name, such as X-API-Key")
    return name


def _leeway(value: float) -> float:
    if value > MAX_LEEWAY_S:
        raise ValueError("clocks differ by 5m at most; mend the clock instead")
    return value


def _keys_address(value: Any) -> str:
    what = "an address such as https://issuer.example.com/jwks.json"
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or "#" in value or " " in value:
        raise ValueError(f"write {what}")
    scheme, _, rest = value.partition("://")
    origin = parse_origin(f"{scheme}://{rest.partition('/')[0].partition('?')[0]}", what)
    if origin.scheme == "http" and not is_loopback(origin.host):
        raise ValueError("keys are fetched over https; http is for an issuer on this machine alone")
    return value


class KeySource(Section):
    """Where the public keys of an issuer are, where they are not found by its metadata."""

    file: Location | None = None
    """A JWK Set; read with gateway.yaml and never fetched."""
    url: Annotated[str, PlainValidator(_keys_address)] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.file is None) == (self.url is None):
            raise ValueError("write file or url; without either the issuer's metadata say where its keys are")
        return self


class Issuer(Section):
    """One authorization server whose access tokens count (RFC 9068)."""

    id: Name
    issuer: IssuerURL
    audiences: Annotated[tuple[Annotated[StrictStr, Field(min_length=1, max_length=512)], ...], Field(min_length=1)]
    """Who a token must be for: this gateway, as the issuer calls it."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256",)
    types: Annotated[tuple[Literal["at+jwt", "jwt", "untyped"], ...], Field(min_length=1)] = ("at+jwt",)
    """Values of `typ`."""
    keys: KeySource | None = None
    user: Annotated[UserRule, BeforeValidator(people.user_rule)] = UserRule.model_validate({"claim": "sub"})
    email: EmailRule = EmailRule()
    roles: RoleRule
    tenant: Annotated[TenantRule, BeforeValidator(people.tenant_rule)]
    mfa: SecondFactorRule | None = None
    hosts: Annotated[tuple[Host, ...], Field(min_length=1)] | None = None
    """Hosts on which its tokens count; None = all."""
    leeway: Annotated[Duration, AfterValidator(_leeway)] = 30.0
    max_lifetime: Period = DAY_S
    """Longest life of a token that is taken."""
    ca: Location | None = None
    proxy: (
        Annotated[Origin, PlainValidator(lambda value: parse_origin(value, "a proxy such as http://10.0.0.1:3128"))]
        | None
    ) = None
    timeout: Period = 10.0


class ApiKeys(Section):
    """API keys that `gateway apikey` makes."""

    header: Annotated[FieldName, AfterValidator(_key_field)] = "x-api-key"
    """The field for keys where Authorization is the portal's, or as the client likes; lower case."""
    lifetime: Period = 90 * DAY_S
    """Of a key that is made without `--expires`."""
    longest: Period = 365 * DAY_S
    overlap: Duration = DAY_S
    """How long a key serves on that was rotated."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.lifetime > self.longest:
            raise ValueError("lifetime is more than longest")
        return self


class Identity(people.Identity):
    """Where people come from, and how programs prove who they are."""

    issuers: tuple[Issuer, ...] = ()
    api_keys: ApiKeys = ApiKeys()


def contradictions(
    identity: Identity, *, tenants: Collection[str], hosts: Mapping[str, str]
) -> Iterator[tuple[Place, str]]:
    """Find what issuers say that cannot be meant; `hosts` names the tenant of each host."""
    ids = {provider.id for provider in identity.providers}
    seen: set[str] = set()
    for index, issuer in enumerate(identity.issuers):
        at: Place = ("identity", "issuers", index)
        if issuer.id in ids:
            yield (*at, "id"), f"{issuer.id} is the id of a provider or another issuer; choose another one"
        ids.add(issuer.id)
        if issuer.issuer in seen:
            yield (*at, "issuer"), "is the issuer of another entry; a token could not tell which is meant"
        seen.add(issuer.issuer)
        if issuer.keys is not None and issuer.keys.file is not None:
            for key in sorted({"ca", "proxy", "timeout"} & issuer.model_fields_set):
                yield (*at, key), "has no effect: the keys stand in a file and nothing is fetched"
        yield from _unknown_names(issuer, at, tenants, hosts)


def _unknown_names(
    issuer: Issuer, at: Place, tenants: Collection[str], hosts: Mapping[str, str]
) -> Iterator[tuple[Place, str]]:
    named: list[tuple[Place, str]] = []
    if issuer.tenant.always is not None:
        named.append(((*at, "tenant"), issuer.tenant.always))
    named += [((*at, "tenant", "grant", value), name) for value, name in issuer.tenant.grant.items()]
    for place, name in named:
        if tenants and name not in tenants:
            yield place, f"the tenant {name} does not exist" + did_you_mean(name, tenants)
    for number, host in enumerate(issuer.hosts or ()):
        if host not in hosts:
            yield (*at, "hosts", number), f"the gateway does not answer for {host}" + did_you_mean(host, hosts)


def unknown_roles(identity: Identity, roles: Collection[str]) -> Iterator[tuple[Place, str]]:
    """Find roles that issuers grant and no policy declares."""
    for index, issuer in enumerate(identity.issuers):
        at: Place = ("identity", "issuers", index, "roles")
        granted = [((*at, "grant", value), names) for value, names in issuer.roles.grant.items()]
        for place, names in [*granted, ((*at, "default"), issuer.roles.default or ())]:
            for name in names:
                if name not in roles:
                    yield place, f"no policy declares the role {name}" + did_you_mean(name, roles)

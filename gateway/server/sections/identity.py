"""Where people come from: the gateway's own users, and OpenID providers.

It says what one provider may vouch for. Whether the roles exist in a policy is `validate`'s to find out, because
only it reads both; what a provider then answers is `federation`'s to judge.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainValidator, StrictStr, model_validator

from gateway.authn.claims import MAX_PATH_PARTS
from gateway.authn.discovery import is_loopback
from gateway.document.source import did_you_mean
from gateway.server.fields import Host, Location, Name, Origin, Period, RoleName, parse_host, parse_origin
from gateway.server.sections.secret import SecretFile, SecretSource
from gateway.server.sections.section import Section, not_yet

LOCAL: Final = "local"
"""What the session of a person with a password of ours calls its provider."""

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")  # scope-token of RFC 6749 appendix A.4
_DIRECTORY = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[a-z0-9][a-z0-9.-]{0,252}")
_SHARED_DIRECTORIES = frozenset({"common", "organizations", "consumers"})
_ENTRA: Final = "https://login.microsoftonline.com"
_MAX_ISSUER: Final = 512

Place = tuple[str | int, ...]


class _Preset(NamedTuple):
    """What is known of a provider without asking it."""

    issuer: str
    scopes: tuple[str, ...]
    user: str
    name: str


PRESETS: Final[Mapping[str, _Preset]] = {
    "google": _Preset("https://accounts.google.com", ("openid", "email", "profile"), "email", "Google"),
    "microsoft": _Preset("", ("openid", "email", "profile"), "preferred_username", "Microsoft"),
    "entra": _Preset("", ("openid", "email", "profile"), "preferred_username", "Microsoft"),
    "okta": _Preset("", ("openid", "email", "profile", "groups"), "preferred_username", "Okta"),
    "keycloak": _Preset("", ("openid", "email", "profile"), "preferred_username", "Keycloak"),
    "generic": _Preset("", ("openid", "email", "profile"), "preferred_username", ""),
}


def _issuer(value: Any) -> str:
    """An issuer identifier, byte for byte as the provider writes it (OpenID Connect Discovery 1.0 §3)."""
    what = "the issuer as the provider writes it, such as https://acme.okta.com"
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or len(value) > _MAX_ISSUER:
        raise ValueError(f"write {what}")
    parts = urlsplit(value)
    if "?" in value or "#" in value or "@" in parts.netloc or " " in value:
        raise ValueError(f"an issuer has no query, fragment or credentials; write {what}")
    origin = parse_origin(f"{parts.scheme}://{parts.netloc}", what)
    if origin.scheme == "http" and not is_loopback(origin.host):
        raise ValueError("an issuer is https; http is for a provider on this machine alone")
    if "{" in value:
        raise ValueError("an issuer for every directory at once is not an issuer; name yours with `directory`")
    return value


def _scope(value: Any) -> str:
    if not isinstance(value, str) or not _SCOPE.fullmatch(value):
        raise ValueError("a scope is one word, such as openid")
    return value


def _directory(value: Any) -> str:
    if not isinstance(value, str) or not _DIRECTORY.fullmatch(value.lower()):
        raise ValueError(
            "write the directory (tenant) id of Microsoft Entra, such as 8eaef023-2b34-4da1-9baa-8bc8c9d6a490"
        )
    if value.lower() in _SHARED_DIRECTORIES:
        raise ValueError(f"{value} lets the people of every directory in; write the id of yours")
    return value.lower()


def _claim_path(value: Any) -> tuple[str, ...]:
    """A claim, or a path into one: `realm_access.roles`; a claim with dots in its name is written as a list."""
    parts = value.split(".") if isinstance(value, str) and "://" not in value else value
    parts = list(parts) if isinstance(parts, tuple) else parts  # a default
    parts = [parts] if isinstance(parts, str) else parts
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) and part for part in parts):
        raise ValueError("write the name of a claim, such as groups or realm_access.roles")
    if len(parts) > MAX_PATH_PARTS:
        raise ValueError(f"a claim is at most {MAX_PATH_PARTS} names deep")
    return tuple(parts)


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def tenant_rule(value: Any) -> Any:
    """Read a tenant that is written alone."""
    return {"always": value} if isinstance(value, str) else value


def user_rule(value: Any) -> Any:
    """Read a claim that is written alone."""
    return {"claim": value} if isinstance(value, str) else value


IssuerURL = Annotated[str, PlainValidator(_issuer)]
ClaimPath = Annotated[tuple[str, ...], PlainValidator(_claim_path)]
Value = Annotated[StrictStr, Field(min_length=1, max_length=512)]
"""One value of a claim, compared exactly."""
Values = Annotated[tuple[Value, ...], BeforeValidator(_one_or_more), Field(min_length=1)]
Roles = Annotated[tuple[RoleName, ...], BeforeValidator(_one_or_more), Field(min_length=1)]


class PrivateKeyJWT(SecretFile):
    """A key with which the gateway signs who it is (RFC 7523), instead of a shared secret: PEM, RSA or P-256."""

    kid: Annotated[StrictStr, Field(min_length=1, max_length=128)] | None = None


class RoleRule(Section):
    """Which values of a claim give which roles; every other value gives nothing."""

    claim: ClaimPath
    grant: Annotated[dict[Value, Roles], Field(min_length=1)]
    default: Roles | None = None
    """Roles of people to whom no value gives one; without it they are refused."""


class TenantRule(Section):
    """Which tenant people of this provider belong to: always one, or by a claim."""

    always: Name | None = None
    claim: ClaimPath | None = None
    grant: dict[Value, Name] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.always is None) == (self.claim is None):
            raise ValueError("write the name of a tenant, or claim and grant")
        if (self.claim is None) != (not self.grant):
            raise ValueError("claim and grant go together")
        return self

    @property
    def tenants(self) -> tuple[str, ...]:
        """Every tenant that this rule can give."""
        return (self.always,) if self.always is not None else tuple(dict.fromkeys(self.grant.values()))


class UserRule(Section):
    """Which claim is the name of a person here."""

    claim: ClaimPath


class EmailRule(Section):
    """Which claim is the address of a person, and whether the provider must say that it checked it."""

    claim: ClaimPath = ("email",)
    require_verified: bool = True


class SecondFactorRule(Section):
    """What a provider says when it asked for a second factor itself; without it, it never counts."""

    acr: Values = ()
    amr: Values = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.acr and not self.amr:
            raise ValueError("write acr, amr or both: the values that count as a second factor")
        return self


class TokenRules(Section):
    """What becomes of the provider's tokens after sign-in."""

    keep: bool = False
    """Keep access and refresh token, sealed, for as long as the session lives."""


class Provider(Section):
    """One source of identities."""

    id: Name
    type: Annotated[Literal["password", "oidc"], not_yet("saml", "oauth2", "ldap", what="the provider type")]
    name: Annotated[StrictStr, Field(min_length=1, max_length=64)] | None = None
    """What the button says."""
    preset: Literal["google", "microsoft", "entra", "okta", "keycloak", "generic"] = "generic"
    issuer: Annotated[str, PlainValidator(_issuer)] | None = None
    directory: Annotated[str, PlainValidator(_directory)] | None = None
    """Of the presets `microsoft` and `entra`: whose people."""
    client_id: Annotated[StrictStr, Field(min_length=1, max_length=512)] | None = None
    client_secret: SecretSource | None = None
    private_key_jwt: PrivateKeyJWT | None = None
    scopes: Annotated[tuple[Annotated[str, PlainValidator(_scope)], ...], Field(min_length=1)] | None = None
    acr_values: Values | None = None
    prompt: Literal["login", "select_account", "consent"] | None = None
    max_age: Period | None = None
    hosts: Annotated[tuple[Host, ...], Field(min_length=1)] | None = None
    """Hosts on which it is offered; None = all."""
    domains: Annotated[tuple[Annotated[str, PlainValidator(parse_host)], ...], Field(min_length=1)] | None = None
    """E-mail domains whose people sign in there."""
    tenants: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    """Tenants on whose hosts it is offered, and the only ones it may vouch for; None = those of `tenant`."""
    mfa: SecondFactorRule | None = None
    roles: RoleRule | None = None
    tenant: Annotated[TenantRule, BeforeValidator(tenant_rule)] | None = None
    user: Annotated[UserRule, BeforeValidator(user_rule)] | None = None
    email: EmailRule = EmailRule()
    par: Literal["auto", "required", "off"] = "auto"
    back_channel_logout: bool = True
    sign_out: Literal["at_provider", "here"] = "at_provider"
    userinfo: bool = False
    """Ask the provider's UserInfo endpoint for the claims that the ID token leaves out."""
    tokens: TokenRules = TokenRules()
    ca: Location | None = None
    proxy: (
        Annotated[Origin, PlainValidator(lambda value: parse_origin(value, "a proxy such as http://10.0.0.1:3128"))]
        | None
    ) = None
    timeout: Annotated[Period, Field(le=15.0)] = 10.0
    """Of each request to it, seconds. A refresh takes three at most, within the minute of its lease."""

    @property
    def issuer_url(self) -> str:
        """The one issuer whose word counts; empty when nothing says which."""
        if self.issuer is not None:
            return self.issuer
        return f"{_ENTRA}/{self.directory}/v2.0" if self.directory else PRESETS[self.preset].issuer

    @property
    def title(self) -> str:
        """What the button says."""
        return self.name or PRESETS[self.preset].name or self.id

    @property
    def asked_scopes(self) -> tuple[str, ...]:
        """Scopes to ask for; `openid` makes it OpenID Connect."""
        scopes = self.scopes or PRESETS[self.preset].scopes
        return scopes if "openid" in scopes else ("openid", *scopes)

    @property
    def user_claim(self) -> tuple[str, ...]:
        """The claim that is a person's name here."""
        return self.user.claim if self.user else (PRESETS[self.preset].user,)

    @property
    def granted_tenants(self) -> tuple[str, ...]:
        """Tenants it may vouch for."""
        return self.tenants or (self.tenant.tenants if self.tenant else ())


class Identity(Section):
    """Where people come from."""

    providers: Annotated[tuple[Provider, ...], Field(min_length=1)] = (Provider(id=LOCAL, type="password"),)

    @property
    def password_tenants(self) -> frozenset[str]:
        """Whose people sign in with a password or passkey of ours; empty = everybody's."""
        return frozenset(name for each in self.providers if each.type == "password" for name in each.tenants or ())

    @property
    def passwords(self) -> bool:
        """People of the gateway's own sign in with a password."""
        return any(provider.type == "password" for provider in self.providers)

    @property
    def federated(self) -> tuple[Provider, ...]:
        """The OpenID providers, in the order of the file."""
        return tuple(provider for provider in self.providers if provider.type == "oidc")


def contradictions(
    identity: Identity, *, tenants: Collection[str], hosts: Mapping[str, str], secure: bool
) -> Iterator[tuple[Place, str]]:
    """Find what providers say that cannot be meant; `hosts` names the tenant of each host, `secure` that browsers come over TLS."""
    seen: dict[str, int] = {}
    local: int | None = None
    domains: dict[str, str] = {}
    clients: dict[tuple[str, str], str] = {}
    for index, provider in enumerate(identity.providers):
        at: Place = ("identity", "providers", index)
        if provider.id in seen:
            yield (*at, "id"), f"there are two providers {provider.id}"
        seen.setdefault(provider.id, index)
        if provider.type == "password":
            if local is not None:
                yield (*at, "type"), "there is one provider of type password"
            local = index
            yield from _foreign_keys(provider, at)
            yield from _unknown_names(provider, at, tenants, hosts)
            continue
        if provider.id == LOCAL:
            yield (*at, "id"), f"{LOCAL} is what the gateway's own users are called; choose another id"
        yield from _incomplete(provider, at)
        yield from _unknown_names(provider, at, tenants, hosts)
        for number, domain in enumerate(provider.domains or ()):
            owner = domains.setdefault(domain, provider.id)
            if owner != provider.id:
                yield (*at, "domains", number), f"people of {domain} sign in at {owner} already"
        if provider.issuer_url and provider.client_id:
            owner = clients.setdefault((provider.issuer_url, provider.client_id), provider.id)
            if owner != provider.id:  # their logout tokens and ID tokens could not be told apart
                yield (*at, "client_id"), f"is the client of {owner} at the same issuer; register another one"
        if not secure and not is_loopback(urlsplit(provider.issuer_url).hostname or ""):
            yield at, "the provider sends codes to a public_url that is not https; only one on this machine may"


def unknown_roles(identity: Identity, roles: Collection[str]) -> Iterator[tuple[Place, str]]:
    """Find roles that providers grant and no policy declares."""
    for index, provider in enumerate(identity.providers):
        rule = provider.roles
        if rule is None:
            continue
        at: Place = ("identity", "providers", index, "roles")
        granted = [((*at, "grant", value), names) for value, names in rule.grant.items()]
        for place, names in [*granted, ((*at, "default"), rule.default or ())]:
            for name in names:
                if name not in roles:
                    yield place, f"no policy declares the role {name}" + did_you_mean(name, roles)


def _foreign_keys(provider: Provider, at: Place) -> Iterator[tuple[Place, str]]:
    for key in sorted(provider.model_fields_set - {"id", "type", "tenants"}):
        yield (*at, key), "belongs to providers of type oidc"


def _incomplete(provider: Provider, at: Place) -> Iterator[tuple[Place, str]]:
    for key in ("client_id", "roles", "tenant"):
        if getattr(provider, key) is None:
            yield at, f"the key {key} is missing"
    yield from _issuer_errors(provider, at)
    if (provider.client_secret is None) == (provider.private_key_jwt is None):
        yield at, "write client_secret or private_key_jwt: how the provider knows that it is the gateway that asks"
    if provider.prompt == "login" and provider.max_age is not None:
        yield (*at, "max_age"), "has no effect beside prompt: login, which always asks"


def _issuer_errors(provider: Provider, at: Place) -> Iterator[tuple[Place, str]]:
    entra = provider.preset in {"microsoft", "entra"}
    if provider.directory and not entra:
        yield (*at, "directory"), "belongs to the preset entra"
    if provider.directory and provider.issuer:
        yield (*at, "issuer"), "directory says it already; write one of the two"
    fixed = PRESETS[provider.preset].issuer
    if fixed and provider.issuer not in {None, fixed}:
        yield (*at, "issuer"), f"the issuer of {provider.preset} is {fixed}; remove the key, or the preset"
    if not provider.issuer_url:
        missing = "directory" if entra else "issuer"
        yield at, f"the key {missing} is missing"
    if provider.preset == "keycloak" and provider.issuer and "/realms/" not in provider.issuer:
        yield (*at, "issuer"), "the issuer of Keycloak ends in /realms/ and the name of a realm"


def _unknown_names(
    provider: Provider, at: Place, tenants: Collection[str], hosts: Mapping[str, str]
) -> Iterator[tuple[Place, str]]:
    named: list[tuple[Place, str]] = [
        ((*at, "tenants", index), name) for index, name in enumerate(provider.tenants or ())
    ]
    if provider.tenant is not None and provider.tenant.always is not None:
        named.append(((*at, "tenant"), provider.tenant.always))
    elif provider.tenant is not None:
        named += [((*at, "tenant", "grant", value), name) for value, name in provider.tenant.grant.items()]
    for place, name in named:
        if tenants and name not in tenants:
            yield place, f"the tenant {name} does not exist" + did_you_mean(name, tenants)
        elif provider.tenants is not None and name not in provider.tenants:
            yield place, f"{name} is not among the tenants of this provider"
    for index, host in enumerate(provider.hosts or ()):
        if host not in hosts:
            yield (*at, "hosts", index), f"the gateway does not answer for {host}" + did_you_mean(host, hosts)
        elif hosts[host] and provider.granted_tenants and hosts[host] not in provider.granted_tenants:
            yield (*at, "hosts", index), f"{host} is of the tenant {hosts[host]}, for which this provider cannot vouch"

"""What the claims of an identity provider are worth here: one table decides, and every step can be shown.

Claims never become roles or tenants as they are: a value counts only where the table lists it. What the table needs and
the provider left out refuses; so does a list of groups that the provider says, or lets suspect, is not whole. Whether
the claims are genuine is `oidc`'s business; whose account they lead to is the store's.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from gateway.authn.name import InvalidNameError, canonical_name

MAX_PATH_PARTS: Final = 8
OVERAGE_VALUES: Final = 200
"""Microsoft Entra puts at most 200 groups into a token, and others cut there without a word."""
MAX_SUBJECT: Final = 255  # OpenID Connect Core §2
MAX_EMAIL: Final = 254  # RFC 5321 §4.5.3.1.3
RFC_8176_METHODS: Final = frozenset(
    {
        "face", "fpt", "geo", "hwk", "iris", "kba", "mca", "mfa", "otp", "pin", "pop", "pwd", "rba", "retina", "sc",
        "sms", "swk", "tel", "user", "vbm", "wia",
    }
)  # fmt: skip
"""Authentication methods with a registered name; others are not passed on."""
KEY_METHODS: Final = frozenset({"hwk", "swk"})
"""What makes a session resistant to phishing here: a provider's word for it counts only where the table lists it."""
FEDERATED: Final = "fed"
"""Stands in `amr` for the word of a provider that names no method."""

Claims = Mapping[str, Any]


class MappingFault(StrEnum):
    """Why claims give no account here."""

    OVERAGE = "overage"
    NO_ROLE = "no_role"
    NO_TENANT = "no_tenant"
    TWO_TENANTS = "two_tenants"
    FOREIGN_TENANT = "foreign_tenant"
    NO_NAME = "no_name"
    UNVERIFIED_NAME = "unverified_name"
    FOREIGN_DOMAIN = "foreign_domain"


SENTENCES: Final[Mapping[MappingFault, str]] = {
    MappingFault.OVERAGE: "The provider did not send all groups of the person, so no role can be trusted to be right.",
    MappingFault.NO_ROLE: "No value of the claim is in roles.grant, and there is no roles.default.",
    MappingFault.NO_TENANT: "No value of the claim is in tenant.grant.",
    MappingFault.TWO_TENANTS: "The values of the claim give more than one tenant.",
    MappingFault.FOREIGN_TENANT: "The tenant is not among those that this provider may vouch for.",
    MappingFault.NO_NAME: "The claim that names the person is missing, or is no name that an account can have.",
    MappingFault.UNVERIFIED_NAME: "The person is named by an address that the provider does not call verified.",
    MappingFault.FOREIGN_DOMAIN: "The person has no verified address in the domains of this provider.",
}
"""What an operator is told; people see the sentence of a `Reason`."""


class ClaimTable(msgspec.Struct, frozen=True, kw_only=True):
    """What one provider may vouch for. Paths are the names of a claim and of members inside it."""

    roles: tuple[str, ...]
    role_grants: Mapping[str, tuple[str, ...]]
    default_roles: tuple[str, ...] = ()
    tenant: tuple[str, ...] = ()
    """Empty = everybody belongs to `always_tenant`."""
    tenant_grants: Mapping[str, str] = {}
    always_tenant: str = ""
    tenants: tuple[str, ...] = ()
    """The only tenants it may vouch for; empty = those that the table can give."""
    user: tuple[str, ...] = ("preferred_username",)
    email: tuple[str, ...] = ("email",)
    email_verified: bool = True
    """Only an address that the provider calls verified counts."""
    domains: tuple[str, ...] = ()
    """The only domains whose people may come this way; empty = any."""
    contexts: tuple[str, ...] = ()
    """Values of `acr` that are passed on, beside those that count as the second factor; others are left out."""
    mfa_acr: tuple[str, ...] = ()
    mfa_amr: tuple[str, ...] = ()


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the mapping, for whoever asks why."""

    what: str
    """`subject`, `user`, `email`, `groups`, `role`, `tenant`, `second_factor`."""
    claim: str
    value: str
    """Of the claim; empty when it is missing."""
    result: str
    """What it gave; empty = nothing."""


class Mapped(msgspec.Struct, frozen=True, kw_only=True):
    """A person as the provider vouches for them, in the gateway's words."""

    issuer: str
    subject: str
    user: str
    """Canonical name."""
    tenant: str
    roles: tuple[str, ...]
    email: str = ""
    acr: str = ""
    amr: tuple[str, ...] = ()
    second_factor: bool = False
    """The provider's own second factor counts."""
    ignored: int = 0
    """Values that the table does not list."""
    steps: tuple[Step, ...] = ()


class Unmapped(msgspec.Struct, frozen=True, kw_only=True):
    """The claims give no account here."""

    fault: MappingFault
    steps: tuple[Step, ...] = ()


class _Refusal(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, fault: MappingFault) -> None:
        super().__init__(fault)
        self.fault = fault


def map_claims(claims: Claims, table: ClaimTable) -> Mapped | Unmapped:
    """Apply the table of a provider to genuine claims; `iss` and `sub` have been verified.

    The same claims and table always give the same answer.
    """
    mapping = _Mapping(claims, table)
    try:
        return mapping.run()
    except _Refusal as refusal:
        return Unmapped(fault=refusal.fault, steps=tuple(mapping.steps))


def values_at(claims: Claims, path: tuple[str, ...]) -> tuple[str, ...]:
    """Read a claim as texts: one text, or a list of them; anything else is no value."""
    here: Any = claims
    for part in path:
        here = here.get(part) if isinstance(here, Mapping) else None
    if isinstance(here, str):
        return (here,) if here else ()
    return tuple(item for item in here if isinstance(item, str) and item) if isinstance(here, list) else ()


def is_incomplete(claims: Claims, path: tuple[str, ...]) -> bool:
    """Tell whether the provider kept values of a claim back, or may have cut the list.

    Distributed claims (OpenID Connect Core §5.6.2) are what Entra sends in place of too many groups; `hasgroups` is its
    shorter form.
    """
    name = path[0]
    elsewhere = claims.get("_claim_names")
    if elsewhere is not None and (not isinstance(elsewhere, Mapping) or name in elsewhere):
        return True
    if any(key.startswith(f"{name}:src") for key in claims):
        return True
    more = claims.get("hasgroups")
    if name == "groups" and more is not None and more is not False:
        return True
    return len(values_at(claims, path)) >= OVERAGE_VALUES


def domain_of(address: str) -> str:
    """Return the domain of an e-mail address, lower case; empty for what is not exactly one plain address.

    attack: `somebody@evil.example@acme.example` ends in a domain that it does not belong to (CVE-2026-40574).
    """
    local, at, domain = address.partition("@")
    plain = bool(local and at and domain) and "@" not in domain and len(address) <= MAX_EMAIL
    return domain.lower() if plain and address.isascii() and address.isprintable() and " " not in address else ""


class _Mapping:
    """One run; keeps what it did."""

    def __init__(self, claims: Claims, table: ClaimTable) -> None:
        self._claims = claims
        self._table = table
        self.steps: list[Step] = []

    def run(self) -> Mapped:
        self._note("subject", ("sub",), str(self._claims.get("sub", "")), "")
        self._require_whole(self._table.roles)
        if self._table.tenant:
            self._require_whole(self._table.tenant)
        email = self._email()
        user = self._user(email)
        tenant, foreign_tenants = self._tenant()
        roles, foreign_roles = self._roles()
        second_factor = self._second_factor()
        acr = self._claims.get("acr")
        return Mapped(
            issuer=str(self._claims["iss"]),
            subject=str(self._claims["sub"]),
            user=user,
            tenant=tenant,
            roles=roles,
            email=email,
            acr=acr if isinstance(acr, str) and acr in {*self._table.contexts, *self._table.mfa_acr} else "",
            amr=self._methods(second_factor=second_factor),
            second_factor=second_factor,
            ignored=foreign_tenants + foreign_roles,
            steps=tuple(self.steps),
        )

    def _require_whole(self, path: tuple[str, ...]) -> None:
        if is_incomplete(self._claims, path):
            self._note("groups", path, "", "not all of them were sent")
            raise _Refusal(MappingFault.OVERAGE)

    def _email(self) -> str:
        """Return the address, if there is one to rely on."""
        table, found = self._table, values_at(self._claims, self._table.email)
        address = found[0] if len(found) == 1 and domain_of(found[0]) else ""
        verified = self._claims.get("email_verified") is True or not table.email_verified
        self._note("email", table.email, ", ".join(found), address if verified else "")
        if table.domains and (not verified or domain_of(address) not in table.domains):
            raise _Refusal(MappingFault.FOREIGN_DOMAIN)
        return address if verified else ""

    def _user(self, email: str) -> str:
        table, found = self._table, values_at(self._claims, self._table.user)
        try:
            user = canonical_name(found[0]) if len(found) == 1 else ""
        except InvalidNameError:
            user = ""
        self._note("user", table.user, ", ".join(found), user)
        if not user:
            raise _Refusal(MappingFault.NO_NAME)
        # attack: an address that nobody checked is whatever the person typed, somebody else's too
        if table.user == table.email and found[0] != email:
            raise _Refusal(MappingFault.UNVERIFIED_NAME)
        return user

    def _tenant(self) -> tuple[str, int]:
        table = self._table
        if not table.tenant:
            return table.always_tenant, 0
        given: list[str] = []
        foreign = 0
        for value in values_at(self._claims, table.tenant):
            tenant = table.tenant_grants.get(value, "")
            self._note("tenant", table.tenant, value, tenant)
            if not tenant:
                foreign += 1
            elif tenant not in given:
                given.append(tenant)
        if len(given) > 1:
            raise _Refusal(MappingFault.TWO_TENANTS)
        if not given:
            raise _Refusal(MappingFault.NO_TENANT)
        if table.tenants and given[0] not in table.tenants:
            raise _Refusal(MappingFault.FOREIGN_TENANT)
        return given[0], foreign

    def _roles(self) -> tuple[tuple[str, ...], int]:
        table = self._table
        given: list[str] = []
        foreign = 0
        for value in values_at(self._claims, table.roles):
            roles = table.role_grants.get(value, ())
            self._note("role", table.roles, value, ", ".join(roles))
            if not roles:
                foreign += 1
            given += (role for role in roles if role not in given)
        if not given:
            self._note("role", table.roles, "", ", ".join(table.default_roles))
            given = list(table.default_roles)
        if not given:
            raise _Refusal(MappingFault.NO_ROLE)
        return tuple(given), foreign

    def _second_factor(self) -> bool:
        table, found = self._table, False
        for path, listed in ((("acr",), table.mfa_acr), (("amr",), table.mfa_amr)):
            for value in values_at(self._claims, path):
                counts = value in listed
                self._note("second_factor", path, value, "counts" if counts else "")
                found = found or counts
        return found

    def _methods(self, *, second_factor: bool) -> tuple[str, ...]:
        """Methods with a registered name; `mfa` only where the table says that it counts, and keys only where it lists them."""
        counted = RFC_8176_METHODS - ({"mfa"} | KEY_METHODS) | (KEY_METHODS & set(self._table.mfa_amr))
        known = [method for method in values_at(self._claims, ("amr",)) if method in counted]
        return (FEDERATED, *dict.fromkeys(known), *(("mfa",) if second_factor else ()))

    def _note(self, what: str, path: tuple[str, ...], value: str, result: str) -> None:
        self.steps.append(Step(what=what, claim=".".join(path), value=value, result=result))

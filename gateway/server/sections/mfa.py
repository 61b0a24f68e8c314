"""Whether sign-in needs a second factor, and which count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainValidator, StrictBool, model_validator

from gateway.authn.assurance import ENROLLABLE
from gateway.server.fields import Duration, Host, Location, RoleName
from gateway.server.sections.section import Section, not_yet

Place = tuple[str | int, ...]
_AAGUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _aaguid(value: Any) -> str:
    if not isinstance(value, str) or not _AAGUID.fullmatch(value.lower()):
        raise ValueError("write an AAGUID such as cb69481e-8ff7-4039-93ec-0a2729a154a8")
    return value.lower()


AAGUID = Annotated[str, PlainValidator(_aaguid)]
MFAMethod = Annotated[Literal["webauthn", "totp", "recovery"], not_yet("email", what="the method")]


class Makes(Section):
    """Which makes of authenticator may become a passkey: only these, or all but these."""

    allow: Annotated[tuple[AAGUID, ...], Field(min_length=1)] | None = None
    deny: Annotated[tuple[AAGUID, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if (self.allow is None) == (self.deny is None):
            raise ValueError("write either allow or deny")
        return self


class Passkeys(Section):
    """How passkeys are made and used. They are offered where `methods` has webauthn."""

    passwordless: StrictBool = True
    """A passkey that verifies its user is a whole sign-in; False: it is a second factor, never the first."""
    user_verification: Literal["required", "preferred", "discouraged"] = "preferred"
    """As second factor; without a password it is always required."""
    resident: Literal["required", "preferred", "discouraged"] = "preferred"
    """Whether the authenticator keeps what it needs to be found without a user name."""
    rp_id: Host | None = None
    """The host that passkeys are bound to: that of `public_url`, or one above it; None = that of `public_url`."""
    attestation: Literal["none", "direct"] = "none"
    aaguids: Makes | None = None
    roots: Location | None = None
    """Certificates of makers, PEM: what proves an AAGUID."""
    copied: Literal["refuse", "record"] = "refuse"
    """What a counter that does not grow means: the passkey is refused, or only the audit trail says so."""

    @model_validator(mode="after")
    def _makes_are_proven(self) -> Self:
        if self.aaguids is not None and self.aaguids.allow is not None:
            if self.attestation != "direct":
                raise ValueError("aaguids.allow needs attestation: direct; otherwise no authenticator proves its make")
            if self.roots is None:
                raise ValueError(
                    "aaguids.allow needs roots: anybody can write an AAGUID, the maker's certificate proves it"
                )
        elif self.roots is not None:
            raise ValueError("roots has no effect without aaguids.allow")
        if self.resident == "discouraged" and self.passwordless:
            raise ValueError(
                "resident: discouraged needs passwordless: false; only resident passkeys are found without a name"
            )
        return self


class MFA(Section):
    """Whether sign-in needs a second factor.

    `always` asks everybody, and sends people without a factor to set one up; `by_role` does so with those who hold one
    of `roles`; `risk` when something about the sign-in is unusual; `offered` and `enrolled` ask those who have a factor,
    and `offered` offers one to the others. `enrolled` is what an absent section means.
    """

    required: Literal["always", "by_role", "risk", "offered", "enrolled"] = "always"
    roles: Annotated[tuple[RoleName, ...], Field(min_length=1)] | None = None
    methods: Annotated[tuple[MFAMethod, ...], Field(min_length=1)] = ("webauthn", "totp", "recovery")
    remember_device: Duration = 0.0
    never_remember: tuple[RoleName, ...] = ()
    passkeys: Passkeys = Passkeys()

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        if len(set(self.methods)) < len(self.methods):
            raise ValueError("a method is listed twice")
        if ENROLLABLE.isdisjoint(self.methods):
            raise ValueError("methods needs webauthn or totp: the others alone cannot be set up")
        if (self.required == "by_role") is (self.roles is None):
            raise ValueError("required: by_role and roles need each other")
        if self.never_remember and not self.remember_device:
            raise ValueError("never_remember has no effect without remember_device")
        if "webauthn" not in self.methods and "passkeys" in self.model_fields_set:
            raise ValueError("passkeys has no effect without webauthn among the methods")
        return self


def contradictions(mfa: MFA, *, host: str) -> Iterator[tuple[Place, str]]:
    """Find what is wrong together with the host of `public_url`."""
    bound = mfa.passkeys.rp_id
    if bound is not None and bound != host and not (host.endswith("." + bound) and "." in bound):
        yield ("mfa", "passkeys", "rp_id"), f"{bound} is neither {host}, the host of public_url, nor a domain above it"

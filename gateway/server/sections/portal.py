"""What a portal is told about people, which of its cookies the gateway keeps, and how people are signed in there."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, StrictStr, model_validator

from gateway.server.fields import CheckPath, FieldName, Period, Size, Statuses
from gateway.server.sections.secret import SecretFile
from gateway.server.sections.section import Section

Claim = Literal["user", "tenant", "roles", "email", "session", "user_id", "provider", "acr", "amr", "auth_time"]
IdentityField = Literal[
    "user", "tenant", "roles", "email", "session", "request_id", "assertion",
    "user_id", "provider", "acr", "amr", "auth_time",
]  # fmt: skip
"""What `headers` of an upstream can name; the last five are sent only where they are named."""
MAX_LIFETIME_S: Final = 600.0
MAX_TIMEOUT_S: Final = 25.0
"""The edge waits 30 s for a page."""
MAX_VAULTED_COOKIES: Final = 200
VAULTED: Final = "vaulted"
_COOKIE_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_TEMPLATE_WORD = re.compile(r"\{([^{}]*)\}")
_TEMPLATE_WORDS: Final = frozenset({"user", "email", "tenant"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _cookie_name(value: Any) -> str:
    if not isinstance(value, str) or _COOKIE_NAME.fullmatch(value) is None:
        raise ValueError("a cookie's name is made of letters, digits and !#$%&'*+-.^_`|~")
    return value


def _template(value: Any) -> str:
    if not isinstance(value, str) or not value or _CONTROL.search(value):
        raise ValueError("write text, in which {user}, {email} and {tenant} stand for the person's")
    for word in _TEMPLATE_WORD.findall(value):
        if word not in _TEMPLATE_WORDS:
            raise ValueError(f"{{{word}}} is not known; there are {{user}}, {{email}} and {{tenant}}")
    if set("{}") & set(_TEMPLATE_WORD.sub("", value)):
        raise ValueError("a brace without its partner")
    return value


def _one_line(value: Any) -> str:
    if not isinstance(value, str) or not value or _CONTROL.search(value):
        raise ValueError("write text without line ends")
    return value


CookieName = Annotated[str, BeforeValidator(_cookie_name)]
Template = Annotated[str, BeforeValidator(_template)]
Line = Annotated[str, BeforeValidator(_one_line)]


class Assertion(Section):
    """The signed statement about a person."""

    algorithm: Literal["EdDSA", "ES256"] = "EdDSA"
    audience: Line | None = None
    """`aud`; None = the name of the upstream."""
    lifetime: Annotated[Period, Field(ge=10, le=MAX_LIFETIME_S)] = 60.0


class IdentityHeaders(Section):
    """How the plain identity fields are written."""

    omit: tuple[Claim | Literal["assertion"], ...] = ()
    """What this upstream is not told; the assertion does not say it either."""
    roles_separator: Literal[",", ";", "|", " "] = ","
    encoding: Literal["utf-8", "percent", "base64"] = "utf-8"
    max_size: Size = 8 * 1024
    """Of all identity fields together, with their names."""
    oversize: Literal["refuse", "omit"] = "refuse"
    """What happens when they are more: the request is refused, or whole fields are left out and named in X-Gateway-Omitted."""

    @model_validator(mode="after")
    def _says_who(self) -> Self:
        if {"user", "assertion"} <= set(self.omit):
            raise ValueError("with neither user nor assertion the upstream would not know anybody")
        return self


class Cookies(Section):
    """Which cookies of a portal the gateway keeps on its own side."""

    vault: Literal["none", "http_only", "all"] = "http_only"
    """`http_only`: those no script may read anyway; `all`: every one but those in `pass`."""
    pass_: Annotated[tuple[CookieName, ...], Field(alias="pass")] = ()
    """Names that always go to the browser."""
    vault_names: tuple[CookieName, ...] = ()
    """Names that never do, and that no browser's copy of is passed on, from the first request on."""
    max_count: Annotated[int, Field(strict=True, ge=1, le=MAX_VAULTED_COOKIES)] = 50
    """Of a session; at one more, the one that was set longest ago goes."""
    max_size: Size = 4096
    """Of one cookie, name and value; a larger one is dropped."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        both = {name.lower() for name in self.pass_} & {name.lower() for name in self.vault_names}
        if both:
            raise ValueError(f"{min(both)} is both in pass and in vault_names")
        return self


class Tokens(Section):
    """Tokens of the identity provider that go along to the portal, for people who signed in there."""

    access: FieldName | None = None
    """Field of the access token; as `Authorization` it is a bearer token (RFC 6750)."""
    id: FieldName | None = None
    """Field of the ID token."""

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if self.access is None and self.id is None:
            raise ValueError("write access, id or both, or remove the key")
        if self.access is not None and self.id is not None and self.access.lower() == self.id.lower():
            raise ValueError("access and id have the same name")
        return self


def _password(value: Any) -> Any:
    if isinstance(value, str) and value != VAULTED:
        raise ValueError("a password does not stand in this file: write vaulted, or {file: PATH}")
    return None if value == VAULTED else value


class Success(Section):
    """How the portal's answer to the form shows that it took name and password. All that is written must hold."""

    status: Statuses = frozenset({302, 303})
    location: Line | None = None
    """A redirect leads to an address that begins so."""
    not_location: Line | None = None
    """A redirect does not lead to an address that begins so."""
    cookie: CookieName | None = None
    """The portal sets this cookie."""


class Detect(Section):
    """How an answer shows that the portal knows the person no more. Any one of these says it."""

    status: Statuses = frozenset()
    location: Line | None = None
    """A redirect leads to an address that begins so."""
    body_contains: Line | None = None
    """Within the first part of an HTML page."""
    at_most_every: Period = 60.0
    """After a sign-on, what the portal answers is passed on for so long, whatever it looks like."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.status and self.location is None and self.body_contains is None:
            raise ValueError("write status, location or body_contains")
        return self


class SignOn(Section):
    """How people are signed in at a portal that knows them by a name and a password of its own."""

    type: Literal["form", "basic"]
    """`form`: the portal's own form, filled in on the person's behalf; `basic`: HTTP basic authentication (RFC 7617)."""
    username: Template = VAULTED
    """`vaulted`: as the person, or the operator for them, has told the gateway."""
    password: Annotated[SecretFile | None, BeforeValidator(_password)] = None
    """None = `vaulted`; a file holds one for everybody."""
    page: CheckPath | None = None
    """Path (and query) of the page with the form, at the portal."""
    form: Line | None = None
    """`id` or `name` of the form; None = the one with the password field."""
    fields: dict[Line, Literal["username", "password"]] = Field(default_factory=dict)
    """Which field takes what."""
    values: dict[Line, StrictStr] = Field(default_factory=dict)
    """Other fields and what they say, over what the page says."""
    success: Success = Success()
    detect: Detect | None = None
    sign_out: CheckPath | None = None
    """Path (and query) that ends the session at the portal; asked for when the person signs out here."""
    timeout: Annotated[Period, Field(le=MAX_TIMEOUT_S)] = 10.0
    """Of a whole sign-on."""

    @property
    def asks_person(self) -> bool:
        """A part of the account is the person's to say."""
        return self.username == VAULTED or self.password is None

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.username == VAULTED and self.password is not None:
            raise ValueError("with a password for everybody, username says whose account it is: write it, or {user}")
        if self.type == "basic":
            given = self.model_fields_set & {
                "page",
                "form",
                "fields",
                "values",
                "success",
                "detect",
                "sign_out",
                "timeout",
            }
            if given:
                raise ValueError(f"{min(given)} has no effect on sign-on by basic authentication")
            return self
        if self.page is None:
            raise ValueError("the key page is missing")
        if sorted(self.fields.values()) != ["password", "username"]:
            raise ValueError("fields names one field for username and one for password")
        if both := set(self.fields) & set(self.values):
            raise ValueError(f"{min(both)} stands in fields and in values")
        return self


class Portal(Section):
    """What an upstream is, beyond its servers: a portal with people."""

    headers: dict[IdentityField, FieldName] = Field(default_factory=dict)
    """Other names of the identity headers: `user: Remote-User`."""
    identity: IdentityHeaders = IdentityHeaders()
    assertion: Assertion = Assertion()
    cookies: Cookies = Cookies(vault="none")
    tokens: Tokens | None = None
    sign_on: SignOn | None = None

    @property
    def token_fields(self) -> dict[str, str]:
        """Field of each token that goes along."""
        tokens = self.tokens
        named = {"access": tokens.access, "id": tokens.id} if tokens is not None else {}
        return {kind: name.lower() for kind, name in named.items() if name is not None}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.sign_on is not None and self.sign_on.type == "form" and self.cookies.vault == "none":
            raise ValueError("sign_on by a form needs cookies: {vault: http_only} or all, to keep the portal's session")
        if self.sign_on is not None and self.sign_on.type == "basic" and "authorization" in self.token_fields.values():
            raise ValueError("Authorization cannot carry both a token and sign_on: basic")
        return self

"""`inspection.csrf`, `.cors` and `.csp`: what pages of other sites may do, and what scripts of the portal's pages may."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, StrictBool, model_validator

from gateway.inspection.cors import ANY, CorsRules
from gateway.inspection.csp.policy import Directives, Policy, PolicyError, read_directives
from gateway.inspection.csp.scripts import Approved, read_approved
from gateway.inspection.origin import OriginRules
from gateway.inspection.same_site import Floor
from gateway.inspection.web_origin import read_origin
from gateway.server.fields import FieldName, Period
from gateway.server.sections.section import Section

MOST_ORIGINS: Final = 64
MOST_NAMES: Final = 64
_LONGEST_MAX_AGE_S: Final = 86_400.0

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def _origin(value: Any) -> bytes:
    read = read_origin(value.encode("ascii", "replace")) if isinstance(value, str) else None
    if read is None:
        raise ValueError(
            "write an origin as browsers do, such as https://app.example.com: no path, no slash at the end"
        )
    return read


def _origin_or_any(value: Any) -> bytes:
    return ANY if value == "*" else _origin(value)


WebOrigin = Annotated[bytes, PlainValidator(_origin)]
"""As browsers write it, from `https://app.example.com`."""


def _by_word(value: Any) -> Any:
    """Read `csrf: block` as `csrf: {mode: block}`."""
    return {"mode": value} if isinstance(value, str) else value


class Csrf(Section):
    """Requests that change something and that another site's page made a browser send."""

    mode: Literal["off", "detect", "block"] = "block"
    trusted_origins: Annotated[tuple[WebOrigin, ...], Field(max_length=MOST_ORIGINS)] = ()
    """Whose pages may send them too: an identity provider that answers by a form."""
    same_site: StrictBool = False
    """Pages of sibling hosts may, where the browser says that they are of the same site."""
    missing: Literal["allow", "refuse"] = "allow"
    """What becomes of a request of which nobody says which page sent it."""
    token: StrictBool = False
    """Forms get a hidden field, which then speaks for those of which nobody says where they come from."""
    methods: tuple[Literal["GET", "HEAD", "OPTIONS"], ...] = ()
    """Methods that change something here all the same."""
    cookies: Floor | None = None
    """The least SameSite of the portal's cookies; `lax` where requests are blocked."""

    @property
    def rules(self) -> OriginRules | None:
        """Return what requests are judged by; None = they are not."""
        if self.mode == "off":
            return None
        return OriginRules(
            mode=self.mode,
            trusted_origins=frozenset(self.trusted_origins),
            same_site=self.same_site,
            missing=self.missing,
            token=self.token,
            methods=frozenset(method.encode("ascii") for method in self.methods),
        )

    @property
    def floor(self) -> Floor:
        """Return the least SameSite that cookies get."""
        return self.cookies or ("lax" if self.mode == "block" else "portal")


class Cors(Section):
    """Which other origins' scripts may use a route, and read its answers."""

    mode: Literal["gateway", "strict", "portal"] = "gateway"
    """Who says so: the gateway by this list, the portal unless it gives away too much, or the portal."""
    origins: Annotated[
        tuple[Annotated[bytes, PlainValidator(_origin_or_any)], ...], Field(max_length=MOST_ORIGINS)
    ] = ()
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = ("GET", "HEAD", "POST")
    headers: Annotated[tuple[FieldName, ...], Field(max_length=MOST_NAMES)] = ()
    """Fields that their scripts may set."""
    expose: Annotated[tuple[FieldName, ...], Field(max_length=MOST_NAMES)] = ()
    """Fields that their scripts may read."""
    credentials: StrictBool = False
    """Cookies go along."""
    max_age: Annotated[Period, Field(le=_LONGEST_MAX_AGE_S)] = 600.0
    """How long browsers remember what was granted."""

    @model_validator(mode="after")
    def _is_whole(self) -> Cors:
        if self.mode == "gateway" and not self.origins:
            raise ValueError("origins is missing: name whose scripts may read the answers")
        idle = sorted(self.model_fields_set - {"mode"})
        if self.mode != "gateway" and idle:
            raise ValueError(f"mode: {self.mode} leaves it to the portal, so that {idle[0]} has no effect")
        if ANY in self.origins and (self.credentials or len(self.origins) > 1):
            raise ValueError(
                "every origin ('*') stands alone, and goes with no credentials: anybody could act as whoever is signed in"
            )
        return self

    @property
    def rules(self) -> CorsRules | None:
        """Return what the gateway grants; None = it grants nothing itself."""
        if self.mode != "gateway":
            return None
        return CorsRules(
            origins=frozenset(self.origins),
            methods=frozenset(method.encode("ascii") for method in self.methods),
            fields=frozenset(name.lower().encode("ascii") for name in self.headers),
            expose=tuple(name.encode("ascii") for name in self.expose),
            credentials=self.credentials,
            max_age_s=int(self.max_age),
        )


def _directives(value: Any) -> Directives:
    if not isinstance(value, dict) or not all(
        isinstance(words, str) or (isinstance(words, list) and all(isinstance(word, str) for word in words))
        for words in value.values()
    ):
        raise ValueError(
            "write directives with their sources, such as {img-src: [\"'self'\", https://cdn.example.com]}"
        )
    try:
        return read_directives(value)
    except PolicyError as error:
        raise ValueError(str(error)) from None


def _approvable(value: list[str]) -> list[str]:
    read_approved(value)
    return value


class Csp(Section):
    """The content security policy of a route's pages."""

    mode: Literal["off", "report", "enforce"] = "report"
    policy: Annotated[Directives, PlainValidator(_directives)] = Field(default_factory=lambda: read_directives({}))
    """Directives in the place of the strict ones, or beside them."""
    nonces: StrictBool = True
    """Approved scripts get a nonce on their way through."""
    scripts: Annotated[list[str], AfterValidator(_approvable)] = Field(default_factory=list)
    """Approved scripts: `sha256-…`, or where they are loaded from."""
    report_sample: StrictBool = False
    """Browsers report how an inline script begins; no sample is kept here."""

    @model_validator(mode="after")
    def _is_whole(self) -> Csp:
        approved = self.approved
        if not self.nonces and (approved.places or approved.prefixes):
            place = next(iter((*approved.places, *approved.prefixes)))
            raise ValueError(f"nonces: false leaves no way to approve {place!r}: write a source into policy.script-src")
        return self

    @property
    def approved(self) -> Approved:
        """Return the approved scripts."""
        return read_approved(self.scripts)

    @property
    def rules(self) -> Policy | None:
        """Return the policy; None = there is none."""
        if self.mode == "off":
            return None
        return Policy(
            mode=self.mode,
            directives=self.policy,
            nonces=self.nonces,
            hashes=tuple(sorted(self.approved.hashes)),
            report_sample=self.report_sample,
        )


CsrfRules = Annotated[Csrf | None, BeforeValidator(_by_word)]
CorsSection = Annotated[Cors | None, BeforeValidator(_by_word)]
CspSection = Annotated[Csp | None, BeforeValidator(_by_word)]

"""How long sessions live, how many a person may have, and what they are bound to."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, PlainValidator, StrictBool, model_validator

from gateway.server.fields import Count, Duration, Period, RoleName
from gateway.server.sections.section import Section
from gateway.session.binding import IPV4_BITS, IPV6_BITS, Network
from gateway.session.rules import NewDevice

MAX_WARN_S: Final = 3600.0
_NETWORK: Final = re.compile(r"/([1-9][0-9]{0,2}),/([1-9][0-9]{0,2})")
# field-name [ ":" OWS value ]; the value is compared as it stands
_BACKGROUND: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}(?::[ ]?[!-~](?:[ -~]{0,126}[!-~])?)?")
_NOT_ASKED: Final = frozenset(("cookie", "authorization", "host", "content-length", "connection", "transfer-encoding"))
"""Fields that the gateway reads itself: no page can say by them that it asks on its own."""


def _network(value: Any) -> Network:
    if value == "off":
        return Network()
    if value == "country":
        return Network(country=True)
    found = _NETWORK.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found[1]) > IPV4_BITS or int(found[2]) > IPV6_BITS:
        raise ValueError("write off, country, or how much of an IPv4 and of an IPv6 address must stay: /24,/56")
    return Network(ipv4=int(found[1]), ipv6=int(found[2]))


def _background(value: Any) -> str:
    if not isinstance(value, str) or not _BACKGROUND.fullmatch(value):
        raise ValueError('write the name of a header field, or name and value: "X-Requested-With: poll"')
    name, _, content = value.partition(":")
    if name.lower() in _NOT_ASKED:
        raise ValueError(f"{name} says nothing about who asks; name a field that a page adds to what it asks by itself")
    return f"{name.lower()}: {content.strip()}" if content else f"{name.lower()}:"


class SessionBinding(Section):
    """What must come along with the cookie of a session, beside it."""

    device: StrictBool = False
    """The device cookie of the browser that signed in."""
    network: Annotated[Network, PlainValidator(_network)] = Network()
    """`off`, `country`, or how much of the address must stay: `/24,/56` (IPv4, IPv6)."""
    certificate: StrictBool = False
    """The client certificate of the connection, of people who signed in with one."""


class RoleSessions(Section):
    """What a role tightens; a key that says more than the tenant's changes nothing."""

    idle: Period | None = None
    absolute: Period | None = None
    concurrent: Count | None = None
    bind: SessionBinding = SessionBinding()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must not be empty")
        if self.idle is not None and self.absolute is not None and self.idle > self.absolute:
            raise ValueError("idle is longer than absolute")
        return self


class SessionRules(Section):
    """How long a session lives, seconds, how many a person may have, and what else is asked of them."""

    idle: Period = 900.0
    absolute: Period = 8 * 3600.0
    concurrent: Count | None = None
    """None = no limit."""
    when_full: Literal["oldest_out", "refuse"] = "oldest_out"
    """At one more the oldest ends, or the new one waits until the person has ended another."""
    roles: dict[RoleName, RoleSessions] = Field(default_factory=dict)
    bind: SessionBinding = SessionBinding()
    new_device: NewDevice = NewDevice.OFF
    background: tuple[Annotated[str, BeforeValidator(_background)], ...] = ()
    """Fields by which a page says that it asks by itself: `name:` or `name: value`, lower-case name."""
    warn: Annotated[Duration, Field(le=MAX_WARN_S)] = 120.0
    """How long before the idle end a page of ours warns; 0 = it does not."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.idle > self.absolute:
            raise ValueError("idle is longer than absolute")
        if len(set(self.background)) < len(self.background):
            raise ValueError("background lists a field twice")
        return self


class TenantSessions(Section):
    """What a tenant changes about sessions; absent keys keep the general value."""

    idle: Period | None = None
    absolute: Period | None = None
    concurrent: Count | None = None
    when_full: Literal["oldest_out", "refuse"] | None = None
    roles: dict[RoleName, RoleSessions] = Field(default_factory=dict)
    """In addition to those for all tenants."""
    bind: SessionBinding | None = None
    new_device: NewDevice | None = None

    def over(self, general: SessionRules) -> SessionRules:
        """Return the general rules with what the tenant says in their place; roles stay the general ones."""
        own = {name: value for name in self.model_fields_set - {"roles"} if (value := getattr(self, name)) is not None}
        return general.model_copy(update=own)

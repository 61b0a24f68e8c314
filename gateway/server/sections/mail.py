"""How the gateway sends mail to people, and from whom."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainValidator, StrictStr, model_validator

from gateway.authn.address import is_address
from gateway.server.fields import Location, Period, parse_host
from gateway.server.sections.secret import SecretFile
from gateway.server.sections.section import Section

_NAMED = re.compile(r"(?P<name>[^<>\"\r\n]{0,120}?)\s*<(?P<address>[^<>\s]+)>")
_PORTS = {"starttls": 587, "tls": 465, "unsafe_plaintext": 25}


def parse_mailbox(value: Any) -> tuple[str, str]:
    """Read `portal@example.com` or `The portal <portal@example.com>`: name and address. Raises ValueError."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("write an e-mail address, such as portal@example.com or The portal <portal@example.com>")
    named = _NAMED.fullmatch(value.strip())
    name, address = (named["name"].strip(), named["address"]) if named else ("", value.strip())
    if not is_address(address):
        raise ValueError(f"{address!r} is not an e-mail address")
    return name, address


Mailbox = Annotated[tuple[str, str], PlainValidator(parse_mailbox)]
"""Name, or nothing, and address."""


def _server(value: Any) -> str:
    return parse_host(value)


class SMTP(Section):
    """The server that takes our mail, and how we speak to it."""

    host: Annotated[str, BeforeValidator(_server)]
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] | None = None
    """None = 587 with `starttls`, 465 with `tls`, 25 in the clear."""
    security: Literal["starttls", "tls", "unsafe_plaintext"] = "starttls"
    """`starttls` is demanded, not offered: a server without it gets no mail (RFC 8314)."""
    username: StrictStr = ""
    password: SecretFile | None = None
    ca: Location | None = None
    """Authorities of the server's certificate, PEM; None = those of the system."""
    timeout: Annotated[Period, Field(le=120.0)] = 20.0
    """Of each step of the conversation, seconds."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if bool(self.username) is not (self.password is not None):
            raise ValueError("username and password belong together")
        if self.username and self.security == "unsafe_plaintext":
            raise ValueError("a password is never sent in the clear; use security: starttls or tls")
        if self.ca is not None and self.security == "unsafe_plaintext":
            raise ValueError("ca has no effect without TLS")
        return self

    @property
    def port_in_use(self) -> int:
        """The port, or the usual one."""
        return self.port or _PORTS[self.security]


class MailRetry(Section):
    """What happens to a letter that the server does not take now."""

    first: Annotated[Period, Field(le=3600.0)] = 30.0
    """Wait after the first failure, seconds; doubles with each."""
    longest: Annotated[Period, Field(le=86400.0)] = 1800.0
    """Longest wait between two tries, seconds."""
    give_up: Annotated[Period, Field(le=7 * 86400.0)] = 86400.0
    """Age at which a letter is given up, seconds. A code is given up when it no longer works."""

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if not self.first <= self.longest <= self.give_up:
            raise ValueError("first, longest and give_up must not be shorter than one another, in this order")
        return self


class Mail(Section):
    """Mail to people: codes and notices about their own account. Without this section nothing is sent."""

    smtp: SMTP
    sender: Annotated[Mailbox, Field(alias="from")]
    reply_to: Mailbox | None = None
    retry: MailRetry = MailRetry()
    queue: Annotated[int, Field(strict=True, ge=10, le=100_000)] = 1000
    """Letters that wait at most; one more is not accepted."""
    notices: bool = True
    """Tell people what happened to their account. False: codes only."""

"""Where the gateway keeps users, sessions and limits: in a file beside it, or in a Redis that several gateways share."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, NamedTuple, Self
from urllib.parse import unquote

from pydantic import BeforeValidator, Field, PlainValidator, StrictStr, model_validator

from gateway.server.fields import Location, Period, parse_host, parse_port
from gateway.server.sections.secret import SecretFile
from gateway.server.sections.section import Section

_URL: Final = re.compile(
    r"(?P<scheme>rediss?)(?P<kind>\+sentinel|\+cluster)?://(?:(?P<user>[^@/:]*)(?P<password>:[^@/]*)?@)?"
    r"(?P<hosts>[^@/?#]+)(?P<path>(?:/[^/?#]*)*)"
)
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::([0-9]{1,5}))?")
_DATABASE: Final = re.compile(r"[0-9]{1,5}")
_SERVICE: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MANY: Final = 32
_FORMS: Final = (
    "write sqlite, redis://host:port/database, redis+sentinel://host:port,host:port/service/database or "
    "redis+cluster://host:port,host:port; rediss instead of redis with TLS"
)
Kind = Literal["sqlite", "standalone", "sentinel", "cluster"]


class StateURL(NamedTuple):
    """An address, taken apart."""

    kind: Kind = "sqlite"
    nodes: tuple[tuple[str, int], ...] = ()
    service: str = ""
    database: int = 0
    username: str = ""
    is_secure: bool = False


def parse_state_url(value: Any) -> StateURL:
    """Read where the state is. Raises ValueError, without repeating what was written: it may hold a password."""
    if value == "sqlite":
        return StateURL()
    found = _URL.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(_FORMS)
    if found["password"] is not None:
        raise ValueError(
            "the password does not belong into the address, where backups and reviews show it; write state: "
            "{url: …, password: {file: …}}"
        )
    kind: Kind = "standalone"
    if found["kind"]:
        kind = "sentinel" if found["kind"] == "+sentinel" else "cluster"
    usual = 26379 if kind == "sentinel" else 6379
    nodes = tuple(_node(node, usual) for node in found["hosts"].split(","))
    if len(nodes) > _MANY or len(set(nodes)) < len(nodes):
        raise ValueError("a host is named twice, or there are too many")
    if kind == "standalone" and len(nodes) > 1:
        raise ValueError("redis:// names one host; several are redis+sentinel:// or redis+cluster://")
    service, database = _path(kind, found["path"].split("/")[1:])
    return StateURL(kind, nodes, service, database, unquote(found["user"] or ""), found["scheme"] == "rediss")


def _node(text: str, usual: int) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None:
        raise ValueError(_FORMS)
    return parse_host(found[1]), parse_port(found[2]) if found[2] else usual


def _path(kind: Kind, parts: list[str]) -> tuple[str, int]:
    """Return service and database."""
    parts = parts if parts != [""] else []
    service = ""
    if kind == "sentinel":
        if not parts or not _SERVICE.fullmatch(parts[0]):
            raise ValueError("redis+sentinel:// needs the name of the service that the Sentinels watch: …/mymaster")
        service, *parts = parts
    if kind == "cluster" and parts:
        raise ValueError("a Redis Cluster has no databases; end the address after the hosts")
    if len(parts) > 1 or (parts and not _DATABASE.fullmatch(parts[0])):
        raise ValueError("the database is a number: redis://host:6379/0")
    return service, int(parts[0]) if parts else 0


def _prefix(value: Any) -> str:
    if not isinstance(value, str) or not _PREFIX.fullmatch(value):
        raise ValueError("a prefix is letters, digits, '.', '_' and '-' (64 at most)")
    return value


class RedisTLS(Section):
    """How the servers prove themselves, and how the gateway does."""

    ca: Location | None = None
    """Authorities of their certificates, PEM; None = those of the system."""
    certificate: Location | None = None
    """The gateway's own, PEM, where servers ask for one."""
    key: Location | None = None
    server_name: StrictStr = ""
    """Name in the certificates, where it is not the host that is connected to."""

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if (self.certificate is None) is not (self.key is None):
            raise ValueError("certificate and key belong together")
        return self


class SentinelLogin(Section):
    """As whom the Sentinels are asked, where they want to know."""

    username: StrictStr = ""
    password: SecretFile


class State(Section):
    """Where the state is. Only `url` with `sqlite`; the others are for Redis."""

    url: Annotated[StateURL, PlainValidator(parse_state_url)] = StateURL()
    username: StrictStr = ""
    password: SecretFile | None = None
    tls: RedisTLS | None = None
    prefix: Annotated[str, BeforeValidator(_prefix)] = "gateway"
    """Begins the name of every key, in braces; gateways that share their state have the same."""
    timeout: Annotated[Period, Field(le=5.0)] = 0.25
    """For connecting and for each answer, seconds."""
    sentinel: SentinelLogin | None = None
    replicas: Annotated[int, Field(strict=True, ge=0, le=5)] = 0
    """How many replicas must confirm what ends a session or spends a secret."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.url.kind == "sqlite" and self.model_fields_set - {"url"}:
            raise ValueError(f"{min(self.model_fields_set - {'url'})} has no effect with sqlite")
        if self.username and self.url.username:
            raise ValueError("username stands in url already")
        if (self.username or self.url.username) and self.password is None:
            raise ValueError("a username needs a password: {file: …}")
        if self.sentinel is not None and self.url.kind != "sentinel":
            raise ValueError("sentinel has no effect without redis+sentinel://")
        return self

    @property
    def is_remote(self) -> bool:
        """Whether it is in Redis."""
        return self.url.kind != "sqlite"

    @property
    def has_tls(self) -> bool:
        """Whether servers are asked over TLS."""
        return self.url.is_secure or self.tls is not None


def read_state(value: Any) -> Any:
    """Take the short form for the long one: `state: sqlite` is `state: {url: sqlite}`."""
    return {"url": value} if isinstance(value, str) else value

"""What the console stands on, declared here because it is the consumer: the policy in force, and the people of the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Final, Literal, Protocol

import msgspec

from gateway.exchange.administration import Acted, Administrator, Individual, Listing, Portrait, ReloadNote
from gateway.exchange.inquiry import Standing, Status
from gateway.exchange.session import Session
from gateway.exchange.stream import STREAMS, Stream
from gateway.policy import PolicyTable

VIEW_FACTOR_AGE_S: Final = 12 * 3600.0  # SP 800-63B-4 (2023 draft) section 4.2.3
"""How long ago the second factor may have been proven for looking; acts ask for a younger one."""


class People(Protocol):
    """Who is in the state. Every method decides whole what the asker may see and do, and raises `GatewayError` when it could not."""

    async def administrator(self, session: Session) -> Administrator | None:
        """Return who asks, if they hold a role of the gateway's own now."""
        ...

    async def people(self, asker: Administrator, words: str, *, start: int, size: int) -> Listing:
        """List people whose name, address, role or organisation has `words` in it."""
        ...

    async def holders(self, asker: Administrator, roles: frozenset[str], *, size: int) -> Listing:
        """List people who were given one of `roles`."""
        ...

    async def person(self, asker: Administrator, user_id: str, *, now: float) -> Portrait | None:
        """Show one person; None when there is none that the asker may see."""
        ...

    async def named(self, asker: Administrator, name: str) -> Individual | None:
        """Find a person by name; None when there is none that the asker may see."""
        ...

    async def sessions(self, asker: Administrator, words: str, *, start: int, size: int, now: float) -> Listing:
        """List live sessions of which person, host, address or organisation has `words` in it."""
        ...

    async def set_disabled(self, asker: Administrator, user_id: str, *, disabled: bool, now: float) -> Acted:
        """Keep a person from signing in, or let them in again."""
        ...

    async def end_session(self, asker: Administrator, user_id: str, handle: str) -> Acted:
        """End one session of a person."""
        ...

    async def end_sessions(self, asker: Administrator, user_id: str) -> Acted:
        """End every session of a person."""
        ...

    async def reset_factors(self, asker: Administrator, user_id: str, *, now: float) -> Acted:
        """Forget every second factor of a person."""
        ...


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """Which records of the audit log are asked for; what is empty asks for nothing."""

    since: float = 0.0
    """Unix seconds."""
    until: float = 0.0
    streams: tuple[Stream, ...] = STREAMS
    person: str = ""
    """Name or id."""
    resource: str = ""
    """`type` or `type/id`."""
    request_id: str = ""
    decision: Literal["", "allow", "deny"] = ""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A record, opened as far as who asks may see it, and where it stands."""

    stream: Stream
    index: int
    origin: str
    taken_in_ns: int
    record: dict[str, Any]


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a question about the audit log."""

    status: Status | Literal["away"]
    """`away`: nobody answers."""
    found: tuple[Found, ...] = ()
    """Newest first."""
    more: bool = False
    is_damaged: bool = False
    """Files could not be read."""
    standings: tuple[Standing, ...] = ()
    is_witnessed: bool = False


class Evidence(Protocol):
    """The audit log, which the pages cannot open. Whatever is answered was recorded before. `request_id` is that of the page."""

    async def search(self, asker: Administrator, request_id: str, sought: Sought, *, start: int, size: int) -> Findings:
        """Return the newest records that fit, but for the first `start`."""
        ...

    async def export(self, asker: Administrator, request_id: str, sought: Sought) -> Findings:
        """Return every record that fits, or none where they are too many."""
        ...

    async def record(self, asker: Administrator, request_id: str, stream: Stream, index: int) -> Findings:
        """Return one record."""
        ...

    async def proof(self, asker: Administrator, request_id: str) -> Findings:
        """Say what can be proven of each stream."""
        ...


class ToldOfPages(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was told of the pages of a route."""

    kind: Literal["reported", "script"]
    directive: str
    what: str
    """An origin, a keyword, the hash or the address of a script."""
    enforced: bool
    times: int
    last: float
    """Unix seconds."""


class PagePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The content security policy of a route, and what browsers and pages told of it."""

    mode: Literal["report", "enforce"]
    told: tuple[ToldOfPages, ...]
    """Most often first."""
    more: int
    """How much more was told."""
    suggestion: str
    """The next one, as YAML to paste."""


class Pages(Protocol):
    """What is known of the pages of routes. Raises `GatewayError` when it cannot be asked."""

    async def of(self, route: str, *, now: float) -> PagePolicy | None:
        """Return it for one route; None when the route has no policy."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """What `Dependencies` need to have for there to be a console."""

    people: People
    evidence: Evidence
    table: PolicyTable
    hosts: Mapping[str, str]
    """Each host of the gateway and the tenant it belongs to; empty = shared by all."""
    warnings: tuple[str, ...] = ()
    """What `gateway check` warns of."""
    networks: tuple[IPv4Network | IPv6Network, ...] | None = None
    """Where the console may be opened from; None = from everywhere."""
    mfa_age_s: float = 900.0
    """How long ago the second factor may have been proven for an act."""
    since: float = 0.0
    """When this policy came into force here, unix seconds."""
    last_reload: Callable[[], ReloadNote | None] = lambda: None
    """What came of the last reload; None = there was none since the gateway started."""
    pages: Pages | None = None
    candidate: PolicyTable | None = None
    """The policy that runs beside the one in force without effect."""

    def opens_from(self, address: str) -> bool:
        """Tell whether the console exists for a client at this address."""
        if self.networks is None:
            return True
        try:
            client = ip_address(address)
        except ValueError:
            return False
        return any(client in network for network in self.networks)

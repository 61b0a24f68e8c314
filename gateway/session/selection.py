"""Which sessions an operator means: every condition that is given holds for each of them."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address

import msgspec

from gateway.exchange.session import Session


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions; what is None says nothing. Without any, every session is meant."""

    user_id: str | None = None
    tenant: str | None = None
    provider: str | None = None
    role: str | None = None
    network: IPv4Network | IPv6Network | None = None
    """Where the session began."""
    issued_before: float | None = None
    """Unix seconds."""

    def chooses(self, session: Session) -> bool:
        """Tell whether the session is meant."""
        return (
            self.user_id in {None, session.user_id}
            and self.tenant in {None, session.tenant}
            and self.provider in {None, session.provider}
            and (self.role is None or self.role in session.roles)
            and (self.issued_before is None or session.created < self.issued_before)
            and (self.network is None or _began_in(session, self.network))
        )

    @property
    def is_plain(self) -> bool:
        """At most a person or a tenant: the store finds these without opening a row, so damaged ones too."""
        return self == Selection(user_id=self.user_id) or self == Selection(tenant=self.tenant)


def _began_in(session: Session, network: IPv4Network | IPv6Network) -> bool:
    try:
        return ip_address(session.client_ip) in network
    except ValueError:  # a session whose beginning nobody knows is in no network
        return False

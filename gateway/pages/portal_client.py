"""On whose behalf a portal is spoken to: what it would have learned of the person's browser."""

from __future__ import annotations

from gateway.pages.portal_form import Client
from gateway.pages.visit import Visit


def client_of(visit: Visit) -> Client:
    """Say on whose behalf a portal is spoken to."""
    envelope, fields = visit.envelope, visit.request.headers
    return Client(
        scheme=envelope.scheme,
        authority=envelope.authority,
        host=envelope.host,
        ip=envelope.client_ip,
        user_agent=fields.get("User-Agent", ""),
        language=fields.get("Accept-Language", ""),
    )

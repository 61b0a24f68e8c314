"""The pages with identity providers of ours, as gateway.yaml would name them."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent
from typing import Any

from gateway.federation.sign_in import Providers
from gateway.server.bundle import Bundle
from gateway.server.federation import build_providers
from gateway.server.settings import load_settings
from gateway.store.openings import Client
from tests.fakes.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider

RULES = """\
roles: {claim: groups, grant: {portal-users: client, portal-billing: [client, billing]}}
tenant: {claim: org, grant: {acme-inc: acme, globex-inc: globex}}
"""
PERSON: dict[str, Any] = {
    "groups": ["portal-users", "everybody"],
    "org": "acme-inc",
    "preferred_username": "carol",
    "email": "carol@acme.example",
    "email_verified": True,
}

_GATEWAY = """\
version: 1
public_url: http://portal.example.com
listen: [{address: "127.0.0.1:8000", unsafe_plaintext: true}]
upstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}
tenants: {acme: {hosts: [acme.example.com]}, globex: {hosts: [globex.example.com]}}
identity:
  providers:
    - {id: local, type: password}
"""


def gateway_yaml(*providers: tuple[str, IdentityProvider, str], passwords: bool = True) -> str:
    """Write a gateway.yaml with these providers: id, provider, and further keys."""
    text = _GATEWAY if passwords else _GATEWAY.replace("    - {id: local, type: password}\n", "")
    for provider_id, provider, rules in providers:
        keys = rules if rules.startswith("roles:") or "\nroles:" in rules else RULES + rules
        secret = "" if "private_key_jwt" in keys else f"client_secret: {{file: secret-{provider_id}}}\n"
        client = "" if "client_id:" in keys else f"client_id: {CLIENT_ID}\n"
        item = f"id: {provider_id}\ntype: oidc\nissuer: {provider.issuer}\n{client}{secret}{keys}"
        text += "    - " + indent(item.rstrip(), "      ").lstrip() + "\n"
    return text


def with_providers(
    *providers: tuple[str, IdentityProvider, str], secrets: dict[str, bytes] | None = None, passwords: bool = True
) -> Callable[..., Providers[Client]]:
    """Make what `open_site` takes as `make_providers`."""
    text = gateway_yaml(*providers, passwords=passwords)
    settings = load_settings(text, "/gateway.yaml")
    first = 1 if passwords else 0
    found = {
        f"identity.providers[{index}].client_secret": CLIENT_SECRET.encode()
        for index, _ in enumerate(providers, start=first)
    }
    bundle = Bundle(path="/gateway.yaml", settings=text, policies={}, secrets=found | (secrets or {}), digest="")

    def make(**parts: Any) -> Providers[Client]:
        made = build_providers(settings, bundle, **parts)
        assert made is not None
        return made

    return make

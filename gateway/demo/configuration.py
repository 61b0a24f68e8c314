"""What the demo writes over the directory that `gateway init` made: gateway.yaml, policies, its certificate."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from gateway.demo.ports import LOOPBACK

POLICIES = Path(__file__).parent / "policies"
TENANT_HOSTS = {"acme": "acme.localhost", "globex": "globex.localhost"}
"""Each organisation has a host of its own beside the shared address; browsers send *.localhost to loopback (RFC 6761)."""
CERTIFIED = (LOOPBACK, "localhost", *TENANT_HOSTS.values())
"""Hosts that the demo's certificate must name."""


class Certificate(msgspec.Struct, frozen=True):
    """A certificate chain and its key, PEM."""

    chain: bytes
    key: bytes


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Loopback ports of the demo."""

    https: int
    redirect: int
    admin: int


def gateway_yaml(ports: Ports, portal: int) -> str:
    """Write the demo's gateway.yaml for a portal on loopback port `portal`."""
    tenants = "\n".join(f"  {tenant}: {{hosts: [{host}]}}" for tenant, host in TENANT_HOSTS.items())
    return f"""\
# Written by `gateway demo`.
version: 1
profile: baseline
public_url: https://{LOOPBACK}:{ports.https}
listen:
  - address: {LOOPBACK}:{ports.https}
    tls: {{certificate: config/tls/cert.pem, key: config/tls/key.pem}}
  - {{address: "{LOOPBACK}:{ports.redirect}", redirect_to_https: true}}
admin: {{address: "{LOOPBACK}:{ports.admin}", console: {{enabled: true}}}}
workers: 2
state_dir: state
state: sqlite
keyring: config/keyring.json
upstreams:
  portal: {{servers: ["http://{LOOPBACK}:{portal}"], host: preserve}}
tenants:
{tenants}
identity:
  providers:
    - {{id: local, type: password}}
mfa: {{required: always, methods: [totp, recovery]}}
sessions: {{idle: 15m, absolute: 8h, concurrent: 5}}
policies: policies/
limits:
  client: {{rate: 50/s, burst: 200, per: ip}}
  login: {{rate: 30/m, burst: 30, per: ip}}
inspection:
  waf: block
  csrf: block
  uploads: {{max_size: 25MiB, types: [pdf, png, jpeg, gif, docx, xlsx, csv, txt]}}
  leaks: {{answers: {{cards: mask, secrets: block}}}}
headers: {{csp_report_only: "default-src 'self'"}}
audit: {{durability: group}}
"""


def configure(directory: Path, ports: Ports, portal: int, certificate: Certificate) -> None:
    """Replace what `init` wrote in `directory` by the demo's own; keyring and audit keys stay."""
    (directory / "gateway.yaml").write_text(gateway_yaml(ports, portal), encoding="utf-8")
    shutil.rmtree(directory / "policies", ignore_errors=True)
    shutil.copytree(POLICIES, directory / "policies")
    tls = directory / "config" / "tls"
    (tls / "cert.pem").write_bytes(certificate.chain)
    (tls / "key.pem").write_bytes(certificate.key)

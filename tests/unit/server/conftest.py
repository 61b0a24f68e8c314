from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from gateway.ledger.keys import AuditKeys
from gateway.server.certificate import self_signed
from gateway.store.keyring import Keyring

CONFIGURATION = """\
version: 1
public_url: https://localhost:8443
listen:
  - address: 127.0.0.1:8443
    tls: {certificate: tls/cert.pem, key: tls/key.pem}
state_dir: state
upstreams:
  portal: {servers: ["http://127.0.0.1:3000"]}
tenants:
  main: {hosts: [localhost]}
mfa: {required: always}
"""
POLICY = """\
version: 1
roles:
  client: {}
routes:
  - name: portal
    match: {path: "/**", methods: [GET]}
    upstream: portal
    allow:
      - roles: [client]
"""
CASES = """\
cases:
  - name: a client opens the portal
    as: {user: alice, tenant: main, roles: [client], mfa_age: 60s}
    request: GET https://localhost/
    expect: {decision: allow, route: portal}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A complete configuration, as an operator has it."""
    (tmp_path / "gateway.yaml").write_text(CONFIGURATION)
    (tmp_path / "policies" / "tests").mkdir(parents=True)
    (tmp_path / "policies" / "portal.yaml").write_text(POLICY)
    (tmp_path / "policies" / "tests" / "portal.yaml").write_text(CASES)
    (tmp_path / "tls").mkdir()
    certificate, key = self_signed(["localhost"], now=time.time())
    (tmp_path / "tls" / "cert.pem").write_bytes(certificate)
    (tmp_path / "tls" / "key.pem").write_bytes(key)
    (tmp_path / "tls" / "key.pem").chmod(0o600)
    Keyring.generate(os.urandom, time.time()).create(tmp_path / "config" / "keyring.json")
    AuditKeys.generate(origin="node", created="2026-11-22", random=os.urandom).create(
        tmp_path / "config" / "audit-keys.json"
    )
    return tmp_path

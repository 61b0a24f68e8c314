"""The texts that `gateway init` writes: a configuration, a policy and the policy's cases."""

from __future__ import annotations

from string import Template
from typing import Final

CONFIGURATION: Final = Template("""\
# yaml-language-server: $$schema=config/schema/gateway.json
# The gateway's configuration. Every key is explained in docs/configuration.md; `gateway check` reads it all.
# Relative paths start at this file.
version: 1
profile: baseline
public_url: $public_url
listen:
  - address: $listen
    $listener
  # - {address: 0.0.0.0:8080, redirect_to_https: true}
admin: {address: 127.0.0.1:9090}    # /livez, /readyz, /metrics
workers: auto                       # one for each CPU
state_dir: state
state: sqlite
keyring: config/keyring.json
trusted_proxies: []                 # networks of proxies in front of the gateway
upstreams:
  portal: {servers: ["$upstream"], host: preserve, timeout: {connect: 2s, response: 30s, idle: 5m}}
# A tenant's own hosts; a host that no tenant lists is shared by all of them.
$tenants
identity:
  providers:
    - {id: local, type: password}
mfa: {required: always, methods: [webauthn, totp, recovery]}
sessions: {idle: 15m, absolute: 8h, concurrent: 5}
passwords: {breach_check: offline}
policies: policies/
limits:
  client: {rate: 50/s, burst: 200, per: ip}
  login: {rate: 10/m, burst: 10, per: ip}
inspection: {waf: block}            # attacks in requests; detect: only record them
headers: {hsts: 2y}
audit: {durability: group, keys: config/audit-keys.json}
""")

FIRST_TENANT: Final = "main"
"""Of the people in the examples."""

SHARED: Final = """\
# tenants:
#   acme: {hosts: [acme.portal.example.com]}"""
"""No tenant has hosts of its own: people of every tenant come in by the public URL."""

OWN_HOST: Final = Template("""\
tenants:
  $tenant: {hosts: [$host]}""")

POLICY: Final = """\
# yaml-language-server: $schema=../config/schema/policy.json
# Who may do what. Whatever no route lists is refused.
version: 1
roles:
  client: {}
routes:
  - name: portal
    match: {path: "/**", methods: [GET, POST, PUT, PATCH, DELETE]}
    upstream: portal
    allow:
      - roles: [client]
"""

CASES: Final = Template("""\
# yaml-language-server: $$schema=../../config/schema/cases.json
# What the policy must allow and refuse; `gateway check` and every reload run these.
cases:
  - name: a client opens the portal
    as: {user: alice, tenant: $tenant, roles: [client], mfa_age: 60s}
    request: GET $public_url/
    expect: {decision: allow, route: portal}
  - name: a person without a role is refused
    as: {user: mallory, tenant: $tenant, roles: [], mfa_age: 60s}
    request: GET $public_url/
    expect: {decision: deny}
""")

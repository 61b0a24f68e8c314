"""How the gateway in front of the wiki is set up: settings, policy, and the cases that the policy must pass."""

from __future__ import annotations

HOST = "wiki.localhost"
TENANT = "library"

SETTINGS = """\
version: 1
profile: baseline
public_url: https://{host}:{port}
listen:
  - address: 127.0.0.1:{port}
    tls: {{certificate: config/tls/cert.pem, key: config/tls/key.pem}}
admin: {{address: 127.0.0.1:{admin_port}}}
workers: 2
state_dir: state
state: sqlite
keyring: config/keyring.json
upstreams:
  # for two workers as many as Apache has processes: more would wait until it gives up one that it keeps alive
  wiki: {{servers: ["{upstream}"], host: preserve, max_connections: 4, timeout: {{queue: 15s}}}}
tenants:
  {tenant}: {{hosts: [{host}]}}
identity:
  providers:
    - {{id: local, type: password}}
mfa: {{required: always, methods: [totp, recovery]}}
policies: policies/
limits:
  client: {{rate: 200/s, burst: 400, per: ip}}
  login: {{rate: 60/m, burst: 60, per: ip}}
headers: {{hsts: 2y}}
audit: {{durability: group}}
inspection: {{waf: block}}
"""

POLICY = """\
version: 1
roles:
  reader: {}
  editor: {includes: [reader]}
routes:
  - name: template
    match: {path: "/lib/tpl/**", methods: [GET]}
    upstream: wiki
    public: true
  - name: images
    match: {path: "/lib/images/**", methods: [GET]}
    upstream: wiki
    public: true
  - name: styles
    match: {path: /lib/exe/css.php, methods: [GET]}
    upstream: wiki
    public: true
  - name: scripts
    match: {path: /lib/exe/js.php, methods: [GET]}
    upstream: wiki
    public: true
  - name: jquery
    match: {path: /lib/exe/jquery.php, methods: [GET]}
    upstream: wiki
    public: true
  - name: manifest
    match: {path: /lib/exe/manifest.php, methods: [GET]}
    upstream: wiki
    public: true
  - name: indexing
    match: {path: /lib/exe/taskrunner.php, methods: [GET]}
    upstream: wiki
    allow: [{roles: [reader]}]
  - name: front
    match: {path: /start, methods: [GET]}
    upstream: wiki
    resource: {type: page, id: start}
    allow: [{roles: [reader]}]
  - name: wiki-sign-in
    match: {path: /start, methods: [POST]}
    upstream: wiki
    allow: [{roles: [editor]}]
  - name: page
    match: {path: "/{page}", methods: [GET]}
    upstream: wiki
    action: view
    resource: {type: page, id: "{page}"}
    allow: [{roles: [editor]}]
  - name: page-save
    match: {path: "/{page}", methods: [POST]}
    upstream: wiki
    action: edit
    resource: {type: page, id: "{page}"}
    allow: [{roles: [editor]}]
    audit: {durability: strict}
  - name: media-manager
    match: {path: /lib/exe/ajax.php, methods: [POST]}
    upstream: wiki
    action: create
    resource: {type: media}
    allow: [{roles: [editor]}]
  - name: media-file
    match: {path: "/_media/{file}", methods: [GET]}
    upstream: wiki
    action: download
    resource: {type: media, id: "{file}"}
    allow: [{roles: [editor]}]
"""

CASES = f"""\
cases:
  - name: a style sheet is for everyone
    request: GET https://{HOST}/lib/exe/css.php
    expect: {{decision: allow, route: styles}}
  - name: an editor saves a page
    as: {{user: erin, tenant: {TENANT}, roles: [editor]}}
    request: POST https://{HOST}/opening_hours
    expect: {{decision: allow, route: page-save}}
  - name: a reader saves nothing
    as: {{user: rita, tenant: {TENANT}, roles: [reader]}}
    request: POST https://{HOST}/opening_hours
    expect: {{decision: deny, route: page-save}}
  - name: nobody comes to the installer
    as: {{user: erin, tenant: {TENANT}, roles: [editor]}}
    request: GET https://{HOST}/inc/init.php
    expect: {{decision: deny}}
"""


def rule_of(route: str) -> str:
    """The place of a route's `allow` in the policy: what a refusal must name."""
    lines = POLICY.splitlines()
    allow = next(n for n in range(lines.index(f"  - name: {route}"), len(lines)) if lines[n].startswith("    allow:"))
    return f"policies/wiki.yaml:{allow + 1}:5"

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.exchange.errors import ConfigurationError
from gateway.exchange.route import Durability
from gateway.server.settings import Settings, load_settings

SMALL = """\
version: 1
public_url: https://portal.example.com
listen:
  - address: 0.0.0.0:8443
    tls: {certificate: cert.pem, key: key.pem}
upstreams:
  portal: {servers: ["http://127.0.0.1:3000"]}
"""
CONTRACT = """\
version: 1
profile: baseline
public_url: https://portal.example.com
listen:
  - address: 0.0.0.0:8443
    tls: {certificate: config/tls/cert.pem, key: config/tls/key.pem}
  - {address: 0.0.0.0:8080, redirect_to_https: true}
  - {address: 127.0.0.1:8000, unsafe_plaintext: true}
admin: {address: 127.0.0.1:9090}
workers: auto
state_dir: /var/lib/gateway
state: sqlite
keyring: config/keyring.json
trusted_proxies: [10.0.0.0/8]
upstreams:
  portal: {servers: ["http://127.0.0.1:3000"], host: preserve, timeout: {connect: 2s, response: 30s, idle: 5m}}
tenants:
  acme: {hosts: [acme.portal.example.com], sessions: {idle: 10m}}
identity:
  providers:
    - {id: local, type: password}
mfa: {required: always, methods: [totp, recovery], remember_device: 0s}
sessions: {idle: 15m, absolute: 8h, concurrent: 5}
policies: policies/
limits:
  client: {rate: 50/s, burst: 200, per: ip}
  login: {rate: 10/m, burst: 5, per: ip}
headers: {hsts: 2y, csp_report_only: "default-src 'self'"}
audit: {durability: group, sinks: []}
"""


def read(text: str) -> Settings:
    return load_settings(text, "/etc/gateway/gateway.yaml")


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    return list(caught.value.diagnostics)


def the_error(text: str) -> str:
    found = errors(text)
    assert len(found) == 1, found
    return found[0]


def test_the_file_of_the_contract_is_read_whole() -> None:
    settings = read(CONTRACT)
    assert str(settings.public_url) == "https://portal.example.com"
    assert [listener.kind for listener in settings.listen] == ["tls", "redirect", "plaintext"]
    assert settings.upstreams["portal"].timeout.idle == 300.0
    assert settings.sessions.concurrent == 5
    assert settings.headers.hsts == 2 * 365 * 86400
    assert settings.audit.durability is Durability.GROUP
    assert settings.limit_specs["login"].burst == 5
    assert settings.limit_specs["client"].rate_per_s == 50.0


def test_an_absent_section_enforces_nothing_but_secure_headers_and_the_sign_in_limit() -> None:
    settings = read(SMALL)
    assert settings.mfa.required == "enrolled"
    assert settings.sessions.concurrent is None
    assert list(settings.limit_specs) == ["login"]
    assert settings.headers.hsts > 0
    assert "frame-ancestors" in settings.headers.csp
    assert settings.admin.address.host == "127.0.0.1"


def test_the_sign_in_limit_cannot_be_left_out_by_naming_other_limits() -> None:
    assert "login" in read(SMALL + "limits: {client: {rate: 5/s, burst: 5, per: ip}}\n").limit_specs


def test_relative_paths_start_at_the_directory_of_the_file() -> None:
    settings = load_settings(SMALL + "state_dir: state\n", "/srv/g/gateway.yaml")
    assert settings.state_dir == Path("/srv/g/state")
    assert settings.keyring == Path("/srv/g/config/keyring.json")
    assert settings.audit.keys == Path("/srv/g/config/audit-keys.json")
    assert settings.policies == Path("/srv/g/policies")


def test_hosts_belong_to_their_tenant_and_the_public_one_to_all() -> None:
    assert dict(read(CONTRACT).hosts) == {"portal.example.com": "", "acme.portal.example.com": "acme"}


def test_a_tenant_may_own_the_public_host() -> None:
    text = SMALL + "tenants: {main: {hosts: [Portal.Example.com]}}\n"
    assert dict(read(text).hosts) == {"portal.example.com": "main"}


def test_a_tenant_changes_only_what_it_says_about_sessions() -> None:
    rules = read(CONTRACT).session_rules("acme")
    assert (rules.idle, rules.absolute, rules.concurrent) == (600.0, 8 * 3600.0, 5)
    assert read(CONTRACT).session_rules("unknown").idle == 900.0


def test_all_errors_of_a_file_come_in_one_run_each_with_its_place() -> None:
    text = (
        CONTRACT.replace("version: 1", "version: 2").replace("idle: 10m", "idel: 10m").replace("burst: 200", "burst: 0")
    )
    assert errors(text) == [
        "gateway.yaml:1:10: version: write 1",
        "gateway.yaml:18:55: tenants.acme.sessions.idel: unknown key; did you mean 'idle'?",
        "gateway.yaml:26:31: limits.client.burst: must be at least 1",
    ]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("sesions: {}", "sesions: unknown key; did you mean 'sessions'?"),
        ("auth_host: login.example.com", "auth_host: a separate host for the gateway's pages is not built yet"),
        ("profile: hipaa", "profile: the profile hipaa is not built yet; use baseline"),
        ("profile: [baseline, pci]", "profile: the profile pci is not built yet; use baseline"),
        ("profile: strict", "profile: the profile of this version is baseline"),
        ("mfa: {methods: [recovery]}", "mfa: methods needs webauthn or totp: the others alone cannot be set up"),
        ("mfa: {required: never}", "mfa.required: write 'always', 'by_role', 'risk', 'offered' or 'enrolled'"),
        ("mfa: {required: by_role}", "mfa: required: by_role and roles need each other"),
        ("mfa: {roles: [client]}", "mfa: required: by_role and roles need each other"),
        ("mfa: {never_remember: [client]}", "mfa: never_remember has no effect without remember_device"),
        (
            "mfa: {methods: [totp], passkeys: {passwordless: false}}",
            "mfa: passkeys has no effect without webauthn among the methods",
        ),
        ("mfa: {passkeys: {aaguids: {}}}", "mfa.passkeys.aaguids: write either allow or deny"),
        (
            "mfa: {passkeys: {aaguids: {allow: [cb69481e-8ff7-4039-93ec-0a2729a154a8]}}}",
            "mfa.passkeys: aaguids.allow needs attestation: direct; otherwise no authenticator proves its make",
        ),
        (
            "mfa: {passkeys: {attestation: direct, aaguids: {allow: [cb69481e-8ff7-4039-93ec-0a2729a154a8]}}}",
            "mfa.passkeys: aaguids.allow needs roots: anybody can write an AAGUID, the maker's certificate proves it",
        ),
        ("mfa: {passkeys: {roots: roots.pem}}", "mfa.passkeys: roots has no effect without aaguids.allow"),
        ("mfa: {passkeys: {aaguids: {deny: [yubikey]}}}", "mfa.passkeys.aaguids.deny[0]: write an AAGUID such as cb69481e-8ff7-4039-93ec-0a2729a154a8"),
        (
            "mfa: {passkeys: {resident: discouraged}}",
            "mfa.passkeys: resident: discouraged needs passwordless: false; only resident passkeys are found without a name",
        ),
        ("mfa: {passkeys: {rp_id: other.example}}", "mfa.passkeys.rp_id: other.example is neither portal.example.com, the host of public_url, nor a domain above it"),
        ("mfa: {passkeys: {rp_id: com}}", "mfa.passkeys.rp_id: com is neither portal.example.com, the host of public_url, nor a domain above it"),
        ("audit: {sinks: [syslog]}", "audit.sinks[0]: write a mapping of keys to values"),
        ("audit: {durability: safe}", "audit.durability: write 'async', 'group', 'strict' or 'strict+remote'"),
        ("audit: {streams: {security: {when_full: gap}}}", "audit.streams.security: when_full: gap is for traffic alone: who got in and who saw which data is never left out"),
        ("audit: {streams: {access: {when_full: gap}}}", "audit.streams.access: when_full: gap is for traffic alone: who got in and who saw which data is never left out"),
        ("audit: {streams: {traffic: {when_full: drop}}}", "audit.streams.traffic.when_full: write 'refuse' or 'gap'"),
        ("audit: {streams: {other: {}}}", "audit.streams.other: unknown key"),
        ("audit: {disk: {warn: 10%}}", "audit.disk: warn, high and critical are shares that are still free: each must be at least the next"),
        ("audit: {disk: {critical: 5}}", "audit.disk.critical: write a share such as 50%"),
        ("audit: {disk: {ballast: much}}", "audit.disk.ballast: 'much' is not a size; write a number and a unit, such as 64KiB, 25MiB or 1GiB"),
        ("audit: {segment_age: 1s}", "audit.segment_age: must be at least 60.0"),
        ("audit: {verify: {every: 1m}}", "audit.verify.every: must be at least 3600.0"),
        ("audit: {verify: {every: never}}", "audit.verify.every: 'never' is not a length of time; write a number and a unit, such as 30s, 15m, 8h or 2y"),
        ("audit: {verify: daily}", "audit.verify: write a mapping of keys to values"),
        ("identity: {providers: []}", "identity.providers: must not be empty"),
        ("workers: 0", "workers: write auto or a number from 1 to 256"),
        ("workers: true", "workers: write auto or a number from 1 to 256"),
        ("sessions: {idle: 15}", "sessions.idle: write a length of time with its unit, such as 30s, 15m, 8h or 2y"),
        ("sessions: {idle: 0s}", "sessions.idle: must be more than 0"),
        ("sessions: {idle: 9h}", "sessions: idle is longer than absolute"),
        ("sessions: {concurrent: 0}", "sessions.concurrent: must be at least 1"),
        ("sessions: {concurrent: 2.5}", "sessions.concurrent: write a whole number"),
        ("sessions: 15m", "sessions: write a mapping of keys to values"),
        ("passwords: {min_length: 8}", "passwords.min_length: must be at least 12"),
        ("passwords: {breach_check: NO}", "passwords.breach_check: write 'offline', 'online' or 'off'"),
        ("trusted_proxies: 10.0.0.0/8", "trusted_proxies: write a list"),
        ("forwarded_from: both", "forwarded_from: write 'x-forwarded-for' or 'forwarded'"),
        ("forwarded_from: forwarded", "forwarded_from: has no effect without trusted_proxies"),
        ("http: {max_connections_per_client: 0}", "http.max_connections_per_client: must be at least 1"),
        ("http: {max_streams: 0}", "http.max_streams: must be at least 1"),
        ("http: {max_streams: 1001}", "http.max_streams: must be at most 1000"),
        ("http: {http2: false}", "http.http2: unknown key"),
        ("http: {max_connections: 10, max_connections_per_client: 11}", "http.max_connections_per_client: is more than http.max_connections"),
        ('headers: {csp: "a\\nb"}', "headers.csp: a header value is one line of printable ASCII"),
        ("http: {max_head: 0}", "http.max_head: must be more than 0"),
        ("branding: {accent: red}", "branding.accent: must look like #0a6254"),
        ('branding: {accent: "#ffcc00"}', "branding.accent: must be darker: links in it could not be read"),
        ('branding: {accent_dark: "#222222"}', "branding.accent_dark: must be lighter: links in it could not be read"),
        ('branding: {name: ""}', "branding.name: must not be empty"),
        ("branding: {logo: logo.svg}", "branding.logo: a logo needs a name: screen readers say it"),
        ('branding: {help_url: "javascript:alert(1)"}', "branding.help_url: must begin with https://, mailto: or /"),
        ('branding: {color: "#000000"}', "branding.color: unknown key"),
        ("http: {kept_form: 65KiB}", "http.kept_form: must be at most 65536"),
        ("http: {kept_form: 1 page}", "http.kept_form: '1 page' is not a size; write a number and a unit, such as 64KiB, 25MiB or 1GiB"),
        ("http: {drain_timeout: 1m}", "http.drain_timeout: must be at most 7s"),
        ("shutdown: {delay: 6m}", "shutdown.delay: must be at most 5m"),
        ("upgrade: {ready_timeout: 0s}", "upgrade.ready_timeout: must be more than 0"),
        ("upgrade: {drain_timeout: 2d}", "upgrade.drain_timeout: must be at most 1d"),
        ("http: {tunnels: {per_user: 0}}", "http.tunnels.per_user: must be at least 1"),
        ("forward_auth: {style: nginx}", "forward_auth: name the proxies that may ask, here or in trusted_proxies"),
        (
            "forward_auth: {style: nginx, proxies: [127.0.0.1, 0.0.0.0/0]}",
            "forward_auth.proxies[1]: with 0.0.0.0/0 everybody could ask at /.gateway/check; name the proxies",
        ),
        (
            "trusted_proxies: ['::/0']\nforward_auth: {style: nginx}",
            "trusted_proxies[0]: with ::/0 everybody could ask at /.gateway/check; name the proxies",
        ),
        ("forward_auth: {style: apache, proxies: [127.0.0.1]}", "forward_auth.style: write 'nginx', 'forwarded' or 'envoy'"),
        ("forward_auth: {proxies: [127.0.0.1]}", "forward_auth: the key style is missing"),
        ("http: {tunnels: {per_users: 5}}", "http.tunnels.per_users: unknown key; did you mean 'per_user'?"),
        ("admin: {address: 127.0.0.1}", "admin.address: '127.0.0.1' is not an IP address and a port, such as 0.0.0.0:8443 or [::1]:8443"),
        ('admin: {address: "127.0.0.1:0"}', "admin.address: '0' is not a port from 1 to 65535"),
        ("limits: {login: {rate: 1/s, burst: 1, per: user}}", "limits.login.per: attempts to sign in are counted per ip: nobody is signed in yet"),
        ("limits: {client: {rate: 1/w, burst: 1, per: ip}}", "limits.client.rate: '1/w' is not a rate; write a number and a period, such as 50/s, 10/m or 60/h"),
        ('tenants: {acme: {hosts: ["*.example.com"]}}', "tenants.acme.hosts[0]: '*.example.com': wildcards are not supported; list each host"),
        ('tenants: {acme: {hosts: ["a.example.com:443"]}}', "tenants.acme.hosts[0]: 'a.example.com:443' is not a host name (without scheme, port and path)"),
        ("tenants: {acme: {hosts: [a.example.com, A.example.com]}}", "tenants.acme.hosts[1]: a.example.com is listed twice"),
        ("tenants: {a: {hosts: [x.example.com]}, b: {hosts: [x.example.com]}}", "tenants.b.hosts[0]: x.example.com already belongs to the tenant a"),
        ("tenants: {Acme: {hosts: [x.example.com]}}", "tenants.Acme: a name is a lower-case letter or digit, then letters, digits, - or _ (64 at most)"),
        ("tenants: {a: {hosts: [x.example.com], sessions: {idle: 9h}}}", "tenants.a.sessions: idle is longer than absolute"),
        ("keyring:", "empty value; write one, or remove the key [empty-value]"),
    ],
)  # fmt: skip
def test_what_must_not_stand_in_the_file_is_refused_with_its_sentence(line: str, sentence: str) -> None:
    found = the_error(SMALL + line + "\n")
    place, _, said = found.partition(": ")
    assert place.startswith("gateway.yaml:8:")
    assert said == sentence


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("https://portal.example.com", "portal.example.com", "public_url: 'portal.example.com': write scheme and host, such as https://portal.example.com"),
        ("https://portal.example.com", "https://u:p@portal.example.com", "public_url: credentials do not belong in an address"),
        ("https://portal.example.com", "https://portal.example.com/x", "public_url: 'https://portal.example.com/x' has a path, a query or a fragment; write scheme and host, such as https://portal.example.com"),
        ("https://portal.example.com", "http://portal.example.com", "public_url: is http, but no listener says unsafe_plaintext: true"),
        ("    tls: {certificate: cert.pem, key: key.pem}", "    redirect_to_https: false", "listen[0]: a listener has exactly one of tls, redirect_to_https: true and unsafe_plaintext: true"),
        ("    tls: {certificate: cert.pem, key: key.pem}", "    tls: {certificate: cert.pem}", "listen[0].tls: the key key is missing"),
        ("0.0.0.0:8443", "0.0.0.0:8443\n    proxy_protocol: true", "listen[0].proxy_protocol: needs trusted_proxies: only they may send a PROXY header"),
        ("0.0.0.0:8443", "0.0.0.0:8443\n    proxy_protocol: v2", "listen[0].proxy_protocol: write true or false"),
        ("0.0.0.0:8443", "localhost:8443", "listen[0].address: 'localhost:8443' is not an IP address and a port, such as 0.0.0.0:8443 or [::1]:8443"),
        ("0.0.0.0:8443", "0.0.0.0:9090", "listen[0].address: 0.0.0.0:9090 is taken by admin.address"),
        ("http://127.0.0.1:3000", "ftp://127.0.0.1:3000", "upstreams.portal.servers[0]: 'ftp://127.0.0.1:3000': write scheme, host and port, such as http://127.0.0.1:3000"),
        ('["http://127.0.0.1:3000"]', "[]", "upstreams.portal.servers: must not be empty"),
        ("{servers: [", "{receipt_key: 0, servers: [", "upstreams.portal.receipt_key: must be at least 1"),
        ("{servers: [", "{receipt_key: 65536, servers: [", "upstreams.portal.receipt_key: must be at most 65535"),
        ("{servers: [", "{receipt_key: 1, headers: {user: X-Audit-Receipt}, servers: [", "upstreams.portal: x-audit-receipt carries the receipts of receipt_key and cannot carry an identity"),
        ("{servers: [", "{receipt_key: 1, cookies: {vault: all}, sign_on: {type: form, page: /l, fields: {u: username, p: password}}, servers: [", "upstreams.portal: receipt_key does not go with sign_on by a form: the gateway's own sign-on has no receipt"),
        ("upstreams:\n  portal: {", "forward_auth: {style: nginx, proxies: [127.0.0.1]}\nupstreams:\n  portal: {receipt_key: 1, ", "upstreams.portal.receipt_key: does not go with forward_auth: another proxy forwards no receipt"),
        ('["http://127.0.0.1:3000"]', '["http://a:1", "https://b:1"]', "upstreams.portal: the servers of an upstream are either all http or all https"),
        ('["http://127.0.0.1:3000"]', '["http://a:1", "http://a:1"]', "upstreams.portal: a server is listed twice"),
        ('3000"]', '3000"], tls: {unsafe_skip_verify: true}', "upstreams.portal: tls has no effect on http:// servers"),
        ('["http://127.0.0.1:3000"]', '["https://a", "unix:run/a.sock"]', "upstreams.portal: the servers of an upstream are either all http or all https"),
        ('["http://127.0.0.1:3000"]', '["unix:"]', "upstreams.portal.servers[0]: write a path"),
        ('["http://127.0.0.1:3000"]', '["unix:@portal"]', "upstreams.portal.servers[0]: abstract sockets have no owner and no permissions; use a path, such as unix:/run/portal.sock"),
        ('["http://127.0.0.1:3000"]', '["unix:/' + "x" * 107 + '"]', "upstreams.portal.servers[0]: /" + "x" * 107 + " is longer than the 107 bytes that a Unix socket may have"),
        ('["http://127.0.0.1:3000"]', '["unix:/var/lib/gateway/run/pages.sock"]', "upstreams.portal.servers[0]: unix:/var/lib/gateway/run/pages.sock is a socket of the gateway's own"),
        ('["http://127.0.0.1:3000"]', '["unix:/var/lib/gateway/run/../run/audit.sock"]', "upstreams.portal.servers[0]: unix:/var/lib/gateway/run/../run/audit.sock is a socket of the gateway's own"),
        ('["http://127.0.0.1:3000"]', "[{url: http://a, wieght: 2}]", "upstreams.portal.servers[0].wieght: unknown key; did you mean 'weight'?"),
        ('3000"]', '3000"], max_uploads_per_client: 0', "upstreams.portal.max_uploads_per_client: must be at least 1"),
        ('3000"]', '3000"], max_connections: 8, max_uploads_per_client: 9', "upstreams.portal.max_uploads_per_client: is more than max_connections of the upstream"),
        ('["http://127.0.0.1:3000"]', "[{url: http://a, weight: 0}]", "upstreams.portal.servers[0].weight: must be at least 1"),
        ('["http://127.0.0.1:3000"]', "[{url: http://a, weight: 101}]", "upstreams.portal.servers[0].weight: must be at most 100"),
        ('["http://127.0.0.1:3000"]', "[{weight: 1}]", "upstreams.portal.servers[0]: the key url is missing"),
        ('["http://127.0.0.1:3000"]', "[{url: /run/a}]", "upstreams.portal.servers[0].url: '/run/a': write scheme, host and port, such as http://127.0.0.1:3000"),
        ('["http://127.0.0.1:3000"]', "[3000]", "upstreams.portal.servers[0]: write scheme, host and port, such as http://127.0.0.1:3000"),
        ('3000"]', '3000"], balance: random', "upstreams.portal.balance: write round_robin, least_connections, {hash: user} or {hash: ip}"),
        ('3000"]', '3000"], balance: {hash: cookie}', "upstreams.portal.balance: write round_robin, least_connections, {hash: user} or {hash: ip}"),
        ('3000"]', '3000"], host: "a b"', "upstreams.portal.host: 'a b': write preserve, rewrite or a host name, with a port where it needs one"),
        ('3000"]', '3000"], path: {strip_prefix: app}', "upstreams.portal.path.strip_prefix: 'app' is not a path such as /app: letters, digits, - . _ ~ and no slash at the end"),
        ('3000"]', '3000"], path: {strip_prefix: /app/}', "upstreams.portal.path.strip_prefix: '/app/' is not a path such as /app: letters, digits, - . _ ~ and no slash at the end"),
        ('3000"]', '3000"], path: {add_prefix: /a/../b}', "upstreams.portal.path.add_prefix: '/a/../b' is not a path such as /app: letters, digits, - . _ ~ and no slash at the end"),
        ('3000"]', '3000"], path: {add_prefix: /a, strip_prefix: /a}', "upstreams.portal.path: write strip_prefix, add_prefix or both, and not the same one twice"),
        ('3000"]', '3000"], health: {interval: 5s}', "upstreams.portal.health: the key path is missing"),
        ('3000"]', '3000"], health: {path: healthz}', "upstreams.portal.health.path: 'healthz' is not a path such as /healthz, with or without a query"),
        ('3000"]', '3000"], health: {path: "/a b"}', "upstreams.portal.health.path: '/a b' is not a path such as /healthz, with or without a query"),
        ('3000"]', '3000"], health: {path: "/a#b"}', "upstreams.portal.health.path: '/a#b' is not a path such as /healthz, with or without a query"),
        ('3000"]', '3000"], health: {path: /, interval: 1s}', "upstreams.portal.health: timeout is longer than interval"),
        ('3000"]', '3000"], health: {path: /, status: 399-200}', "upstreams.portal.health.status: write statuses such as 200, 200-399 or [200, 204]"),
        ('3000"]', '3000"], health: {path: /, status: 100}', "upstreams.portal.health.status: write statuses such as 200, 200-399 or [200, 204]"),
        ('3000"]', '3000"], health: {path: /, paht: /}', "upstreams.portal.health.paht: unknown key; did you mean 'path'?"),
        ('3000"]', '3000"], ejection: none', "upstreams.portal.ejection: write a mapping of keys to values"),
        ('3000"]', '3000"], ejection: {max_share: 0.5}', "upstreams.portal.ejection.max_share: write a share such as 50%"),
        ('3000"]', '3000"], ejection: {max_share: 101%}', "upstreams.portal.ejection.max_share: '101%' is not a share from 0% to 100%"),
        ('3000"]', '3000"], ejection: {time: 10m}', "upstreams.portal.ejection: time is longer than max_time"),
        ('3000"]', '3000"], breaker: {requests: 5}', "upstreams.portal.breaker: the key ratio is missing"),
        ('3000"]', '3000"], breaker: {ratio: 0%}', "upstreams.portal.breaker: ratio must be more than 0%"),
        ('3000"]', '3000"], retry: {attempts: 11}', "upstreams.portal.retry.attempts: must be at most 10"),
        ('3000"]', '3000"], timeout: {queue: 0s}', "upstreams.portal.timeout.queue: must be more than 0"),
        ('3000"]', '3000"], max_waiting: -1', "upstreams.portal.max_waiting: must be at least 0"),
        ('["http://127.0.0.1:3000"]', '["https://a"], tls: {certificate: a.pem}', "upstreams.portal.tls: certificate and key belong together"),
        ('["http://127.0.0.1:3000"]', '["https://a"], tls: {ca: a.pem, unsafe_skip_verify: true}', "upstreams.portal.tls: with unsafe_skip_verify nothing is verified: ca and server_name have no effect"),
        ('3000"]', '3000"], headers: {user: Remote User}', "upstreams.portal.headers.user: a header name is made of letters, digits and -"),
        ('3000"]', '3000"], headers: {user: Host}', "upstreams.portal: host has a meaning of its own in HTTP and cannot carry an identity"),
        ('3000"]', '3000"], headers: {user: X-A, email: x-a}', "upstreams.portal: two identity headers have the same name"),
        ('3000"]', '3000"], headers: {usr: X-A}', "upstreams.portal.headers.usr: write 'user', 'tenant', 'roles', 'email', 'session', 'request_id', 'assertion', 'user_id', 'provider', 'acr', 'amr' or 'auth_time'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_listener_or_an_upstream_is_said(old: str, new: str, sentence: str) -> None:
    assert old in SMALL
    assert the_error(SMALL.replace(old, new)).partition(": ")[2] == sentence


@pytest.mark.parametrize(
    "server",
    [
        "http://127.0.0.1:8443",
        "https://localhost:8443",
        "http://0.0.0.0:8443",
        "https://portal.example.com:8443",
        "http://127.0.0.1:9090",
    ],
)
def test_an_upstream_that_points_back_at_the_gateway_is_refused(server: str) -> None:
    assert "is the gateway's own" in the_error(SMALL.replace("http://127.0.0.1:3000", server))


def test_two_listeners_on_overlapping_addresses_are_refused() -> None:
    text = SMALL.replace("upstreams:", "  - {address: 127.0.0.1:8443, redirect_to_https: true}\nupstreams:")
    assert "127.0.0.1:8443 is taken by listen[0].address" in the_error(text)


def test_a_redirect_needs_something_to_lead_to() -> None:
    text = SMALL.replace("    tls: {certificate: cert.pem, key: key.pem}", "    redirect_to_https: true")
    assert any("needs a listener with tls" in error for error in errors(text))


def test_the_admin_listener_stays_on_loopback_unless_a_switch_says_otherwise() -> None:
    assert "beyond loopback" in the_error(SMALL + "admin: {address: 0.0.0.0:9090}\n")
    settings = read(SMALL + "admin: {address: 0.0.0.0:9090, unsafe_remote: true, hosts: [metrics.internal]}\n")
    assert settings.admin.hosts == ("metrics.internal",)
    assert any("admin.unsafe_remote" in warning for warning in settings.warnings())


def test_every_switch_that_weakens_the_gateway_warns() -> None:
    text = CONTRACT.replace('["http://127.0.0.1:3000"]', '["https://127.0.0.1:3000"], tls: {unsafe_skip_verify: true}')
    text += "mail: {smtp: {host: mail.example.com, security: unsafe_plaintext}, from: portal@example.com}\n"
    text = text.replace("mfa: {required: always, methods: [totp, recovery],", "mfa: {passkeys: {copied: record},")
    warnings = read(text + "passwords: {breach_check: off}\n").warnings()
    assert [warning.partition(": ")[0] for warning in warnings] == [
        "listen[2].unsafe_plaintext",
        "upstreams.portal.tls.unsafe_skip_verify",
        "mfa.passkeys.copied",
        "passwords.breach_check",
        "mail.smtp.security",
    ]


def test_a_sound_file_warns_of_nothing() -> None:
    assert read(SMALL).warnings() == []


def test_ipv6_addresses_stand_in_brackets() -> None:
    settings = read(SMALL.replace("0.0.0.0:8443", '"[::1]:8443"').replace("portal.example.com", '"[::1]:8443"', 0))
    assert str(settings.listen[0].address) == "[::1]:8443"
    assert "is not an IP address" in the_error(SMALL.replace("0.0.0.0:8443", "::1:8443"))


def test_an_ipv6_public_url_gives_a_host_without_brackets_and_an_authority_with_them() -> None:
    settings = read(SMALL.replace("https://portal.example.com", '"https://[::1]:8443"'))
    assert settings.public_url.host == "::1"
    assert settings.public_url.authority == "[::1]:8443"


def test_a_file_that_is_no_mapping_is_refused() -> None:
    assert the_error("- a\n") == "gateway.yaml:1:1: the file is not a mapping of keys to values"


def test_a_duplicate_key_is_refused_before_it_can_win() -> None:
    assert any("version" in error for error in errors(SMALL + "version: 1\n"))


@given(key=st.text(st.characters(categories=["Ll"], max_codepoint=122), min_size=1, max_size=20))
@settings(max_examples=60)
def test_no_unknown_key_is_ever_accepted(key: str) -> None:
    if key in Settings.model_fields or key in {"null", "true", "false"}:
        return
    assert "unknown key" in the_error(SMALL + f"{key}: 1\n")


def _sections() -> list[Callable[[str], str]]:
    return [
        lambda key: SMALL + f"sessions: {{{key}: 1}}\n",
        lambda key: SMALL + f"http: {{{key}: 1}}\n",
        lambda key: SMALL + f"logging: {{{key}: 1}}\n",
        lambda key: SMALL + f"limits: {{client: {{rate: 1/s, burst: 1, per: ip, {key}: 1}}}}\n",
        lambda key: SMALL.replace("key: key.pem", f"key: key.pem, {key}: 1"),
    ]


@pytest.mark.parametrize("section", range(5))
def test_unknown_keys_are_refused_at_every_depth(section: int) -> None:
    assert "nonsense: unknown key" in the_error(_sections()[section]("nonsense"))

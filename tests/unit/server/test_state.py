"""Where gateway.yaml says that the state is: every form, every contradiction, and no password in any message."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.errors import ConfigurationError
from gateway.server.sections.state import StateURL, parse_state_url
from gateway.server.settings import Settings, load_settings
from gateway.server.state import read_redis_options, redis_options

SMALL = """\
version: 1
public_url: https://portal.example.com
listen:
  - address: 0.0.0.0:8443
    tls: {certificate: cert.pem, key: key.pem}
upstreams:
  portal: {servers: ["http://127.0.0.1:3000"]}
"""


def read(line: str, directory: Path = Path("/etc/gateway")) -> Settings:
    return load_settings(SMALL + line + "\n", directory / "gateway.yaml")


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("sqlite", StateURL()),
        ("redis://127.0.0.1", StateURL("standalone", (("127.0.0.1", 6379),))),
        ("redis://gw@redis.example.com:6380/2", StateURL("standalone", (("redis.example.com", 6380),), "", 2, "gw")),
        ("rediss://[2001:db8::1]:6379/", StateURL("standalone", (("2001:db8::1", 6379),), "", 0, "", True)),
        (
            "redis+sentinel://a,b:26380/portal/1",
            StateURL("sentinel", (("a", 26379), ("b", 26380)), "portal", 1),
        ),
        ("rediss+cluster://a:1,b:2", StateURL("cluster", (("a", 1), ("b", 2)), "", 0, "", True)),
    ],
)
def test_every_form_of_address_is_read(url: str, parsed: StateURL) -> None:
    assert parse_state_url(url) == parsed
    password = ", password: {file: p}" if parsed.username else ""
    assert read(f'state: {{url: "{url}"{password}}}').state.url == parsed


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("state: postgres", "write sqlite, redis://"),
        ("state: 6379", "write"),
        ("state: unix:///run/redis.sock", "write sqlite, redis://"),
        ("state: redis://", "write sqlite, redis://"),
        ("state: redis://a:0", "is not a port"),
        ("state: redis://a/x", "the database is a number"),
        ("state: redis://a/1/2", "the database is a number"),
        ("state: 'redis://a,b'", "names one host"),
        ("state: redis+sentinel://a", "needs the name of the service"),
        ("state: redis+cluster://a/0", "has no databases"),
        ("state: 'redis+cluster://a,a'", "named twice"),
        ("state: {url: sqlite, prefix: x}", "prefix has no effect with sqlite"),
        ("state: {url: 'redis://a', prefix: 'a{b}'}", "a prefix is letters"),
        ("state: {url: 'redis://a', timeout: 1m}", "timeout"),
        ("state: {url: 'redis://a', replicas: -1}", "replicas"),
        ("state: {url: 'redis://gw@a'}", "a username needs a password"),
        ("state: {url: 'redis://gw@a', username: x, password: {file: p}}", "username stands in url already"),
        ("state: {url: 'redis://a', tls: {certificate: c.pem}}", "certificate and key belong together"),
        ("state: {url: 'redis://a', sentinel: {password: {file: p}}}", "sentinel has no effect"),
        ("state: {url: 'redis://a', password: secret}", "state.password"),
        ("state: {url: 'redis://a', pasword: {file: p}}", "unknown key; did you mean 'password'?"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(line: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(line)
    (text,) = refused.value.diagnostics
    assert text.startswith("gateway.yaml:8:")
    assert sentence in text


@pytest.mark.parametrize("url", ["redis://:hunter2@a", "rediss://gw:hunter2@a/0", "redis+cluster://gw:hunter2@a,b"])
def test_a_password_in_the_address_is_refused_and_never_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(f'state: "{url}"')
    assert "{file: …}" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_an_address_with_a_password_and_a_mistake_is_not_repeated_either() -> None:
    with pytest.raises(ConfigurationError) as refused:
        read('state: "redis://gw:hunter2@@a/b/c"')
    assert "hunter2" not in str(refused.value)


@given(st.text(max_size=60))
def test_no_address_fails_in_another_way(text: str) -> None:
    try:
        parsed = parse_state_url(text)
    except ValueError:
        return
    assert parsed.kind == "sqlite" or parsed.nodes


def test_everything_that_is_said_is_used(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    (tmp_path / "password").chmod(0o600)
    settings = read(
        "state: {url: 'redis+sentinel://a/portal/1', username: gw, password: {file: password}, prefix: acme, "
        "timeout: 100ms, replicas: 1, sentinel: {username: s, password: {file: password}}, "
        "tls: {ca: ca.pem, certificate: c.pem, key: k.pem, server_name: redis.internal}}",
        tmp_path,
    )
    options = read_redis_options(settings)
    assert options is not None
    assert (options.kind, options.service, options.database, options.prefix) == ("sentinel", "portal", 1, "acme")
    assert (options.timeout_s, options.replicas) == (0.1, 1)
    assert (options.credentials.username, options.credentials.password) == ("gw", "hunter2")
    assert (options.sentinel.username, options.sentinel.password) == ("s", "hunter2")
    assert options.tls is not None
    assert (options.tls.ca, options.tls.server_name) == (tmp_path / "ca.pem", "redis.internal")
    assert "hunter2" not in repr(options), "no log and no traceback shows it"
    assert options.place == "redis+sentinel://a:26379/portal/1"
    secrets = {"state.password": b"hunter2", "state.sentinel.password": b"hunter2"}
    assert redis_options(settings, secrets) == options


def test_a_secret_that_others_may_read_or_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    settings = read("state: {url: 'redis://a', password: {file: password}}", tmp_path)
    with pytest.raises(ConfigurationError, match="does not exist"):
        read_redis_options(settings)
    (tmp_path / "password").write_text("")
    (tmp_path / "password").chmod(0o600)
    with pytest.raises(ConfigurationError, match="empty"):
        read_redis_options(settings)
    (tmp_path / "password").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        read_redis_options(settings)
    (tmp_path / "password").chmod(0o644)
    with pytest.raises(ConfigurationError, match="readable by others"):
        read_redis_options(settings)


def test_sqlite_is_no_redis() -> None:
    assert read_redis_options(read("state: sqlite")) is None
    assert redis_options(read(""), {}) is None

from __future__ import annotations

import pytest

from gateway.exchange.errors import ConfigurationError
from gateway.server.sections.secret import secret_files
from gateway.server.settings import Settings, load_settings

BASE = """\
version: 1
public_url: https://portal.example.com
listen:
  - address: 0.0.0.0:8443
    tls: {certificate: cert.pem, key: key.pem}
upstreams:
  portal: {servers: ["http://127.0.0.1:3000"]}
"""
SMALL = "mail: {smtp: {host: smtp.example.com}, from: portal@example.com}\n"


def read(more: str) -> Settings:
    return load_settings(BASE + more, "/etc/gateway/gateway.yaml")


def errors(more: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(more)
    return list(caught.value.diagnostics)


def test_a_small_section_is_whole() -> None:
    settings = read(SMALL)
    assert settings.mail is not None
    assert (settings.mail.smtp.security, settings.mail.smtp.port_in_use) == ("starttls", 587)
    assert settings.mail.sender == ("", "portal@example.com")
    assert settings.resets_by_mail
    assert not settings.warnings()


def test_each_security_has_its_port() -> None:
    for security, port in (("tls", 465), ("unsafe_plaintext", 25)):
        settings = read(f"mail: {{smtp: {{host: s.example.com, security: {security}}}, from: p@example.com}}\n")
        assert settings.mail is not None
        assert settings.mail.smtp.port_in_use == port


def test_mail_in_the_clear_warns() -> None:
    (warning,) = read(
        "mail: {smtp: {host: s.example.com, security: unsafe_plaintext}, from: p@example.com}\n"
    ).warnings()
    assert warning.startswith("mail.smtp.security: ")


def test_without_mail_or_by_an_operators_word_nobody_resets_by_mail() -> None:
    assert not read("").resets_by_mail
    assert not read(SMALL + "passwords: {reset: operator}\n").resets_by_mail


def test_every_secret_in_a_file_is_found() -> None:
    smtp = "{host: smtp.example.com, username: u, password: {file: config/smtp}}"
    ((key, secret),) = secret_files(read(f"mail: {{smtp: {smtp}, from: p@example.com}}\n"))
    assert (key, str(secret.file)) == ("mail.smtp.password", "/etc/gateway/config/smtp")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("mail: {smtp: {host: s.example.com}}\n", "mail: the key from is missing"),
        ("mail: {smtp: {}, from: p@example.com}\n", "mail.smtp: the key host is missing"),
        (
            "mail: {smtp: {host: s.example.com}, from: p@example.com, form: p@example.com}\n",
            "mail.form: unknown key; did you mean 'from'?",
        ),
        ("mail: {smtp: {host: s.example.com}, from: nobody}\n", "mail.from: 'nobody' is not an e-mail address"),
        ('mail: {smtp: {host: s.example.com}, from: "a\\r\\nBcc: b <p@example.com>"}\n', "mail.from: write an e-mail"),
        ("mail: {smtp: {host: s.example.com}, from: a@b@example.com}\n", "is not an e-mail address"),
        (
            "mail: {smtp: {host: s.example.com, username: u}, from: p@example.com}\n",
            "username and password belong together",
        ),
        (
            "mail: {smtp: {host: s.example.com, username: u, password: {file: f}, security: unsafe_plaintext}, from: p@example.com}\n",
            "a password is never sent in the clear",
        ),
        (
            "mail: {smtp: {host: s.example.com, ca: ca.pem, security: unsafe_plaintext}, from: p@example.com}\n",
            "ca has no effect without TLS",
        ),
        (
            "mail: {smtp: {host: s.example.com, password: secret, username: u}, from: p@example.com}\n",
            "write a mapping",
        ),
        (
            "mail: {smtp: {host: s.example.com, timeout: 5m}, from: p@example.com}\n",
            "mail.smtp.timeout: must be at most",
        ),
        (
            "mail: {smtp: {host: s.example.com}, from: p@example.com, retry: {first: 1h, longest: 1m}}\n",
            "mail.retry: first",
        ),
        ("passwords: {reset: mail}\n", "passwords.reset: needs the section mail"),
        ("passwords: {min_length: 20, min_length_alone: 16}\n", "min_length_alone is less than min_length"),
        ("passwords: {min_length_alone: 14}\n", "passwords.min_length_alone: must be at least 15"),
        ("passwords: {breach_service: {on_failure: open}}\n", "breach_service has no effect unless"),
        ('passwords: {breach_check: online, breach_service: {url: "http://a.example/"}}\n', "begins with https://"),
    ],
)
def test_what_will_not_do_is_named_with_its_place(more: str, words: str) -> None:
    (error,) = errors(more)
    assert error.startswith("gateway.yaml:8:")
    assert words in error

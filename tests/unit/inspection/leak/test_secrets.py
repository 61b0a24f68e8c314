"""Secrets are known by what their issuers made them look like."""

from __future__ import annotations

import base64

import pytest

from gateway.inspection.leak.sighting import Action, Kind
from tests.unit.inspection.leak.scanning import masked, scanner, sighted

HEX = "0123456789abcdef" * 8
MIXED = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF" * 16

TOKENS = [
    "AKIAIOSFODNN7EXAMPLE",
    "ASIA" + "Y34FZKBOKMUTVV7A",
    *(f"{prefix}_{MIXED[:36]}" for prefix in ("ghp", "gho", "ghu", "ghs", "ghr")),
    f"github_pat_{MIXED[:22]}_{MIXED[:59]}",
    f"glpat-{MIXED[:20]}",
    f"glrt-{MIXED[:20]}",
    f"xoxb-123456789012-123456789012-{MIXED[:24]}",
    f"xapp-1-A012345-{MIXED[:20]}",
    f"hooks.slack.com/services/T01234567/B01234567/{MIXED[:24]}",
    f"sk_live_{MIXED[:24]}",
    f"rk_test_{MIXED[:24]}",
    f"whsec_{MIXED[:32]}",
    f"GOCSPX-{MIXED[:28]}",
    f"ya29.{MIXED[:60]}",
    f"AccountKey={MIXED[:86]}==",
    f"SharedAccessKey={MIXED[:43]}=",
    f"sk-ant-api03-{MIXED[:60]}",
    f"sk-proj-{MIXED[:60]}",
    f"npm_{MIXED[:36]}",
    f"pypi-AgEIcHlwaS5vcmc{MIXED[:60]}",
    f"dckr_pat_{MIXED[:27]}",
    f"dop_v1_{HEX[:64]}",
    f"hvs.{MIXED[:40]}",
    f"glsa_{MIXED[:32]}_{HEX[:8]}",
    f"SG.{MIXED[:22]}.{MIXED[:43]}",
    f"shpat_{HEX[:32]}",
    f"PMAK-{HEX[:24]}-{HEX[:34]}",
    "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LQPZRY9X8GF2TVDW0S3JN54KHCE",
    "otpauth://totp/Portal:alice?secret=JBSWY3DPEHPK3PXP",
]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize(
    "around", ["{}", "token: {}\n", '{{"key":"{}"}}', "<code>{}</code>", "?key={}&x=1", "({}).", "\\n{}\\n"]
)
def test_a_token_is_found_wherever_it_stands_by_itself(token: str, around: str) -> None:
    assert sighted(around.format(token).encode()).get("secrets") == 1


@pytest.mark.parametrize("token", TOKENS)
def test_what_makes_it_a_secret_is_covered_and_the_length_is_kept(token: str) -> None:
    clean = masked(token.encode(), kind=Kind.SECRETS).decode()
    assert len(clean) == len(token)
    assert "*" * 12 in clean
    assert token[-8:] not in clean


@pytest.mark.parametrize(
    "text",
    [
        "ghp_" + "x" * 36,
        "ghp_short",
        f"ghp_{MIXED[:37]}",
        f"xghp_{MIXED[:36]}",
        "AKIA is how they begin",
        "AKIAIOSFODNN7EXAMPLEX",
        f"pk_live_{MIXED[:24]}",
        "risk-ant-hill-is-a-rather-long-word-with-hyphens",
        "task-proj-review-2024-and-some-more-words-here",
        "https://example.com:8443/path?q=1 and http://localhost:3000/",
        "https://example.com/@user:name",
        "mailto:alice@example.com",
        "at 12:30 call alice@example.com",
        "postgres://localhost:5432/portal",
        "postgres://app@db/portal",
        "postgres://user:${PASSWORD}@host/db and postgres://user:<password>@host/db",
        "https://user:pass@host/ and https://username:password@example.com:8080/path",
        "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBa\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----",
        "A file begins with -----BEGIN PRIVATE KEY----- and ends otherwise",
        "018f3c2a-5b7d-7c31-9d3a-0123456789ab",
        "d41d8cd98f00b204e9800998ecf8427e",
        "SGVsbG8sIHdvcmxkISBUaGlzIGlzIGJhc2U2NA==",
        "otpauth is a scheme of addresses",
    ],
)
def test_what_only_resembles_a_secret_stays(text: str) -> None:
    assert masked(text.encode(), kind=Kind.SECRETS) == text.encode()


def test_keys_that_pages_show_on_purpose_are_secrets_elsewhere() -> None:
    key = f"AIza{MIXED[:35]}".encode()
    assert masked(key, b"text/html") == key
    assert masked(key, b"text/javascript") == key
    assert masked(b'{"key":"' + key + b'"}', b"application/json") == b'{"key":"AIza' + b"*" * 35 + b'"}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://app:s3cret@db:5432/portal", "postgresql://app:******@db:5432/portal"),
        ("postgresql+psycopg2://app:s3cret@db/x", "postgresql+psycopg2://app:******@db/x"),
        ("mongodb+srv://app:pass@cluster0.example.net", "mongodb+srv://app:****@cluster0.example.net"),
        ("https://user:pa55@host/", "https://user:****@host/"),
        ('{"url":"mysql:\\/\\/app:pass@db\\/x"}', '{"url":"mysql:\\/\\/app:****@db\\/x"}'),
        (
            "https://ghp_0123456789abcdefghijABCDEFGHIJ012345:x-oauth@github.com",
            "https://ghp_" + "*" * 36 + ":*******@github.com",
        ),
        ("https://user:12345@host/", "https://user:*****@host/"),
        ("Server=db;User Id=sa;Password=S3cr3t!;Encrypt=true", "Server=db;User Id=sa;Password=*******;Encrypt=true"),
        (
            "REDIS_URL=rediss://default:abc123@cache.example:6380",
            "REDIS_URL=rediss://default:******@cache.example:6380",
        ),
    ],
)
def test_passwords_in_addresses_are_covered_and_nothing_else_is(text: str, expected: str) -> None:
    assert masked(text.encode(), kind=Kind.SECRETS).decode() == expected


@pytest.mark.parametrize(
    "label",
    [
        "RSA PRIVATE KEY",
        "PRIVATE KEY",
        "EC PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "PGP PRIVATE KEY BLOCK",
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\\n", "\\r\\n"])
def test_a_private_key_is_covered_to_its_end(label: str, newline: str) -> None:
    lines = [MIXED[n : n + 64] for n in range(0, 448, 64)]
    text = newline.join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", "after"])
    clean = masked(text.encode(), kind=Kind.SECRETS).decode()
    assert len(clean) == len(text)
    assert not any(line[:8] in clean for line in lines)
    assert clean.startswith(f"-----BEGIN {label}-----")
    assert clean.endswith(f"-----END {label}-----{newline}after")
    assert sighted(text.encode()) == {"secrets": 1}


def test_an_encrypted_key_of_the_old_kind_is_covered_too() -> None:
    text = f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0123456789ABCDEF\n\n{MIXED[:64]}\n-----END RSA PRIVATE KEY-----"
    assert MIXED[:8] not in masked(text.encode()).decode()


def test_a_key_in_json_leaves_json_behind() -> None:
    text = b'{"k":"{\\"private_key\\":\\"-----BEGIN PRIVATE KEY-----\\\\nMIIEvQIBADANBgkqhkiG9w0B\\\\nAQEF\\"}","x":1}'
    clean = masked(text, b"application/json")
    assert b"MIIE" not in clean
    assert clean.endswith(b'\\"}","x":1}')


def test_json_web_tokens_are_a_kind_of_their_own() -> None:
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
    token = header + b"." + base64.urlsafe_b64encode(b'{"sub":"1234567890","name":"A"}').rstrip(b"=") + b".c2lnbmF0dXJl"
    assert sighted(b"Bearer " + token) == {"jwt": 1}
    assert masked(b"Bearer " + token + b" x") == b"Bearer " + b"*" * len(token) + b" x"
    assert masked(token, kind=Kind.SECRETS) == token
    encrypted = base64.urlsafe_b64encode(b'{"alg":"dir","enc":"A256GCM"}').rstrip(b"=") + b"..aXY.Y2lwaGVy.dGFn"
    assert sighted(encrypted) == {"jwt": 1}


@pytest.mark.parametrize(
    "text",
    [
        b"eyJhbGciOiJIUzI1NiJ9",
        b"eyJzdWIiOiIxMjM0NTYifQ.eyJzdWIiOiIxMjM0NTYifQ.x",
        b"xeyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln",
    ],
)
def test_what_is_encoded_json_and_says_no_algorithm_is_no_token(text: bytes) -> None:
    assert masked(text) == text


def test_the_secret_key_of_amazon_is_known_by_its_name() -> None:
    text = b"aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n"
    assert masked(text, kind=Kind.SECRETS) == b"aws_secret_access_key = " + b"*" * 40 + b"\n"
    assert sighted(b'"SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"') == {"secrets": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'password: "Hunter2x9"', b'password: "*********"'),
        (b"api_key=a1b2c3d4e5f6", b"api_key=************"),
        (b'{"client_secret":"aB3dE6gH9"}', b'{"client_secret":"*********"}'),
    ],
)
def test_what_is_assigned_to_a_telling_name_is_a_guess_and_a_kind_of_its_own(text: bytes, expected: bytes) -> None:
    assert masked(text, kind=Kind.PASSWORDS) == expected
    assert masked(text, kind=Kind.SECRETS) == text


@pytest.mark.parametrize(
    "text",
    [
        b'{"password":"Passwort"}',
        b"password: form.password.value,",
        b"<input type=password name=password placeholder='Your password'>",
        b"password=${DB_PASSWORD1x}",
        b"Your password must have 12 letters",
        b"password = getPassword1()",
        b"Password: required",
    ],
)
def test_words_and_programs_are_no_passwords(text: bytes) -> None:
    assert masked(text, kind=Kind.PASSWORDS) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"IBAN DE89 3704 0044 0532 0130 00.", b"IBAN DE** **** **** **** **30 00."),
        (b"GB82WEST12345698765432", b"GB****************5432"),
        (b"FR14 2004 1010 0505 0001 3M02 606", b"FR** **** **** **** **** **** 606"),
    ],
)
def test_an_iban_is_known_by_its_country_length_and_check_digits(text: bytes, expected: bytes) -> None:
    clean = masked(text, kind=Kind.IBAN)
    assert len(clean) == len(expected)
    assert clean[:7] == expected[:7]
    assert clean[-2:] == expected[-2:]
    assert clean != text


@pytest.mark.parametrize(
    "text",
    [
        b"DE88 3704 0044 0532 0130 00",
        b"XX89370400440532013000",
        b"ADE89370400440532013000",
        b"DE89370400440532013000X",
        b"DE89 3704",
    ],
)
def test_what_is_no_iban_stays(text: bytes) -> None:
    assert masked(text, kind=Kind.IBAN) == text


def test_a_guess_hides_nothing_that_is_known() -> None:
    """Attack: what is only recorded as a password was what would have been blocked."""
    text = b"access_token=ghp_0123456789abcdefghijABCDEFGHIJ012345"
    assert sighted(text) == {"passwords": 1, "secrets": 1}
    looking = scanner(actions={"passwords": Action.ALERT, "secrets": Action.BLOCK})
    assert looking.feed(text) + looking.finish() == b"access_token="
    assert looking.is_stopped


def test_social_security_numbers_are_those_that_can_be_issued() -> None:
    assert masked(b"SSN 078-05-1120.", kind=Kind.SSN) == b"SSN ***-**-1120."
    for text in (
        b"000-12-3456",
        b"666-12-3456",
        b"912-12-3456",
        b"123-00-4567",
        b"123-45-0000",
        b"1123-45-6789",
        b"123-45-67890",
        b"A-123-45-6789",
    ):
        assert masked(text, kind=Kind.SSN) == text

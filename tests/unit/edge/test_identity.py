from __future__ import annotations

import re
from base64 import b64decode
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.assertion import AssertionRules
from gateway.edge.identity import (
    CLAIMS,
    OMITTED_FIELD,
    PLAIN_IDENTITY,
    IdentityRules,
    IdentityUnfitError,
    blank_fields,
    identity_fields,
)
from gateway.exchange.session import Session
from gateway.wire.request import FIELD_LINES
from tests.unit.edge.conftest import Edge, session

NAMES = {claim: f"x-gateway-{claim.replace('_', '-')}".encode() for claim in (*CLAIMS, "assertion")}


def told(
    person: Session, rules: IdentityRules = PLAIN_IDENTITY, names: dict[str, bytes] = NAMES
) -> tuple[dict[str, str], list[Any]]:
    signed: list[Any] = []

    def sign(claims: dict[str, object], algorithm: str) -> bytes:
        signed.append((algorithm, claims))
        return b"x" * 40

    lines = identity_fields(person, rules, names, sign, issuer="https://gw", upstream="portal", now=1000.0)
    assert FIELD_LINES(lines) is not None
    return dict(re.findall(r"([^:\r\n]+): ([^\r\n]*)\r\n", lines.decode("utf-8"))), signed


def test_every_claim_has_a_field_where_it_is_named() -> None:
    person = session(roles=("client", "billing"), provider="okta", acr="phr", auth_time=900.0)
    fields, _ = told(person)
    assert fields == {
        "x-gateway-user": "alice", "x-gateway-tenant": "acme", "x-gateway-roles": "client,billing", "x-gateway-email": "alice@acme.example",
        "x-gateway-session": "handle1", "x-gateway-user-id": "u1", "x-gateway-provider": "okta", "x-gateway-acr": "phr", "x-gateway-amr": "pwd,otp",
        "x-gateway-auth-time": "900", "x-gateway-assertion": "x" * 40,
    }  # fmt: skip


def test_a_claim_without_a_name_is_not_sent() -> None:
    fields, _ = told(session(), names={"user": b"remote-user"})
    assert fields == {"remote-user": "alice"}


def test_what_is_omitted_is_neither_a_field_nor_a_claim() -> None:
    fields, signed = told(session(), IdentityRules(omit=frozenset(("email", "roles", "session", "tenant"))))
    assert not {"x-gateway-email", "x-gateway-roles", "x-gateway-session", "x-gateway-tenant"} & fields.keys()
    assert not {"email", "roles", "sid", "tenant"} & signed[0][1].keys()
    assert signed[0][1]["sub"] == "alice"


def test_the_assertion_says_who_for_whom_and_how_they_signed_in() -> None:
    rules = IdentityRules(assertion=AssertionRules(algorithm="ES256", audience="urn:portal", life_s=120.0))
    _, ((algorithm, claims),) = told(session(provider="okta", acr="phr", auth_time=900.0), rules)
    assert algorithm == "ES256"
    assert claims == {
        "iss": "https://gw", "aud": "urn:portal", "sub": "alice", "uid": "u1", "tenant": "acme", "roles": ["client"], "email": "alice@acme.example",
        "amr": ["pwd", "otp"], "acr": "phr", "auth_time": 900, "provider": "okta", "sid": "handle1", "iat": 1000, "nbf": 995, "exp": 1120,
    }  # fmt: skip


def test_an_assertion_can_be_left_out() -> None:
    fields, signed = told(session(), IdentityRules(omit=frozenset(("assertion",))))
    assert "x-gateway-assertion" not in fields
    assert signed == []


@pytest.mark.parametrize(
    ("encoding", "expected"), [("utf-8", "Zoë 100%"), ("percent", "Zo%C3%AB 100%25"), ("base64", "Wm/DqyAxMDAl")]
)
def test_names_beyond_ascii_are_written_by_the_rule(encoding: Any, expected: str) -> None:
    fields, _ = told(session(user="Zoë 100%"), IdentityRules(encoding=encoding))
    assert fields["x-gateway-user"] == expected


@given(st.text(max_size=30))
def test_a_value_arrives_whole_in_every_encoding_or_not_at_all(name: str) -> None:
    """attack: response splitting by whoever names a person."""
    for encoding, decode in (("percent", unquote), ("base64", lambda text: b64decode(text).decode("utf-8"))):
        rules = IdentityRules(encoding=encoding)  # type: ignore[arg-type]  # one of the two
        try:
            fields, _ = told(session(email=name), rules)
        except IdentityUnfitError:
            assert any(ord(character) < 0x20 or character == "\x7f" for character in name)
        else:
            assert decode(fields["x-gateway-email"]) == name


@pytest.mark.parametrize("name", ["a\r\nX-Gateway-Roles: admin", "a\nb", "a\x00", "a\tb", "a\x7f"])
def test_no_value_can_end_a_line(name: str) -> None:
    for encoding in ("utf-8", "percent", "base64"):
        with pytest.raises(IdentityUnfitError):
            told(session(user=name), IdentityRules(encoding=encoding))


def test_half_of_the_roles_are_never_told() -> None:
    person = session(roles=tuple(f"role-{number}" for number in range(400)))
    with pytest.raises(IdentityUnfitError):
        told(person, IdentityRules(max_bytes=2048))


def test_what_does_not_fit_is_left_out_whole_and_named() -> None:
    person = session(roles=tuple(f"role-{number}" for number in range(400)))
    fields, _ = told(person, IdentityRules(max_bytes=2048, oversize="omit"))
    assert fields[OMITTED_FIELD.decode()] == "email, amr, acr, provider, auth_time, roles"
    assert "x-gateway-roles" not in fields
    assert fields["x-gateway-user"] == "alice"
    assert sum(len(name) + len(value) + 4 for name, value in fields.items()) <= 2048


def test_who_it_is_is_never_left_out() -> None:
    with pytest.raises(IdentityUnfitError):
        told(session(user="u" * 300), IdentityRules(max_bytes=200, oversize="omit"))


def test_another_proxy_gets_every_name_so_that_no_copy_of_a_client_stands() -> None:
    names = {"user": b"remote-user", "email": b"x-mail", "request_id": b"x-request-id"}
    assert blank_fields(names, b"remote-user: alice\r\n") == b"x-mail: \r\n"
    assert blank_fields(names, b"") == b"remote-user: \r\nx-mail: \r\n"


async def test_a_person_with_too_many_roles_is_refused_with_a_reason(edge: Edge) -> None:
    edge.change_upstream(identity=IdentityRules(max_bytes=100))
    reply = await edge.get("/", token="tok")
    assert reply.status == 403
    assert b'"identity_unfit"' in reply.body
    assert edge.portal.heads == []
    edge.change_upstream(identity=IdentityRules())
    assert (await edge.get("/", token="tok")).status == 200


async def test_our_own_assertion_is_no_credential(edge: Edge) -> None:
    """A portal, or whoever reads its logs, must not be able to come back as the person."""
    assertion = "eyJhbGciOiJFZERTQSIsImtpZCI6ImExIn0.eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xIiwic3ViIjoiYWxpY2UifQ.c2ln"
    bearer = await edge.get("/ours", fields=f"Authorization: Bearer {assertion}\r\n")
    field = await edge.get("/", fields=f"X-Gateway-Assertion: {assertion}\r\n")
    cookie = await edge.get("/", token=assertion)
    assert [bearer.status, field.status, cookie.status] == [401, 401, 401]
    assert edge.portal.heads == []

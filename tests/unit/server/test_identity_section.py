"""What gateway.yaml may say of identity providers, and how its contradictions are told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.exchange.errors import ConfigurationError
from gateway.server.bundle import Bundle
from gateway.server.federation import claim_table, provider_problems
from gateway.server.sections.identity import Provider, unknown_roles
from gateway.server.settings import load_settings

BASE = """\
version: 1
public_url: https://portal.example.com
listen: [{address: "0.0.0.0:8443", tls: {certificate: c, key: k}}]
upstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}
tenants: {acme: {hosts: [acme.portal.example.com]}, globex: {hosts: [globex.portal.example.com]}}
identity:
  providers:
    - {id: local, type: password}
"""
OKTA = """\
    - {id: okta, type: oidc, issuer: "https://acme.okta.com", client_id: x, client_secret: {file: okta},
       roles: {claim: groups, grant: {portal-billing: billing, portal-users: client}}, tenant: {claim: org, grant: {acme-inc: acme}}}
"""
RULES = "client_id: x, client_secret: {file: s}, roles: {claim: groups, grant: {a: client}}, tenant: acme"


def okta(text: str = OKTA) -> Provider:
    (provider,) = load_settings(BASE + text, "gateway.yaml").identity.federated
    return provider


def errors(line: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(BASE + OKTA + f"    - {{{line}}}\n", "gateway.yaml")
    return list(refused.value.diagnostics)


def test_example_of_the_contract() -> None:
    provider = okta()
    assert (provider.issuer_url, provider.title, provider.granted_tenants) == (
        "https://acme.okta.com",
        "okta",
        ("acme",),
    )
    table = claim_table(provider)
    assert table.role_grants == {"portal-billing": ("billing",), "portal-users": ("client",)}
    assert (table.tenant, table.tenant_grants, table.user) == (("org",), {"acme-inc": "acme"}, ("preferred_username",))


@pytest.mark.parametrize(
    ("line", "issuer", "scopes", "user", "title"),
    [
        ("preset: google", "https://accounts.google.com", "openid email profile", "email", "Google"),
        (
            "preset: entra, directory: 8EAEF023-2b34-4da1-9baa-8bc8c9d6a490",
            "https://login.microsoftonline.com/8eaef023-2b34-4da1-9baa-8bc8c9d6a490/v2.0",
            "openid email profile",
            "preferred_username",
            "Microsoft",
        ),
        (
            'preset: okta, issuer: "https://acme.okta.com"',
            "https://acme.okta.com",
            "openid email profile groups",
            "preferred_username",
            "Okta",
        ),
        (
            'preset: keycloak, issuer: "https://id.example/realms/a", scopes: [email], name: Acme, user: email',
            "https://id.example/realms/a",
            "openid email",
            "email",
            "Acme",
        ),
    ],
)
def test_presets_say_what_is_known(line: str, issuer: str, scopes: str, user: str, title: str) -> None:
    provider = okta(f"    - {{id: p, type: oidc, {line}, {RULES}}}\n")
    assert (provider.issuer_url, " ".join(provider.asked_scopes), provider.user_claim, provider.title) == (
        issuer,
        scopes,
        (user,),
        title,
    )


@pytest.mark.parametrize(
    ("line", "place", "sentence"),
    [
        (f"id: a, type: oidc, {RULES}", "gateway.yaml:11:7: identity.providers[2]", "the key issuer is missing"),
        (
            f'id: okta, type: oidc, issuer: "https://b", {RULES}',
            "identity.providers[2].id",
            "there are two providers okta",
        ),
        (f'id: local, type: oidc, issuer: "https://b", {RULES}', "identity.providers[2].id", "there are two providers"),
        ("id: b, type: password", "identity.providers[2].type", "there is one provider of type password"),
        ("id: b, type: saml", "identity.providers[2].type", "not built yet"),
        (f'id: b, type: oidc, issuer: "http://b.example", {RULES}', "issuer", "an issuer is https"),
        (f'id: b, type: oidc, issuer: "https://b.example/?x", {RULES}', "issuer", "no query"),
        (f'id: b, type: oidc, issuer: "https://b/{{tenantid}}/v2.0", {RULES}', "issuer", "not an issuer"),
        (f"id: b, type: oidc, preset: entra, directory: common, {RULES}", "directory", "lets the people of every"),
        (f"id: b, type: oidc, preset: entra, {RULES}", "identity.providers[2]", "the key directory is missing"),
        (
            f"id: b, type: oidc, preset: okta, directory: acme.example, {RULES}",
            "directory",
            "belongs to the preset entra",
        ),
        (f'id: b, type: oidc, preset: google, issuer: "https://b", {RULES}', "issuer", "the issuer of google is"),
        (f'id: b, type: oidc, preset: keycloak, issuer: "https://b", {RULES}', "issuer", "/realms/"),
        (
            'id: b, type: oidc, issuer: "https://b", client_id: x, roles: {claim: g, grant: {a: b}}, tenant: acme',
            "identity.providers[2]",
            "write client_secret or private_key_jwt",
        ),
        (
            f'id: b, type: oidc, issuer: "https://b", {RULES}, private_key_jwt: {{file: k}}',
            "identity.providers[2]",
            "write client_secret or private_key_jwt",
        ),
        (
            f'id: b, type: oidc, issuer: "https://b", {RULES.replace("file: s", "value: secret")}',
            "value",
            "unknown key",
        ),
        (
            f'id: b, type: oidc, issuer: "https://b", {RULES.replace("{file: s}", "{}")}',
            "client_secret",
            "never the secret",
        ),
        (f'id: b, type: oidc, issuer: "https://b", {RULES.replace("acme", "acne")}', "tenant", "did you mean 'acme'"),
        (f'id: b, type: oidc, issuer: "https://b", {RULES}, tenants: [globex]', "tenant", "not among the tenants"),
        (f'id: b, type: oidc, issuer: "https://b", {RULES}, hosts: [other.example]', "hosts[0]", "does not answer for"),
        (
            f'id: b, type: oidc, issuer: "https://b", {RULES}, hosts: [globex.portal.example.com]',
            "hosts[0]",
            "cannot vouch",
        ),
        (f'id: b, type: oidc, issuer: "https://acme.okta.com", {RULES}', "client_id", "is the client of okta"),
        (f'id: b, type: oidc, issuer: "https://b", {RULES}, mfa: {{}}', "mfa", "write acr, amr or both"),
        (f'id: b, type: oidc, issuer: "https://b", {RULES}, prompt: none', "prompt", "write"),
        (f'id: b, type: oidc, issuer: "https://b", {RULES}, prompt: login, max_age: 5m', "max_age", "has no effect"),
        (f'id: b, type: oidc, issuer: "https://b", {RULES}, scopes: ["a b"]', "scopes[0]", "a scope is one word"),
        (
            f'id: b, type: oidc, issuer: "https://b", {RULES.replace("claim: groups", "claim: a..b")}',
            "claim",
            "name of a claim",
        ),
    ],
)
def test_contradiction_is_told_with_its_place(line: str, place: str, sentence: str) -> None:
    told = errors(line)
    assert any(place in error and sentence in error for error in told), told
    assert all(error.startswith("gateway.yaml:") for error in told)


def test_two_providers_for_one_domain_contradict() -> None:
    text = BASE + OKTA.replace("type: oidc,", "type: oidc, domains: [acme.example],")
    text += f'    - {{id: b, type: oidc, issuer: "https://b", domains: [b.example, acme.example], {RULES}}}\n'
    with pytest.raises(ConfigurationError, match=r"11:.*domains\[1\]: people of acme.example sign in at okta already"):
        load_settings(text, "gateway.yaml")


def test_key_of_another_type_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="issuer: belongs to providers of type oidc"):
        load_settings(BASE.replace("type: password", 'type: password, issuer: "https://b"'), "gateway.yaml")


def test_codes_do_not_travel_in_the_clear() -> None:
    text = BASE.replace("https://portal", "http://portal").replace(
        'address: "0.0.0.0:8443", tls: {certificate: c, key: k}', 'address: "127.0.0.1:8000", unsafe_plaintext: true'
    )
    with pytest.raises(ConfigurationError, match="sends codes to a public_url that is not https"):
        load_settings(text + OKTA, "gateway.yaml")
    load_settings(text + OKTA.replace("https://acme.okta.com", "http://127.0.0.1:8080"), "gateway.yaml")


def test_role_that_no_policy_knows_is_found_where_it_stands() -> None:
    settings = load_settings(BASE + OKTA, "gateway.yaml")
    found = list(unknown_roles(settings.identity, {"client", "bill"}))
    assert found == [
        (
            ("identity", "providers", 1, "roles", "grant", "portal-billing"),
            "no policy declares the role billing; did you mean 'bill'?",
        )
    ]


def test_address_that_nobody_checked_is_a_warning() -> None:
    text = OKTA.replace("type: oidc,", "type: oidc, email: {claim: email, require_verified: false},")
    warnings = load_settings(BASE + text, "gateway.yaml").warnings()
    assert any("identity.providers[1].email.require_verified" in warning for warning in warnings)


def test_secrets_and_authorities_are_tried_before_they_are_needed() -> None:
    key = ec.generate_private_key(ec.SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    text = BASE + OKTA + f'    - {{id: b, type: oidc, issuer: "https://b", ca: ca.pem, {RULES}}}\n'
    text = text.replace("client_secret: {file: s}", "private_key_jwt: {file: k}")
    settings = load_settings(text, "gateway.yaml")
    bundle = Bundle(
        path="gateway.yaml",
        settings=text,
        policies={},
        secrets={"identity.providers[1].client_secret": b"two\nlines", "identity.providers[2].private_key_jwt": key},
        provider_authorities={"b": b"no certificate"},
        digest="",
    )
    assert list(provider_problems(settings, bundle)) == [
        "identity.providers[1].client_secret: is not one line of printable ASCII",
        "identity.providers[2].private_key_jwt: is neither a P-256 key nor an RSA key of 2048 bits or more",
        "identity.providers[2].ca: holds no certificate in PEM",
    ]
    assert list(provider_problems(settings, bundle.narrow("edge"))) == []


def test_secret_is_in_no_printed_form() -> None:
    bundle = Bundle(path="g", settings="", policies={}, secrets={"a": b"hush"}, keyring=b"hush", digest="d")
    assert "hush" not in repr(bundle) + str(bundle)
    assert "identity.a" not in bundle.narrow("edge").secrets


def test_secret_may_stand_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.server.bundle import read_bundle

    path = tmp_path / "gateway.yaml"
    path.write_text(BASE + OKTA.replace("{file: okta}", "{env: OKTA_SECRET}"), "utf-8")
    monkeypatch.delenv("OKTA_SECRET", raising=False)
    _, problems = read_bundle(path)
    assert "$OKTA_SECRET: is not in the environment of the gateway" in problems
    monkeypatch.setenv("OKTA_SECRET", "hush")
    bundle, problems = read_bundle(path)
    assert not [problem for problem in problems if "OKTA" in problem]
    assert bundle.secrets["identity.providers[1].client_secret"] == b"hush"
    assert bundle.narrow("pages").secrets
    assert not bundle.narrow("edge").secrets
    assert not bundle.narrow("audit").secrets
    assert os.environ["OKTA_SECRET"] == "hush"


def test_passwords_are_for_the_tenants_that_are_named_and_these_exist() -> None:
    text = BASE.replace("type: password}", "type: password, tenants: [acme]}")
    identity = load_settings(text, "gateway.yaml").identity
    assert identity.password_tenants == {"acme"}
    assert load_settings(BASE, "gateway.yaml").identity.password_tenants == frozenset()
    with pytest.raises(ConfigurationError, match="the tenant acmee does not exist; did you mean 'acme'"):
        load_settings(text.replace("tenants: [acme]", "tenants: [acmee]"), "gateway.yaml")

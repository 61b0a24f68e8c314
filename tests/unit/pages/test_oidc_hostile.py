"""A hostile provider, a hostile browser, and somebody on the way: each refuses, is audited, counted, and shows a page."""

from __future__ import annotations

import asyncio
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.authn.assurance import FactorRule
from tests.fakes.federation import PERSON, with_providers
from tests.fakes.identity_provider import (
    CLIENT_ID,
    OTHER_RSA_KEY,
    RSA_KEY,
    IdentityProvider,
    encoded,
    identity_provider,
    never,
    public_jwk,
)
from tests.fakes.pages_site import Answer, Browser, Site
from tests.unit.pages.conftest import SiteMaker

NOW = 1_800_000_000
START = "/.gateway/oidc/okta/start"
PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    async with identity_provider(lambda: float(NOW)) as provider:
        yield provider


@pytest.fixture
async def other() -> AsyncIterator[IdentityProvider]:
    async with identity_provider(lambda: float(NOW)) as provider:
        yield provider


@pytest.fixture
async def site(make_site: SiteMaker, provider: IdentityProvider, other: IdentityProvider) -> AsyncIterator[Site]:
    make = with_providers(("okta", provider, "timeout: 2s\n"), ("evil", other, "timeout: 2s\n"))
    async with make_site(make_providers=make, factor_rule=FactorRule()) as site:
        yield site


async def go(browser: Browser, provider: IdentityProvider, **claims: Any) -> Answer:
    there = await browser.get(START)
    assert there.status == 303, there.text
    return await browser.get(provider.sign_in(there.location, **(PERSON | claims)))


def require_refusal(site: Site, answer: Answer, fault: str, reason: str = "provider_answer_refused") -> None:
    """Refused, audited, counted, and a page with the reference: no session, and not a word of the provider's."""
    assert answer.status in {400, 401, 403}, answer.text
    assert [(e.name, e.outcome, e.reason, e.provider, e.fault) for e in answer.events] == [
        ("login.failed", "failure", reason, "okta", fault)
    ]
    assert "01REQUEST" in answer.text
    assert "__Host-gw" not in answer.cookies
    assert site.store.sessions(now=site.now) == []
    assert site.store.users() == []
    assert site.counted("gateway_provider_sign_ins_total") == {("okta", "failure", reason): 1}


# ID tokens (OpenID Connect Core §3.1.3.7, RFC 8725, the OWASP list for JWT)


def unsigned(spelling: str) -> Callable[[dict[str, Any], dict[str, Any]], str]:
    return lambda header, claims: f"{encoded(header | {'alg': spelling})}.{encoded(claims)}."


def hmac_with_public_key(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """HS/RS confusion: the public key taken for a shared secret."""
    signed = f"{encoded(header | {'alg': 'HS256'})}.{encoded(claims)}"
    mac = hmac.digest(PEM, signed.encode(), "sha256")
    return f"{signed}.{urlsafe_b64encode(mac).decode().rstrip('=')}"


def by_another_key(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return jwt.encode(claims, OTHER_RSA_KEY, algorithm="RS256", headers=header)


def with_its_own_key(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return jwt.encode(
        claims, OTHER_RSA_KEY, algorithm="RS256", headers=header | {"jwk": public_jwk(OTHER_RSA_KEY, "k1")}
    )


def tampered(header: dict[str, Any], claims: dict[str, Any]) -> str:
    honest = jwt.encode(claims, RSA_KEY, algorithm="RS256", headers=header).split(".")
    return f"{honest[0]}.{encoded(claims | {'groups': ['portal-billing']})}.{honest[2]}"


SIGNATURES: dict[str, tuple[Any, str]] = {
    "none": (unsigned("none"), "malformed"),
    "None": (unsigned("None"), "malformed"),
    "nOnE with a signature": (lambda h, c: unsigned("nOnE")(h, c) + "AAAA", "algorithm"),
    "HS256 under the public key": (hmac_with_public_key, "algorithm"),
    "another key under the same kid": (by_another_key, "signature"),
    "a key of its own (jwk)": (with_its_own_key, "header"),
    "claims changed after signing": (tampered, "signature"),
    "two parts": (lambda h, c: f"{encoded(h)}.{encoded(c)}", "malformed"),
    "no JWT": (lambda _h, _c: "opaque", "malformed"),
}


@pytest.mark.parametrize("name", SIGNATURES)
async def test_id_token_that_is_not_signed_by_the_provider_is_refused(
    site: Site, provider: IdentityProvider, name: str
) -> None:
    provider.sign, fault = SIGNATURES[name]
    require_refusal(site, await go(site.browser(), provider), fault)


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"},
        {"x5c": ["AAAA"]},
        {"zip": "DEF"},
        {"cty": "JWT"},
    ],
)
async def test_header_that_changes_how_a_token_is_read_is_refused(
    site: Site, provider: IdentityProvider, header: dict[str, Any]
) -> None:
    provider.sign = lambda honest, claims: _signed(honest | header, claims)
    require_refusal(site, await go(site.browser(), provider), "header")


def _signed(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Sign whatever the header says; libraries refuse to."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    signed = f"{encoded(header)}.{encoded(claims)}"
    signature = RSA_KEY.sign(signed.encode(), PKCS1v15(), SHA256())
    return f"{signed}.{urlsafe_b64encode(signature).decode().rstrip('=')}"


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": None}, "claim_missing"),
        ({"aud": "another-client"}, "audience"),
        ({"aud": []}, "claim_malformed"),
        ({"aud": None}, "claim_missing"),
        ({"aud": [CLIENT_ID, "another-client"]}, "authorized_party"),
        ({"aud": [CLIENT_ID, "another-client"], "azp": "another-client"}, "authorized_party"),
        ({"azp": "another-client"}, "authorized_party"),
        ({"azp": 7}, "authorized_party"),
        ({"nonce": "of another sign-in"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"nonce": 7}, "nonce"),
        ({"nonce": ["x"]}, "nonce"),
        ({"exp": NOW - 61}, "expired"),
        ({"exp": None}, "claim_missing"),
        ({"exp": "never"}, "claim_malformed"),
        ({"exp": True}, "claim_malformed"),
        ({"iat": NOW + 3600}, "not_yet_valid"),
        ({"iat": None}, "claim_missing"),
        ({"nbf": NOW + 3600}, "not_yet_valid"),
        ({"sub": None}, "claim_missing"),
        ({"sub": ""}, "claim_malformed"),
        ({"sub": 7}, "claim_malformed"),
        ({"sub": "x" * 256}, "claim_malformed"),
        ({"sub": "line\nbreak"}, "claim_malformed"),
        ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "access_token_hash"),
        ({"at_hash": 7}, "access_token_hash"),
        ({"auth_time": "yesterday"}, "claim_malformed"),
    ],
    ids=str,
)
async def test_id_token_with_a_wrong_claim_is_refused(
    site: Site, provider: IdentityProvider, claims: dict[str, Any], fault: str
) -> None:
    provider.claims = claims
    require_refusal(site, await go(site.browser(), provider), fault)


async def test_access_token_of_the_id_token_passes(site: Site, provider: IdentityProvider) -> None:
    half = sha256(b"the access token").digest()[:16]
    provider.tokens = {"access_token": "the access token"}
    provider.claims = {"at_hash": urlsafe_b64encode(half).decode().rstrip("=")}
    assert (await go(site.browser(), provider)).status == 303


async def test_id_token_of_an_earlier_sign_in_is_refused(site: Site, provider: IdentityProvider) -> None:
    kept: list[str] = []
    honest = jwt.encode

    def keep(header: dict[str, Any], claims: dict[str, Any]) -> str:
        kept.append(honest(claims, RSA_KEY, algorithm="RS256", headers=header))
        return kept[0]

    provider.sign = keep
    assert (await go(site.browser(), provider)).status == 303
    answer = await go(site.browser(), provider)
    assert [event.fault for event in answer.events] == ["nonce"]


@pytest.mark.parametrize("auth_time", [None, NOW - 3600])
async def test_provider_that_did_not_ask_again_is_not_believed(
    site: Site, provider: IdentityProvider, auth_time: int | None
) -> None:
    browser = site.browser()
    there = await browser.get(f"{START}?fresh=1")
    asked = parse_qs(urlsplit(there.location).query)
    assert (asked["prompt"], asked["max_age"]) == (["login"], ["0"])
    answer = await browser.get(provider.sign_in(there.location, **PERSON, auth_time=auth_time))
    require_refusal(site, answer, "too_old" if auth_time else "claim_missing")


async def test_context_that_was_asked_for_and_not_given_is_refused(
    make_site: SiteMaker, provider: IdentityProvider
) -> None:
    make = with_providers(("okta", provider, "acr_values: [phr, phrh]\n"))
    async with make_site(make_providers=make, factor_rule=FactorRule()) as site:
        require_refusal(site, await go(site.browser(), provider, acr="aal1"), "context")
        assert (await go(site.browser(), provider, acr="phrh")).status == 303


# The way back


async def test_code_is_bound_to_the_browser_that_began(site: Site, provider: IdentityProvider) -> None:
    """Login CSRF and code injection: an answer begun elsewhere signs nobody in."""
    victim, attacker = site.browser(), site.browser()
    await victim.get("/.gateway/login")
    there = await attacker.get(START)
    back = provider.sign_in(there.location, **PERSON)
    answer = await victim.get(back)
    assert (answer.status, answer.location) == (303, "/.gateway/login?reason=sign_in_expired")
    assert [(event.reason, event.fault) for event in answer.events] == [("sign_in_expired", "state")]
    assert "__Host-gw" not in answer.cookies
    assert provider.count("/token") == 0


async def test_injected_code_fails_the_proof_of_the_browser(site: Site, provider: IdentityProvider) -> None:
    """A stolen code under the attacker's own state: PKCE and nonce are of the other attempt."""
    victim, attacker = site.browser(), site.browser()
    stolen = provider.sign_in((await victim.get(START)).location, **PERSON)
    own = provider.sign_in((await attacker.get(START)).location, **PERSON)
    code = parse_qs(urlsplit(stolen).query)["code"][0]
    answer = await attacker.get(_changed(own, code=code))
    require_refusal(site, answer, "code_refused")


async def test_cve_2024_23647_a_provider_that_forgets_pkce_is_not_believed_about_another_sign_in(
    site: Site, provider: IdentityProvider
) -> None:
    """CVE-2024-23647: a provider that forgets PKCE; the nonce still holds."""
    provider.checks_pkce = False
    victim, attacker = site.browser(), site.browser()
    stolen = provider.sign_in((await victim.get(START)).location, **PERSON)
    own = provider.sign_in((await attacker.get(START)).location, **PERSON)
    answer = await attacker.get(_changed(own, code=parse_qs(urlsplit(stolen).query)["code"][0]))
    require_refusal(site, answer, "nonce")


async def test_provider_without_s256_is_refused(site: Site, provider: IdentityProvider) -> None:
    provider.metadata["code_challenge_methods_supported"] = ["plain"]
    assert (await site.browser().get(START)).status == 503


async def test_verifier_goes_to_the_provider_alone(site: Site, provider: IdentityProvider) -> None:
    browser = site.browser()
    there = await browser.get(START)
    await browser.get(provider.sign_in(there.location, **PERSON))
    verifier = next(form["code_verifier"] for path, form in provider.asked if path == "/token")
    assert len(verifier) == 43
    assert verifier not in there.location


async def test_replayed_answer_is_refused(site: Site, provider: IdentityProvider) -> None:
    browser = site.browser()
    back = provider.sign_in((await browser.get(START)).location, **PERSON)
    jar = dict(browser.jar)
    assert (await browser.get(back)).status == 303
    replaying = site.browser()
    replaying.jar = jar
    answer = await replaying.get(back)
    assert (answer.location, [event.fault for event in answer.events]) == (
        "/.gateway/login?reason=sign_in_expired",
        ["replayed"],
    )
    assert provider.count("/token") == 1


async def test_answer_that_comes_too_late_begins_again(site: Site, provider: IdentityProvider) -> None:
    browser = site.browser()
    back = provider.sign_in((await browser.get(START)).location, **PERSON)
    site.now += 901
    answer = await browser.get(back)
    assert answer.location == "/.gateway/login?reason=sign_in_expired"
    page = await browser.get(answer.location)
    assert "Please sign in again" in page.text


async def test_person_who_is_signed_in_anyway_goes_on(site: Site, provider: IdentityProvider) -> None:
    browser = site.browser()
    back = provider.sign_in((await browser.get(START)).location, **PERSON)
    assert (await browser.get(back)).status == 303
    answer = await browser.get(back)
    assert answer.location == "/"


async def test_answer_of_another_provider_is_refused(
    site: Site, provider: IdentityProvider, other: IdentityProvider
) -> None:
    """Mix-up (RFC 9700 §4.4): the code of an honest provider carried to the callback of a hostile one."""
    browser = site.browser()
    back = provider.sign_in((await browser.get(START)).location, **PERSON)
    answer = await browser.get(back.replace("/oidc/okta/", "/oidc/evil/"))
    assert answer.status == 400
    assert [(event.provider, event.fault) for event in answer.events] == [("evil", "mixed_up")]
    assert other.count("/token") == provider.count("/token") == 0


@pytest.mark.parametrize("issuer", ["https://evil.example", "", None])
async def test_answer_that_names_another_issuer_or_none_is_refused(
    site: Site, provider: IdentityProvider, issuer: str | None
) -> None:
    """RFC 9207 §2.4."""
    browser = site.browser()
    back = provider.sign_in((await browser.get(START)).location, **PERSON)
    answer = await browser.get(_changed(back, iss=issuer))
    require_refusal(site, answer, "mixed_up")
    assert provider.count("/token") == 0


async def test_issuer_may_be_left_out_where_the_provider_never_names_it(site: Site, provider: IdentityProvider) -> None:
    provider.metadata["authorization_response_iss_parameter_supported"] = None
    browser = site.browser()
    back = provider.sign_in((await browser.get(START)).location, **PERSON)
    assert (await browser.get(_changed(back, iss=None))).status == 303


@pytest.mark.parametrize(
    "addition", ["&code=x", "&state=x", "&iss=x", "&error=x", "&error=access_denied&error=x", "&co%64e=x"]
)
async def test_repeated_parameters_are_refused(site: Site, provider: IdentityProvider, addition: str) -> None:
    browser = site.browser()
    back = provider.sign_in((await browser.get(START)).location, **PERSON)
    require_refusal(site, await browser.get(back + addition), "parameters")
    assert provider.count("/token") == 0


@pytest.mark.parametrize(
    "query", ["", "?code=x", "?state=x", "?error=access_denied", "?code=%FF&state=%FF", "?" + "a=b&" * 99]
)
async def test_answer_that_is_none_is_refused(site: Site, provider: IdentityProvider, query: str) -> None:
    browser = site.browser()
    await browser.get(START)
    answer = await browser.get(f"/.gateway/oidc/okta/callback{query}")
    require_refusal(site, answer, "parameters")


@pytest.mark.parametrize("state", ["AAAA", "A" * 4000, "ä", "%00", "../..", "null"])
async def test_state_that_was_not_begun_here_begins_again(site: Site, state: str) -> None:
    browser = site.browser()
    await browser.get(START)
    answer = await browser.get(f"/.gateway/oidc/okta/callback?code=x&{urlencode({'state': state})}")
    assert answer.location == "/.gateway/login?reason=sign_in_expired"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("access_denied", "stopped the sign-in"),
        ("temporarily_unavailable", "problem of its own"),
        ("invalid_scope", "did not accept how this site asked"),
        ("<script>alert(1)</script>", "did not accept how this site asked"),
    ],
)
async def test_cve_2026_33525_cve_2026_42849_an_error_of_the_provider_becomes_a_sentence_of_ours(
    site: Site, provider: IdentityProvider, error: str, sentence: str
) -> None:
    """CVE-2026-33525, CVE-2026-42849: what came back was written into the page."""
    browser = site.browser()
    back = provider.sign_in((await browser.get(START)).location)
    answer = await browser.get(
        _changed(
            back, code=None, error=error, error_description="<b>call 555-1234</b>", error_uri="javascript:alert(1)"
        )
    )
    require_refusal(site, answer, "provider_error", "provider_refused")
    assert sentence in answer.text
    for word in ("<script>", "555-1234", "javascript:", error if "<" in error else "<script>"):
        assert word not in answer.text


async def test_cve_2024_21497_the_return_address_of_a_sign_in_is_ours(site: Site, provider: IdentityProvider) -> None:
    for hostile in (
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/%09/evil.example",
        "/.gateway/logout",
    ):
        browser = site.browser()
        there = await browser.get(f"{START}?{urlencode({'return_to': hostile})}")
        answer = await browser.get(provider.sign_in(there.location, **PERSON))
        assert answer.location == "/"


# Endpoints


def answering(body: bytes, status: int = 200, content_type: str = "application/json", **headers: str) -> Any:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, status=status, headers={"Content-Type": content_type, **headers})

    return answer


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(64):
        await response.write(b" " * 65536)
    return response


async def trickling(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.05)


METADATA: dict[str, Any] = {
    "of another issuer": {"issuer": "https://evil.example"},
    "of the issuer with a slash more": {"issuer": "SLASH"},
    "without token endpoint": {"token_endpoint": None},
    "with a token endpoint in the clear": {"token_endpoint": "http://evil.example/token"},
    "with an authorization endpoint that is script": {"authorization_endpoint": "javascript:alert(1)"},
    "with keys in a file": {"jwks_uri": "file:///etc/passwd"},
    "with credentials in an address": {"jwks_uri": "https://user:word@evil.example/keys"},
    "with symmetric algorithms alone": {"id_token_signing_alg_values_supported": ["HS256", "none"]},
    "without the code flow": {"response_types_supported": ["id_token"]},
}


@pytest.mark.parametrize("name", METADATA)
async def test_metadata_that_cannot_be_relied_upon_signs_nobody_in(
    site: Site, provider: IdentityProvider, name: str
) -> None:
    provider.metadata = {
        member: provider.issuer + "/" if value == "SLASH" else value for member, value in METADATA[name].items()
    }
    answer = await site.browser().get(START)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
    assert "01REQUEST" in answer.text
    assert site.counted("gateway_provider_degraded") == {("okta",): 1}
    assert site.counted("gateway_provider_sign_ins_total") == {("okta", "failure", "provider_unavailable"): 1}


ENDPOINTS: dict[str, Any] = {
    "silent": never,
    "endless": endless,
    "trickling": trickling,
    "redirecting": answering(b"", 302, Location="http://127.0.0.1:1/"),
    "failing": answering(b"{}", 500),
}


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/keys"])
async def test_endpoint_that_does_not_answer_costs_little_and_refuses(
    site: Site, provider: IdentityProvider, path: str, name: str
) -> None:
    provider.instead[path] = ENDPOINTS[name]
    browser = site.browser()
    answer = await browser.get(START)
    if answer.status == 303:
        answer = await browser.get(provider.sign_in(answer.location, **PERSON))
    assert answer.status in {400, 503}
    assert "__Host-gw" not in answer.cookies
    assert site.store.sessions(now=site.now) == []


@pytest.mark.parametrize(
    ("body", "content_type", "fault"),
    [
        (b"<html>", "text/html", "unreadable"),
        (b"not json", "application/json", "unreadable"),
        (b"[]", "application/json", "unreadable"),
        (b'{"access_token": "a", "access_token": "b", "token_type": "Bearer"}', "application/json", "unreadable"),
        (b'{"access_token": "a", "token_type": "Bearer"}', "application/json", "no_id_token"),
        (b'{"access_token": 7, "token_type": "Bearer", "id_token": "x"}', "application/json", "unreadable"),
        (b'{"access_token": "a", "token_type": "mac", "id_token": "x"}', "application/json", "unreadable"),
        (b'{"token_type": "Bearer", "id_token": "x"}', "application/json", "unreadable"),
        (json.dumps({"access_token": "a" * 20000, "token_type": "Bearer"}).encode(), "application/json", "unreadable"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_token_response_that_is_none_is_refused(
    site: Site, provider: IdentityProvider, body: bytes, content_type: str, fault: str
) -> None:
    provider.instead["/token"] = answering(body, content_type=content_type)
    require_refusal(site, await go(site.browser(), provider), fault)


@pytest.mark.parametrize("error", ["invalid_grant", "<script>"])
async def test_code_that_the_provider_refuses_signs_nobody_in(
    site: Site, provider: IdentityProvider, error: str
) -> None:
    provider.instead["/token"] = answering(json.dumps({"error": error}).encode(), 400)
    answer = await go(site.browser(), provider)
    require_refusal(site, answer, "code_refused")
    assert "<script>" not in answer.text


async def test_cve_2024_39315_cve_2022_23469_nothing_secret_is_told_to_anybody(
    site: Site, provider: IdentityProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    """CVE-2024-39315, CVE-2022-23469: tokens in pages, codes in logs."""
    provider.claims = {"nonce": "wrong"}
    browser = site.browser()
    there = await browser.get(START)
    back = provider.sign_in(there.location, **PERSON)
    answer = await browser.get(back)
    told = capsys.readouterr()
    verifier = next(form["code_verifier"] for path, form in provider.asked if path == "/token")
    for secret in (verifier, "access-", "refresh-", "code-0", "eyJ", "s3cret"):
        assert secret not in answer.text
        assert secret not in repr(answer.events)
        assert secret not in told.out + told.err


def _changed(address: str, **changes: str | None) -> str:
    """Change parameters of a callback address; None removes one."""
    parts = urlsplit(address)
    found = {name: values[0] for name, values in parse_qs(parts.query).items()}
    whole = {name: value for name, value in {**found, **changes}.items() if value is not None}
    return f"{parts.path}?{urlencode(whole)}"

"""An OpenID provider that does what tests tell it to: everything right, or exactly one thing wrong. Real sockets, port 0."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

CLIENT_ID = "portal-client"
CLIENT_SECRET = "s3cret/with:odd characters%"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def public_jwk(key: Any, kid: str) -> dict[str, Any]:
    """The public half as a JWK."""
    algorithm = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    found = json.loads(algorithm.to_jwk(key.public_key()))
    return {**found, "kid": kid, "use": "sig", "alg": "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"}


def encoded(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@dataclass
class Grant:
    """What a code stands for."""

    parameters: dict[str, str]
    claims: dict[str, Any]
    used: bool = False


@dataclass
class IdentityProvider:
    """One provider. Attributes are how it behaves; change them between steps."""

    issuer: str
    now: Callable[[], float]
    metadata: dict[str, Any] = field(default_factory=dict)
    """Members to put over the honest ones; None removes one."""
    key: Any = RSA_KEY
    kid: str = "k1"
    published: list[dict[str, Any]] | None = None
    header: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    """Claims to put over the honest ones of the ID token; None removes one."""
    tokens: dict[str, Any] = field(default_factory=dict)
    """Members to put over the honest token response."""
    sign: Callable[[dict[str, Any], dict[str, Any]], str] | None = None
    """Makes the ID token of header and claims."""
    instead: dict[str, Handler] = field(default_factory=dict)
    """Path -> what answers there instead."""
    userinfo: dict[str, Any] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    pushed: dict[str, dict[str, str]] = field(default_factory=dict)
    refresh_tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path and form of every request, in order."""
    checks_pkce: bool = True

    def count(self, path: str) -> int:
        return sum(1 for asked, _ in self.asked if asked == path)

    # In place of the browser

    def sign_in(self, location: str, subject: str = "248289761001", **claims: Any) -> str:
        """Play the person who signs in: from the address the gateway redirects to, to the callback with a code."""
        parts = urlsplit(location)
        assert f"{parts.scheme}://{parts.netloc}" == urlsplit(self.issuer)._replace(path="").geturl().rstrip("/")
        parameters = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if "request_uri" in parameters:
            parameters = self.pushed.pop(parameters["request_uri"])
        assert parameters["response_type"] == "code"
        assert parameters["code_challenge_method"] == "S256"
        code = f"code-{len(self.grants)}"
        self.grants[code] = Grant(parameters, {"sub": subject, **claims})
        answer = {"code": code, "state": parameters["state"], "iss": self.issuer}
        return self.callback(parameters, answer)

    @staticmethod
    def callback(parameters: dict[str, str], answer: dict[str, str]) -> str:
        """The address the provider sends the browser to, as our own pages see it."""
        return f"{urlsplit(parameters['redirect_uri']).path}?{urlencode(answer)}"

    def id_token(self, claims: dict[str, Any]) -> str:
        honest = {"iss": self.issuer, "aud": CLIENT_ID, "iat": int(self.now()), "exp": int(self.now() + 300)}
        whole = {**honest, **claims, **self.claims}
        whole = {name: value for name, value in whole.items() if value is not None}
        header = {
            "alg": "RS256" if isinstance(self.key, rsa.RSAPrivateKey) else "ES256",
            "kid": self.kid,
            **self.header,
        }
        if self.sign is not None:
            return self.sign(header, whole)
        return jwt.encode(whole, self.key, algorithm=header["alg"], headers=header)

    def logout_token(self, **claims: Any) -> str:
        honest = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": int(self.now()),
            "exp": int(self.now() + 120),
            "jti": urlsafe_b64encode(sha256(str(len(self.asked)).encode() + repr(claims).encode()).digest()).decode(),
            "events": {LOGOUT_EVENT: {}},
        }
        whole = {name: value for name, value in {**honest, **claims}.items() if value is not None}
        return jwt.encode(whole, self.key, algorithm="RS256", headers={"kid": self.kid, "typ": "logout+jwt"})

    # Endpoints

    def document(self) -> dict[str, Any]:
        honest = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/me",
            "end_session_endpoint": f"{self.issuer}/end",
            "revocation_endpoint": f"{self.issuer}/revoke",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "authorization_response_iss_parameter_supported": True,
            "backchannel_logout_supported": True,
        }
        return {name: value for name, value in {**honest, **self.metadata}.items() if value is not None}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append((request.path, form))
        special = self.instead.get(request.path)
        if special is not None:
            return await special(request)
        match request.path:
            case "/.well-known/openid-configuration":
                return web.json_response(self.document())
            case "/keys":
                keys = [public_jwk(self.key, self.kid)] if self.published is None else self.published
                return web.json_response({"keys": keys})
            case "/token":
                return self._token(request, form)
            case "/par":
                name = f"urn:ietf:params:oauth:request_uri:{len(self.pushed)}"
                self.pushed[name] = form
                return web.json_response({"request_uri": name, "expires_in": 60}, status=201)
            case "/me":
                return web.json_response(self.userinfo)
            case "/revoke":
                return web.Response()
            case _:
                raise web.HTTPNotFound

    def _token(self, request: web.Request, form: dict[str, str]) -> web.Response:
        if "client_assertion" not in form and not request.headers.get("Authorization", "").startswith("Basic "):
            return web.json_response({"error": "invalid_client"}, status=401)
        if form["grant_type"] == "refresh_token":
            claims = self.refresh_tokens.pop(form["refresh_token"], None)
            if claims is None:
                return web.json_response({"error": "invalid_grant"}, status=400)
            return self._tokens(claims)
        grant = self.grants.get(form["code"])
        if grant is None or grant.used or form["redirect_uri"] != grant.parameters["redirect_uri"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        challenge = urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).decode().rstrip("=")
        if self.checks_pkce and challenge != grant.parameters["code_challenge"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        grant.used = True
        return self._tokens({"nonce": grant.parameters["nonce"], **grant.claims})

    def _tokens(self, claims: dict[str, Any]) -> web.Response:
        refresh = f"refresh-{len(self.asked)}"
        self.refresh_tokens[refresh] = {name: value for name, value in claims.items() if name != "nonce"}
        honest = {
            "access_token": f"access-{len(self.asked)}",
            "refresh_token": refresh,
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": self.id_token(claims),
        }
        found = {name: value for name, value in {**honest, **self.tokens}.items() if value is not None}
        return web.json_response(found)


@asynccontextmanager
async def identity_provider(now: Callable[[], float]) -> AsyncIterator[IdentityProvider]:
    """Serve one provider until the block ends."""
    provider = IdentityProvider("", now)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", provider.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    provider.issuer = f"http://127.0.0.1:{port}"
    try:
        yield provider
    finally:
        await runner.cleanup()


async def never(_request: web.Request) -> web.StreamResponse:
    """Answer too late for anybody."""
    await asyncio.sleep(3600)
    return web.Response()


def decoded(token: str, part: int) -> dict[str, Any]:
    """Read header (0) or claims (1) of a token without judging it."""
    text = token.split(".")[part]
    found: dict[str, Any] = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found

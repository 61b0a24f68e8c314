"""Which field names mean something to an intermediary, and which a client may never send through.

Decides by name alone. It does not look at values.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

PLAIN_NAME: Final = re.compile(rb"[A-Za-z0-9-]+").fullmatch
_RUNS: Final = re.compile(rb"-{2,}").sub

HOP_BY_HOP: Final = frozenset(
    # RFC 9110 §7.6.1
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ),
)

# Framing, routing and credentials: `http-cookie` or `content-length-` reads as the real one to a careless upstream.
_HANDLED_APART: Final = frozenset(
    (b"host", b"content-length", b"cookie", b"cookie2", b"authorization", b"expect", b"http2-settings")
)

OWN_PREFIXES: Final = (
    b"x-gateway-",
    b"x-audit-",
    b"x-forwarded-",
    b"x-original-",
    b"remote-",
    b"x-remote-",
    b"x-auth-request-",
    b"x-envoy-",
    b"x-rewrite-",
    b"x-host-",
    b"x-ssl-",
    b"x-amzn-oidc-",
    b"x-ms-client-",
    b"cf-access-",
    b"x-consumer-",
    b"client-cert",
    b"x-client-cert",
    b"x-client-verify",
    b"x-client-dn",
    b"x-tls-client-",
    b"ssl-client-",
    b"x-authentik-",
    b"x-pomerium-",
    b"x-goog-iap-",
    b"x-goog-authenticated-",
    b"x-amzn-mtls-",
    b"x-webauth-",
    b"x-vouch-",
    b"x-arr-",
    b"x-azure-",
    b"x-appengine-",
    b"x-vercel-",
    b"tailscale-",
    b"oidc-",
    b"mellon-",
    b"shib-",
)

OWN_NAMES: Final = frozenset(
    # Identity, forwarding and override names that some upstream believes.
    (
        b"forwarded", b"x-forwarded", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"x-client-cert", b"x-ssl-client-cert", b"true-client-ip",
        b"cf-connecting-ip", b"fastly-client-ip", b"x-request-id", b"x-host", b"x-http-host-override", b"x-http-method-override",
        b"x-http-method", b"x-method-override", b"x-original-url", b"x-rewrite-url", b"x-url-scheme", b"x-scheme", b"front-end-https", b"proxy",
        b"x-user", b"x-username", b"x-user-name", b"x-forwardedfor", b"x-forward-for", b"client-ip", b"x-clientip", b"x-real-host", b"x-true-client-ip", b"x-proxy-user", b"x-nginx-proxy", b"cas-user", b"eppn", b"teleport-jwt-assertion",
        b"wl-proxy-client-ip", b"proxy-client-ip", b"x-originating-ip", b"x-user-id", b"x-userid", b"x-email", b"x-user-email", b"x-roles", b"x-user-roles", b"x-groups", b"x-user-groups", b"x-tenant", b"x-tenant-id",
        b"x-auth-user", b"x-authenticated-user", b"x-authenticated-userid", b"x-webauth-user", b"x-wrapped-user", b"remote", b"ssl-client-cert", b"ssl-client-s-dn",
        b"ssl-client-verify", b"x-accel-redirect", b"x-sendfile", b"destination-host", b"via", b"max-forwards-host", b"auth-user", b"auth-type", b"x-jwt-assertion",
        b"x-goog-iap-jwt-assertion", b"x-goog-authenticated-user-email", b"cf-access-jwt-assertion", b"x-pomerium-jwt-assertion", b"x-ms-client-principal",
    ),
)  # fmt: skip


def fold(name: bytes) -> bytes:
    """The name as the most careless upstream would read it: lower case, runs of `-` as one, a leading `http-` gone.

    >>> fold(b"HTTP--X-Forwarded--For")
    b'x-forwarded-for'
    """
    folded = _RUNS(b"-", name.lower()).strip(b"-")
    while folded.startswith(b"http-"):
        folded = folded[5:].lstrip(b"-")
    return folded


@lru_cache(maxsize=4096)
def is_reserved(name: bytes, mapped: frozenset[bytes]) -> bool:
    """True if no client copy of this field may reach an upstream, in any spelling.

    `mapped`: folded names that the configuration gives to identity fields. Names outside
    `[A-Za-z0-9-]` count: `X_Forwarded_User` is `X-Forwarded-User` to a CGI (CVE-2025-64484).
    """
    if PLAIN_NAME(name) is None:
        return True
    folded = fold(name)
    return (
        folded in OWN_NAMES
        or folded in mapped
        or folded in _HANDLED_APART
        or folded in HOP_BY_HOP
        or folded.startswith(OWN_PREFIXES)
    )

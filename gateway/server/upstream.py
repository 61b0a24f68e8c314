"""An upstream as the edge serves it, out of what gateway.yaml says and the certificates it names.

Builds values; reads no file and opens no socket. Every error is a sentence with the key it is about.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Mapping
from typing import Final, Literal, cast

import msgspec
from cryptography import x509

from gateway.edge.assertion import AssertionRules
from gateway.edge.escort import DetectRules, EscortRules, SignOnRules
from gateway.edge.identity import IdentityRules
from gateway.edge.snapshot import BreakerRules, EjectionRules, HealthCheck, Server, Upstream
from gateway.server.bundle import Bundle, CertificateBytes
from gateway.server.fields import UnixSocket
from gateway.server.own_certificate import install_certificate
from gateway.server.sections.portal import VAULTED
from gateway.server.sections.portal import SignOn as SignOnSettings
from gateway.server.settings import Server as ServerSettings
from gateway.server.settings import Settings
from gateway.server.settings import Upstream as UpstreamSettings
from gateway.server.tls import CERTIFICATE_NOTICE_S, moment
from gateway.session.vault import Mode, VaultRules
from gateway.wire.rewriting import PathMapping
from gateway.wire.set_cookie import folded_name

UPLOADS_SHARE: Final = 8
"""One in so many connections may wait for the bodies of one client."""
VAULT_MODES: Final[tuple[Mode, ...]] = ("none", "http_only", "all")
LEAST_UPLOADS: Final = 4
"""A person who sends a few files at once is served however few connections there are."""
IDENTITY_FIELDS: Final = {
    "user": "x-gateway-user",
    "tenant": "x-gateway-tenant",
    "roles": "x-gateway-roles",
    "email": "x-gateway-email",
    "session": "x-gateway-session",
    "request_id": "x-request-id",
    "assertion": "x-gateway-assertion",
}


def build_upstream(name: str, settings: Settings, bundle: Bundle, *, is_vaulted: bool = False) -> Upstream:
    """Compile one upstream; `is_vaulted`: one of its routes keeps cookies. Raises ValueError where `client_context` does."""
    own = settings.upstreams[name]
    authorities, certificate = bundle.authorities.get(name), bundle.upstream_certificates.get(name)
    context = client_context(own, authorities, certificate) if own.servers[0].url.scheme == "https" else None
    fingerprint = _fingerprint(own, authorities, certificate)
    own_sockets = os.path.realpath(settings.state_dir / "run")
    names: dict[str, str] = dict(IDENTITY_FIELDS)
    names.update({key: value.lower() for key, value in own.headers.items()})
    literal = own.host if own.host not in ("preserve", "rewrite") else ""
    authorities_named = {server.url.authority for server in own.servers if not isinstance(server.url, UnixSocket)}
    return Upstream(
        name=name,
        servers=tuple(
            _server(server, own, context=context, own_sockets=own_sockets, literal=literal, fingerprint=fingerprint)
            for server in own.servers
        ),
        preserve_host=own.host == "preserve",
        connect_timeout_s=own.timeout.connect,
        response_timeout_s=own.timeout.response,
        idle_timeout_s=own.timeout.idle,
        queue_timeout_s=own.timeout.queue,
        field_names={key: value.encode("ascii") for key, value in names.items()},
        identity=_identity(own),
        escort=_escort(name, own, bundle, is_vaulted=is_vaulted),
        authorities=frozenset(text.encode("ascii") for text in (*authorities_named, literal) if text),
        max_connections=own.max_connections,
        max_waiting=own.max_waiting,
        max_uploads_per_client=own.max_uploads_per_client or _uploads_per_client(own),
        balance=cast(
            'Literal["round_robin", "least_connections", "user", "ip"]', own.balance
        ),  # its type has checked it
        retries=own.retry.attempts,
        retry_share=own.retry.budget,
        health=_health(own, settings.public_url.authority),
        ejection=_ejection(own),
        breaker=_breaker(own),
        receipt_key=own.receipt_key or 0,
    )


def _identity(own: UpstreamSettings) -> IdentityRules:
    rules, assertion = own.identity, own.assertion
    return IdentityRules(
        omit=frozenset(rules.omit),
        separator=rules.roles_separator,
        encoding=rules.encoding,
        max_bytes=rules.max_size,
        oversize=rules.oversize,
        assertion=AssertionRules(
            algorithm=assertion.algorithm, audience=assertion.audience or "", life_s=assertion.lifetime
        ),
    )


def _escort(name: str, own: UpstreamSettings, bundle: Bundle, *, is_vaulted: bool) -> EscortRules | None:
    rules = own.cookies
    vaulted = is_vaulted or rules.vault != "none"
    if not vaulted and own.sign_on is None and own.tokens is None:
        return None
    modes: dict[str, VaultRules] = {mode: vault_rules(own, mode) for mode in VAULT_MODES} if vaulted else {}
    return EscortRules(
        vault=modes.get(rules.vault),
        modes=modes,
        sign_on=_sign_on(name, own.sign_on, bundle) if own.sign_on is not None else None,
        tokens=tuple((kind, field.encode("ascii")) for kind, field in own.token_fields.items()),
    )


def vault_rules(own: UpstreamSettings, mode: Mode) -> VaultRules:
    """Say what is kept of an upstream's cookies."""
    rules = own.cookies
    return VaultRules(
        mode=mode,
        passed=frozenset(name.encode("ascii") for name in rules.pass_),
        named=frozenset(folded_name(name.encode("ascii")) for name in rules.vault_names),
        max_count=rules.max_count,
        max_bytes=rules.max_size,
    )


def shared_password(name: str, bundle: Bundle) -> str:
    """Return the password that an upstream has for everybody; empty where each person has one."""
    secret = bundle.secrets.get(f"upstreams.{name}.sign_on.password", b"")
    try:
        return secret.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("sign_on.password: the file is not UTF-8") from None


def _sign_on(name: str, own: SignOnSettings, bundle: Bundle) -> SignOnRules:
    detect = own.detect
    return SignOnRules(
        kind=own.type,
        username="" if own.username == VAULTED else own.username,
        password=shared_password(name, bundle),
        detect=None
        if detect is None
        else DetectRules(
            statuses=detect.status,
            location=(detect.location or "").encode("utf-8"),
            body=(detect.body_contains or "").encode("utf-8"),
            every_s=detect.at_most_every,
        ),
    )


def _uploads_per_client(own: UpstreamSettings) -> int:
    """An eighth of the connections that there can be; a few at least, and never the last one."""
    all_servers = sum(server.max_connections or own.max_connections for server in own.servers)
    room = min(own.max_connections, all_servers)
    return max(1, min(max(LEAST_UPLOADS, room // UPLOADS_SHARE), room - 1))


def client_context(
    settings: UpstreamSettings, authorities: bytes | None, certificate: CertificateBytes | None
) -> ssl.SSLContext:
    """Build the client side of TLS towards an upstream: 1.2 or later, verified unless an unsafe switch says otherwise.

    Raises:
        ValueError: with the key that is wrong and a sentence; it holds no key material.

    """
    try:
        context = ssl.create_default_context(cadata=authorities.decode("ascii") if authorities else None)
    except (ValueError, ssl.SSLError):
        raise ValueError("tls.ca: holds no certificate that can be read (PEM)") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if settings.tls.unsafe_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        install_certificate(context, certificate)
    return context


def certificate_warnings(certificates: Mapping[str, CertificateBytes], now: float) -> list[str]:
    """Say which of the certificates that servers are shown end soon or have ended; by name of their upstream."""
    warnings = []
    for name, files in certificates.items():
        ends = x509.load_pem_x509_certificates(files.chain)[0].not_valid_after_utc.timestamp()
        about = f"upstreams.{name}.tls.certificate: {files.name}"
        if ends <= now:
            warnings.append(f"{about} ended on {moment(ends)}; servers refuse it")
        elif ends <= now + CERTIFICATE_NOTICE_S:
            warnings.append(f"{about} ends on {moment(ends)}; renew it")
    return warnings


def _fingerprint(settings: UpstreamSettings, authorities: bytes | None, certificate: CertificateBytes | None) -> str:
    """Digest whatever makes an address another server: what was known of it then no longer holds."""
    parts = (settings.tls.model_dump_json(), authorities, certificate, settings.servers[0].url.scheme)
    return hashlib.sha256(msgspec.msgpack.encode(parts)).hexdigest()


def _server(
    server: ServerSettings,
    settings: UpstreamSettings,
    *,
    context: ssl.SSLContext | None,
    own_sockets: str,
    literal: str,
    fingerprint: str,
) -> Server:
    url = server.url
    is_socket = isinstance(url, UnixSocket)
    host, port, path = ("", 0, str(url.path)) if isinstance(url, UnixSocket) else (url.host, url.port, "")
    return Server(
        host=host,
        port=port,
        path=path,
        tls=context,
        server_name=settings.tls.server_name or host,
        authority=(literal or url.authority).encode("ascii"),
        weight=server.weight,
        max_connections=server.max_connections or 0,
        own_sockets=own_sockets if is_socket else "",
        fingerprint=fingerprint,
    )


def _health(settings: UpstreamSettings, public_authority: str) -> HealthCheck | None:
    own = settings.health
    if own is None:
        return None
    named = own.host if own.host not in ("preserve", "rewrite") else None
    kept = public_authority if (own.host or settings.host) == "preserve" else ""
    return HealthCheck(
        path=own.path.encode("ascii"),
        host=(named or kept).encode("ascii"),
        interval_s=own.interval,
        timeout_s=own.timeout,
        healthy=own.healthy,
        unhealthy=own.unhealthy,
        statuses=own.status,
    )


def _ejection(settings: UpstreamSettings) -> EjectionRules | None:
    own = settings.ejection
    if own is None:
        return None
    return EjectionRules(failures=own.failures, time_s=own.time, max_time_s=own.max_time, max_share=own.max_share)


def _breaker(settings: UpstreamSettings) -> BreakerRules | None:
    own = settings.breaker
    if own is None:
        return None
    return BreakerRules(ratio=own.ratio, requests=own.requests, window_s=own.window, open_s=own.open)


def path_mappings(upstreams: Mapping[str, UpstreamSettings]) -> dict[str, PathMapping]:
    """Say which upstreams know other paths than the public ones; a route may say something else."""
    return {
        name: PathMapping(upstream.path.strip_prefix or "", upstream.path.add_prefix or "")
        for name, upstream in upstreams.items()
        if upstream.path is not None
    }

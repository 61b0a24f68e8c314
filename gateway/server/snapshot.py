"""Build the edge's snapshot from a validated bundle: the one place where settings become what the data plane runs on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from gateway.edge.assertion import Algorithm, Signer
from gateway.edge.hardening import HeaderRules
from gateway.edge.resolve import Resolver
from gateway.edge.snapshot import ForwardAuthRules, Server, Snapshot, TraceRules, Upstream, WireLimits
from gateway.edge.tls import ListenerTLS
from gateway.exchange.errors import ConfigurationError
from gateway.exchange.route import LimitSpec
from gateway.pages.errors import ErrorPages
from gateway.policy import PolicyTable
from gateway.ratelimit.gcra import Bucket
from gateway.server.abuse import watch_rules
from gateway.server.bundle import brand_of
from gateway.server.inspection import FindEngine, build_inspections
from gateway.server.issuers import credential_rules
from gateway.server.session_rules import is_bound_to_country
from gateway.server.settings import LOGIN_LIMIT, Headers, Settings
from gateway.server.tenancy import tenant_fields
from gateway.server.upstream import IDENTITY_FIELDS, build_upstream
from gateway.server.validate import Validated
from gateway.store.keyring import Keyring
from gateway.store.places import open_places
from gateway.wire.forwarded import TrustedProxies
from gateway.wire.names import fold

PAGES_CONNECTIONS: Final = 64
COUNTRIES: Final = 8192
"""Addresses whose country is remembered."""


def build_snapshot(
    validated: Validated,
    pages_socket: str,
    running_tls: Mapping[str, ListenerTLS] | None = None,
    find_engine: FindEngine | None = None,
) -> Snapshot:
    """Compile everything a request needs. Raises ConfigurationError.

    Of `running_tls`, what did not change stays, and with it the keys under which clients resume. `find_engine` finds
    the second engine of the inspection, None where nothing is served.
    """
    settings, keyring = validated.settings, validated.keyring
    if keyring is None:
        raise ConfigurationError(("the edge got no keyring",))
    limits = [Bucket(spec) for name, spec in settings.limit_specs.items() if name != LOGIN_LIMIT]
    return Snapshot(
        version=validated.bundle.digest,
        policy=validated.table,
        candidate=validated.candidate,
        resolver=Resolver(validated.table),
        hosts=settings.hosts,
        issuer=str(settings.public_url),
        public_port=settings.public_url.port,
        upstreams=(upstreams := _upstreams(validated)),
        escorts=any(upstream.escort is not None for upstream in upstreams.values()),
        receipts=any(upstream.receipt_key for upstream in upstreams.values()),
        pages=_pages(pages_socket),
        limits=tuple(bucket for bucket in limits if bucket.spec.per == "ip"),
        limits_of=_limits_of(validated.table, tuple(bucket for bucket in limits if bucket.spec.per != "ip")),
        limits_of_tenant=_limits_of_tenants(settings),
        login_limit=Bucket(settings.limit_specs[LOGIN_LIMIT], is_sign_in=True),
        login_limits={
            name: Bucket(tenant.limits[LOGIN_LIMIT].spec(f"tenant:{name}:{LOGIN_LIMIT}"), is_sign_in=True)
            for name, tenant in settings.tenants.items()
            if LOGIN_LIMIT in tenant.limits
        },
        form_limit=_form_limit(settings.limit_specs[LOGIN_LIMIT]),
        ports=frozenset((80, 443, settings.public_url.port, *(listener.address.port for listener in settings.listen))),
        trusted_proxies=TrustedProxies(settings.trusted_proxies, believes=settings.forwarded_from),
        forward_auth=_forward_auth(settings),
        mapped_names=frozenset(
            fold(name.encode("ascii"))
            for upstream in settings.upstreams.values()
            for name in (*upstream.headers.values(), *upstream.token_fields.values())
        )
        | tenant_fields(validated.table)
        | validated.table.set_fields,
        headers=_headers(settings.headers),
        durability=settings.audit.durability,
        wire=_wire(settings),
        error_page=ErrorPages(brand_of(validated.bundle, settings, ""), validated.texts, settings.texts.language),
        error_pages={
            name: ErrorPages(brand_of(validated.bundle, settings, name), validated.texts, settings.texts.language)
            for name, tenant in settings.tenants.items()
            if tenant.branding is not None
        },
        sign=signer(keyring),
        jwks=key_set(keyring, time.time()),
        log_requests=settings.logging.requests,
        trace=TraceRules(accept=settings.trace.accept, flags=_TRACE_FLAGS[settings.trace.start]),
        seals_subjects=settings.audit.privacy.subject_keys,
        credentials=credential_rules(settings),
        background=tuple(b"\n%b" % line.encode("ascii") for line in settings.sessions.background),
        idle_warning_s=settings.sessions.warn,
        country=_country(settings),
        watch=watch_rules(settings, keyring),
        inspections=build_inspections(
            validated.inspections,
            digest_key=keyring.derive("inspection digests"),
            form_key=keyring.derive("form tokens"),
            find_engine=find_engine,
        ),
        tls=_keep_unchanged(running_tls or {}, validated.tls),
    )


def _upstreams(validated: Validated) -> dict[str, Upstream]:
    settings = validated.settings
    vaulted = {route.upstream for route in validated.table.routes.values() if route.vault not in ("", "none")}
    return {
        name: build_upstream(name, settings, validated.bundle, is_vaulted=name in vaulted)
        for name in settings.upstreams
    }


def _keep_unchanged(running: Mapping[str, ListenerTLS], built: Mapping[str, ListenerTLS]) -> dict[str, ListenerTLS]:
    return {
        address: running[address] if address in running and running[address].digest == tls.digest else tls
        for address, tls in built.items()
    }


_TRACE_FLAGS: Final = {"never": b"", "unsampled": b"00", "sampled": b"01"}
"""W3C Trace Context section 3.2.2.5, by `trace.start`."""
FORMS_PER_SIGN_IN: Final = 4
"""Forms of our own pages for each password that may be tried: the code, the account, the way out."""


def _form_limit(login: LimitSpec) -> Bucket:
    return Bucket(
        LimitSpec(
            name=f"{login.name}:forms",
            rate_per_s=login.rate_per_s * FORMS_PER_SIGN_IN,
            burst=login.burst * FORMS_PER_SIGN_IN,
            per="ip",
        ),
        is_sign_in=True,
    )


def _limits_of(table: PolicyTable, general: tuple[Bucket, ...]) -> dict[str, tuple[Bucket, ...]]:
    return {
        name: (*general, Bucket(route.limit)) if route.limit is not None else general
        for name, route in table.routes.items()
    } | {limit.name: (Bucket(limit),) for limit in table.entry_limits}


def _limits_of_tenants(settings: Settings) -> dict[str, tuple[Bucket, ...]]:
    return {
        name: buckets
        for name, tenant in settings.tenants.items()
        if (
            buckets := tuple(
                Bucket(limit.spec(f"tenant:{name}:{word}"))
                for word, limit in tenant.limits.items()
                if word != LOGIN_LIMIT
            )
        )
    }


def signer(keyring: Keyring) -> Signer:
    """Sign assertions with the key that is in use when they are made (EdDSA: RFC 8037; ES256: RFC 7518 section 3.4)."""
    of_curve: dict[str, EllipticCurvePrivateKey] = {}

    def sign(claims: dict[str, object], algorithm: Algorithm) -> bytes:
        key = keyring.assertion_key(float(str(claims["iat"])))
        if algorithm == "EdDSA":
            return jwt.encode(claims, key.private, algorithm="EdDSA", headers={"kid": key.kid}).encode("ascii")
        private = of_curve.get(key.kid)
        if private is None:
            private = of_curve[key.kid] = key.private_es256
        return jwt.encode(claims, private, algorithm="ES256", headers={"kid": key.kid_es256}).encode("ascii")

    return sign


def key_set(keyring: Keyring, now: float) -> bytes:
    """The public keys of the assertion, as a JWK Set (RFC 7517)."""
    keys: list[dict[str, Any]] = []
    for key in keyring.assertion_keys(now):
        public = jwt.algorithms.OKPAlgorithm.to_jwk(key.private.public_key(), as_dict=True)
        keys.append({**public, "kid": key.kid, "use": "sig", "alg": "EdDSA"})
        # Published whether or not an upstream asks for it: who changes over must not wait for caches of this set.
        public = jwt.algorithms.ECAlgorithm.to_jwk(key.private_es256.public_key(), as_dict=True)
        keys.append({**public, "kid": key.kid_es256, "use": "sig", "alg": "ES256"})
    return orjson.dumps({"keys": keys})


def _pages(socket_path: str) -> Upstream:
    server = Server(host="", port=0, path=socket_path, tls=None, server_name="", authority=b"pages")
    return Upstream(
        name="gateway",
        servers=(server,),
        preserve_host=True,
        connect_timeout_s=2.0,
        response_timeout_s=30.0,
        idle_timeout_s=30.0,
        field_names={key: value.encode("ascii") for key, value in IDENTITY_FIELDS.items()},
        authorities=frozenset(),
        max_connections=PAGES_CONNECTIONS,
        internal=True,
    )


def _headers(settings: Headers) -> HeaderRules:
    hsts = f"max-age={int(settings.hsts)}" + ("; includeSubDomains" if settings.hsts_include_subdomains else "")
    return HeaderRules(
        hsts=hsts.encode("ascii"),
        csp=settings.csp.encode("ascii"),
        csp_report_only=(settings.csp_report_only or "").encode("ascii"),
        referrer_policy=settings.referrer_policy.encode("ascii"),
        permissions_policy=settings.permissions_policy.encode("ascii"),
        coop=settings.cross_origin_opener_policy.encode("ascii"),
        corp=settings.cross_origin_resource_policy.encode("ascii"),
    )


def _country(settings: Settings) -> Callable[[str], str] | None:
    """Say how a country is found, if a session can be bound to one."""
    if settings.geo.database is None or not is_bound_to_country(settings):
        return None
    return lru_cache(maxsize=COUNTRIES)(open_places(settings.geo.database).country)


def _forward_auth(settings: Settings) -> ForwardAuthRules | None:
    rules = settings.forward_auth
    if rules is None:
        return None
    return ForwardAuthRules(
        style=rules.style,
        askers=TrustedProxies(rules.proxies or settings.trusted_proxies),
        proxies=TrustedProxies((*rules.proxies, *settings.trusted_proxies), believes=settings.forwarded_from),
    )


def _wire(settings: Settings) -> WireLimits:
    http = settings.http
    return WireLimits(
        max_head=http.max_head,
        max_fields=http.max_fields,
        max_target=http.max_target,
        max_body=http.max_body,
        max_connections=http.max_connections,
        max_connections_per_client=http.max_connections_per_client or max(1, http.max_connections * 3 // 4),
        head_timeout_s=http.head_timeout,
        body_timeout_s=http.body_timeout,
        idle_timeout_s=http.idle_timeout,
        write_timeout_s=http.write_timeout,
        open_per_user=http.tunnels.per_user or 0,
        open_per_tenant=http.tunnels.per_tenant or 0,
        kept_form=http.kept_form,
        max_streams=http.max_streams,
    )

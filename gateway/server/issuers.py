"""The issuers of access tokens as gateway.yaml says, in the words of the edge that verifies and of whoever fetches their keys."""

from __future__ import annotations

import math
import ssl
from collections.abc import Iterator, Mapping

from gateway.authn.access_token import IssuerRules
from gateway.authn.claims import ClaimTable
from gateway.authn.jose import InvalidKeySetError, parse_jwks
from gateway.edge.bearer import IssuerKeySet
from gateway.edge.credential_rules import CredentialRules
from gateway.server.bundle import Bundle
from gateway.server.sections.programs import UNTYPED, Issuer
from gateway.server.settings import Settings


def credential_rules(settings: Settings) -> CredentialRules:
    """Say how programs prove who they are."""
    identity = settings.identity
    return CredentialRules(
        issuers={issuer.issuer: _rules(issuer) for issuer in identity.issuers},
        key_field=identity.api_keys.header.encode("ascii"),
    )


def fixed_keys(settings: Settings, bundle: Bundle) -> dict[str, IssuerKeySet]:
    """Return the keys that stand in files, by the id of their issuer."""
    return {
        issuer.id: IssuerKeySet(parse_jwks(bundle.issuer_keys[issuer.id]), math.inf)
        for issuer in settings.identity.issuers
        if issuer.id in bundle.issuer_keys
    }


def issuer_problems(settings: Settings, bundle: Bundle) -> Iterator[str]:
    """Find files of keys and of authorities that cannot be used. What was narrowed away is not judged."""
    for index, issuer in enumerate(settings.identity.issuers):
        place = f"identity.issuers[{index}]"
        document = bundle.issuer_keys.get(issuer.id)
        if document is not None:
            try:
                parse_jwks(document)
            except InvalidKeySetError as error:
                yield f"{place}.keys.file: {error}"
        pem = bundle.issuer_authorities.get(issuer.id)
        if pem is not None:
            try:
                trust_of(pem)
            except ValueError as error:
                yield f"{place}.ca: {error}"


def trust_of(authorities: bytes | None) -> ssl.SSLContext:
    """Return whose certificates an issuer may show, the system's where no file says. Raises `ValueError` with a sentence."""
    try:
        return ssl.create_default_context(cadata=None if authorities is None else authorities.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError):
        raise ValueError("holds no certificate in PEM") from None


def _rules(issuer: Issuer) -> IssuerRules:
    return IssuerRules(
        id=issuer.id,
        issuer=issuer.issuer,
        audiences=frozenset(issuer.audiences),
        algorithms=frozenset(issuer.algorithms),
        types=frozenset("" if kind == UNTYPED else kind for kind in issuer.types),
        table=_table(issuer),
        leeway_s=issuer.leeway,
        max_life_s=issuer.max_lifetime,
        hosts=frozenset(issuer.hosts or ()),
    )


def _table(issuer: Issuer) -> ClaimTable:
    roles, tenant = issuer.roles, issuer.tenant
    grants: Mapping[str, tuple[str, ...]] = roles.grant
    return ClaimTable(
        roles=roles.claim,
        role_grants=grants,
        default_roles=roles.default or (),
        tenant=tenant.claim or (),
        tenant_grants=tenant.grant,
        always_tenant=tenant.always or "",
        user=issuer.user.claim,
        email=issuer.email.claim,
        email_verified=issuer.email.require_verified,
        mfa_acr=issuer.mfa.acr if issuer.mfa else (),
        mfa_amr=issuer.mfa.amr if issuer.mfa else (),
    )

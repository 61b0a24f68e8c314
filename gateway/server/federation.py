"""Identity providers as gateway.yaml says, wired to the state and to the conversation with them.

It opens no connection: a provider is first asked when somebody signs in there.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import msgspec

from gateway.authn.claims import ClaimTable
from gateway.exchange.metrics import Registry
from gateway.federation.attempts import AttemptSeal
from gateway.federation.client_identity import SharedSecret, SigningKey
from gateway.federation.conversation import Conversation
from gateway.federation.metadata import LastGood, MetadataSource
from gateway.federation.refresh import Refresher
from gateway.federation.relying_party import ClientIdentity, Party, RelyingParty
from gateway.federation.sign_in import Note, Provider, Providers
from gateway.server.bundle import Bundle
from gateway.server.sections.identity import Identity
from gateway.server.sections.identity import Provider as ProviderRules
from gateway.server.settings import Settings
from gateway.store.executor import BoundedExecutor
from gateway.store.federated import FederatedStore, SignInNote
from gateway.store.keyring import Keyring
from gateway.store.openings import Client, Openings, Refused, SignedIn
from gateway.store.state import Store

_LABELS: Final = ("provider", "outcome", "reason")


def claim_table(rules: ProviderRules) -> ClaimTable:
    """Say what a provider may vouch for, in the words of `authn`."""
    roles, tenant = rules.roles, rules.tenant
    if roles is None or tenant is None:
        raise ValueError("a provider of type oidc has roles and tenant")  # `contradictions` refused it before
    return ClaimTable(
        roles=roles.claim,
        role_grants=roles.grant,
        default_roles=roles.default or (),
        tenant=tenant.claim or (),
        tenant_grants=tenant.grant,
        always_tenant=tenant.always or "",
        tenants=rules.tenants or (),
        user=rules.user_claim,
        email=rules.email.claim,
        email_verified=rules.email.require_verified,
        domains=rules.domains or (),
        contexts=rules.acr_values or (),
        mfa_acr=rules.mfa.acr if rules.mfa else (),
        mfa_amr=rules.mfa.amr if rules.mfa else (),
    )


def build_providers(
    settings: Settings,
    bundle: Bundle,
    *,
    store: Store,
    keyring: Keyring,
    executor: BoundedExecutor,
    openings: Openings,
    registry: Registry,
    clock: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = os.urandom,
) -> Providers[Client] | None:
    """Make the identity providers; None where gateway.yaml names none. Raises `ValueError` with a sentence."""
    if not settings.identity.federated:
        return None
    state = FederatedStore(
        store, keyring=keyring, executor=executor, longest_s=longest_session_s(settings), random=random
    )
    degraded = registry.gauge(
        "gateway_provider_degraded", "1 while the identity provider's own metadata cannot be had.", ("provider",)
    )
    providers = [
        _provider(
            settings.identity,
            rules,
            bundle,
            last_good=state,
            report=partial(_report, degraded.set, rules.id),
            clock=clock,
            random=random,
        )
        for rules in settings.identity.federated
    ]

    async def open_session(user: Any, **how: Any) -> SignedIn | Refused:
        return await executor.run(partial(openings.open, user, **how))

    async def note(said: Note) -> None:
        await state.note(SignInNote(**msgspec.structs.asdict(said)))

    return Providers(
        providers,
        state=state,
        open_session=open_session,
        note=note,
        seal=AttemptSeal(keyring.derive("provider attempts"), random),
        clock=clock,
        random=random,
        refresher=Refresher(
            {provider.id: provider.party for provider in providers},
            state,
            clock=clock,
            random=random,
            refreshes=registry.counter(
                "gateway_provider_refreshes_total",
                "Refreshed tokens of identity providers, by what came of it.",
                ("provider", "outcome"),
            ),
        ),
        sign_ins=registry.counter(
            "gateway_provider_sign_ins_total", "Answers of identity providers, by what came of them.", _LABELS
        ),
        logouts=registry.counter(
            "gateway_provider_logouts_total", "Logout tokens of identity providers, by what came of them.", _LABELS
        ),
    )


def provider_problems(settings: Settings, bundle: Bundle) -> Iterator[str]:
    """Find secrets and authorities that cannot be used. What was narrowed away is not judged."""
    for index, rules in enumerate(settings.identity.providers):
        place = f"identity.providers[{index}]"
        pem = bundle.secrets.get(f"{place}.private_key_jwt")
        if rules.private_key_jwt is not None and pem is not None:
            try:
                SigningKey("", pem, kid=None, random=os.urandom)
            except ValueError as error:
                yield f"{place}.private_key_jwt: {error}"
        secret = bundle.secrets.get(f"{place}.client_secret")
        if secret is not None and not (secret.isascii() and secret.decode("ascii").isprintable()):
            yield f"{place}.client_secret: is not one line of printable ASCII"
        if rules.id in bundle.provider_authorities:
            try:
                _context(bundle.provider_authorities[rules.id])
            except ValueError as error:
                yield f"{place}.ca: {error}"


def conversation_with(rules: ProviderRules, authorities: bytes | None) -> Conversation:
    """Make what speaks to one provider. Raises `ValueError` with a sentence."""
    proxy = str(rules.proxy) if rules.proxy else None
    return Conversation(rules.id, context=_context(authorities), proxy=proxy, timeout_s=rules.timeout)


def longest_session_s(settings: Settings) -> float:
    """Return how long a session of any tenant can live, seconds."""
    return max(rules.absolute for rules in (settings.sessions, *map(settings.session_rules, settings.tenants)))


def _report(put: Callable[[float, tuple[str, ...]], None], provider: str, problem: str) -> None:
    put(float(bool(problem)), (provider,))


def _provider(
    identity: Identity,
    rules: ProviderRules,
    bundle: Bundle,
    *,
    last_good: LastGood,
    report: Callable[[str], None],
    clock: Callable[[], float],
    random: Callable[[int], bytes],
) -> Provider:
    conversation = conversation_with(rules, bundle.provider_authorities.get(rules.id))
    party = Party(
        id=rules.id,
        title=rules.title,
        issuer=rules.issuer_url,
        client_id=rules.client_id or "",
        scopes=rules.asked_scopes,
        par=rules.par,
        acr_values=rules.acr_values or (),
        prompt=rules.prompt or "",
        max_age=rules.max_age,
        userinfo=rules.userinfo,
    )
    return Provider(
        party=RelyingParty(
            party,
            identity=_client_identity(identity, rules, bundle, random),
            conversation=conversation,
            metadata=MetadataSource(
                rules.id, party.issuer, conversation=conversation, last_good=last_good, report=report, clock=clock
            ),
            clock=clock,
        ),
        table=claim_table(rules),
        hosts=frozenset(rules.hosts or ()),
        tenants=frozenset(rules.granted_tenants),
        domains=frozenset(rules.domains or ()),
        back_channel_logout=rules.back_channel_logout,
        signs_out_there=rules.sign_out == "at_provider",
        keeps_tokens=rules.tokens.keep,
    )


def _client_identity(
    identity: Identity, rules: ProviderRules, bundle: Bundle, random: Callable[[int], bytes]
) -> ClientIdentity:
    place, client_id = f"identity.providers[{identity.providers.index(rules)}]", rules.client_id or ""
    if rules.private_key_jwt is not None:
        pem = bundle.secrets[f"{place}.private_key_jwt"]
        return SigningKey(client_id, pem, kid=rules.private_key_jwt.kid, random=random)
    return SharedSecret(client_id, bundle.secrets[f"{place}.client_secret"].decode("ascii"))


def _context(authorities: bytes | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=None if authorities is None else authorities.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError):
        raise ValueError("holds no certificate in PEM") from None

"""The passkeys of the pages process, built from one configuration."""

from __future__ import annotations

from collections.abc import Callable

from gateway.authn.passkey import AuthenticatorRule
from gateway.exchange.notice import Circumstances, Notice
from gateway.server.sections.mfa import MFA
from gateway.server.validate import Validated
from gateway.store.accounts import Accounts
from gateway.store.executor import BoundedExecutor
from gateway.store.keyring import Keyring
from gateway.store.second_factors import PasskeyOptions, SecondFactors
from gateway.store.state import Store


def build_second_factors(
    validated: Validated,
    *,
    keyring: Keyring,
    store: Store,
    accounts: Accounts,
    executor: BoundedExecutor,
    tell: Callable[[str, Notice, Circumstances], None] | None,
) -> SecondFactors | None:
    """Build what knows passkeys; None where they are not among the methods."""
    settings = validated.settings
    if "webauthn" not in settings.mfa.methods:
        return None
    passkeys = settings.mfa.passkeys
    return SecondFactors(
        store,
        accounts.openings,
        options=accounts.options,
        passkeys=PasskeyOptions(
            name=settings.branding.name or settings.public_url.host,
            bound_to=passkeys.rp_id or settings.public_url.host,
            rule=authenticator_rule(settings.mfa, validated.bundle.passkey_roots),
            passwordless=passkeys.passwordless,
            refuse_copied=passkeys.copied == "refuse",
        ),
        keyring=keyring,
        tell=tell,
        store_executor=executor,
    )


def authenticator_rule(mfa: MFA, roots: bytes | None) -> AuthenticatorRule:
    """Build the rule for passkeys; `roots` is the file that `mfa.passkeys.roots` names."""
    passkeys = mfa.passkeys
    makes = passkeys.aaguids
    return AuthenticatorRule(
        user_verification=passkeys.user_verification,
        resident_key=passkeys.resident,
        attestation=passkeys.attestation,
        allowed=frozenset((makes.allow if makes is not None else None) or ()),
        denied=frozenset((makes.deny if makes is not None else None) or ()),
        roots=_split(roots) if roots is not None else (),
    )


def _split(pem: bytes) -> tuple[bytes, ...]:
    """Take a PEM bundle apart, one certificate each."""
    end = b"-----END CERTIFICATE-----"
    return tuple(part.strip() + b"\n" + end + b"\n" for part in pem.split(end)[:-1])

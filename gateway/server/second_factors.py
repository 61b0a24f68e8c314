"""The passkeys of the pages process, built from one configuration."""

from __future__ import annotations

from collections.abc import Callable

from gateway.exchange.notice import Circumstances, Notice
from gateway.server.factor_rule import authenticator_rule
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

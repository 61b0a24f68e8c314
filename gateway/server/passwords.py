"""What gateway.yaml says about new passwords, in the store's words."""

from __future__ import annotations

from gateway.server.settings import Settings
from gateway.store.breach_online import OnlineBreachedPasswords
from gateway.store.new_passwords import PasswordRules


def breach_service(settings: Settings) -> OnlineBreachedPasswords | None:
    """Make the client of the breach service, where one is asked."""
    if settings.passwords.breach_check != "online":
        return None
    service = settings.passwords.breach_service
    return OnlineBreachedPasswords(service.url, timeout_s=service.timeout)


def password_rules(settings: Settings) -> PasswordRules:
    """Say what gateway.yaml says about new passwords, in the store's words."""
    rules = settings.passwords
    return PasswordRules(
        min_length=rules.min_length,
        min_length_alone=rules.min_length_alone,
        min_score=rules.min_score,
        history=rules.history,
        place=(settings.branding.name or "", *settings.hosts),
        on_failure=rules.breach_service.on_failure,
    )

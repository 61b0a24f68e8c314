"""What can go wrong between the gateway and a provider, so that whoever signs in is told no more than they need."""

from __future__ import annotations

from gateway.exchange.errors import GatewayError
from gateway.exchange.reason import Reason


class ProviderUnavailableError(GatewayError):
    """A provider cannot be asked: not reached, too slow, or its answer is none. Its text names provider and cause, no secret."""

    reason = Reason.PROVIDER_UNAVAILABLE

    def __init__(self, provider: str, cause: str) -> None:
        super().__init__(f"identity provider {provider}: {cause}")
        self.provider = provider
        self.cause = cause

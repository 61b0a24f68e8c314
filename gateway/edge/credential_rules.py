"""What a worker has to know to find out who programs are, beside what the store says of their keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.authn.access_token import IssuerRules
from gateway.edge.bearer import Bearers
from gateway.exchange.metrics import Counter, Registry
from gateway.exchange.route import LimitSpec
from gateway.ratelimit.gcra import Bucket

UNPROVEN: Final = LimitSpec(name="credentials", rate_per_s=20.0, burst=100, per="ip")
"""Of one client: tokens that are verified for the first time, each a signature, and keys that do not exist."""


class CredentialRules:
    """Of one configuration; the tokens that were verified, and what was counted, are the worker's and outlive it."""

    __slots__ = ("bearers", "issuers", "key_field", "outcomes", "unproven")

    def __init__(
        self,
        *,
        issuers: Mapping[str, IssuerRules],
        key_field: bytes,
        bearers: Bearers | None = None,
        outcomes: Counter | None = None,
    ) -> None:
        self.issuers = issuers
        """By the issuer's own name, exactly."""
        self.key_field = key_field
        """Lower case."""
        self.bearers = Bearers() if bearers is None else bearers
        self.outcomes = count_outcomes(Registry()) if outcomes is None else outcomes
        self.unproven = Bucket(UNPROVEN)

    def of_worker(self, bearers: Bearers, outcomes: Counter) -> CredentialRules:
        """Return the same rules with what one worker remembers."""
        return CredentialRules(issuers=self.issuers, key_field=self.key_field, bearers=bearers, outcomes=outcomes)


def count_outcomes(registry: Registry) -> Counter:
    """Declare the counter of credentials of programs, by kind and what became of them."""
    return registry.counter(
        "gateway_credentials_total",
        "API keys and bearer tokens that were shown, by what became of them: accepted, or the reason of the refusal.",
        ("kind", "outcome"),
    )

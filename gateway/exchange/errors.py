"""Exceptions of the gateway. An exception always means "could not decide", and always refuses.

An expected refusal is a `Decision`, not an exception. The text of an exception is for operators
and never holds a secret; people see the sentence of its `Reason`.
"""

from __future__ import annotations

from typing import ClassVar

from gateway.exchange.reason import ANSWERS, Reason


class GatewayError(Exception):
    """Something the gateway could not do. Subclasses end in `Error` and set `reason`."""

    reason: ClassVar[Reason] = Reason.INTERNAL_ERROR

    @property
    def status(self) -> int:
        """HTTP status of the answer that this error becomes."""
        return ANSWERS[self.reason].status


class StoreUnavailableError(GatewayError):
    """The state store cannot be read or written: locked, read-only, full, gone."""

    reason = Reason.STORE_UNAVAILABLE


class AuditUnavailableError(GatewayError):
    """A record could not be made as safe as the route demands."""

    reason = Reason.AUDIT_UNAVAILABLE


class KeyringError(GatewayError):
    """The keyring is missing, readable by others, of another version, or damaged."""


class ConfigurationError(GatewayError):
    """A configuration that must not run. `diagnostics` names each place."""

    def __init__(self, diagnostics: tuple[str, ...]) -> None:
        super().__init__("\n".join(diagnostics))
        self.diagnostics = diagnostics

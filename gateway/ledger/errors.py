"""Why a log cannot be written, or not be continued."""

from __future__ import annotations

from gateway.audit.protocol import Refusal
from gateway.exchange.errors import AuditUnavailableError


class LogBusyError(AuditUnavailableError):
    """Another process writes this log."""


class LogTamperedError(AuditUnavailableError):
    """The log on disk is not what was written; it must not be continued."""


class LogUnavailableError(AuditUnavailableError):
    """Records could not be stored. `refusal` says why; nothing of them beyond `Log.taken` will be in the log."""

    def __init__(self, message: str, refusal: Refusal) -> None:
        super().__init__(message)
        self.refusal = refusal

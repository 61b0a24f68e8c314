"""What stands in the way of keeping an upload."""

from __future__ import annotations

from gateway.exchange.errors import GatewayError
from gateway.exchange.reason import Reason


class SpoolError(GatewayError):
    """There is no room for an upload, or what was put there cannot be read: the disk is full or broken."""

    reason = Reason.UPLOADS_UNAVAILABLE


class QuarantineError(GatewayError):
    """Something in the quarantine is not there, was changed, or cannot be written."""

    reason = Reason.UPLOADS_UNAVAILABLE

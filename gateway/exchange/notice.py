"""What a person is told of by mail about their own account: one closed list."""

from __future__ import annotations

from enum import StrEnum


class Notice(StrEnum):
    """Something that happened to an account and that its owner should hear of by another way than the browser."""

    NEW_DEVICE = "new_device"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a notice, not a password
    PASSWORD_RESET = "password_reset"  # noqa: S105 - a notice, not a password
    FACTOR_ADDED = "factor_added"
    FACTOR_REMOVED = "factor_removed"
    RECOVERY_USED = "recovery_used"
    RECOVERY_REPLACED = "recovery_replaced"
    SESSIONS_REVOKED = "sessions_revoked"
    API_KEY_CREATED = "api_key_created"

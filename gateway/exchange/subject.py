"""The key of one data subject: what the personal fields of their records are sealed under.

Random, never derived: who destroys every copy of it has erased the person from every record, wherever it is kept. It
travels with the session of the person, so that no request waits for it.
"""

from __future__ import annotations

from typing import Final

import msgspec

TOKEN_BYTES: Final = 16
SUBJECT_KEY_BYTES: Final = 32
ERASED: Final = "(erased)"
"""What stands for a value whose key is destroyed."""
RESTRICTED: Final = "(restricted)"
"""What stands for a value that may only be stored (Art. 18 GDPR)."""
SEALED: Final = "(sealed)"
"""What stands for a value whose key could not be looked for."""
UNREADABLE: Final = frozenset((ERASED, RESTRICTED, SEALED))


class SubjectKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """A key and the pseudonym under which it is found. Secret: it is never shown, logged or sent to an upstream."""

    token: bytes
    """Random, 16 bytes; stands in the records."""
    key: bytes
    """Random, 32 bytes: AES-256."""

    def __repr__(self) -> str:
        return f"SubjectKey({self.token.hex()})"

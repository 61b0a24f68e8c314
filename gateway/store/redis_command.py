"""What Redis is asked: commands, and scripts that it knows by their hash."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1


class Script:
    """A Lua script, known to Redis by its SHA-1."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[bytes], arguments: Sequence[bytes | str | int | float]) -> Command:
        """Return the command that runs it."""
        return (self, len(keys), *keys, *arguments)


Command = tuple[Script | bytes | str | int | float, ...]
"""A command of Redis, or a script with the number of its keys, the keys and the arguments."""

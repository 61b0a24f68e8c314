"""Keys that later versions will have and this one does not: refused with a sentence, never accepted without effect.

The table shrinks as features arrive. A key that is in no version at all is `settings`' to refuse.
"""

from __future__ import annotations

from typing import Any, Final

Place = tuple[str | int, ...]

ANY: Final = "*"
"""Stands for every key or index at its depth."""

_KEYS: Final[dict[Place, str]] = {
    ("auth_host",): "a separate host for the gateway's pages is not built yet",
    ("audit", "key_command"): "a key command for the audit trail is not built yet",
    ("admin", "tls"): "TLS and authentication on the admin listener are not built yet; bind it to a loopback address",
}


def find_unbuilt(data: Any) -> list[tuple[Place, str]]:
    """List each key of the parsed gateway.yaml that belongs to a feature not built yet, with its sentence."""
    found: list[tuple[Place, str]] = []
    for pattern, sentence in _KEYS.items():
        found.extend((place, sentence) for place in _places(data, pattern, ()))
    return found


def _places(data: Any, pattern: Place, at: Place) -> list[Place]:
    if not pattern:
        return [at]
    head, rest = pattern[0], pattern[1:]
    if isinstance(data, dict):
        keys: list[str | int] = list(data) if head == ANY else [head] if head in data else []
    elif isinstance(data, list) and head == ANY:
        keys = list(range(len(data)))
    else:
        keys = []
    return [place for key in keys for place in _places(data[key], rest, (*at, key))]

"""What an erasure did, in sentences for whoever answers the letter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NOUNS: Final[Mapping[str, tuple[str, str]]] = {
    "api_keys": ("API key", "API keys"),
    "attempts": ("count of attempts", "counts of attempts"),
    "mailed": ("mailed code", "mailed codes"),
    "outbox": ("letter that waited", "letters that waited"),
    "owners": ("note of whose session a cookie was", "notes of whose session a cookie was"),
    "passkeys": ("passkey", "passkeys"),
    "provider_sign_ins": ("note of a sign-in at a provider", "notes of sign-ins at a provider"),
    "provider_tokens": ("set of tokens of a provider", "sets of tokens of a provider"),
    "sessions": ("session", "sessions"),
    "strays": ("note of a session used elsewhere", "notes of sessions used elsewhere"),
    "standings": ("answer of a detector of abuse", "answers of detectors of abuse"),
    "users": ("account", "accounts"),
}
"""What an erasure counts, by table: one, several."""


def destroyed_sentence(keys: int) -> str:
    """Say what became of the keys under which the log sealed somebody."""
    match keys:
        case 0:
            return "The log had no key for the person."
        case 1:
            return "The key of the log for the person was destroyed."
        case _:
            return f"The {keys} keys of the log for the person were destroyed."


def unreadable_sentence(keys: int) -> list[str]:
    """Say that keys did not open; nothing where all did."""
    if not keys:
        return []
    which = "1 of the keys was" if keys == 1 else f"{keys} of the keys were"
    return [
        f"{which} damaged and could not be read: what it sealed was lost before, and there is no fingerprint of it."
    ]


def removed_sentence(counts: Mapping[str, int]) -> str:
    """Say what was removed from the state, in a sentence; what is not counted went with the account."""
    found = [
        f"{number} {NOUNS[table][number != 1]}" for table, number in sorted(counts.items()) if table in NOUNS and number
    ]
    if not found:
        return "Whatever else the state held about them was removed."
    listed = found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"
    return f"Everything that the state held about them was removed, among it {listed}."

"""Passwords: what a new one must be, and how it is hashed and checked.

Length and a list of breached passwords, no composition rules and no forced change (SP 800-63B-4
§3.1.1.2; ASVS 6.2.1 to 6.2.12), an estimate of how guessable it is, and no words of the account or of
the place. argon2id, RFC 9106. It reads no list and keeps no thread: the caller brings the list and decides
where 100 ms of work run.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64encode
from typing import Final, Protocol

import argon2
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from gateway.authn.strength import estimate
from gateway.exchange.marked import marked

MIN_LENGTH: Final = 12
"""ASVS 6.2.1 wants 8 and recommends 15; PCI DSS 8.3.6 wants 12."""
MIN_LENGTH_ALONE: Final = 15
"""SP 800-63B-4 §3.1.1.2: a password that is the only factor."""
MAX_LENGTH: Final = 128
"""ASVS 6.2.9: at least 64 are allowed. Bounded, so that hashing has bounded input."""
SALT_BYTES: Final = 16
RFC_9106_LOW_MEMORY: Final = argon2.profiles.RFC_9106_LOW_MEMORY
"""64 MiB, 3 passes, 4 lanes (RFC 9106 section 4, second recommended option)."""
_CONTEXT_MIN: Final = 3
_OWN_PART_MIN: Final = 8
_DISTINCT_MIN: Final = 5
_CORE_MIN: Final = 5
_BETWEEN_MARKS: Final = re.compile(r"[\W_]+")


class BreachedPasswords(Protocol):
    """A list of passwords known from breaches."""

    def __contains__(self, password: str) -> bool:
        """Tell whether exactly this password is on the list."""
        ...


class PasswordRefusedError(ValueError):
    """A new password is not acceptable. The text is for the operator, and never quotes it."""

    def __init__(self, sentence: str, *, told: str = "", score: int | None = None) -> None:
        super().__init__(told or sentence)
        self.sentence = sentence
        """For the person, from the catalogue."""
        self.score = score
        """The estimate, where that is why."""


def normalise(password: str) -> str:
    """Return the form that is hashed: NFKC (SP 800-63B-4 §3.1.1.2), so that every keyboard makes the same bytes."""
    return unicodedata.normalize("NFKC", password)


BREACHED: Final = marked("This password is known from data breaches. Please choose another one.")


def context_words(*values: str) -> tuple[str, ...]:
    """List the words that an account and its place are known by: each value, and its parts between marks.

    `alice@portal.example.com` gives itself, `alice`, `portal`, `example` and not `com`: short parts would refuse too much.
    """
    words: dict[str, None] = {}
    for value in values:
        folded = normalise(value).casefold()
        for part in (folded, folded.partition("@")[0], *_BETWEEN_MARKS.split(folded)):
            if len(part) > _CONTEXT_MIN or (part and part == folded):
                words[part] = None
    return tuple(words)


def require_acceptable(
    password: str,
    *,
    context: tuple[str, ...],
    breached: BreachedPasswords | None,
    min_length: int = MIN_LENGTH,
    min_score: int = 0,
) -> None:
    """Check a new password; `context` are words it must not be made of: the account's name, its e-mail address, its tenant.

    Raises:
        PasswordRefusedError: with a sentence for the person.

    """
    normal = normalise(password)
    if len(normal) < min_length:
        raise PasswordRefusedError(
            marked("This password is too short."), told=f"Please choose at least {min_length} characters."
        )
    if len(normal) > MAX_LENGTH:
        raise PasswordRefusedError(
            marked("This password is too long."), told=f"Please choose at most {MAX_LENGTH} characters."
        )
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in normal):
        raise PasswordRefusedError(marked("Please leave out control characters."))
    folded = normal.casefold()
    if len(set(folded)) < _DISTINCT_MIN:
        raise PasswordRefusedError(marked("Please use more than a few different characters."))
    if _own_part(folded, context) < _OWN_PART_MIN:
        raise PasswordRefusedError(
            marked("Please do not use your name or address, or the name of this site, as the password.")
        )
    if breached is not None and any(form in breached for form in _forms(password, normal, folded)):
        raise PasswordRefusedError(BREACHED)
    strength = estimate(normal, context)
    if strength.score < min_score:
        raise PasswordRefusedError(strength.advice, score=strength.score)


def _own_part(folded: str, context: tuple[str, ...]) -> int:
    """Count the characters of a password that are no words of the account, the longest taken out first."""
    for word in sorted({normalise(word).casefold() for word in context}, key=len, reverse=True):
        if len(word) >= _CONTEXT_MIN:
            folded = folded.replace(word, "")
    return len(folded)


def _forms(password: str, normal: str, folded: str) -> list[str]:
    """List what is looked up: the password itself, its plain case, and its core without digits and marks at the end."""
    core = folded
    while core and not core[-1].isalpha():
        core = core[:-1]
    forms = [password, normal, folded]
    if len(core) >= _CORE_MIN:
        forms.append(core)
    return list(dict.fromkeys(forms))


class Hasher:
    """Hashes and checks under one set of argon2id parameters. Each call is about 100 ms of work without the GIL."""

    __slots__ = ("_decoy", "_hasher")

    def __init__(self, parameters: argon2.Parameters = RFC_9106_LOW_MEMORY) -> None:
        self._hasher = argon2.PasswordHasher.from_parameters(parameters)
        self._decoy = _decoy(parameters)

    def hash(self, password: str, *, salt: bytes) -> str:
        """Return the PHC string of a normalised password under a fresh 16-byte salt."""
        return self._hasher.hash(_bytes(password), salt=salt)

    def matches(self, phc: str | None, password: str) -> bool:
        """Check a password; with no hash (unknown person) do the same work and say no.

        Raises:
            ValueError: the stored hash is not one.

        """
        try:
            self._hasher.verify(self._decoy if phc is None else phc, _bytes(password))
        except VerifyMismatchError:
            return False
        except (InvalidHashError, VerificationError):
            raise ValueError("a stored password hash is damaged") from None
        return phc is not None

    def is_outdated(self, phc: str) -> bool:
        """Tell whether a hash was made under other parameters and should be made anew at the next sign-in."""
        return self._hasher.check_needs_rehash(phc)


def _decoy(parameters: argon2.Parameters) -> str:
    """Return a hash in PHC form that costs what a real one costs and that no password is known for."""
    cost = f"m={parameters.memory_cost},t={parameters.time_cost},p={parameters.parallelism}"
    salt, digest = (b64encode(bytes(size)).decode("ascii").rstrip("=") for size in (SALT_BYTES, parameters.hash_len))
    return f"$argon2id$v={parameters.version}${cost}${salt}${digest}"


def _bytes(password: str) -> bytes:
    # Nothing longer was ever accepted; cut, so that a megabyte costs what a password costs.
    return normalise(password[: MAX_LENGTH * 4])[: MAX_LENGTH + 1].encode("utf-8", "surrogatepass")

"""Public keys of an issuer, from a JWK Set (RFC 7517): which of them may verify a signature, and by which algorithm.

Only keys that cannot be made by whoever reads them come in: RSA of 2048 bits and more, the three NIST curves, Ed25519.
A symmetric or private key in a published set is passed over, so that no public text can serve as a secret.
Where a set comes from, and how old it may be, is not decided here.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from typing import Any, Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

MAX_SET_BYTES: Final = 512 * 1024
MAX_KEYS: Final = 100
"""Large tenants publish a dozen; more is a mistake or an attack on whoever tries them all."""
MIN_RSA_BITS: Final = 2048  # RFC 7518 section 3.3, RFC 8725 section 3.5
MAX_RSA_BITS: Final = 8192
"""The work of a verification grows with the square of the modulus."""
MIN_RSA_EXPONENT: Final = 65537  # FIPS 186-5 section 5.1: 2^16 < e
MAX_RSA_EXPONENT: Final = 2**32
MAX_KID: Final = 256

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")
_EC_ALGORITHMS: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}  # RFC 7518 section 3.4
_CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_ROCA_PRIMES: Final = (
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79,
    83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
)  # fmt: skip
_ROCA_REMAINDERS: Final = {
    prime: frozenset(pow(65537, power, prime) for power in range(prime)) for prime in _ROCA_PRIMES
}
"""CVE-2017-15361: moduli of that generator are powers of 65537 modulo each of these primes; others are by a chance of 2^-38 or so."""
COORDINATE_BYTES: Final = {"ES256": 32, "ES384": 48, "ES512": 66}
_RSA_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_EDWARDS_ALGORITHMS: Final = frozenset({"EdDSA", "Ed25519"})  # RFC 8037; RFC 9864 names the curve
ALGORITHMS: Final = _RSA_ALGORITHMS | _EDWARDS_ALGORITHMS | frozenset(_EC_ALGORITHMS.values())
"""Every algorithm that is ever accepted. No `none`, and nothing with a shared secret."""


class InvalidKeySetError(ValueError):
    """Not a set of keys, or one without a usable key. The text never quotes it."""


class MalformedJSONError(ValueError):
    """Not the JSON that a signature may stand for: not UTF-8, ambiguous, or beyond its bounds."""


class Key:
    """One public key and the algorithms it may be used with."""

    __slots__ = ("algorithms", "kid", "public")

    def __init__(self, kid: str, public: PublicKey, algorithms: frozenset[str]) -> None:
        self.kid = kid
        """Empty = the set does not name it."""
        self.public = public
        self.algorithms = algorithms
        """RFC 8725 section 3.1: what its type allows, or the one that the set says."""

    def repeats(self, other: Key) -> bool:
        """Whether it is `other` once more."""
        return (self.kid, self.algorithms) == (other.kid, other.algorithms) and self.public == other.public


class KeySet:
    """The usable keys of one issuer; does not change."""

    __slots__ = ("digest", "keys", "passed_over")

    def __init__(self, keys: Collection[Key], *, digest: str = "", passed_over: int = 0) -> None:
        self.keys = tuple(keys)
        self.digest = digest
        """SHA-256 of the document it was read from, hexadecimal."""
        self.passed_over = passed_over
        """Keys of the document that no signature may be verified with."""

    def __len__(self) -> int:
        return len(self.keys)

    def candidates(self, kid: str, algorithm: str) -> list[Key]:
        """List the keys that a token with this header may have been signed with; without `kid`, every one that fits."""
        return [key for key in self.keys if algorithm in key.algorithms and (not kid or key.kid == kid)]


def parse_jwks(document: bytes) -> KeySet:
    """Read a JWK Set. A key of a kind or for a use that we do not know is passed over (RFC 7517 section 5).

    Raises:
        InvalidKeySetError: not a JWK Set, too large, or no key in it can verify a signature.

    """
    if len(document) > MAX_SET_BYTES:
        raise InvalidKeySetError(f"a key set has at most {MAX_SET_BYTES} bytes")
    try:
        found = parse_object(document)
    except MalformedJSONError as error:
        raise InvalidKeySetError(f"not a JWK Set: {error}") from None
    entries = found.get("keys")
    if not isinstance(entries, list):
        raise InvalidKeySetError("not a JWK Set: it has no list of keys")
    if len(entries) > MAX_KEYS:
        raise InvalidKeySetError(f"a key set has at most {MAX_KEYS} keys")
    keys: list[Key] = []
    for entry in entries:
        key = _read_key(entry)
        if key is None or any(key.repeats(other) for other in keys):
            continue
        if key.kid and any(key.kid == other.kid and not key.algorithms.isdisjoint(other.algorithms) for other in keys):
            raise InvalidKeySetError("two keys of the set have one kid")
        keys.append(key)
    if not keys:
        raise InvalidKeySetError("no key of the set can verify a signature here")
    return KeySet(keys, digest=hashlib.sha256(document).hexdigest(), passed_over=len(entries) - len(keys))


def _read_key(entry: Any) -> Key | None:
    """Read one JWK; None when it is not for verifying signatures, or not safe for it."""
    if not isinstance(entry, dict):
        return None
    kid, use, operations = entry.get("kid", ""), entry.get("use", "sig"), entry.get("key_ops", ["verify"])
    if not isinstance(kid, str) or len(kid) > MAX_KID or use != "sig":
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    # A private key that was published is known to everybody; a symmetric one signs for everybody.
    if "d" in entry or "k" in entry:
        return None
    try:
        read = _read_public(entry)
    except ValueError:
        return None
    if read is None:
        return None
    public, algorithms = read
    declared = entry.get("alg")
    if declared is not None:
        if not isinstance(declared, str) or declared not in algorithms:
            return None
        algorithms = frozenset({declared})
    return Key(kid, public, algorithms)


def _read_public(entry: Mapping[str, Any]) -> tuple[PublicKey, frozenset[str]] | None:
    kind, curve = entry.get("kty"), entry.get("crv")
    if kind == "RSA":
        modulus, exponent = int.from_bytes(_octets(entry, "n")), int.from_bytes(_octets(entry, "e"))
        if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS or not modulus & 1:
            return None
        if all(modulus % prime in remainders for prime, remainders in _ROCA_REMAINDERS.items()):
            return None
        if not MIN_RSA_EXPONENT <= exponent < MAX_RSA_EXPONENT:
            return None
        return rsa.RSAPublicNumbers(exponent, modulus).public_key(), _RSA_ALGORITHMS
    if kind == "EC" and isinstance(curve, str) and curve in _EC_ALGORITHMS:
        algorithm = _EC_ALGORITHMS[curve]
        x, y = _octets(entry, "x"), _octets(entry, "y")
        if len(x) != COORDINATE_BYTES[algorithm] or len(y) != COORDINATE_BYTES[algorithm]:  # RFC 7518 section 6.2.1.2
            return None
        # attack: invalid curve; `public_key` refuses a point that is not on it
        numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), _CURVES[curve])
        return numbers.public_key(), frozenset({algorithm})
    if kind == "OKP" and curve == "Ed25519":
        return ed25519.Ed25519PublicKey.from_public_bytes(_octets(entry, "x")), _EDWARDS_ALGORITHMS
    return None


def _octets(entry: Mapping[str, Any], name: str) -> bytes:
    text = entry.get(name)
    if not isinstance(text, str):
        raise ValueError(f"{name} is no text")  # noqa: TRY004 - malformed data, not a caller's mistake
    return decode_base64url(text)


def decode_base64url(text: str) -> bytes:
    """Decode base64url without padding (RFC 7515 section 2). Raises ValueError for any other spelling of the same octets."""
    if not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url")
    octets = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # malleability: the last character has bits that no octet takes, so that another one would decode alike
    if urlsafe_b64encode(octets).rstrip(b"=") != text.encode("ascii"):
        raise ValueError("not base64url as an encoder writes it")
    return octets


def parse_object(text: bytes) -> dict[str, Any]:
    """Parse a JSON object in the one way all readers agree on (RFC 8725 section 3.7, RFC 8259 section 4).

    Raises:
        MalformedJSONError: not UTF-8, not an object, a member twice, a number out of range, half a character, nested too deep.

    """
    try:
        decoded = text.decode("utf-8")
        found = json.loads(
            decoded, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant, parse_float=_finite
        )
        if "\\u" in decoded:
            json.dumps(found, ensure_ascii=False).encode("utf-8")  # attack: "\ud800" is a text that nothing can store
    except (ValueError, RecursionError):
        raise MalformedJSONError("it is not JSON, or ambiguous JSON") from None
    if not isinstance(found, dict):
        raise MalformedJSONError("it is not a JSON object")
    return found


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands twice")
    return found


def _refuse_constant(_: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is out of range")
    return number

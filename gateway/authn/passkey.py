"""The two ceremonies of passkeys as values: what the browser is asked, and whether its answer proves anything.

WebAuthn Level 3 §7.1 and §7.2. Who may have a passkey, whose it is and whether a challenge was used before is the
store's business. The library that knows CBOR, COSE and attestation is known here alone; it gets no bytes that were
not bounded first, and whatever it raises means no.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable
from enum import StrEnum
from hashlib import sha256
from ipaddress import ip_address
from typing import Any, Final, Literal

import msgspec
from webauthn import verify_authentication_response, verify_registration_response
from webauthn.helpers import parse_attestation_object
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import AttestationFormat, AuthenticatorTransport, CredentialDeviceType

UserVerification = Literal["required", "preferred", "discouraged"]
ResidentKey = Literal["required", "preferred", "discouraged"]

CEREMONY_S: Final = 300.0
"""A challenge is good for five minutes (WebAuthn §13.4.3 asks for an end; §15.1 recommends five to ten minutes)."""
CLOCKS_DIFFER_S: Final = 60.0
"""One node asks and another is answered, whose clock may be behind by so much."""
SPENT_S: Final = CEREMONY_S + CLOCKS_DIFFER_S
"""How long a challenge that was answered is remembered: no node takes it any longer."""
HANDLE_BYTES: Final = 64
"""Of the handle under which authenticators file a person's passkeys (WebAuthn §5.4.3): random, it says nothing of the person."""
MAX_ANSWER_CHARACTERS: Final = 32_768
"""Of the browser's answer as JSON: an attestation with a chain of certificates has about 8,000."""
MAX_ID_BYTES: Final = 1023
"""WebAuthn §7.1 step 25."""
MAX_NAME_CHARACTERS: Final = 64
ALGORITHMS: Final = (
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
)
"""Offered in this order (RFC 9053, RFC 8812): the first is the smallest, the last is what Windows Hello of old can do."""

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]{0,32768}")
_TRANSPORTS: Final = frozenset(transport.value for transport in AuthenticatorTransport)
_HASH_BYTES: Final = 32
_MIN_DATA_BYTES: Final = 37
_PRESENT, _VERIFIED = 0x01, 0x04


class Fault(StrEnum):
    """Why an answer proves nothing: one closed list, for the audit trail; people get one sentence for all."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    WRONG_CEREMONY = "wrong_ceremony"
    WRONG_CHALLENGE = "wrong_challenge"
    WRONG_ORIGIN = "wrong_origin"
    CROSS_ORIGIN = "cross_origin"
    WRONG_HOST = "wrong_host"
    NOT_PRESENT = "not_present"
    NOT_VERIFIED = "not_verified"
    UNKNOWN_PASSKEY = "unknown_passkey"
    ANOTHER_PERSON = "another_person"
    NOT_ACCEPTED = "not_accepted"
    """Signature, algorithm or attestation statement."""
    AUTHENTICATOR = "authenticator"
    """A make of authenticator that the operator does not allow, or one that cannot prove its make."""
    COPIED = "copied"
    """The signature counter did not grow: two authenticators use one key (WebAuthn §6.1.1)."""


class PasskeyRefusedError(Exception):
    """The answer proves nothing. Carries no byte of it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class RelyingParty(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: the host that passkeys are bound to, and the one origin the answer must come from."""

    id: str
    name: str
    origin: str
    """`https://host[:port]` of the page, as the browser writes it."""


class AuthenticatorRule(msgspec.Struct, frozen=True, kw_only=True):
    """What gateway.yaml says about new passkeys."""

    user_verification: UserVerification = "preferred"
    resident_key: ResidentKey = "preferred"
    attestation: Literal["none", "direct"] = "none"
    allowed: frozenset[str] = frozenset()
    """AAGUIDs; not empty = only these, and each must prove it by a chain to one of `roots`."""
    denied: frozenset[str] = frozenset()
    roots: tuple[bytes, ...] = ()
    """Certificates of makers of authenticators, PEM."""


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A new passkey, proven."""

    id: bytes
    public_key: bytes
    """COSE_Key."""
    sign_count: int
    aaguid: str
    user_verified: bool
    backup_eligible: bool
    """It may exist on several devices (a synchronised passkey)."""
    backed_up: bool
    transports: tuple[str, ...]


class Presented(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody shows, read and not believed."""

    id: bytes
    user_handle: bytes
    """Empty where the authenticator says none."""
    document: dict[str, Any]


class Proven(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey was used, by whoever has it."""

    sign_count: int
    user_verified: bool
    backed_up: bool
    copied: bool
    """The counter did not grow. The signature is good: whether that refuses is a rule's to say."""


def relying_party_id(host: str, preferred: str) -> str:
    """Name the host that passkeys made at `host` are bound to; empty where there can be none.

    The preferred one where `host` is it or under it, so that tenants below the gateway's own host share it; else
    `host` itself. An address is no name a passkey could be bound to (WebAuthn §5.1.2, HTML's registrable suffix).
    """
    try:
        ip_address(host)
    except ValueError:
        return preferred if host == preferred or host.endswith("." + preferred) else host
    return ""


def creation_options(
    relying_party: RelyingParty,
    *,
    challenge: bytes,
    handle: bytes,
    name: str,
    existing: Iterable[tuple[bytes, tuple[str, ...]]],
    rule: AuthenticatorRule,
) -> str:
    """Write what the browser is asked to make, as JSON (WebAuthn §5.1.8); `existing` are ids and transports of the person's."""
    return _json(
        {
            "rp": {"id": relying_party.id, "name": relying_party.name},
            "user": {"id": encode(handle), "name": name, "displayName": name},
            "challenge": encode(challenge),
            "pubKeyCredParams": [{"type": "public-key", "alg": int(algorithm)} for algorithm in ALGORITHMS],
            "timeout": int(CEREMONY_S * 1000),
            "excludeCredentials": _descriptors(existing),
            "authenticatorSelection": {
                "residentKey": rule.resident_key,
                "requireResidentKey": rule.resident_key == "required",
                "userVerification": rule.user_verification,
            },
            "attestation": rule.attestation,
        }
    )


def request_options(
    relying_party: RelyingParty,
    *,
    challenge: bytes,
    allowed: Iterable[tuple[bytes, tuple[str, ...]]],
    user_verification: UserVerification,
) -> str:
    """Write what the browser is asked to use, as JSON; nothing in `allowed` = any passkey that it finds for this host."""
    return _json(
        {
            "rpId": relying_party.id,
            "challenge": encode(challenge),
            "timeout": int(CEREMONY_S * 1000),
            "allowCredentials": _descriptors(allowed),
            "userVerification": user_verification,
        }
    )


def verify_registration(
    answer: str, *, challenge: bytes, relying_party: RelyingParty, rule: AuthenticatorRule
) -> Registered:
    """Return the passkey that a browser made (WebAuthn §7.1).

    Raises:
        PasskeyRefusedError: with why.

    """
    document = _read(answer)
    response = document["response"]
    _require_client_data(response, "webauthn.create", challenge, relying_party.origin)
    attested = decode(response.get("attestationObject"))
    try:
        attestation = parse_attestation_object(attested)
        data = attestation.auth_data
        flags, rp_hash = data.flags, data.rp_id_hash
    except Exception:  # noqa: BLE001 - a foreign parser on hostile bytes: whatever it raises means no
        raise PasskeyRefusedError(Fault.MALFORMED) from None
    _require_data(
        rp_hash, present=flags.up, verified=flags.uv, relying_party=relying_party, required=rule.user_verification
    )
    roots = {form: list(rule.roots) for form in AttestationFormat} if rule.roots else None
    try:
        verified = verify_registration_response(
            credential=document,
            expected_challenge=challenge,
            expected_rp_id=relying_party.id,
            expected_origin=relying_party.origin,
            require_user_verification=rule.user_verification == "required",
            supported_pub_key_algs=list(ALGORITHMS),
            pem_root_certs_bytes_by_fmt=roots,
        )
    except Exception:  # noqa: BLE001 - likewise
        raise PasskeyRefusedError(Fault.NOT_ACCEPTED) from None
    if decode(document["id"]) != verified.credential_id or not 0 < len(verified.credential_id) <= MAX_ID_BYTES:
        raise PasskeyRefusedError(Fault.MALFORMED)
    _require_make(verified.aaguid, chained=bool(attestation.att_stmt.x5c), rule=rule)
    transports = response.get("transports")
    return Registered(
        id=verified.credential_id,
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
        aaguid=verified.aaguid,
        user_verified=verified.user_verified,
        backup_eligible=verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
        backed_up=verified.credential_backed_up,
        transports=tuple(sorted(_TRANSPORTS.intersection(word for word in transports if isinstance(word, str))))
        if isinstance(transports, list)
        else (),
    )


def read_presented(answer: str) -> Presented:
    """Read which passkey somebody shows. Raises PasskeyRefusedError."""
    document = _read(answer)
    handle = document["response"].get("userHandle")
    presented = decode(document["id"])
    if not 0 < len(presented) <= MAX_ID_BYTES:
        raise PasskeyRefusedError(Fault.MALFORMED)
    return Presented(id=presented, user_handle=b"" if handle is None else decode(handle), document=document)


def verify_use(
    presented: Presented,
    *,
    challenge: bytes,
    relying_party: RelyingParty,
    public_key: bytes,
    sign_count: int,
    backup_eligible: bool,
    user_verification: UserVerification,
) -> Proven:
    """Return what the use of a passkey proves (WebAuthn §7.2); the last four arguments are what is known of the passkey, and the rule.

    Raises:
        PasskeyRefusedError: with why.

    """
    response = presented.document["response"]
    _require_client_data(response, "webauthn.get", challenge, relying_party.origin)
    data = decode(response.get("authenticatorData"))
    if len(data) < _MIN_DATA_BYTES:
        raise PasskeyRefusedError(Fault.MALFORMED)
    flags = data[_HASH_BYTES]
    _require_data(
        data[:_HASH_BYTES],
        present=bool(flags & _PRESENT),
        verified=bool(flags & _VERIFIED),
        relying_party=relying_party,
        required=user_verification,
    )
    try:
        verified = verify_authentication_response(
            credential=presented.document,
            expected_challenge=challenge,
            expected_rp_id=relying_party.id,
            expected_origin=relying_party.origin,
            credential_public_key=public_key,
            credential_current_sign_count=0,  # compared below, once the signature says that the number is the authenticator's
            require_user_verification=user_verification == "required",
        )
    except Exception:  # noqa: BLE001 - likewise
        raise PasskeyRefusedError(Fault.NOT_ACCEPTED) from None
    # §7.2 step 19: whether a passkey can be backed up never changes.
    if (verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE) is not backup_eligible:
        raise PasskeyRefusedError(Fault.NOT_ACCEPTED)
    count = verified.new_sign_count
    return Proven(
        sign_count=count,
        user_verified=verified.user_verified,
        backed_up=verified.credential_backed_up,
        copied=bool(count or sign_count) and count <= sign_count,
    )


def methods_of(proven: Proven, *, backup_eligible: bool) -> tuple[str, ...]:
    """Name what was proven as `amr` does (RFC 8176 §2): a key in hardware or software, and that its user was verified."""
    key = "swk" if backup_eligible else "hwk"
    return (key, "user") if proven.user_verified else (key,)


def encode(value: bytes) -> str:
    """Write bytes as the ceremonies do: base64url without padding."""
    return urlsafe_b64encode(value).decode("ascii").rstrip("=")


def decode(value: object) -> bytes:
    """Read base64url without padding, one spelling per value. Raises PasskeyRefusedError."""
    if not isinstance(value, str) or _BASE64URL.fullmatch(value) is None:
        raise PasskeyRefusedError(Fault.MALFORMED)
    try:
        raw = urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except (Base64Error, ValueError):
        raise PasskeyRefusedError(Fault.MALFORMED) from None
    if encode(raw) != value:
        raise PasskeyRefusedError(Fault.MALFORMED)
    return raw


class _Answer(msgspec.Struct):
    """PublicKeyCredentialJSON (WebAuthn §5.1.8), as far as anybody looks."""

    id: str
    rawId: str  # noqa: N815 - the standard's name
    type: Literal["public-key"]
    response: dict[str, Any]


class _ClientData(msgspec.Struct):
    """CollectedClientData (WebAuthn §5.8.1)."""

    type: str
    challenge: str
    origin: str
    crossOrigin: bool = False  # noqa: N815 - the standard's name
    topOrigin: str | None = None  # noqa: N815 - the name in the specification


def _read(answer: str) -> dict[str, Any]:
    if len(answer) > MAX_ANSWER_CHARACTERS:
        raise PasskeyRefusedError(Fault.TOO_LARGE)
    try:
        read = msgspec.json.decode(answer, type=_Answer)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise PasskeyRefusedError(Fault.MALFORMED) from None
    if read.id != read.rawId:
        raise PasskeyRefusedError(Fault.MALFORMED)
    return {"id": read.id, "rawId": read.rawId, "type": read.type, "response": read.response}


def _require_client_data(response: dict[str, Any], ceremony: str, challenge: bytes, origin: str) -> None:
    """Check what the browser says of the page that asked."""
    raw = decode(response.get("clientDataJSON"))
    try:
        said = msgspec.json.decode(raw, type=_ClientData)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise PasskeyRefusedError(Fault.MALFORMED) from None
    if said.type != ceremony:
        raise PasskeyRefusedError(Fault.WRONG_CEREMONY)
    if decode(said.challenge) != challenge:
        raise PasskeyRefusedError(Fault.WRONG_CHALLENGE)
    if said.origin != origin:  # attack: phishing
        raise PasskeyRefusedError(Fault.WRONG_ORIGIN)
    if said.crossOrigin or said.topOrigin is not None:  # attack: a frame in somebody else's page
        raise PasskeyRefusedError(Fault.CROSS_ORIGIN)


def _require_data(
    rp_hash: bytes, *, present: bool, verified: bool, relying_party: RelyingParty, required: UserVerification
) -> None:
    """Check what the authenticator says of the host and the person in front of it."""
    if rp_hash != sha256(relying_party.id.encode("ascii")).digest():
        raise PasskeyRefusedError(Fault.WRONG_HOST)
    if not present:
        raise PasskeyRefusedError(Fault.NOT_PRESENT)
    if required == "required" and not verified:
        raise PasskeyRefusedError(Fault.NOT_VERIFIED)


def _require_make(aaguid: str, *, chained: bool, rule: AuthenticatorRule) -> None:
    """Check the make of an authenticator against the operator's lists."""
    if aaguid in rule.denied:
        raise PasskeyRefusedError(Fault.AUTHENTICATOR)
    # Anybody can write an AAGUID; only a chain to a known maker proves it.
    if rule.allowed and (aaguid not in rule.allowed or not chained or not rule.roots):
        raise PasskeyRefusedError(Fault.AUTHENTICATOR)


def _descriptors(passkeys: Iterable[tuple[bytes, tuple[str, ...]]]) -> list[dict[str, Any]]:
    return [
        {"type": "public-key", "id": encode(identifier)} | ({"transports": list(transports)} if transports else {})
        for identifier, transports in passkeys
    ]


def _json(options: dict[str, Any]) -> str:
    return msgspec.json.encode(options).decode()

"""An authenticator in software that can lie: what a browser would send for it, as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from gateway.authn.passkey import decode, encode

AAGUID = "cb69481e-8ff7-4039-93ec-0a2729a154a8"
ES256, EDDSA, ES512 = -7, -8, -36

PRESENT, VERIFIED, ELIGIBLE, BACKED_UP, ATTESTED = 0x01, 0x04, 0x08, 0x10, 0x40


@dataclass
class Maker:
    """Whoever makes authenticators: a root, and what it signs."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.root = self._certificate("Maker root", self.key, ca=True)
        self.attestation_key = ec.generate_private_key(ec.SECP256R1())
        self.leaf = self._certificate("Maker batch 1", self.attestation_key, ca=False)

    @property
    def root_pem(self) -> bytes:
        return self.root.public_bytes(serialization.Encoding.PEM)

    def _certificate(self, name: str, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Maker root")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        return builder.sign(self.key, hashes.SHA256())


@dataclass
class Lies:
    """What to say instead of the truth."""

    origin: str | None = None
    relying_party: str | None = None
    kind: str | None = None
    cross_origin: bool | None = None
    top_origin: str | None = None
    challenge: bytes | None = None
    flags: int | None = None
    identifier: bytes | None = None
    user_handle: bytes | None = None
    sign_count: int | None = None
    key: Any = None
    algorithm: int | None = None
    stuffing: bytes = b""


TRUTH = Lies()


@dataclass
class Authenticator:
    """One passkey."""

    origin: str = "https://portal.example.com"
    relying_party: str = "portal.example.com"
    identifier: bytes = b"\x01" * 32
    algorithm: int = ES256
    flags: int = PRESENT | VERIFIED
    counts: bool = True
    maker: Maker | None = None
    aaguid: str = AAGUID
    transports: tuple[str, ...] = ("internal", "hybrid")
    user_handle: bytes = b""
    sign_count: int = 0

    def __post_init__(self) -> None:
        self.key: Any = (
            ed25519.Ed25519PrivateKey.generate()
            if self.algorithm == EDDSA
            else ec.generate_private_key(ec.SECP521R1() if self.algorithm == ES512 else ec.SECP256R1())
        )

    def copy(self) -> Authenticator:
        """Make the clone that somebody else has."""
        clone = replace(self)
        clone.key = self.key
        return clone

    def create(self, options: str, lies: Lies = TRUTH) -> str:
        """Answer `navigator.credentials.create()`."""
        asked = json.loads(options)
        self.user_handle = decode(asked["user"]["id"])
        client_data = self._client_data("webauthn.create", asked["challenge"], lies)
        identifier = self.identifier if lies.identifier is None else lies.identifier
        data = self._data(lies, ATTESTED) + bytes.fromhex(self.aaguid.replace("-", ""))
        data += len(identifier).to_bytes(2, "big") + identifier + cbor2.dumps(self._cose(lies.algorithm))
        form: str = "none"
        statement: dict[str, Any] = {}
        if self.maker is not None:
            key, leaf = self.maker.attestation_key, self.maker.leaf
            signature = key.sign(data + sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
            chain = [leaf.public_bytes(serialization.Encoding.DER)]
            form, statement = "packed", {"alg": ES256, "sig": signature, "x5c": chain}
        attestation = cbor2.dumps({"fmt": form, "attStmt": statement, "authData": data}) + lies.stuffing
        return self._answer(
            identifier,
            clientDataJSON=encode(client_data),
            attestationObject=encode(attestation),
            transports=list(self.transports),
        )

    def get(self, options: str, lies: Lies = TRUTH) -> str:
        """Answer `navigator.credentials.get()`."""
        asked = json.loads(options)
        if self.counts:
            self.sign_count += 1
        client_data = self._client_data("webauthn.get", asked["challenge"], lies)
        data = self._data(lies)
        signed = data + sha256(client_data).digest()
        key = lies.key or self.key
        signature = key.sign(signed) if self.algorithm == EDDSA else key.sign(signed, ec.ECDSA(hashes.SHA256()))
        handle = self.user_handle if lies.user_handle is None else lies.user_handle
        return self._answer(
            self.identifier if lies.identifier is None else lies.identifier,
            clientDataJSON=encode(client_data),
            authenticatorData=encode(data),
            signature=encode(signature),
            **({"userHandle": encode(handle)} if handle else {}),
        )

    def _client_data(self, kind: Literal["webauthn.create", "webauthn.get"], challenge: str, lies: Lies) -> bytes:
        said: dict[str, Any] = {
            "type": lies.kind or kind,
            "challenge": challenge if lies.challenge is None else encode(lies.challenge),
            "origin": lies.origin or self.origin,
            "crossOrigin": bool(lies.cross_origin),
        }
        if lies.top_origin is not None:
            said["topOrigin"] = lies.top_origin
        return json.dumps(said).encode()

    def _data(self, lies: Lies, more: int = 0) -> bytes:
        flags = self.flags if lies.flags is None else lies.flags
        count = self.sign_count if lies.sign_count is None else lies.sign_count
        host = lies.relying_party or self.relying_party
        return sha256(host.encode()).digest() + bytes([flags | more]) + count.to_bytes(4, "big")

    def _cose(self, algorithm: int | None) -> dict[int, Any]:
        public = self.key.public_key()
        if self.algorithm == EDDSA:
            raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            return {1: 1, 3: algorithm or EDDSA, -1: 6, -2: raw}
        numbers = public.public_numbers()
        size = 66 if self.algorithm == ES512 else 32
        curve = 3 if self.algorithm == ES512 else 1
        return {
            1: 2,
            3: algorithm or self.algorithm,
            -1: curve,
            -2: numbers.x.to_bytes(size, "big"),
            -3: numbers.y.to_bytes(size, "big"),
        }

    @staticmethod
    def _answer(identifier: bytes, **response: Any) -> str:
        return json.dumps(
            {"id": encode(identifier), "rawId": encode(identifier), "type": "public-key", "response": response}
        )

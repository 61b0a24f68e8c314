"""An issuer for tests: keys of every kind, and tokens as a hostile issuer could write them."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

HASHES = {"256": SHA256(), "384": SHA384(), "512": SHA512()}
CURVES = {"ES256": ("P-256", ec.SECP256R1()), "ES384": ("P-384", ec.SECP384R1()), "ES512": ("P-521", ec.SECP521R1())}


def base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def number(value: int, length: int = 0) -> str:
    return base64url(value.to_bytes(length or (value.bit_length() + 7) // 8))


def rsa_key(bits: int = 2048, exponent: int = 65537, which: int = 0) -> rsa.RSAPrivateKey:
    return _rsa_key(bits, exponent, which)


@cache
def _rsa_key(bits: int, exponent: int, which: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, bits)


def ec_key(algorithm: str = "ES256", which: int = 0) -> ec.EllipticCurvePrivateKey:
    return _ec_key(algorithm, which)


@cache
def _ec_key(algorithm: str, which: int) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(CURVES[algorithm][1])


def ed_key(which: int = 0) -> ed25519.Ed25519PrivateKey:
    return _ed_key(which)


@cache
def _ed_key(which: int) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def key_for(algorithm: str, which: int = 0) -> Any:
    if algorithm[:2] in ("RS", "PS"):
        return rsa_key(which=which)
    return ec_key(algorithm, which) if algorithm.startswith("ES") else ed_key(which)


def jwk(private: Any, **members: Any) -> dict[str, Any]:
    public = private.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        found = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    elif isinstance(public, ec.EllipticCurvePublicKey):
        point = public.public_numbers()
        name = next(curve for curve, kind in CURVES.values() if kind.name == public.curve.name)
        length = (public.key_size + 7) // 8
        found = {"kty": "EC", "crv": name, "x": number(point.x, length), "y": number(point.y, length)}
    else:
        found = {"kty": "OKP", "crv": "Ed25519", "x": base64url(public.public_bytes_raw())}
    return {**found, **members}


def jwks(*keys: Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def signature(private: Any, algorithm: str, signed: bytes) -> bytes:
    if isinstance(private, rsa.RSAPrivateKey):
        chosen = HASHES[algorithm[2:]]
        if algorithm.startswith("PS"):
            return private.sign(signed, padding.PSS(mgf=padding.MGF1(chosen), salt_length=chosen.digest_size), chosen)
        return private.sign(signed, padding.PKCS1v15(), chosen)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        length = (private.curve.key_size + 7) // 8
        r, s = decode_dss_signature(private.sign(signed, ec.ECDSA(HASHES[algorithm[2:]])))
        return r.to_bytes(length) + s.to_bytes(length)
    found: bytes = private.sign(signed)
    return found


def compact(private: Any, algorithm: str, header: bytes, payload: bytes) -> str:
    signed = f"{base64url(header)}.{base64url(payload)}"
    return f"{signed}.{base64url(signature(private, algorithm, signed.encode()))}"


def token(private: Any, algorithm: str, claims: Mapping[str, Any], **header: Any) -> str:
    members = {"alg": algorithm, **header}
    return compact(private, algorithm, json.dumps(members).encode(), json.dumps(claims).encode())

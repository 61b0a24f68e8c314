"""A certificate that the gateway signs for itself: enough to begin, and browsers warn about it.

For the first start and for tests of an installation; real people get one from an authority.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.server.tls import is_ip_address

LIFETIME: Final = timedelta(days=397)  # CA/Browser Forum baseline requirements, section 6.3.2 (until 2026)
_CLOCK_SKEW: Final = timedelta(hours=1)
_LONGEST_COMMON_NAME: Final = 64  # RFC 5280 appendix A.1, ub-common-name


def self_signed(hosts: list[str], *, now: float) -> tuple[bytes, bytes]:
    """Make a P-256 certificate for host names and IP addresses; returns certificate and key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:_LONGEST_COMMON_NAME])])
    alternatives: list[x509.GeneralName] = [
        x509.IPAddress(ip_address(host)) if is_ip_address(host) else x509.DNSName(host) for host in hosts
    ]
    begins = datetime.fromtimestamp(now, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins - _CLOCK_SKEW)
        .not_valid_after(begins + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    pem_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), pem_key

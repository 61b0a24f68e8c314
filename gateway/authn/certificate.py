"""What a client certificate says, and whom the operator lets it stand for.

That the certificate is genuine was settled in the handshake (RFC 8446 section 4.4). Nothing in it becomes
a user, a tenant or a role by itself: only an entry of the operator's table does.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.exchange.session import Session

UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What reading a certificate may raise: OpenSSL takes some that `cryptography` does not."""
HANDLE_DIGITS: Final = 32
"""Of the fingerprint, in the handle of a session: 128 bits name a certificate."""


class AmbiguousCertificateError(ValueError):
    """One certificate stands for two people."""


class ClientCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """One verified certificate of a client. Times are unix seconds."""

    fingerprint: str
    """SHA-256 of the whole certificate, hexadecimal."""
    subject: str
    """RFC 4514."""
    issuer: bytes
    """The issuer's name, DER: with the serial number it is what a revocation list names."""
    serial: int
    not_after: float
    properties: frozenset[tuple[str, str]]
    """Everything an entry of the table may ask for: `("san_dns", "host.example.com")`."""


class CertificateGrant(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the table: a certificate with this property is this person."""

    kind: str
    """`fingerprint`, `subject`, `san_dns`, `san_uri` or `san_email`."""
    value: str
    user: str
    tenant: str
    roles: tuple[str, ...]
    email: str = ""
    mfa: bool = False
    """The certificate counts as two factors."""

    @property
    def user_id(self) -> str:
        """Stable id of the person; never one of an account of the gateway's own."""
        return f"certificate:{self.tenant}:{self.user}"


def read_certificate(der: bytes) -> ClientCertificate:
    """Read a certificate. Raises ValueError when it cannot be read, whatever is wrong with it."""
    try:
        return _read(x509.load_der_x509_certificate(der))
    except UNREADABLE as error:
        raise ValueError("the certificate cannot be read") from error


def _read(certificate: x509.Certificate) -> ClientCertificate:
    fingerprint = certificate.fingerprint(SHA256()).hex()
    subject = certificate.subject.rfc4514_string()
    properties = {("fingerprint", fingerprint), ("subject", subject)}
    with suppress(x509.ExtensionNotFound):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        properties |= {("san_dns", name.lower()) for name in names.get_values_for_type(x509.DNSName)}
        properties |= {("san_uri", name) for name in names.get_values_for_type(x509.UniformResourceIdentifier)}
        properties |= {("san_email", name) for name in names.get_values_for_type(x509.RFC822Name)}
    return ClientCertificate(
        fingerprint=fingerprint,
        subject=subject,
        issuer=certificate.issuer.public_bytes(),
        serial=certificate.serial_number,
        not_after=certificate.not_valid_after_utc.timestamp(),
        properties=frozenset(properties),
    )


class CertificateRegister:
    """The operator's table of one listener."""

    __slots__ = ("_grants",)

    def __init__(self, grants: Iterable[CertificateGrant]) -> None:
        self._grants = {(grant.kind, grant.value): grant for grant in grants}

    def __bool__(self) -> bool:
        return bool(self._grants)

    def grant_of(self, certificate: ClientCertificate) -> CertificateGrant | None:
        """Find who a certificate stands for; None when nobody.

        Raises:
            AmbiguousCertificateError: entries of two people fit it.

        """
        found = {grant.user_id: grant for key in certificate.properties if (grant := self._grants.get(key))}
        if len(found) > 1:
            raise AmbiguousCertificateError(certificate.fingerprint)
        return next(iter(found.values()), None)


def session_of(grant: CertificateGrant, certificate: ClientCertificate, *, host: str, now: float) -> Session:
    """Make the session that a certificate stands for on one connection, proven by the handshake at `now`.

    It is in no store: it ends with the connection, the certificate, or the entry of the table. `amr` is
    `swk`, the weaker claim about a key (RFC 8176 section 2), or, where the operator vouches for two factors, `hwk` and `mfa`.
    """
    return Session(
        handle=f"cert-{certificate.fingerprint[:HANDLE_DIGITS]}",
        user_id=grant.user_id,
        user=grant.user,
        tenant=grant.tenant,
        roles=grant.roles,
        email=grant.email,
        amr=("hwk", "mfa") if grant.mfa else ("swk",),
        auth_time=now,
        mfa_time=now if grant.mfa else 0.0,
        created=now,
        expires=certificate.not_after,
        idle_s=max(0.0, certificate.not_after - now),
        host=host,
        secure=True,
        credential="certificate",
    )

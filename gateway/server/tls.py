"""The server side of TLS, built from PEM bytes: which certificates a listener has, and what it demands of clients.

Builds values; reads no file and opens no socket. A source of certificates other than files (ACME, a
secret store) has to fill the same `CertificateBytes` of the bundle and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.authn.certificate import UNREADABLE, CertificateGrant, CertificateRegister
from gateway.edge.tls import ListenerTLS, ServerContext, ServerSession
from gateway.server.bundle import CertificateBytes, ClientAuthorityBytes
from gateway.server.settings import ClientCertificates, Listener

ALPN_PROTOCOLS: Final = ("h2", "http/1.1")
"""What a TLS listener speaks, the best first (RFC 7301)."""
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and AEAD alone (RFC 9325 section 4.2); those of TLS 1.3 are all like that."""
CERTIFICATE_NOTICE_S: Final = 21 * 86400.0
"""From here on an ending certificate is a warning: three weeks, half of what ACME clients leave themselves."""
MIN_RSA_BITS: Final = 2048  # CA/Browser Forum baseline requirements, section 6.1.5
CURVES: Final = frozenset({"secp256r1", "secp384r1", "secp521r1"})
"""Of keys: those that browsers know, and that `openssl.cnf` lets an edge use."""
_MAX_NAMES_SHOWN: Final = 5


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What matters about one certificate of a listener. Times are unix seconds."""

    listener: str
    file: str
    """As messages name it."""
    names: tuple[str, ...]
    key: str
    """`RSA 2048`, `EC secp256r1`."""
    not_before: float
    not_after: float
    is_default: bool
    """Answers clients that ask for no name, and for unknown ones."""
    self_signed: bool

    def covers(self, host: str) -> bool:
        """Tell whether it stands for a host: a name that is equal, or one wildcard label (RFC 9525 section 6.3)."""
        return host in self.names or (not is_ip_address(host) and "*." + host.partition(".")[2] in self.names)


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """The TLS of one listener and what is to be said about it."""

    tls: ListenerTLS
    certificates: tuple[Certificate, ...]
    crl_ends: float | None
    """When the first of its revocation lists ends, unix seconds; None without one."""
    warnings: tuple[str, ...]


class _Loaded(msgspec.Struct, frozen=True, kw_only=True):
    files: CertificateBytes
    certificate: Certificate
    kind: str
    """RSA, EC or EdDSA: a context holds one certificate of each."""


def build_tls(
    listener: Listener, files: Sequence[CertificateBytes], authority: ClientAuthorityBytes | None, *, now: float
) -> Built:
    """Build everything a TLS listener needs.

    Raises:
        ValueError: with every error as a line of its own, each beginning with the file it is about; none holds key material.

    """
    assert listener.tls is not None  # noqa: S101 - the caller's choice
    address = str(listener.address)
    errors: list[str] = []
    loaded: list[_Loaded] = []
    for index, item in enumerate(files):
        try:
            loaded.append(_load(address, item, is_default=index == 0))
        except ValueError as error:
            errors.append(f"{item.name}: {error}")
    by_name: dict[str, list[_Loaded]] = {}
    for one in loaded:
        for name in one.certificate.names:
            others = by_name.setdefault(name, [])
            twin = next((other for other in others if other.kind == one.kind), None)
            if twin is not None:
                errors.append(
                    f"{one.files.name}: names {name}, as {twin.files.name} does with a key of the same kind; remove one"
                )
            others.append(one)
    asked = listener.asks_clients
    warnings: list[str] = []
    trust = None
    if asked is not None and authority is not None:
        try:
            trust = _Trust(asked, authority, now=now, warnings=warnings)
        except ValueError as error:
            errors += str(error).splitlines()
    if errors:
        raise ValueError("\n".join(errors))
    return Built(
        tls=_assemble(listener, loaded, by_name, trust),
        certificates=tuple(one.certificate for one in loaded),
        crl_ends=trust.crl_ends if trust else None,
        warnings=tuple(warnings),
    )


def _assemble(
    listener: Listener, loaded: list[_Loaded], by_name: dict[str, list[_Loaded]], trust: _Trust | None
) -> ListenerTLS:
    assert listener.tls is not None  # noqa: S101 - the caller's choice
    made: dict[tuple[str, ...], ServerContext] = {}

    def context_with(several: list[_Loaded]) -> ServerContext:
        key = tuple(one.files.name for one in several)
        if key not in made:
            made[key] = _context(listener, several, trust)
        return made[key]

    first = loaded[0]
    alike = next((several for several in by_name.values() if several[0] is first), [first])
    default = context_with(alike)
    names = {name: context_with(several) for name, several in by_name.items()}
    demands = hashlib.sha256(
        msgspec.msgpack.encode((listener.tls.min_version, trust.mode if trust else "off", trust.ca if trust else b""))
    ).hexdigest()
    digest = hashlib.sha256(
        msgspec.msgpack.encode(
            (
                demands,
                listener.tls.unknown_sni,
                listener.tls.http2,
                [(one.files.name, one.files.chain, one.files.key) for one in loaded],
                trust.crl if trust else b"",
                repr(listener.client_certificates),
            )
        )
    ).hexdigest()
    tls = ListenerTLS(
        address=str(listener.address),
        context=default,
        names=names,
        refuses_unknown=listener.tls.unknown_sni == "refuse",
        demands=demands,
        digest=digest,
        people=CertificateRegister(trust.grants if trust else ()),
        revoked=trust.revoked if trust else frozenset(),
        revoked_authorities=trust.revoked_authorities if trust else frozenset(),
    )
    for context in {default, *names.values()}:
        context.tls = tls
    default.sni_callback = tls.greet
    return tls


def _context(listener: Listener, several: list[_Loaded], trust: _Trust | None) -> ServerContext:
    """Build one context: TLS 1.2 with forward secrecy, or 1.3 (RFC 9325 section 4)."""
    assert listener.tls is not None  # noqa: S101 - the caller's choice
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = ServerSession
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if listener.tls.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(list(ALPN_PROTOCOLS if listener.tls.http2 else ALPN_PROTOCOLS[1:]))
    for one in several:
        with memory_file(one.files.chain) as chain_path, memory_file(one.files.key) as key_path:
            try:
                context.load_cert_chain(chain_path, key_path)
            except ssl.SSLError as error:
                raise ValueError(
                    f"{one.files.name}: is refused by OpenSSL: {error.reason or 'no reason given'}"
                ) from None
    if trust is not None:
        trust.install(context)
    return context


def _load(address: str, files: CertificateBytes, *, is_default: bool) -> _Loaded:
    try:
        private = load_pem_private_key(files.key, password=None)
    except TypeError:
        raise ValueError("its key has a passphrase; the gateway starts without a person: decrypt it") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("its key is not a PEM private key") from None
    try:
        chain = x509.load_pem_x509_certificates(files.chain)
        leaf = chain[0]
        names = _names(leaf)
    except (*UNREADABLE, IndexError):
        raise ValueError("is not a chain of PEM certificates, the leaf first") from None
    if leaf.public_key() != private.public_key():
        raise ValueError("does not belong to its key")
    kind, shown = _strength(leaf.public_key())
    for certificate in chain:
        # The signature of a root over itself proves nothing, so its hash does not matter.
        if isinstance(certificate.signature_hash_algorithm, (SHA1, MD5)) and certificate.issuer != certificate.subject:
            raise ValueError(f"is signed with {certificate.signature_hash_algorithm.name}, which clients refuse")
    return _Loaded(
        files=files,
        kind=kind,
        certificate=Certificate(
            listener=address,
            file=files.name,
            names=names,
            key=shown,
            not_before=leaf.not_valid_before_utc.timestamp(),
            not_after=leaf.not_valid_after_utc.timestamp(),
            is_default=is_default,
            self_signed=leaf.issuer == leaf.subject,
        ),
    )


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    names: dict[str, None] = {}
    with suppress(x509.ExtensionNotFound):
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names |= dict.fromkeys(name.lower().removesuffix(".") for name in alternative.get_values_for_type(x509.DNSName))
        names |= dict.fromkeys(str(address) for address in alternative.get_values_for_type(x509.IPAddress))
    return tuple(names)


def _strength(key: object) -> tuple[str, str]:
    """Name the kind and the size of a key. Raises ValueError for a weak one."""
    match key:
        case rsa.RSAPublicKey():
            if key.key_size < MIN_RSA_BITS:
                raise ValueError(f"its RSA key has {key.key_size} bits; {MIN_RSA_BITS} are the least")
            return "RSA", f"RSA {key.key_size}"
        case ec.EllipticCurvePublicKey():
            if key.curve.name not in CURVES:
                raise ValueError(f"its key is on {key.curve.name}; use secp256r1 or secp384r1")
            return "EC", f"EC {key.curve.name}"
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return "EdDSA", "EdDSA"
        case dsa.DSAPublicKey():
            raise ValueError("its key is DSA, which TLS no longer has; use EC or RSA")
        case _:
            raise ValueError("its key is of no kind that TLS knows")


class _Trust:
    """Whose certificates count on a listener, which of them no more, and for whom."""

    def __init__(
        self, asked: ClientCertificates, files: ClientAuthorityBytes, *, now: float, warnings: list[str]
    ) -> None:
        self.mode = asked.mode
        self.ca = files.ca
        self.crl = files.crl or b""
        try:
            authorities = x509.load_pem_x509_certificates(files.ca)
            for authority in authorities:
                _ = authority.extensions
        except UNREADABLE:
            raise ValueError(f"{files.ca_name}: holds no certificate that can be read (PEM)") from None
        for authority in authorities:
            with suppress(x509.ExtensionNotFound):
                if not authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
                    raise ValueError(f"{files.ca_name}: {authority.subject.rfc4514_string()} is not an authority")
            if authority.not_valid_after_utc.timestamp() <= now:
                warnings.append(
                    f"{files.ca_name}: {authority.subject.rfc4514_string()} has ended; its certificates are refused"
                )
        self.revoked: frozenset[tuple[bytes, int]] = frozenset()
        self.revoked_authorities: frozenset[bytes] = frozenset()
        self.crl_ends: float | None = None
        if self.crl:
            self.revoked, self.crl_ends = _revoked(files, authorities, now=now, warnings=warnings)
            self.revoked_authorities = _revoked_authorities(authorities, self.revoked)
        self.grants = tuple(
            CertificateGrant(
                kind=kind,
                value=value,
                user=item.user,
                tenant=item.tenant,
                roles=item.roles,
                email=item.email,
                mfa=item.mfa,
            )
            for item in asked.map
            for kind, value in item.properties.items()
        )

    def install(self, context: ssl.SSLContext) -> None:
        """Have a context ask for certificates and verify them in the handshake: nothing passes before."""
        context.verify_mode = ssl.CERT_REQUIRED if self.mode == "required" else ssl.CERT_OPTIONAL
        with memory_file(self.ca + b"\n" + self.crl) as path:
            context.load_verify_locations(cafile=path)
        if self.crl:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _revoked(
    files: ClientAuthorityBytes, authorities: list[x509.Certificate], *, now: float, warnings: list[str]
) -> tuple[frozenset[tuple[bytes, int]], float | None]:
    """Return what the revocation lists name, and when the first of them ends.

    Raises:
        ValueError: a list would not be believed, or is missing.

    """
    blocks = [
        b"-----BEGIN X509 CRL-----" + block for block in (files.crl or b"").split(b"-----BEGIN X509 CRL-----")[1:]
    ]
    try:
        lists = [x509.load_pem_x509_crl(block) for block in blocks]
    except ValueError:
        lists = []
    if not lists:
        raise ValueError(f"{files.crl_name}: holds no revocation list that can be read (PEM)")
    for authority in authorities:
        name = authority.subject.rfc4514_string()
        own = [item for item in lists if item.issuer == authority.subject]
        if not own:  # OpenSSL refuses each certificate whose authority has no list
            raise ValueError(f"{files.crl_name}: holds no revocation list of {name}")
        for item in own:
            try:
                genuine = item.is_signature_valid(authority.public_key())  # type: ignore[arg-type]  # any kind of key an authority has
            except (InvalidSignature, TypeError):
                genuine = False
            if not genuine:
                raise ValueError(f"{files.crl_name}: the revocation list of {name} is not signed by it")
            if item.next_update_utc is not None and item.next_update_utc.timestamp() <= now:
                warnings.append(
                    f"{files.crl_name}: the revocation list of {name} ended on {moment(item.next_update_utc.timestamp())}; "
                    "every client certificate of it is refused until there is a newer one"
                )
    ends = [item.next_update_utc.timestamp() for item in lists if item.next_update_utc is not None]
    return frozenset((item.issuer.public_bytes(), entry.serial_number) for item in lists for entry in item), (
        min(ends) if ends else None
    )


def _revoked_authorities(
    authorities: list[x509.Certificate], revoked: frozenset[tuple[bytes, int]]
) -> frozenset[bytes]:
    """Name the authorities none of whose certificates counts any more: revoked, or issued by one that is named here."""
    named: set[bytes] = set()
    while True:
        good = {
            one.subject.public_bytes()
            for one in authorities
            if (issuer := one.issuer.public_bytes()) not in named and (issuer, one.serial_number) not in revoked
        }
        found = {one.subject.public_bytes() for one in authorities} - good
        if found == named:
            return frozenset(named)
        named = found


def certificate_warnings(certificates: Sequence[Certificate], hosts: Sequence[str], now: float) -> list[str]:
    """Say what people will stumble over: certificates that end, and hosts that none of a listener names."""
    warnings = []
    for certificate in certificates:
        about = f"{certificate.listener}: the certificate {certificate.file}"
        if certificate.not_after <= now:
            warnings.append(f"{about} ended on {moment(certificate.not_after)}; browsers refuse it")
        elif certificate.not_after <= now + CERTIFICATE_NOTICE_S:
            warnings.append(f"{about} ends on {moment(certificate.not_after)}; renew it")
        if certificate.not_before > now:
            warnings.append(f"{about} begins on {moment(certificate.not_before)}; browsers refuse it until then")
        if certificate.key == "EdDSA":
            warnings.append(f"{about} has an EdDSA key, which browsers do not know; use EC or RSA")
        if not certificate.names:
            warnings.append(f"{about} has no subject alternative name; browsers refuse it")
    for address in dict.fromkeys(certificate.listener for certificate in certificates):
        own = [certificate for certificate in certificates if certificate.listener == address]
        uncovered = sorted(host for host in hosts if not any(certificate.covers(host) for certificate in own))
        if uncovered:
            what = f"the certificate {own[0].file} does" if len(own) == 1 else "its certificates do"
            warnings.append(f"{address}: {what} not name {', '.join(uncovered)}; browsers refuse it there")
    return warnings


def moment(seconds: float) -> str:
    """Write a time as people read it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def shown_names(certificate: Certificate) -> str:
    """List the names of a certificate for one line."""
    shown = ", ".join(certificate.names[:_MAX_NAMES_SHOWN]) or "no name"
    more = len(certificate.names) - _MAX_NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def is_ip_address(host: str) -> bool:
    """Tell whether a host is an IP address rather than a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@contextmanager
def memory_file(data: bytes) -> Iterator[str]:
    """Offer bytes as a path that exists only in this process: OpenSSL's chain loader reads files, keys touch no disk."""
    descriptor = os.memfd_create("gateway", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)

"""Whether a bundle may run: everything in it built once, every error of every file in one answer.

The supervisor, `gateway check` and the children judge by this one function, so that nothing passes
one of them and fails another. It builds values and opens no socket; reading files is `bundle`'s.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.document.source import DocumentError, load
from gateway.exchange.errors import ConfigurationError, KeyringError
from gateway.ledger.keys import AuditKeys
from gateway.policy import PolicyTable, compile_policy
from gateway.policy.cases import load_cases, run_cases
from gateway.policy.roles import Roles
from gateway.server.bundle import Bundle, read_bundle
from gateway.server.fields import parse_host, parse_origin
from gateway.server.settings import Listener, Settings, load_settings
from gateway.store.keyring import Keyring

CERTIFICATE_NOTICE_S: Final = 21 * 86400.0
"""From here on an ending certificate is a warning: three weeks, half of what ACME clients leave themselves."""


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What matters about the certificate of one listener. Times are unix seconds."""

    listener: str
    names: tuple[str, ...]
    not_after: float


class Validated(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that may run. Parts that were narrowed away are None."""

    bundle: Bundle
    settings: Settings
    table: PolicyTable
    keyring: Keyring | None
    audit_keys: AuditKeys | None
    contexts: dict[str, ssl.SSLContext]
    """Address of a TLS listener -> the server side of its TLS."""
    certificates: tuple[Certificate, ...]
    warnings: tuple[str, ...]


def validate(bundle: Bundle, *, now: float) -> Validated:
    """Build everything the bundle says.

    Raises:
        ConfigurationError: with every error that can be told.

    """
    settings = load_settings(bundle.settings, bundle.path)
    errors: list[str] = []
    warnings = settings.warnings()
    table = PolicyTable([], Roles({}), "")
    if bundle.policies:
        try:
            table, findings = compile_policy(
                bundle.policies,
                upstreams=settings.upstreams.keys(),
                tenants=settings.tenants.keys(),
                hosts=settings.hosts.keys(),
                mfa_required=settings.mfa.required == "always",
            )
            warnings += [f"{found.path}:{found.line}:{found.column}: {found.message}" for found in findings]
            errors += _failed_cases(bundle, settings, table, now)
        except DocumentError as error:
            errors += error.diagnostics
    keyring = audit_keys = None
    if bundle.keyring is not None:
        try:
            keyring = Keyring.parse(bundle.keyring)
        except KeyringError as error:
            errors.append(f"{settings.keyring.name}: {str(error).removeprefix('keyring: ')}")
    if bundle.audit_keys is not None:
        try:
            audit_keys = AuditKeys.parse(bundle.audit_keys, settings.audit.keys.name)
        except KeyringError as error:
            errors.append(str(error))
    contexts = {}
    certificates = []
    for index, listener in enumerate(settings.listen):
        if listener.tls and str(listener.address) in bundle.certificates:
            chain, key = bundle.certificates[str(listener.address)]
            try:
                contexts[str(listener.address)] = server_context(listener, chain, key)
                certificates.append(_certificate(listener, chain))
            except (ValueError, OSError) as error:
                errors.append(f"listen[{index}].tls: {listener.tls.certificate}: {error}")
    warnings += _certificate_warnings(certificates, settings, now)
    for name, pem in bundle.authorities.items():
        try:
            ssl.create_default_context(cadata=pem.decode("ascii"))
        except (ValueError, ssl.SSLError):
            errors.append(f"upstreams.{name}.tls.ca: holds no certificate that can be read (PEM)")
    if errors:
        raise ConfigurationError(tuple(errors))
    return Validated(
        bundle=bundle,
        settings=settings,
        table=table,
        keyring=keyring,
        audit_keys=audit_keys,
        contexts=contexts,
        certificates=tuple(certificates),
        warnings=tuple(warnings),
    )


def _failed_cases(bundle: Bundle, settings: Settings, table: PolicyTable, now: float) -> list[str]:
    """Run the policy's own cases: a policy that breaks its promises must not go live. Raises DocumentError."""
    cases = load_cases(bundle.cases, table=table, hosts=settings.hosts, tenants=frozenset(settings.tenants))
    results = run_cases(cases, table=table, hosts=settings.hosts, now=now)
    return [
        f"{result.case.source}: the case {result.case.name!r} fails: expected {result.expected}, got {result.actual}"
        for result in results
        if not result.passed
    ]


def read_and_validate(path: Path) -> Validated:
    """Read gateway.yaml and everything it names, and judge all of it.

    Raises:
        ConfigurationError: with every error of every file that could be read, and each that could not.

    """
    try:
        bundle, problems = read_bundle(path)
    except DocumentError as error:
        raise ConfigurationError((*error.diagnostics, *_policy_errors(path))) from None
    try:
        validated = validate(bundle, now=time.time())
    except ConfigurationError as error:
        raise ConfigurationError((*problems, *error.diagnostics)) from None
    if problems:
        raise ConfigurationError(tuple(problems))
    return validated


def _policy_errors(path: Path) -> tuple[str, ...]:
    """Judge the policies beside a gateway.yaml that is wrong itself, as far as its names can be read.

    Returns nothing rather than an error that only follows from another one.
    """
    try:
        data = load(path.read_text(encoding="utf-8"), path.name).data
        tenants = data.get("tenants", {})
        hosts = {parse_host(host) for tenant in tenants.values() for host in tenant["hosts"]}
        hosts.add(parse_origin(data["public_url"], "").host)
        upstreams = [str(name) for name in data["upstreams"]]
        directory = path.absolute().parent / data.get("policies", "policies")
        files = {f"{directory.name}/{file.name}": file.read_text(encoding="utf-8") for file in directory.glob("*.yaml")}
        if files:
            compile_policy(files, upstreams=upstreams, tenants=list(tenants), hosts=hosts)
    except DocumentError as error:
        return error.diagnostics if error.findings[0].path != path.name else ()
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # names that cannot be read: nothing to judge by
        return ()
    return ()


def server_context(listener: Listener, chain: bytes, key: bytes) -> ssl.SSLContext:
    """Build the server side of TLS from PEM bytes: TLS 1.2 with forward secrecy, or 1.3 (RFC 9325 section 4).

    Raises:
        ValueError: the chain or the key cannot be used, with a sentence that holds no key material.

    """
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("its key is not a PEM private key without a passphrase") from None
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
    except (ValueError, IndexError):
        raise ValueError("is not a chain of PEM certificates") from None
    if leaf.public_key() != private.public_key():
        raise ValueError("does not belong to its key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = (
        ssl.TLSVersion.TLSv1_3 if listener.tls and listener.tls.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    )
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    try:
        with _memory_file(chain) as chain_path, _memory_file(key) as key_path:
            context.load_cert_chain(chain_path, key_path)
    except ssl.SSLError as error:
        raise ValueError(f"is refused by OpenSSL: {error.reason or 'no reason given'}") from None
    return context


@contextmanager
def _memory_file(data: bytes) -> Iterator[str]:
    """Offer bytes as a path that exists only in this process: OpenSSL's chain loader reads files, keys touch no disk."""
    descriptor = os.memfd_create("gateway", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _certificate(listener: Listener, chain: bytes) -> Certificate:
    leaf = x509.load_pem_x509_certificates(chain)[0]
    names: list[str] = []
    with suppress(x509.ExtensionNotFound):
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names += [name.lower() for name in alternative.get_values_for_type(x509.DNSName)]
        names += [str(address) for address in alternative.get_values_for_type(x509.IPAddress)]
    return Certificate(
        listener=str(listener.address), names=tuple(names), not_after=leaf.not_valid_after_utc.timestamp()
    )


def _certificate_warnings(certificates: list[Certificate], settings: Settings, now: float) -> list[str]:
    warnings = []
    for certificate in certificates:
        ends = datetime.fromtimestamp(certificate.not_after, UTC).strftime("%Y-%m-%d %H:%M UTC")
        if certificate.not_after <= now:
            warnings.append(f"{certificate.listener}: the certificate ended on {ends}; browsers refuse it")
        elif certificate.not_after <= now + CERTIFICATE_NOTICE_S:
            warnings.append(f"{certificate.listener}: the certificate ends on {ends}; renew it")
        uncovered = sorted(
            host for host in settings.hosts if not any(_covers(name, host) for name in certificate.names)
        )
        if uncovered:
            warnings.append(
                f"{certificate.listener}: the certificate does not name {', '.join(uncovered)}; browsers refuse it there"
            )
    return warnings


def _covers(name: str, host: str) -> bool:
    """Tell whether a name of a certificate stands for a host: equal, or one wildcard label (RFC 9525 section 6.3)."""
    if name == host:
        return True
    return name.startswith("*.") and not is_ip_address(host) and host.partition(".")[2] == name[2:]


def is_ip_address(host: str) -> bool:
    """Tell whether a host is an IP address rather than a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

"""Everything the gateway runs on, read from disk once: gateway.yaml, policies, cases, certificates, keys.

Only the supervisor and the command line read files; a child gets the bytes it needs and no others.
What the bytes mean is `validate`'s to say.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from gateway.exchange.errors import ConfigurationError, KeyringError
from gateway.ledger.keys import AuditKeys
from gateway.pages.branding import Branding as Brand
from gateway.server.sections.secret import SecretFile, SecretSource, secret_files
from gateway.server.settings import TLS, ClientCertificates, Settings, load_settings
from gateway.store.keyring import read_keyring_bytes

Kind = Literal["edge", "pages", "audit", "custodian"]
"""What a child process does."""
_LARGEST_FILE: Final = 4 * 1024 * 1024
_OWNER_ONLY: Final = 0o077
_NOT_THE_WORLD: Final = 0o007


class CertificateBytes(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate chain and its key, PEM. `name` is what messages call it."""

    name: str
    chain: bytes
    key: bytes


class ClientAuthorityBytes(msgspec.Struct, frozen=True, kw_only=True):
    """The authorities of client certificates, PEM, and their revocation lists; the names are what messages call them."""

    ca_name: str
    ca: bytes
    crl_name: str = ""
    crl: bytes | None = None


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """One state of the configuration. Paths are as the operator should read them in a message."""

    path: str
    """Absolute path of gateway.yaml: relative paths in it start at its directory."""
    settings: str
    policies: dict[str, str]
    cases: dict[str, str] = {}
    candidate: dict[str, str] = {}
    """The files of the candidate's directory; empty where gateway.yaml names none."""
    candidate_cases: dict[str, str] = {}
    certificates: dict[str, tuple[CertificateBytes, ...]] = {}
    """Address of a TLS listener -> its certificates, the default first."""
    client_authorities: dict[str, ClientAuthorityBytes] = {}
    """Address of a listener that asks for client certificates -> whose count."""
    authorities: dict[str, bytes] = {}
    """Name of an upstream with its own CA -> PEM bundle."""
    upstream_certificates: dict[str, CertificateBytes] = {}
    """Name of an upstream -> what the gateway shows to its servers."""
    signs_on: tuple[str, ...] = ()
    """Names of upstreams whose form the pages fill in: they need what is said about their certificates."""
    secrets: dict[str, bytes] = {}
    """Dotted key of gateway.yaml that says `{file: …}` -> the content, less one line end."""
    mail_authority: bytes | None = None
    """Whose certificates the mail server may show, PEM."""
    provider_authorities: dict[str, bytes] = {}
    """Id of an identity provider with its own CA -> PEM bundle."""
    issuer_keys: dict[str, bytes] = {}
    """Id of an issuer of access tokens whose keys stand in a file -> the JWK Set."""
    issuer_authorities: dict[str, bytes] = {}
    """Id of such an issuer with its own CA -> PEM bundle."""
    passkey_roots: bytes | None = None
    """Who vouches for makes of authenticators, PEM."""
    logo: bytes | None = None
    """For the gateway's own pages, SVG."""
    catalogues: dict[str, bytes] = {}
    """Language tag -> the operator's compiled gettext catalogue."""
    tenant_logos: dict[str, bytes] = {}
    """Name of a tenant with a logo of its own -> the same."""
    keyring: bytes | None = None
    audit_keys: bytes | None = None
    witness_files: dict[str, bytes] = {}
    """Dotted key below `audit.witness` that names a file -> its content."""
    sink_files: dict[str, bytes] = {}
    """Dotted key below `audit.sinks` that names a file -> its content."""
    digest: str
    """SHA-256 over everything above, hexadecimal."""

    def narrow(self, kind: Kind) -> Bundle:
        """Leave out what a child of this kind has no business with: the audit's signing key above all."""
        match kind:
            case "edge":
                return msgspec.structs.replace(
                    self,
                    cases={},
                    candidate_cases={},
                    audit_keys=None,
                    witness_files={},
                    mail_authority=None,
                    sink_files={},
                    secrets=self._secrets_but("mail.", "identity.", "audit."),
                    provider_authorities={},
                    issuer_authorities={},
                    passkey_roots=None,
                )
            case "pages":
                return msgspec.structs.replace(
                    self,
                    cases={},
                    candidate_cases={},
                    audit_keys=None,
                    witness_files={},
                    sink_files={},
                    secrets=self._secrets_but("audit."),
                    certificates={},
                    client_authorities={},
                    authorities=_only(self.authorities, self.signs_on),
                    upstream_certificates=_only(self.upstream_certificates, self.signs_on),
                )
            case "audit" | "custodian":
                keys, secrets = self.audit_keys, {}
                if kind == "custodian":  # it talks to receivers of the log: it opens the log and cannot sign
                    keys = AuditKeys.parse(keys).dump_for_reading() if keys is not None else None
                    secrets = {key: secret for key, secret in self.secrets.items() if key.startswith("audit.")}
                return msgspec.structs.replace(
                    self,
                    audit_keys=keys,
                    witness_files=self.witness_files if kind == "custodian" else {},
                    sink_files=self.sink_files if kind == "custodian" else {},
                    cases={},
                    candidate={},
                    candidate_cases={},
                    policies={},
                    keyring=None,
                    secrets=secrets,
                    mail_authority=None,
                    provider_authorities={},
                    issuer_keys={},
                    issuer_authorities={},
                    passkey_roots=None,
                    catalogues={},
                    logo=None,
                    tenant_logos={},
                    certificates={},
                    client_authorities={},
                    authorities={},
                    upstream_certificates={},
                )

    def _secrets_but(self, *sections: str) -> dict[str, bytes]:
        return {key: secret for key, secret in self.secrets.items() if not key.startswith(sections)}

    def __repr__(self) -> str:  # secrets: the generated one would print keys and passwords
        return f"Bundle(path={self.path!r}, digest={self.digest!r})"


_Value = TypeVar("_Value")


def _only(values: dict[str, _Value], names: tuple[str, ...]) -> dict[str, _Value]:
    return {name: value for name, value in values.items() if name in names}


def brand_of(bundle: Bundle, settings: Settings, tenant: str) -> Brand:
    """Build the look of our pages on the hosts of a tenant; the general one where it has none. Raises ValueError."""
    branding = settings.branding_of(tenant)
    logo = bundle.tenant_logos.get(tenant, b"") if branding.logo != settings.branding.logo else bundle.logo or b""
    return branding.values(logo)


def read_bundle(path: Path) -> tuple[Bundle, list[str]]:
    """Read gateway.yaml at `path` and every file it names.

    Returns the bundle and what is wrong with files: missing, readable by others, not text. What could
    not be read is left out, so that the rest can still be judged in the same run.

    Raises:
        ConfigurationError: with every error of gateway.yaml itself.

    """
    errors: list[str] = []
    path = path.absolute()
    text = read_text(path, path.name, errors)
    if text is None:
        raise ConfigurationError(tuple(errors))
    settings = load_settings(text, path)
    base = path.parent
    policies, cases = _read_policies(settings.policies, base, errors)
    candidate, candidate_cases = _read_policies(settings.candidate, base, errors) if settings.candidate else ({}, {})
    certificates = {}
    client_authorities = {}
    for listener in settings.listen:
        if listener.tls:
            certificates[str(listener.address)] = read_certificates(listener.tls, base, errors)
        if listener.asks_clients:
            asked = _read_client_authority(listener.asks_clients, base, errors)
            if asked is not None:
                client_authorities[str(listener.address)] = asked
    authorities = {}
    upstream_certificates = {}
    for name, upstream in settings.upstreams.items():
        if upstream.tls.ca:
            pem = _read(upstream.tls.ca, display_name(upstream.tls.ca, base), errors)
            if pem is not None:
                authorities[name] = pem
        if upstream.tls.certificate and upstream.tls.key:
            shown = display_name(upstream.tls.certificate, base)
            chain = _read(upstream.tls.certificate, shown, errors)
            key = _read(upstream.tls.key, display_name(upstream.tls.key, base), errors, forbidden=_NOT_THE_WORLD)
            if chain is not None and key is not None:
                upstream_certificates[name] = CertificateBytes(name=shown, chain=chain, key=key)
    logo = None
    if settings.branding.logo:
        logo = _read(settings.branding.logo, display_name(settings.branding.logo, base), errors)
    tenant_logos = {}
    for name, tenant in settings.tenants.items():
        if tenant.branding is not None and tenant.branding.logo:
            found = _read(tenant.branding.logo, display_name(tenant.branding.logo, base), errors)
            if found is not None:
                tenant_logos[name] = found
    catalogues = _read_catalogues(settings.texts.catalogues, base, errors) if settings.texts.catalogues else {}
    secrets = {}
    for place, secret in secret_files(settings):
        if secret.file is None:
            content, shown = _read_variable(secret.env or "", errors), f"${secret.env}"
        else:
            shown = display_name(secret.file, base)
            content = _read(secret.file, shown, errors, forbidden=_NOT_THE_WORLD)
        if content is not None:
            secrets[place] = content.removesuffix(b"\n").removesuffix(b"\r")
            if not secrets[place]:
                errors.append(f"{shown}: is empty, and {place} needs a secret")
    provider_authorities = {}
    for provider in settings.identity.federated:
        if provider.ca:
            pem = _read(provider.ca, display_name(provider.ca, base), errors)
            if pem is not None:
                provider_authorities[provider.id] = pem
    issuer_keys, issuer_authorities = {}, {}
    for issuer in settings.identity.issuers:
        if issuer.keys is not None and issuer.keys.file is not None:
            document = _read(issuer.keys.file, display_name(issuer.keys.file, base), errors)
            if document is not None:
                issuer_keys[issuer.id] = document
        if issuer.ca:
            pem = _read(issuer.ca, display_name(issuer.ca, base), errors)
            if pem is not None:
                issuer_authorities[issuer.id] = pem
    mail_authority = None
    if settings.mail and settings.mail.smtp.ca:
        mail_authority = _read(settings.mail.smtp.ca, display_name(settings.mail.smtp.ca, base), errors)
    passkey_roots, roots = None, settings.mfa.passkeys.roots
    if roots is not None:
        passkey_roots = _read(roots, display_name(roots, base), errors)
    keyring = None
    try:
        keyring = read_keyring_bytes(settings.keyring)
    except KeyringError as error:
        errors.append(str(error))
    audit_keys = _read(settings.audit.keys, display_name(settings.audit.keys, base), errors, forbidden=_OWNER_ONLY)
    witness_files = {}
    for place, location, is_secret in settings.audit.witness.files():
        found = _read(location, display_name(location, base), errors, forbidden=_OWNER_ONLY if is_secret else 0)
        if found is not None:
            witness_files[place] = found
    sink_files = {}
    for number, sink in enumerate(settings.audit.sinks):
        for member, location, is_secret in sink.files():
            found = _read(location, display_name(location, base), errors, forbidden=_NOT_THE_WORLD if is_secret else 0)
            if found is not None:
                sink_files[f"audit.sinks[{number}].{member}"] = found
    bundle = Bundle(
        path=str(path),
        settings=text,
        policies=policies,
        cases=cases,
        candidate=candidate,
        candidate_cases=candidate_cases,
        certificates=certificates,
        client_authorities=client_authorities,
        authorities=authorities,
        upstream_certificates=upstream_certificates,
        signs_on=tuple(name for name, own in settings.upstreams.items() if own.sign_on and own.sign_on.type == "form"),
        secrets=secrets,
        mail_authority=mail_authority,
        provider_authorities=provider_authorities,
        issuer_keys=issuer_keys,
        issuer_authorities=issuer_authorities,
        passkey_roots=passkey_roots,
        logo=logo,
        tenant_logos=tenant_logos,
        catalogues=catalogues,
        keyring=keyring,
        audit_keys=audit_keys,
        witness_files=witness_files,
        sink_files=sink_files,
        digest="",
    )
    digest = hashlib.sha256(msgspec.msgpack.encode(bundle, order="sorted")).hexdigest()
    return msgspec.structs.replace(bundle, digest=digest), errors


def _read_policies(directory: Path, base: Path, errors: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Read the policies of a directory, and the cases in its `tests`."""
    before = len(errors)
    policies = read_directory(directory, base, errors)
    if not policies and len(errors) == before:
        errors.append(
            f"{display_name(directory, base)}: holds no policy (*.yaml); without one every request is refused"
        )
    cases = directory / "tests"
    return policies, read_directory(cases, base, errors) if is_there(cases) else {}


def _read_catalogues(directory: Path, base: Path, errors: list[str]) -> dict[str, bytes]:
    """Read each *.mo of a directory by its language."""
    found: dict[str, bytes] = {}
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        errors.append(f"{display_name(directory, base)}: {_sentence(error)}")
        return found
    for entry in entries:
        if entry.suffix == ".mo" and (content := _read(entry, display_name(entry, base), errors)) is not None:
            found[entry.stem] = content
    if not found and not errors:
        errors.append(f"{display_name(directory, base)}: holds no catalogue (*.mo); compile one with msgfmt")
    return found


def read_certificates(tls: TLS, base: Path, errors: list[str]) -> tuple[CertificateBytes, ...]:
    """Read every certificate of a listener; one that cannot be read is noted in `errors` and left out."""
    found = []
    for pair in tls.pairs:
        name = display_name(pair.certificate, base)
        chain = _read(pair.certificate, name, errors)
        key = _read(pair.key, display_name(pair.key, base), errors, forbidden=_NOT_THE_WORLD)
        if chain is not None and key is not None:
            found.append(CertificateBytes(name=name, chain=chain, key=key))
    return tuple(found)


def _read_client_authority(asked: ClientCertificates, base: Path, errors: list[str]) -> ClientAuthorityBytes | None:
    ca_name = display_name(asked.ca, base)
    ca = _read(asked.ca, ca_name, errors)
    crl_name, crl = "", None
    if asked.crl is not None:
        crl_name = display_name(asked.crl, base)
        crl = _read(asked.crl, crl_name, errors)
        if crl is None:
            return None
    return None if ca is None else ClientAuthorityBytes(ca_name=ca_name, ca=ca, crl_name=crl_name, crl=crl)


def display_name(path: Path, base: Path) -> str:
    """Write a path as messages name it: relative to `base` where it lies below."""
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)


def read_directory(directory: Path, base: Path, errors: list[str]) -> dict[str, str]:
    """Read each *.yaml of a directory by its name relative to `base`; whatever cannot be read is noted in `errors`.

    What looks like one and is none, by its ending or because it is a directory, is an error, not overlooked.
    """
    texts: dict[str, str] = {}
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        errors.append(f"{display_name(directory, base)}: {_sentence(error)}")
        return texts
    for entry in entries:
        shown = display_name(entry, base)
        if entry.name.startswith("."):
            continue
        if entry.suffix == ".yaml":
            text = read_text(entry, shown, errors)
            if text is not None:
                texts[shown] = text
        elif entry.suffix in {".yml", ".json"} and not os.path.isdir(entry):  # noqa: PTH112 - never raises
            errors.append(f"{shown}: is not read; rename it to {entry.stem}.yaml or move it away")
    return texts


def is_there(path: Path) -> bool:
    """Whether anything has that name; what cannot be looked at counts, so that reading it says why."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def read_secret(place: str, secret: SecretFile | SecretSource) -> bytes:
    """Read one secret alone, for a program that needs no bundle; `place` is its dotted key.

    Raises:
        ConfigurationError: it is missing, empty, or readable by others.

    """
    errors: list[str] = []
    if secret.file is None:
        content = _read_variable(secret.env or "", errors)
    else:
        content = _read(secret.file, str(secret.file), errors, forbidden=_NOT_THE_WORLD)
    content = (content or b"").removesuffix(b"\n").removesuffix(b"\r")
    if not content:
        raise ConfigurationError(tuple(errors) or (f"{place}: the secret is empty",))
    return content


def read_text(path: Path, shown: str, errors: list[str]) -> str | None:
    """Read one file of text; note the error, named as `shown`, when it is missing, unreadable or not UTF-8."""
    data = _read(path, shown, errors)
    if data is None:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        errors.append(f"{shown}:{line}:1: the file is not UTF-8")
        return None


def _read(path: Path, shown: str, errors: list[str], *, forbidden: int = 0) -> bytes | None:
    """Read one file whose mode has none of the bits of `forbidden`; note the error otherwise."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hang the reader
    except OSError as error:
        errors.append(f"{shown}: {_sentence(error)}")
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            errors.append(f"{shown}: is not a file")
        elif status.st_mode & forbidden:
            mode = stat.S_IMODE(status.st_mode)
            errors.append(f"{shown}: is readable by others (mode {mode:04o}); run: chmod 600 {shown}")
        elif status.st_size > _LARGEST_FILE:
            errors.append(f"{shown}: is larger than {_LARGEST_FILE} bytes")
        else:
            with os.fdopen(descriptor, "rb", closefd=False) as file:  # refuses directories, and does not close them
                return file.read(_LARGEST_FILE)
    except OSError as error:
        errors.append(f"{shown}: {_sentence(error)}")
    finally:
        os.close(descriptor)
    return None


def _read_variable(name: str, errors: list[str]) -> bytes | None:
    """Read a secret from the environment; note the error when it is not there."""
    value = os.environb.get(name.encode())
    if value is None:
        errors.append(f"${name}: is not in the environment of the gateway")
    return value


def _sentence(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, PermissionError):
        return f"cannot be read by the user id {os.geteuid()}"
    return f"cannot be read: {os.strerror(error.errno or 0).lower()}"

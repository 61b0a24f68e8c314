"""`gateway init`: a new configuration directory that starts, refuses by default and explains itself."""

from __future__ import annotations

import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from gateway.cli.invocation import current
from gateway.cli.policy.schema import KINDS, schema_text
from gateway.cli.starter import CASES, CONFIGURATION, FIRST_TENANT, OWN_HOST, POLICY, SHARED
from gateway.exchange.errors import ConfigurationError
from gateway.ledger.keys import AuditKeys
from gateway.server.certificate import self_signed
from gateway.server.fields import Address, Origin, parse_address, parse_origin
from gateway.server.settings import load_settings
from gateway.store.keyring import Keyring

_PRIVATE: Final = 0o700
_NODE_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")


class _OriginType(click.ParamType[Origin]):
    """Scheme, host and port on the command line."""

    name = "URL"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Origin:
        try:
            return parse_origin(value, "scheme, host and port, such as https://portal.example.com")
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _AddressType(click.ParamType[Address]):
    """IP address and port on the command line."""

    name = "ADDRESS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        try:
            return parse_address(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(short_help="Write a new configuration directory.")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--public-url",
    type=_OriginType(),
    default="https://localhost:8443",
    show_default=True,
    help="What browsers will ask for.",
)
@click.option(
    "--upstream",
    type=_OriginType(),
    default="http://127.0.0.1:3000",
    show_default=True,
    help="The portal behind the gateway.",
)
@click.option(
    "--listen", type=_AddressType(), default="0.0.0.0:8443", show_default=True, help="Where browsers connect."
)
@click.option("--tenant", help="Give the host of the public URL to this tenant alone.")
def init(directory: Path, public_url: Origin, upstream: Origin, listen: Address, tenant: str | None) -> None:
    """Write gateway.yaml, a first policy with its cases, fresh keys and a self-signed certificate to DIRECTORY.

    DIRECTORY must be new or empty. Nothing is asked, nothing is started, nobody is allowed in yet.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigurationError((f"{directory}: exists and is not an empty directory; choose another one",))
    kind = "tls: {certificate: config/tls/cert.pem, key: config/tls/key.pem}"
    if public_url.scheme == "http":
        kind = "unsafe_plaintext: true          # passwords and sessions travel in the clear"
    text = CONFIGURATION.substitute(
        public_url=public_url,
        listen=listen,
        listener=kind,
        upstream=upstream,
        tenants=OWN_HOST.substitute(tenant=tenant, host=_bracketed(public_url.host)) if tenant else SHARED,
    )
    load_settings(text, directory / "gateway.yaml")  # whatever was given must make a configuration that passes `check`
    tenant = tenant or FIRST_TENANT
    written = _write(directory, text, public_url, tenant)
    names = [str(path.relative_to(directory)) for path in written]
    current().answer(
        {"directory": str(directory), "files": names},
        _next_steps(directory, names, tenant) + _port_note(public_url, listen),
    )


def _port_note(public_url: Origin, listen: Address) -> str:
    """Say that browsers ask for another port than the one that is listened on."""
    if public_url.port == listen.port:
        return ""
    return (
        f"\nBrowsers ask for port {public_url.port}, the gateway listens on {listen.port}: "
        f"forward one to the other, or change listen in gateway.yaml."
    )


def _write(directory: Path, text: str, public_url: Origin, tenant: str) -> list[Path]:
    now = time.time()
    tls = directory / "config" / "tls"
    cases = directory / "policies" / "tests"
    schemas = directory / "config" / "schema"
    try:
        for folder in (directory, directory / "config", tls):
            folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        cases.mkdir(parents=True)
        schemas.mkdir()
        files = {
            directory / "gateway.yaml": text,
            directory / "policies" / "portal.yaml": POLICY,
            cases / "portal.yaml": CASES.substitute(public_url=public_url, tenant=tenant),
            **{schemas / f"{kind}.json": schema_text(kind) for kind in KINDS},
        }
        for path, content in files.items():
            path.write_text(content, encoding="utf-8")
        certificate, key = self_signed([public_url.host], now=now)
        _write_private(tls / "cert.pem", certificate)
        _write_private(tls / "key.pem", key)
    except OSError as error:
        raise ConfigurationError(
            (f"{directory}: cannot be written: {(error.strerror or 'unknown error').lower()}",)
        ) from error
    keyring, audit_keys = directory / "config" / "keyring.json", directory / "config" / "audit-keys.json"
    Keyring.generate(os.urandom, now).create(keyring)
    created = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    AuditKeys.generate(origin=_node_name(), created=created, random=os.urandom).create(audit_keys)
    return [*files, tls / "cert.pem", tls / "key.pem", keyring, audit_keys]


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _node_name() -> str:
    """Name this machine in the checkpoints of the audit log."""
    return "".join(letter for letter in socket.gethostname().lower() if letter in _NODE_LETTERS) or "gateway"


def _bracketed(host: str) -> str:
    return f'"[{host}]"' if ":" in host else host


def _next_steps(directory: Path, names: list[str], tenant: str) -> str:
    config = directory / "gateway.yaml"
    lines = [
        f"Wrote {directory}:",
        *(f"  {name}" for name in names),
        "",
        "Next:",
        f"  gateway check -c {config}",
        f"  gateway user add NAME --tenant {tenant} --role client -c {config}",
        f"  gateway run -c {config}",
        "",
        "The certificate is self-signed: browsers warn until you replace config/tls/.",
        "Keep a copy of config/keyring.json and config/audit-keys.json somewhere safe: nothing opens the state without them.",
    ]
    return "\n".join(lines)

"""`gateway doctor`: what is weak or wrong about this gateway and the machine it is on, in plain words.

It looks and says; it changes nothing. What makes a configuration invalid is `check`'s to say.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import resource
import shutil
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal, NamedTuple

import click

from gateway.cli.invocation import current
from gateway.custody.sinks.cursor import CursorFile
from gateway.exchange.errors import GatewayError
from gateway.exchange.route import Durability
from gateway.inspection.tuning import Mode
from gateway.inspection.upload.scanning import ScanFailedError
from gateway.post.smtp import NotTakenError
from gateway.quarantine.clamd import Clamd, parse_address
from gateway.server.confine import landlock_version
from gateway.server.descriptors import files_needed
from gateway.server.mailing import build_submission
from gateway.server.provider_check import ask_provider
from gateway.server.run_directory import running_process
from gateway.server.settings import LOGIN_LIMIT, Settings
from gateway.server.sinks import CURSORS, probe_sinks
from gateway.server.state import redis_options, try_redis
from gateway.server.validate import Validated, read_and_validate

_SMALL_BACKLOG: Final = 1024
_LITTLE_SPACE_BYTES: Final = 1 << 30
_WIDE_PREFIX: Final = {4: 8, 6: 16}
_ASK_TIMEOUT_S: Final = 3.0
_VOLATILE: Final = frozenset({"tmpfs", "ramfs"})
_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"})
_OK: Final = 200
_SHOWN: Final = 5


class Finding(NamedTuple):
    """One thing to know."""

    kind: Literal["wrong", "weak"]
    """`wrong` does not work as it should; `weak` works and could be safer."""
    subject: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}: {self.sentence}"


@click.command(short_help="Say in plain words what is weak or wrong.")
def doctor() -> None:
    """Look at the configuration, the machine and, if it runs, the gateway, and say what is weak or wrong.

    Exit 0 when nothing is wrong, 1 when something is, 2 when the configuration may not run at all.
    """
    invocation = current()
    validated = read_and_validate(invocation.config)
    settings = validated.settings
    findings = [
        *_configuration(validated),
        *_machine(settings),
        *_state(validated),
        *_attacks(validated),
        *_uploads(validated),
        *_mail(validated),
        *_sinks(validated),
        *_running(settings),
    ]
    findings += _providers(validated)
    answer = [finding._asdict() for finding in findings]
    invocation.answer({"findings": answer}, "\n".join(map(str, findings)) or "nothing is wrong, nothing is weak")
    if any(finding.kind == "wrong" for finding in findings):
        raise click.exceptions.Exit(1)


def _configuration(validated: Validated) -> Iterator[Finding]:
    settings = validated.settings
    for warning in validated.warnings:
        yield Finding("weak", "gateway.yaml", warning)
    if settings.mfa.required != "always":
        yield Finding(
            "weak", "mfa", "people without a second factor sign in with a password alone; set mfa.required: always"
        )
    if not any(limit.per == "ip" for name, limit in settings.limits.items() if name != LOGIN_LIMIT):
        yield Finding("weak", "limits", "no limit per address stands before the state store; add limits.client")
    if settings.audit.durability is Durability.ASYNC:
        yield Finding(
            "weak", "audit.durability", "answers leave before their record is on disk; a power cut can lose records"
        )
    if settings.audit.witness.policy is None:
        yield Finding(
            "weak",
            "audit.witness",
            "nobody else vouches for the log: whoever has its key can rewrite it; see docs/witness.md",
        )
    if not settings.headers.hsts and settings.public_url.scheme == "https":
        yield Finding("weak", "headers.hsts", "browsers may ask over plain HTTP; set 2y once every host has TLS")
    console = settings.admin.console
    if console is not None and console.enabled and console.networks is None:
        yield Finding("weak", "admin.console", "the console can be opened from everywhere; name its networks")
    for network in settings.trusted_proxies:
        if network.prefixlen < _WIDE_PREFIX[network.version]:
            yield Finding(
                "weak",
                "trusted_proxies",
                f"{network} is wide: everybody in it chooses the address that limits and audit see",
            )
    for certificate in validated.certificates:
        if certificate.self_signed:
            yield Finding(
                "weak",
                f"certificate of {certificate.listener}",
                f"{certificate.file} is self-signed: browsers warn, and people learn to ignore it",
            )
    for index, listener in enumerate(settings.listen):
        if listener.asks_clients and listener.asks_clients.crl is None:
            yield Finding(
                "weak",
                f"listen[{index}].client_certificates",
                "there is no crl: a certificate that was stolen stays good until it ends",
            )
    if "OPENSSL_CONF" in os.environ and any(listener.tls for listener in settings.listen):
        yield Finding(
            "weak",
            "OPENSSL_CONF",
            "is set and replaces what the gateway tells OpenSSL; set Groups to curves in it (docs/tls.md)",
        )


def _providers(validated: Validated) -> Iterator[Finding]:
    """Ask each identity provider for what it tells everybody."""
    for rules in validated.settings.identity.federated:
        subject = f"identity provider {rules.id}"
        wrong, weak = asyncio.run(ask_provider(rules, validated.bundle))
        yield from (Finding("wrong", subject, sentence) for sentence in wrong)
        yield from (Finding("weak", subject, sentence) for sentence in weak)


def _attacks(validated: Validated) -> Iterator[Finding]:
    """Name the routes on which attacks are not looked for, or stop nothing."""
    modes = {name: validated.inspections.get(name) for name in validated.table.routes}
    unseen = [name for name, item in modes.items() if item is None or item.tuning.mode is Mode.OFF]
    passing = [name for name, item in modes.items() if item is not None and item.tuning.mode is Mode.DETECT]
    if unseen:
        yield Finding(
            "weak",
            "inspection.waf",
            f"attacks in requests are not looked for on {_routes(unseen)}; set waf: detect, then block",
        )
    if passing:
        yield Finding("weak", "inspection.waf", f"attacks in requests are recorded and pass on {_routes(passing)}")


def _routes(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"the routes {shown}" + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _uploads(validated: Validated) -> Iterator[Finding]:
    """Ask each antivirus for its version, and look at what uploads may be."""
    found = {id(item): item.section.uploads for item in validated.inspections.values()}
    uploads = [rules for rules in found.values() if rules is not None]
    for clamd in sorted({rules.antivirus.clamd for rules in uploads if rules.antivirus is not None}):
        try:
            Clamd(parse_address(clamd), _ASK_TIMEOUT_S).version()
        except ScanFailedError as error:
            yield Finding("wrong", f"antivirus {clamd}", str(error))
    if any(rules.antivirus is not None and rules.antivirus.on_failure == "allow" for rules in uploads):
        yield Finding("weak", "inspection.uploads", "uploads pass while the antivirus is away; set on_failure: refuse")
    if any(rules.types is None for rules in uploads):
        yield Finding("weak", "inspection.uploads", "files of every type pass that is not run somewhere; list types")
    largest = max((rules.max_size for rules in uploads), default=0)
    if largest > validated.settings.http.max_body:
        yield Finding("wrong", "inspection.uploads", "max_size is more than http.max_body, which counts first")


def _mail(validated: Validated) -> Iterator[Finding]:
    mail = validated.settings.mail
    if mail is None:
        if validated.settings.identity.passwords:
            yield Finding(
                "weak", "mail", "nobody is told of a new device, and a forgotten password needs an operator; add mail"
            )
        return
    try:
        asyncio.run(build_submission(mail, validated.bundle).verify())
    except NotTakenError as error:
        yield Finding("wrong", "mail", f"{mail.smtp.host}:{mail.smtp.port_in_use}: {error}")


def _sinks(validated: Validated) -> Iterator[Finding]:
    """Connect to each receiver of the audit log, without delivering anything, and look how far it is."""
    settings = validated.settings
    answers = asyncio.run(probe_sinks(settings, validated.bundle))
    for sink in settings.audit.sinks:
        subject = f"audit sink {sink.name}"
        if sink.name in answers:
            yield Finding("wrong", subject, answers[sink.name])
        for stream in sink.streams:
            refused = CursorFile(settings.state_dir / CURSORS, sink.name, stream).count_dead()
            if refused:
                yield Finding(
                    "wrong",
                    subject,
                    f"records of {stream} that it refused for good: {refused}; run gateway audit cursors --dead-letters",
                )
    if settings.audit.sinks and not any(sink.required for sink in settings.audit.sinks):
        yield Finding(
            "weak", "audit.sinks", "no sink is required, so records may be pruned here before anybody has them"
        )
    if not settings.audit.sinks:
        yield Finding("weak", "audit.sinks", "the log is on this machine alone; send it elsewhere (docs/sinks.md)")


def _machine(settings: Settings) -> Iterator[Finding]:
    if landlock_version():
        yield Finding(
            "weak", "audit process", "runs as the same user as edge and pages; Landlock alone keeps them apart"
        )
    else:
        yield Finding(
            "weak",
            "audit process",
            "not separated: it runs as the same user as edge and pages, and the kernel has no Landlock (Linux 5.13 with it switched on)",
        )
    if os.geteuid() == 0:
        yield Finding(
            "weak", "user", "runs as root; give the gateway a user of its own, as the systemd unit in deploy/ does"
        )
    files, needed = resource.getrlimit(resource.RLIMIT_NOFILE)[1], files_needed(settings)
    if 0 <= files < needed:
        yield Finding(
            "weak",
            "open files",
            f"the limit is {files}: a worker serves fewer than http.max_connections clients; allow {needed}",
        )
    backlog = _number(Path("/proc/sys/net/core/somaxconn"))
    if backlog is not None and backlog < _SMALL_BACKLOG:
        yield Finding("weak", "net.core.somaxconn", f"is {backlog}: bursts of new connections are dropped; set 4096")
    yield from _state_directory(settings.state_dir)


def _state(validated: Validated) -> Iterator[Finding]:
    """Use Redis as the gateway would."""
    try:
        redis = redis_options(validated.settings, validated.bundle.secrets)
        warnings = try_redis(redis) if redis is not None else []
    except GatewayError as error:
        yield Finding("wrong", "state", str(error))
        return
    for warning in warnings:
        yield Finding("weak", "state", warning)
    if redis is not None and redis.tls is None and not all(_is_own_machine(host) for host, _ in redis.nodes):
        yield Finding("weak", "state", "sessions cross the network in the clear; use rediss:// or state.tls")
    if redis is not None and not redis.credentials.password:
        yield Finding("weak", "state", "Redis is used without a password; give the gateway a user of its own")


def _is_own_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _state_directory(state_dir: Path) -> Iterator[Finding]:
    existing = next(path for path in (state_dir, *state_dir.parents) if path.exists())
    if not os.access(existing, os.W_OK):
        yield Finding("wrong", "state_dir", f"{existing} cannot be written by the user id {os.geteuid()}")
    free = shutil.disk_usage(existing).free
    if free < _LITTLE_SPACE_BYTES:
        yield Finding(
            "wrong", "state_dir", f"{free >> 20} MiB are left; when the disk is full, every request is refused"
        )
    system = _file_system(existing)
    if system in _VOLATILE:
        yield Finding(
            "wrong",
            "state_dir",
            f"{existing} is in memory ({system}): users, sessions and the audit trail end with the machine",
        )
    if system in _REMOTE:
        yield Finding(
            "wrong", "state_dir", f"{existing} is on a network file system ({system}): SQLite cannot lock it safely"
        )


def _running(settings: Settings) -> Iterator[Finding]:
    pid = running_process(settings.state_dir)
    if pid is None:
        yield Finding("weak", "gateway", "is not running")
        return
    host = settings.admin.address.host
    if ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    connection = http.client.HTTPConnection(host, settings.admin.address.port, timeout=_ASK_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz", headers={"Host": "localhost"})
        answer = connection.getresponse()
        problems = json.loads(answer.read())["problems"]
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        yield Finding("wrong", "gateway", f"process {pid} runs, but {settings.admin.address} does not answer")
        return
    finally:
        connection.close()
    if answer.status != _OK:
        yield from (Finding("wrong", str(subject), str(sentence)) for subject, sentence in problems.items())


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _file_system(path: Path) -> str:
    """Name the kind of file system that `path` is on, by the longest mount point above it."""
    found, longest = "", -1
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    resolved = path.resolve()
    for line in lines:
        _, mounted, kind, *_rest = line.split(" ")
        point = Path(mounted.replace("\\040", " "))
        if resolved.is_relative_to(point) and len(point.parts) >= longest:
            found, longest = kind, len(point.parts)
    return found

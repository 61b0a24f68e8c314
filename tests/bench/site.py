"""The ground of a run: directories, ports, cores, certificate, upstream."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BODY_BYTES = 1024
DOWNLOAD_BYTES = 10 * 1024 * 1024
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores do what, as taskset(1) writes them."""

    proxy: str
    load: str

    @property
    def all(self) -> str:
        """Every core of the run."""
        return f"{self.proxy},{self.load}"


def choose_cores(available: set[int]) -> Cores:
    """Give the lowest core to the proxy under test and every other one to load and upstream. Raises ValueError with one core."""
    first, *others = sorted(available)
    if not others:
        raise ValueError("the bench needs two cores: one for the proxy, one for load and upstream")
    return Cores(proxy=str(first), load=",".join(map(str, others)))


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Site:
    """What every candidate is told."""

    directory: Path
    """Working directory of the run, on the disk whose fdatasync is measured."""
    cores: Cores
    upstream_port: int
    """HTTP: 1 KiB for every path, 10 MiB at /download/file.bin."""
    echo_port: int
    """WebSocket echo at every path."""
    certificate: Path
    key: Path
    chain_and_key: Path
    """Both in one file, as HAProxy wants them."""

    def room(self, name: str) -> Path:
        """Return a directory of its own for one program."""
        room = self.directory / name
        room.mkdir(parents=True, exist_ok=True)
        return room


def build(directory: Path, cores: Cores) -> Site:
    """Lay out a site under `directory`: certificate (ECDSA P-256, this run only) and ports."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)  # a master that drops to another user must reach its files
    certificate, key = _certificate()
    paths = {"cert.pem": certificate, "key.pem": key, "both.pem": certificate + key}
    for name, content in paths.items():
        (directory / name).write_bytes(content)
        (directory / name).chmod(0o600)
    return Site(
        directory=directory,
        cores=cores,
        upstream_port=free_port(),
        echo_port=free_port(),
        certificate=directory / "cert.pem",
        key=directory / "key.pem",
        chain_and_key=directory / "both.pem",
    )


def _certificate() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = dt.datetime.now(dt.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST)), x509.DNSName("localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(alternative, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem), private


def write(path: Path, content: str) -> Path:
    """Write one configuration file and return its path."""
    path.write_text(content, encoding="utf-8")
    return path


def user() -> str:
    """Return the name programs should keep running as: nginx and Apache would leave root otherwise."""
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name

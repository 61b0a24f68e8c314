"""Where Redis is, who we are to it, and how long it may take: what gateway.yaml says, without the library that asks it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

import msgspec

from gateway.exchange.errors import ConfigurationError

Address = tuple[str, int]


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """A user of Redis and its password; both empty = nobody is asked."""

    username: str = ""
    password: str = ""

    def __repr__(self) -> str:  # secrets: the generated one would print the password
        return f"Credentials(username={self.username!r})"


class TLSFiles(msgspec.Struct, frozen=True, kw_only=True):
    """How a node proves itself, and how the gateway does."""

    ca: Path | None = None
    """PEM; None = the authorities of the system."""
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""
    """Name in the certificates of all nodes; empty = the host that is connected to."""

    def context(self) -> ssl.SSLContext:
        """Make what connections are wrapped in. Raises `ConfigurationError`."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ValueError) as exc:
            raise ConfigurationError((f"state.tls: the certificates cannot be used: {exc}",)) from exc
        return context


class RedisOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where the state is, and how it is asked."""

    kind: Literal["standalone", "sentinel", "cluster"] = "standalone"
    nodes: tuple[Address, ...]
    """The node, or the Sentinels, or some nodes of the Cluster."""
    service: str = ""
    """What the Sentinels call the master."""
    database: int = 0
    credentials: Credentials = Credentials()
    sentinel: Credentials = Credentials()
    tls: TLSFiles | None = None
    prefix: str = "gateway"
    timeout_s: float = 0.25
    """For connecting, and for each answer."""
    replicas: int = 0
    """How many replicas have to confirm what ends a session or spends a secret."""

    @property
    def place(self) -> str:
        """The address, without secrets."""
        scheme = {"standalone": "rediss" if self.tls else "redis"}.get(self.kind, f"redis+{self.kind}")
        path = {"standalone": f"/{self.database}", "sentinel": f"/{self.service}/{self.database}"}.get(self.kind, "")
        return f"{scheme}://{','.join(written(node) for node in self.nodes)}{path}"


def written(address: Address) -> str:
    """Write an address as URLs do."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

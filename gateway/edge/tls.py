"""TLS as one listener speaks it: which certificate answers which name, and what every client must meet.

`server.tls` builds it from files. It decides nothing about a request; whether a request belongs to the
connection it came on is asked of `serves_both`.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from gateway.authn.certificate import CertificateRegister, ClientCertificate

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

GREETED: Final[ContextVar[socket.socket]] = ContextVar("GREETED")
"""The socket whose handshake is under way: set by the task that runs it."""
UNRECOGNIZED_NAME: Final = int(ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)


def quiet_about_server_names(otherwise: Callable[[UnraisableHookArgs], object]) -> Callable[[UnraisableHookArgs], None]:
    """Make a `sys.unraisablehook` that leaves out names in a handshake that are no ASCII.

    Python ends such a handshake by itself, and would write a traceback for each: any client could fill the log.
    """

    def hook(unraisable: UnraisableHookArgs, /) -> None:
        if not isinstance(unraisable.exc_value, UnicodeDecodeError):
            otherwise(unraisable)

    return hook


class ServerContext(ssl.SSLContext):
    """The server side of TLS with the certificates of some names. `tls` is the listener it belongs to."""

    tls: ListenerTLS

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the method of the base class
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin one connection."""
        wrapped = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        cast("ServerSession", wrapped).outgoing = outgoing
        return wrapped


class ServerSession(ssl.SSLObject):
    """One connection's TLS. `server_name` is the name the client asked for; empty when it asked for none."""

    server_name = ""
    outgoing: ssl.MemoryBIO

    def do_handshake(self) -> None:
        """Go on with the handshake, and tell a client what was wrong (RFC 8446 section 6.2): uvloop closes without a word."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            connection = GREETED.get(None)
            if connection is not None:
                with suppress(OSError):
                    connection.send(self.outgoing.read())
            raise


@dataclass(frozen=True, slots=True, eq=False)
class ListenerTLS:
    """Every context of one listener. All of them demand the same of clients: the name only picks certificates.

    What OpenSSL takes from the first context (protocol versions, whether a client certificate is asked
    for, ticket keys) and what it takes from the chosen one (certificates, authorities) can therefore never differ.
    """

    address: str
    """Of the listener."""
    context: ServerContext
    """Answers clients without SNI, and unknown names."""
    names: Mapping[str, ServerContext]
    """By the names of the certificates, lower case; a wildcard is `*.example.com`."""
    refuses_unknown: bool
    demands: str
    """Digest of what a client must meet; a connection that was made under other demands must not go on."""
    digest: str
    """Over everything: equal digests behave alike."""
    people: CertificateRegister
    """Whom certificates of clients stand for."""
    revoked: frozenset[tuple[bytes, int]] = frozenset()
    """Issuer and serial number of revoked certificates: a connection may be older than the list."""
    revoked_authorities: frozenset[bytes] = frozenset()
    """Names of authorities in `ca` whose own certificates are revoked."""

    def choose(self, name: str) -> ServerContext | None:
        """Pick the certificates for a name: equal, else one wildcard label (RFC 9525 section 6.3)."""
        found = self.names.get(name)
        return found if found is not None else self.names.get("*." + name.partition(".")[2])

    def serves_both(self, one: str, other: str) -> bool:
        """Whether one certificate names both hosts, so that a client may ask for `other` where it connected to `one`.

        Browsers reuse a connection like that (RFC 9113 section 9.1.1).
        """
        if one == other:
            return True
        chosen = self.choose(one)
        return chosen is not None and chosen is self.choose(other)

    def has_revoked(self, certificate: ClientCertificate) -> bool:
        """Whether a certificate that was good in its handshake is on a revocation list by now."""
        issuer = certificate.issuer
        return (issuer, certificate.serial) in self.revoked or issuer in self.revoked_authorities

    def greet(self, session: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:  # noqa: ARG002 - ssl's signature
        """Answer a ClientHello: note the name, pick its certificates. Returns an alert to refuse."""
        if name is None:
            return None
        host = name.lower().removesuffix(".")
        cast("ServerSession", session).server_name = host
        chosen = self.choose(host)
        if chosen is None:
            return UNRECOGNIZED_NAME if self.refuses_unknown else None
        if chosen is not self.context:
            session.context = chosen
        return None

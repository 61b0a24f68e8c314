"""TLS as one listener speaks it: which certificate answers which name, and what every client must meet.

`server.tls` builds it from files. It decides nothing about a request; whether a request belongs to the
connection it came on is asked of `serves_both`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from gateway.authn.certificate import CertificateRegister, ClientCertificate

UNRECOGNIZED_NAME: Final = int(ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)


class ServerContext(ssl.SSLContext):
    """The server side of TLS with the certificates of some names. `tls` is the listener it belongs to."""

    tls: ListenerTLS


class ServerSession(ssl.SSLObject):
    """One connection's TLS. `server_name` is the name the client asked for; empty when it asked for none."""

    server_name = ""


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
        return (certificate.issuer, certificate.serial) in self.revoked

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

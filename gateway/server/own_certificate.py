"""The certificate that the gateway shows to servers which want to know who asks them: those of portals and of sinks.

Decides whether chain and key can be used; whether it is trusted, the server says. What asks for it loads nothing
of how requests are decided.
"""

from __future__ import annotations

import ssl

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.server.bundle import CertificateBytes
from gateway.server.tls import memory_file


def install_certificate(context: ssl.SSLContext, files: CertificateBytes) -> None:
    """Have a context show a certificate. Raises ValueError with the key that is wrong and a sentence without key material."""
    try:
        private = load_pem_private_key(files.key, password=None)
    except TypeError:
        raise ValueError("tls.key: has a passphrase; the gateway starts without a person: decrypt it") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("tls.key: is not a PEM private key") from None
    try:
        leaf = x509.load_pem_x509_certificates(files.chain)[0]
    except (ValueError, IndexError):
        raise ValueError("tls.certificate: is not a chain of PEM certificates, the leaf first") from None
    if leaf.public_key() != private.public_key():
        raise ValueError("tls.certificate: does not belong to its key")
    try:
        with memory_file(files.chain) as chain_path, memory_file(files.key) as key_path:
            context.load_cert_chain(chain_path, key_path)
    except ssl.SSLError as error:
        raise ValueError(f"tls.certificate: is refused by OpenSSL: {error.reason or 'no reason given'}") from None

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509

from gateway.demo.certificate import issue

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_it_names_every_host_and_holds_for_a_week() -> None:
    certificate = x509.load_pem_x509_certificate(issue(("127.0.0.1", "acme.localhost"), NOW).chain)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["acme.localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1")]
    assert certificate.not_valid_before_utc < NOW < certificate.not_valid_after_utc == NOW + timedelta(days=7)


def test_the_fingerprint_is_the_one_a_browser_shows() -> None:
    issued = issue(("localhost",), NOW)
    raw = ssl.PEM_cert_to_DER_cert(issued.chain.decode())
    import hashlib

    assert issued.fingerprint.replace(":", "").lower() == hashlib.sha256(raw).hexdigest()


def test_chain_and_key_belong_together(tmp_path: Path) -> None:
    issued = issue(("localhost",), NOW)
    (tmp_path / "both.pem").write_bytes(issued.chain + issued.key)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(tmp_path / "both.pem")


def test_it_can_sign_nothing_else() -> None:
    certificate = x509.load_pem_x509_certificate(issue(("localhost",), NOW).chain)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca

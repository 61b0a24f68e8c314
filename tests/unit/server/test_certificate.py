from __future__ import annotations

from ipaddress import ip_address

from cryptography import x509

from gateway.server.certificate import LIFETIME, self_signed

NOW = 1_800_000_000.0


def test_it_names_every_host_and_address_and_is_no_authority() -> None:
    pem, _ = self_signed(["portal.example.com", "127.0.0.1", "::1"], now=NOW)
    certificate = x509.load_pem_x509_certificate(pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["portal.example.com"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1"), ip_address("::1")]
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


def test_it_begins_before_now_and_lives_as_long_as_browsers_allow() -> None:
    certificate = x509.load_pem_x509_certificate(self_signed(["a.example"], now=NOW)[0])
    assert certificate.not_valid_before_utc.timestamp() < NOW
    assert certificate.not_valid_after_utc.timestamp() == NOW + LIFETIME.total_seconds()


def test_a_host_longer_than_a_common_name_is_still_named() -> None:
    host = ".".join(["abcdefghij"] * 8)
    certificate = x509.load_pem_x509_certificate(self_signed([host], now=NOW)[0])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [host]

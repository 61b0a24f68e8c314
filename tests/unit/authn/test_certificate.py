from __future__ import annotations

import datetime as dt
import time
from contextlib import suppress
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.certificate import (
    AmbiguousCertificateError,
    CertificateGrant,
    CertificateRegister,
    ClientCertificate,
    read_certificate,
    session_of,
)

CA = trustme.CA()
WHOLE = x509.load_pem_x509_certificate(
    CA.issue_cert("a.example.com", "alice@example.com").cert_chain_pems[0].bytes()
).public_bytes(Encoding.DER)


def shown(*identities: str, **names: Any) -> ClientCertificate:
    leaf = CA.issue_cert(*identities, **names)
    return read_certificate(x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).public_bytes(Encoding.DER))


def grant(kind: str, value: str, user: str = "alice", *, mfa: bool = False) -> CertificateGrant:
    return CertificateGrant(kind=kind, value=value, user=user, tenant="acme", roles=("client",), mfa=mfa)


def test_every_property_the_table_may_ask_for_is_read() -> None:
    certificate = shown("Host.example.com", "ann@example.com", common_name="ann")
    assert ("san_dns", "host.example.com") in certificate.properties
    assert ("san_email", "ann@example.com") in certificate.properties
    assert ("fingerprint", certificate.fingerprint) in certificate.properties
    assert ("subject", certificate.subject) in certificate.properties
    assert certificate.not_after > time.time()


def test_what_is_no_certificate_is_an_error() -> None:
    with pytest.raises(ValueError):
        read_certificate(b"0\x03nothing")


@pytest.mark.parametrize(
    "names",
    [
        b"\x30\x04\xa3\x02\x30\x00",  # an X.400 address, which nobody has any more
        b"\x30\x03\x82\x01\xff",  # a host name that is no ASCII
        b"\x30\x05\x82\x01",  # cut short
        b"",
    ],
)
def test_a_certificate_with_names_that_cannot_be_read_is_an_error_and_no_crash(names: bytes) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, names), critical=False)
        .sign(key, SHA256())
    )
    with pytest.raises(ValueError):
        read_certificate(certificate.public_bytes(Encoding.DER))


@pytest.mark.filterwarnings("ignore")  # the library's, about what it reads
@given(st.binary(max_size=64), st.integers(0, 400), st.integers(1, 255))
def test_a_damaged_certificate_is_read_or_refused_and_nothing_else(junk: bytes, at: int, flip: int) -> None:
    whole = bytearray(WHOLE)
    whole[at % len(whole)] ^= flip
    for data in (junk, bytes(whole), WHOLE[:at]):
        with suppress(ValueError):
            assert isinstance(read_certificate(data), ClientCertificate)


def test_an_entry_makes_the_person_and_nothing_in_the_certificate_does() -> None:
    certificate = shown("host.example.com", common_name="root", organization_unit_name="admins")
    assert CertificateRegister([]).grant_of(certificate) is None
    found = CertificateRegister([grant("san_dns", "host.example.com")]).grant_of(certificate)
    assert found is not None
    session = session_of(found, certificate, host="portal.test", now=100.0)
    assert (session.user, session.tenant, session.roles) == ("alice", "acme", ("client",))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("san_dns", "other.example.com"),
        ("san_dns", "*.example.com"),
        ("san_email", "host.example.com"),
        ("san_uri", "host.example.com"),
        ("subject", "CN=host.example.com"),
        ("fingerprint", "0" * 64),
    ],
)
def test_a_property_of_another_kind_or_value_makes_nobody(kind: str, value: str) -> None:
    assert CertificateRegister([grant(kind, value)]).grant_of(shown("host.example.com")) is None


def test_a_subject_counts_whole_and_not_in_part() -> None:
    certificate = shown("host.example.com", common_name="alice")
    register = CertificateRegister([grant("subject", "CN=alice")])
    assert "CN=alice" in certificate.subject
    assert certificate.subject != "CN=alice"
    assert register.grant_of(certificate) is None
    assert CertificateRegister([grant("subject", certificate.subject)]).grant_of(certificate) is not None


def test_a_certificate_of_two_people_is_nobodys() -> None:
    register = CertificateRegister(
        [grant("san_dns", "a.example.com", "alice"), grant("san_email", "bob@example.com", "bob")]
    )
    with pytest.raises(AmbiguousCertificateError):
        register.grant_of(shown("a.example.com", "bob@example.com"))


def test_two_entries_of_one_person_are_one_person() -> None:
    register = CertificateRegister([grant("san_dns", "a.example.com"), grant("san_email", "alice@example.com")])
    found = register.grant_of(shown("a.example.com", "alice@example.com"))
    assert found is not None
    assert found.user == "alice"


def test_a_certificate_is_one_factor_unless_the_table_says_two() -> None:
    certificate = shown("a.example.com")
    one = session_of(grant("san_dns", "a.example.com"), certificate, host="", now=100.0)
    two = session_of(grant("san_dns", "a.example.com", mfa=True), certificate, host="", now=100.0)
    assert (one.mfa_time, one.amr) == (0.0, ("swk",))
    assert (two.mfa_time, two.amr) == (100.0, ("hwk", "mfa"))


def test_the_session_ends_with_the_certificate_and_its_handle_names_it() -> None:
    certificate = shown("a.example.com")
    session = session_of(grant("san_dns", "a.example.com"), certificate, host="", now=100.0)
    assert session.expires == certificate.not_after
    assert session.is_expired(certificate.not_after, 100.0)
    assert not session.is_expired(certificate.not_after - 1, 100.0)
    assert session.handle == f"cert-{certificate.fingerprint[:32]}"


def test_the_id_of_a_certified_person_is_never_one_of_an_account() -> None:
    assert grant("san_dns", "a.example.com").user_id == "certificate:acme:alice"


def test_the_oid_of_an_email_address_in_a_subject_is_comparable() -> None:
    name = x509.Name(
        [x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@b.example"), x509.NameAttribute(NameOID.COMMON_NAME, "a")]
    )
    written = name.rfc4514_string()
    assert x509.Name.from_rfc4514_string(written).rfc4514_string() == written

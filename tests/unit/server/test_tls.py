"""What a TLS listener is built from: every mistake in files is said, and names choose certificates."""

from __future__ import annotations

import datetime as dt
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from gateway.document.source import DocumentError
from gateway.edge.tls import UNRECOGNIZED_NAME, ServerSession
from gateway.server.bundle import CertificateBytes, ClientAuthorityBytes
from gateway.server.settings import Listener, load_settings
from gateway.server.tls import Built, build_tls, certificate_warnings, shown_names

NOW = time.time()
DAY = 86400.0
CA = trustme.CA()
RSA_CA = trustme.CA(key_type=trustme.KeyType.RSA)
SETTINGS = """\
version: 1
public_url: https://portal.test:8443
listen:
  - address: 127.0.0.1:8443
    tls: {{certificate: a.pem, key: a.key{tls}}}
    {more}
upstreams: {{portal: {{servers: ["http://127.0.0.1:3000"]}}}}
"""
CLIENTS = "client_certificates: {mode: required, ca: ca.pem, crl: crl.pem}"


def listener(tls: str = "", more: str = "") -> Listener:
    return load_settings(SETTINGS.format(tls=tls, more=more), Path("gateway.yaml")).listen[0]


def files(name: str, *hosts: str, key_type: trustme.KeyType = trustme.KeyType.ECDSA) -> CertificateBytes:
    leaf = CA.issue_cert(*hosts, key_type=key_type)
    chain = b"".join(item.bytes() for item in leaf.cert_chain_pems)
    return CertificateBytes(name=name, chain=chain, key=leaf.private_key_pem.bytes())


def build(*certificates: CertificateBytes, tls: str = "", more: str = "", authority: Any = None) -> Built:
    return build_tls(listener(tls, more), certificates, authority, now=NOW)


def errors(*certificates: CertificateBytes, more: str = "", authority: Any = None) -> list[str]:
    with pytest.raises(ValueError) as caught:
        build(*certificates, more=more, authority=authority)
    return str(caught.value).splitlines()


def own(
    key: Any,
    *,
    names: tuple[str, ...] = ("portal.test",),
    begins: float = NOW - DAY,
    ends: float = NOW + 60 * DAY,
) -> CertificateBytes:
    """Make a self-signed certificate for a key of the test's choice."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "portal.test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority")]))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(dt.datetime.fromtimestamp(begins, dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(ends, dt.UTC))
    )
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(item) for item in names]), critical=False
        )
    return CertificateBytes(
        name="own.pem",
        chain=builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()).public_bytes(
            Encoding.PEM
        ),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def revocations(ca: trustme.CA, *serials: int, ends: float = NOW + DAY, key: Any = None) -> bytes:
    authority = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(dt.datetime.fromtimestamp(NOW - 2 * DAY, dt.UTC))
        .next_update(dt.datetime.fromtimestamp(ends, dt.UTC))
    )
    for serial in serials:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(serial)
            .revocation_date(dt.datetime.fromtimestamp(NOW - DAY, dt.UTC))
            .build()
        )
    private: Any = key or load_pem_private_key(ca.private_key_pem.bytes(), None)
    return builder.sign(private, SHA256()).public_bytes(Encoding.PEM)


def authority(ca: bytes, crl: bytes | None = None) -> ClientAuthorityBytes:
    return ClientAuthorityBytes(ca_name="ca.pem", ca=ca, crl_name="crl.pem", crl=crl)


# names


def test_a_name_gets_its_own_certificate_and_an_unknown_one_the_first() -> None:
    tls = build(files("a.pem", "a.test"), files("b.pem", "b.test", "*.wild.test")).tls
    assert tls.choose("a.test") is tls.context
    assert tls.choose("b.test") is not tls.context
    assert tls.choose("x.wild.test") is tls.choose("b.test")
    assert tls.choose("x.y.wild.test") is None
    assert tls.choose("wild.test") is None
    assert tls.choose("") is None


def test_an_exact_name_goes_before_a_wildcard() -> None:
    tls = build(files("wild.pem", "*.test.example"), files("one.pem", "one.test.example")).tls
    assert tls.choose("one.test.example") is not tls.choose("two.test.example")


def test_one_connection_serves_both_hosts_only_where_one_certificate_names_both() -> None:
    tls = build(files("a.pem", "a.test", "b.test"), files("c.pem", "c.test")).tls
    assert tls.serves_both("a.test", "b.test")
    assert not tls.serves_both("a.test", "c.test")
    assert not tls.serves_both("unknown.test", "a.test")
    assert not tls.serves_both("unknown.test", "other-unknown.test")


def greeted(tls: Any, name: str | None) -> tuple[int | None, ServerSession]:
    session = tls.context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    return tls.greet(session, name, tls.context), session


def test_the_name_asked_for_is_noted_as_hosts_are_written() -> None:
    tls = build(files("a.pem", "a.test"), files("b.pem", "b.test")).tls
    answer, session = greeted(tls, "B.Test.")
    assert answer is None
    assert session.server_name == "b.test"
    assert session.context is tls.choose("b.test")
    assert greeted(tls, None)[1].server_name == ""


def test_an_unknown_name_is_refused_only_where_the_configuration_says_so() -> None:
    lenient = build(files("a.pem", "a.test")).tls
    strict = build(files("a.pem", "a.test"), tls=", unknown_sni: refuse").tls
    assert greeted(lenient, "b.test")[0] is None
    assert greeted(strict, "b.test")[0] == UNRECOGNIZED_NAME
    assert greeted(strict, "a.test")[0] is None
    assert greeted(strict, None)[0] is None


def test_certificates_of_two_kinds_of_key_for_one_name_stand_together() -> None:
    tls = build(files("ec.pem", "a.test"), files("rsa.pem", "a.test", key_type=trustme.KeyType.RSA)).tls
    assert len({id(context) for context in (tls.context, *tls.names.values())}) == 1


def test_two_certificates_of_one_kind_for_one_name_are_an_error() -> None:
    (found,) = errors(files("a.pem", "a.test"), files("b.pem", "a.test", "b.test"))
    assert found == "b.pem: names a.test, as a.pem does with a key of the same kind; remove one"


# rules


def test_the_modern_profile_is_the_default() -> None:
    context = build(files("a.pem", "a.test")).tls.context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert all("ECDHE" in cipher["name"] or cipher["protocol"] == "TLSv1.3" for cipher in context.get_ciphers())
    assert all(cipher["aead"] for cipher in context.get_ciphers())
    assert context.verify_mode is ssl.CERT_NONE


def test_every_context_of_a_listener_demands_the_same() -> None:
    tls = build(
        files("a.pem", "a.test"),
        files("b.pem", "b.test"),
        tls=', min_version: "1.3"',
        more="client_certificates: {mode: optional, ca: ca.pem}",
        authority=authority(CA.cert_pem.bytes()),
    ).tls
    for context in tls.names.values():
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert context.verify_mode is ssl.CERT_OPTIONAL
        assert len(context.get_ca_certs()) == 1


def test_a_client_certificate_that_is_off_is_not_asked_for() -> None:
    tls = build(files("a.pem", "a.test"), more="client_certificates: {mode: off, ca: ca.pem}").tls
    assert tls.context.verify_mode is ssl.CERT_NONE


def test_a_new_certificate_changes_no_demand_and_a_new_authority_does() -> None:
    one, more = files("a.pem", "a.test"), "client_certificates: {ca: ca.pem}"
    before = build(one, more=more, authority=authority(CA.cert_pem.bytes())).tls
    again = build(one, more=more, authority=authority(CA.cert_pem.bytes())).tls
    renewed = build(files("a.pem", "a.test"), more=more, authority=authority(CA.cert_pem.bytes())).tls
    other = build(one, more=more, authority=authority(RSA_CA.cert_pem.bytes())).tls
    newer = build(one, tls=', min_version: "1.3"', more=more, authority=authority(CA.cert_pem.bytes())).tls
    assert again.digest == before.digest
    assert renewed.digest != before.digest
    assert renewed.demands == before.demands
    assert other.demands != before.demands
    assert newer.demands != before.demands


# files that are wrong


def test_every_certificate_that_is_wrong_is_said_in_one_run() -> None:
    good = files("a.pem", "a.test")
    found = errors(
        CertificateBytes(name="x.pem", chain=b"nothing", key=good.key),
        CertificateBytes(name="y.pem", chain=good.chain, key=b"nothing"),
        CertificateBytes(name="z.pem", chain=good.chain, key=files("b.pem", "b.test").key),
    )
    assert found == [
        "x.pem: is not a chain of PEM certificates, the leaf first",
        "y.pem: its key is not a PEM private key",
        "z.pem: does not belong to its key",
    ]


def test_a_key_with_a_passphrase_is_refused_as_such() -> None:
    good = files("a.pem", "a.test")
    key = load_pem_private_key(good.key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    (found,) = errors(CertificateBytes(name="a.pem", chain=good.chain, key=key))
    assert found.startswith("a.pem: its key has a passphrase")


def test_weak_keys_are_refused() -> None:
    (found,) = errors(own(rsa.generate_private_key(65537, 1024)))
    assert found == "own.pem: its RSA key has 1024 bits; 2048 are the least"
    (found,) = errors(own(ec.generate_private_key(ec.SECP192R1())))
    assert found == "own.pem: its key is on secp192r1; use secp256r1 or secp384r1"
    (found,) = errors(own(ec.generate_private_key(ec.SECP256K1())))
    assert found == "own.pem: its key is on secp256k1; use secp256r1 or secp384r1"
    (found,) = errors(own(dsa.generate_private_key(2048)))
    assert found == "own.pem: its key is DSA, which TLS no longer has; use EC or RSA"


def test_a_signature_with_sha1_is_refused(tmp_path: Path) -> None:
    """cryptography signs nothing with SHA-1 any more; openssl does."""
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -subj /CN=authority -keyout ca.key -out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=old.test -keyout old.key -out old.csr",
        "x509 -req -sha1 -in old.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out old.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    chain, key = ((tmp_path / name).read_bytes() for name in ("old.pem", "old.key"))
    (found,) = errors(CertificateBytes(name="old.pem", chain=chain, key=key))
    assert found == "old.pem: is signed with sha1, which clients refuse"


def test_an_ended_or_nameless_certificate_starts_with_a_warning() -> None:
    key = ec.generate_private_key(ec.SECP256R1())

    def warn(certificate: CertificateBytes) -> list[str]:
        return certificate_warnings(build(certificate).certificates, [], NOW)

    assert "ended on" in warn(own(key, begins=NOW - 9 * DAY, ends=NOW - DAY))[0]
    assert "renew it" in warn(own(key, ends=NOW + 3 * DAY))[0]
    assert "begins on" in warn(own(key, begins=NOW + DAY))[0]
    assert "no subject alternative name" in warn(own(key, names=()))[0]
    assert "browsers do not know" in warn(own(ed25519.Ed25519PrivateKey.generate()))[0]
    assert warn(own(key)) == []


def test_hosts_are_missing_only_where_no_certificate_of_the_listener_names_them() -> None:
    made = build(files("a.pem", "a.test"), files("b.pem", "b.test")).certificates
    assert certificate_warnings(made, ["a.test", "b.test"], NOW) == []
    (found,) = certificate_warnings(made, ["a.test", "c.test"], NOW)
    assert found == "127.0.0.1:8443: its certificates do not name c.test; browsers refuse it there"


def test_many_names_are_shown_in_one_line() -> None:
    (certificate,) = build(files("a.pem", *(f"{letter}.test" for letter in "abcdefgh"))).certificates
    assert shown_names(certificate) == "a.test, b.test, c.test, d.test, e.test and 3 more"


# authorities and revocation lists of clients


def test_an_authority_that_is_none_is_refused() -> None:
    more = "client_certificates: {ca: ca.pem}"
    leaf = files("a.pem", "a.test")
    assert errors(leaf, more=more, authority=authority(b"nothing")) == [
        "ca.pem: holds no certificate that can be read (PEM)"
    ]
    (found,) = errors(leaf, more=more, authority=authority(leaf.chain))
    assert found.endswith("is not an authority")


def test_a_revocation_list_must_be_there_for_each_authority_and_signed_by_it() -> None:
    leaf, ca = files("a.pem", "a.test"), CA.cert_pem.bytes()
    assert errors(leaf, more=CLIENTS, authority=authority(ca, b"nothing")) == [
        "crl.pem: holds no revocation list that can be read (PEM)"
    ]
    (found,) = errors(leaf, more=CLIENTS, authority=authority(ca, revocations(RSA_CA)))
    assert found.startswith("crl.pem: holds no revocation list of ")
    forged = revocations(CA, key=ec.generate_private_key(ec.SECP256R1()))
    (found,) = errors(leaf, more=CLIENTS, authority=authority(ca, forged))
    assert found.endswith("is not signed by it")


def test_a_revocation_list_names_who_is_revoked_and_warns_when_it_ended() -> None:
    leaf, ca = files("a.pem", "a.test"), CA.cert_pem.bytes()
    issuer = x509.load_pem_x509_certificate(ca).subject.public_bytes()
    built = build(leaf, more=CLIENTS, authority=authority(ca, revocations(CA, 4, 5)))
    assert built.tls.revoked == {(issuer, 4), (issuer, 5)}
    assert built.warnings == ()
    assert built.crl_ends == pytest.approx(NOW + DAY, abs=1)
    assert built.tls.context.verify_flags & ssl.VERIFY_CRL_CHECK_CHAIN == ssl.VERIFY_CRL_CHECK_CHAIN
    (warning,) = build(leaf, more=CLIENTS, authority=authority(ca, revocations(CA, ends=NOW - DAY))).warnings
    assert "every client certificate of it is refused" in warning


# what gateway.yaml says


@pytest.mark.parametrize(
    ("tls", "more", "message"),
    [
        (", certificates: [{certificate: a.pem, key: b.key}]", "", "listen[0].tls: a certificate is listed twice"),
        (", certificates: [{certificate: b.pem}]", "", "listen[0].tls.certificates[0]: the key key is missing"),
        (", unknown_sni: ignore", "", "listen[0].tls.unknown_sni: write 'default' or 'refuse'"),
        ("", "client_certificates: {mode: sometimes, ca: ca.pem}", "write 'off', 'optional' or 'required'"),
        ("", "client_certificates: {mode: required}", "listen[0].client_certificates: the key ca is missing"),
    ],
)
def test_what_is_wrong_with_tls_is_said_with_its_place(tls: str, more: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        listener(tls, more)
    assert any(message in line for line in caught.value.diagnostics), caught.value.diagnostics


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{user: a, tenant: t, roles: [r]}", "name exactly one of subject"),
        ("{san_dns: a.test, san_uri: 'x:y', user: a, tenant: t, roles: [r]}", "name exactly one of subject"),
        ("{san_dns: a.test, user: a, tenant: t, roles: []}", "roles: must not be empty"),
        ("{san_dns: a.test, user: a, tenant: t, roles: [r, r]}", "a role is listed twice"),
        ("{subject: alice, user: a, tenant: t, roles: [r]}", "is not a subject as RFC 4514 writes it"),
        ("{fingerprint: abc, user: a, tenant: t, roles: [r]}", "64 hexadecimal digits"),
        ("{san_dns: '*.test', user: a, tenant: t, roles: [r]}", "wildcards are not supported"),
        ("{san_dns: a.test, user: 'a b', tenant: t, roles: [r]}", "no white space"),
        ("{san_dns: a.test, tenant: t, roles: [r]}", "the key user is missing"),
        ("{san_dns: a.test, user: a, tenant: t, roles: [r], role: x}", "unknown key; did you mean 'roles'?"),
        (
            "{san_dns: a.test, user: a, tenant: t, roles: [r]}, {san_dns: A.TEST, user: b, tenant: t, roles: [r]}",
            "map lists the san_dns a.test twice",
        ),
        (
            "{san_dns: a.test, user: a, tenant: t, roles: [r]}, {san_dns: b.test, user: a, tenant: t, roles: [s]}",
            "map gives a of t different roles, e-mail or factors",
        ),
    ],
)
def test_what_is_wrong_with_a_mapping_is_said_with_its_place(entry: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        listener(more=f"client_certificates: {{ca: ca.pem, map: [{entry}]}}")
    assert any(message in line for line in caught.value.diagnostics), caught.value.diagnostics


def test_client_certificates_need_tls() -> None:
    text = SETTINGS.format(tls="", more="client_certificates: {ca: ca.pem}").replace(
        "tls: {certificate: a.pem, key: a.key}", "unsafe_plaintext: true"
    )
    with pytest.raises(DocumentError) as caught:
        load_settings(text, Path("gateway.yaml"))
    assert any("client_certificates needs tls" in line for line in caught.value.diagnostics)


def test_spellings_of_one_subject_and_one_fingerprint_are_one() -> None:
    entries = (
        "{subject: 'CN=alice,O=Example', user: a, tenant: t, roles: [r]}, "
        "{fingerprint: '" + ":".join(["AB"] * 32) + "', user: b, tenant: t, roles: [r]}"
    )
    made = listener(more=f"client_certificates: {{ca: ca.pem, map: [{entries}]}}").client_certificates
    assert made is not None
    assert made.map[0].properties == {"subject": "CN=alice,O=Example"}
    assert made.map[1].properties == {"fingerprint": "ab" * 32}

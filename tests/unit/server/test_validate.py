from __future__ import annotations

import os
import shutil
import ssl
import time
from pathlib import Path

import pytest
import trustme

from gateway.exchange.errors import ConfigurationError
from gateway.server.bundle import read_bundle
from gateway.server.certificate import self_signed
from gateway.server.tls import CERTIFICATE_NOTICE_S
from gateway.server.validate import read_and_validate, validate


def errors(directory: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read_and_validate(directory / "gateway.yaml")
    return list(caught.value.diagnostics)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_sound_configuration_gives_everything_ready_to_serve(directory: Path) -> None:
    validated = read_and_validate(directory / "gateway.yaml")
    assert validated.warnings == ()
    assert list(validated.table.routes) == ["portal"]
    assert validated.keyring is not None
    assert validated.audit_keys is not None
    assert validated.tls["127.0.0.1:8443"].context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert validated.certificates[0].names == ("localhost",)


def test_a_narrowed_bundle_is_judged_without_the_keys_it_lacks(directory: Path) -> None:
    bundle, _ = read_bundle(directory / "gateway.yaml")
    edge = validate(bundle.narrow("edge"), now=time.time())
    assert edge.audit_keys is None
    assert edge.keyring is not None
    pages = validate(bundle.narrow("pages"), now=time.time())
    assert pages.tls == {}


def test_errors_of_files_and_of_their_contents_come_in_one_run(directory: Path) -> None:
    (directory / "config" / "audit-keys.json").chmod(0o644)
    replace(directory / "policies" / "portal.yaml", "roles: [client]", "roles: [clinet]")
    found = errors(directory)
    assert len(found) == 2
    assert "chmod 600" in found[0]
    assert found[1].startswith("policies/portal.yaml:9:")


def test_a_policy_that_breaks_its_own_cases_does_not_run(directory: Path) -> None:
    replace(directory / "policies" / "tests" / "portal.yaml", "decision: allow, route: portal", "decision: deny")
    (found,) = errors(directory)
    assert found.startswith("policies/tests/portal.yaml:2:")
    assert "'a client opens the portal' fails: expected deny, got allow" in found


def test_a_keyring_of_another_version_is_refused_by_name(directory: Path) -> None:
    replace(directory / "config" / "keyring.json", '"version": 1', '"version": 7')
    (found,) = errors(directory)
    assert found.startswith("keyring.json: has version 7")


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b'{"version": 1}'])
def test_a_damaged_keyring_is_refused_and_its_content_never_quoted(directory: Path, content: bytes) -> None:
    (directory / "config" / "keyring.json").write_bytes(content)
    (found,) = errors(directory)
    assert found.startswith("keyring.json: ")
    assert "not json" not in found


def test_damaged_audit_keys_are_refused(directory: Path) -> None:
    (directory / "config" / "audit-keys.json").write_bytes(b"{}")
    (found,) = errors(directory)
    assert found.startswith("audit-keys.json: ")


def test_a_certificate_that_is_not_its_keys_is_refused(directory: Path) -> None:
    other, _ = self_signed(["localhost"], now=time.time())
    (directory / "tls" / "cert.pem").write_bytes(other)
    (found,) = errors(directory)
    assert found.startswith("listen[0].tls: ")
    assert found.endswith("does not belong to its key")


@pytest.mark.parametrize(
    ("name", "sentence"), [("cert.pem", "is not a chain"), ("key.pem", "is not a PEM private key")]
)
def test_a_certificate_or_key_that_is_no_pem_is_refused(directory: Path, name: str, sentence: str) -> None:
    (directory / "tls" / name).write_text("-----BEGIN NONSENSE-----\n")
    (found,) = errors(directory)
    assert sentence in found


def test_a_certificate_that_ends_soon_warns_and_one_that_ended_still_starts(directory: Path) -> None:
    bundle, _ = read_bundle(directory / "gateway.yaml")
    ends = validate(bundle, now=time.time()).certificates[0].not_after
    soon = validate(bundle, now=ends - CERTIFICATE_NOTICE_S + 1).warnings
    late = validate(bundle, now=ends).warnings
    assert "renew it" in soon[0]
    assert "browsers refuse it" in late[0]


def test_a_certificate_that_does_not_name_every_host_warns(directory: Path) -> None:
    replace(directory / "gateway.yaml", "hosts: [localhost]", "hosts: [localhost, other.example.com]")
    (warning,) = read_and_validate(directory / "gateway.yaml").warnings
    assert "does not name other.example.com" in warning


def test_a_wildcard_names_one_label_and_no_address(directory: Path) -> None:
    certificate, key = self_signed(["*.example.com", "localhost"], now=time.time())
    (directory / "tls" / "cert.pem").write_bytes(certificate)
    (directory / "tls" / "key.pem").write_bytes(key)
    replace(directory / "gateway.yaml", "hosts: [localhost]", "hosts: [localhost, a.example.com, a.b.example.com]")
    (warning,) = read_and_validate(directory / "gateway.yaml").warnings
    assert "does not name a.b.example.com;" in warning


def test_an_own_authority_of_an_upstream_must_be_readable(directory: Path) -> None:
    (directory / "ca.pem").write_text("nothing")
    replace(directory / "gateway.yaml", '["http://127.0.0.1:3000"]', '["https://127.0.0.1:3000"], tls: {ca: ca.pem}')
    (found,) = errors(directory)
    assert found == "upstreams.portal.tls.ca: holds no certificate that can be read (PEM)"


def test_tls_contexts_refuse_what_is_older_than_asked_for(directory: Path) -> None:
    replace(directory / "gateway.yaml", "key: tls/key.pem", 'key: tls/key.pem, min_version: "1.3"')
    context = read_and_validate(directory / "gateway.yaml").tls["127.0.0.1:8443"].context
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.options & ssl.OP_NO_RENEGOTIATION


CLIENTS = """key: tls/key.pem}
    client_certificates: {ca: tls/clients.pem, map: [{san_dns: a.test, user: alice, tenant: main, roles: [%s]}]}"""


def test_what_policies_and_listeners_say_of_certificates_must_fit(directory: Path) -> None:
    policy = directory / "policies" / "portal.yaml"
    replace(policy, "upstream: portal", "upstream: portal\n    client_certificate: required")
    (found,) = errors(directory)
    assert found.startswith("policies/portal.yaml:5:")
    assert found.endswith("no listener has client_certificates, so nobody could show one")
    (directory / "tls" / "clients.pem").write_bytes(trustme.CA().cert_pem.bytes())
    replace(directory / "gateway.yaml", "key: tls/key.pem}", CLIENTS % "clint")
    (found,) = errors(directory)
    assert found == (
        "listen[0].client_certificates.map[0].roles: no policy declares the role clint; did you mean 'client'?"
    )
    replace(directory / "gateway.yaml", "clint", "client")
    validated = read_and_validate(directory / "gateway.yaml")
    assert validated.tls["127.0.0.1:8443"].people
    replace(directory / "gateway.yaml", "tenant: main", "tenant: mian")
    (found,) = errors(directory)
    assert found.startswith("gateway.yaml:6:")
    assert found.endswith("the tenant mian does not exist; did you mean 'main'?")


def test_an_authority_or_revocation_list_that_cannot_be_read_is_said_by_name(directory: Path) -> None:
    replace(directory / "gateway.yaml", "key: tls/key.pem}", CLIENTS % "client")
    assert errors(directory) == ["tls/clients.pem: does not exist"]
    (directory / "tls" / "clients.pem").write_text("nothing")
    replace(directory / "gateway.yaml", "ca: tls/clients.pem", "ca: tls/clients.pem, crl: tls/gone.pem")
    assert errors(directory) == ["tls/gone.pem: does not exist"]
    replace(directory / "gateway.yaml", ", crl: tls/gone.pem", "")
    assert errors(directory) == ["listen[0].tls: tls/clients.pem: holds no certificate that can be read (PEM)"]


def test_edges_alone_get_certificates_and_authorities(directory: Path) -> None:
    (directory / "tls" / "clients.pem").write_bytes(trustme.CA().cert_pem.bytes())
    replace(directory / "gateway.yaml", "key: tls/key.pem}", CLIENTS % "client")
    bundle, _ = read_bundle(directory / "gateway.yaml")
    assert bundle.narrow("edge").client_authorities
    for kind in ("pages", "audit"):
        narrowed = bundle.narrow(kind)
        assert not narrowed.certificates
        assert not narrowed.client_authorities
        assert validate(narrowed, now=time.time()).tls == {}


def test_a_fifo_among_the_policies_beside_a_broken_gateway_yaml_holds_nobody_up(directory: Path) -> None:
    """Attack: a reload that waits for ever holds up every later one, and each upgrade."""
    path = directory / "gateway.yaml"
    path.write_text(path.read_text() + "\nunheard_of: 1\n")
    os.mkfifo(directory / "policies" / "pipe.yaml")
    with pytest.raises(ConfigurationError) as caught:
        read_and_validate(path)
    assert any("unheard_of" in sentence for sentence in caught.value.diagnostics)


def test_a_directory_that_is_swapped_while_it_is_read_is_not_read_half_and_half(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: the roles of one release and the routes of the next, of which no one has ever seen the sum."""
    link, one, two = directory / "policies", directory / "one", directory / "two"
    link.rename(one)
    shutil.copytree(one, two)
    link.symlink_to(one)
    for state in (one, two):
        for name in ("a", "z"):
            (state / f"{name}.yaml").write_text(f"version: 1\nroles: {{{name}-{state.name}: {{}}}}\n")
    real = os.open
    swapped: list[object] = []

    def swap(path: object, flags: int, *more: int) -> int:
        if str(path).endswith("z.yaml") and not swapped:
            swapped.append(path)
            fresh = directory / ".fresh"
            fresh.symlink_to(two)
            fresh.replace(link)
        return real(path, flags, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", swap)
    assert {"a-two", "z-two"} < set(read_and_validate(directory / "gateway.yaml").table.roles)
    assert swapped


def test_files_that_never_rest_are_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, policy = os.open, directory / "policies" / "portal.yaml"

    def change(path: object, flags: int, *more: int) -> int:
        if path == policy:
            with policy.open("a") as file:
                file.write("# more\n")
        return real(path, flags, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", change)
    with pytest.raises(ConfigurationError, match="change while they are read"):
        read_and_validate(directory / "gateway.yaml")

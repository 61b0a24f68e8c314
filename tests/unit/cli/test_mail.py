from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.mail_server import PASSWORD, USER, MailServer, mail_server_in_a_thread


@pytest.fixture
def server() -> Iterator[MailServer]:
    with mail_server_in_a_thread() as server:
        yield server


def configure(house: Any, server: MailServer, *, password: str = PASSWORD, host: str = "localhost") -> Path:
    config = house.directory / "config"
    (config / "smtp").write_text(password + "\n")
    (config / "smtp").chmod(0o600)
    (config / "mail-ca.pem").write_bytes(server.authority)
    path: Path = house.directory / "gateway.yaml"
    path.write_text(
        path.read_text()
        + f"""
mail:
  smtp: {{host: {host}, port: {server.port}, username: {USER}, password: {{file: config/smtp}}, ca: config/mail-ca.pem}}
  from: The portal <portal@example.com>
"""
    )
    return path


def test_a_test_mail_arrives_and_is_recorded_without_its_address(house: Any, server: MailServer) -> None:
    configure(house, server)
    assert house.value("mail", "test", "alice@example.com")["ok"] is True
    (mail,) = server.mails()
    assert mail["To"] == "alice@example.com"
    assert mail["From"] == "The portal <portal@example.com>"
    ((name, record),) = [(name, record) for name, record in house.records() if name == "mail test"]
    assert name == "mail test"
    assert "alice" not in str(record)


def test_a_server_that_does_not_take_it_is_exit_1_with_a_sentence(house: Any, server: MailServer) -> None:
    configure(house, server, password="wrong")
    refused = house.run("mail", "test", "alice@example.com")
    assert refused.exit_code == 1
    assert "does not take mail.smtp.username and its password" in refused.stderr
    assert "wrong" not in refused.output


def test_without_a_section_nothing_is_sent(house: Any) -> None:
    refused = house.run("mail", "test", "alice@example.com")
    assert refused.exit_code == 1
    assert "no section mail" in refused.stderr


@pytest.mark.parametrize("address", ["alice", "a@b@c", "alice@example.com\r\nBcc: b@example.com"])
def test_what_is_no_address_is_a_mistake_of_usage(house: Any, address: str) -> None:
    assert house.run("mail", "test", address).exit_code == 2


def test_doctor_tries_the_connection(house: Any, server: MailServer) -> None:
    configure(house, server)
    assert "mail" not in [finding["subject"] for finding in findings(house)]
    (house.directory / "config" / "smtp").write_text("wrong")
    (found,) = [finding for finding in findings(house) if finding["subject"] == "mail"]
    assert found["kind"] == "wrong"
    assert "does not take mail.smtp.username" in found["sentence"]


def test_doctor_says_what_is_missing_without_mail(house: Any) -> None:
    (found,) = [finding for finding in findings(house) if finding["subject"] == "mail"]
    assert found["kind"] == "weak"


def findings(house: Any) -> list[dict[str, str]]:
    found = json.loads(house.run("doctor", "--json").stdout)["findings"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda config: (config / "smtp").unlink(), "config/smtp: does not exist"),
        (
            lambda config: (config / "smtp").write_text(""),
            "config/smtp: is empty, and mail.smtp.password needs a secret",
        ),
        (lambda config: (config / "smtp").chmod(0o604), "config/smtp: is readable by others"),
        (lambda config: (config / "smtp").write_bytes(b"\xff"), "mail.smtp.password: the file is not UTF-8"),
        (lambda config: (config / "mail-ca.pem").write_text("none"), "mail.smtp.ca: holds no certificates in PEM"),
        (lambda config: (config / "mail-ca.pem").unlink(), "config/mail-ca.pem: does not exist"),
    ],
)
def test_files_that_will_not_do_are_named_by_check(house: Any, server: MailServer, change: Any, words: str) -> None:
    path = configure(house, server)
    change(path.parent / "config")
    refused = house.run("check")
    assert refused.exit_code == 2
    assert words in refused.output

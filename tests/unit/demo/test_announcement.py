from __future__ import annotations

import hashlib
import json
import ssl
from pathlib import Path

import pytest

from gateway.demo.announcement import announcement, as_json, people
from gateway.demo.configuration import Certificate, Ports
from gateway.demo.people import three_people
from gateway.demo.run import Demo
from gateway.server.certificate import self_signed

NOW = 1_700_000_000.0


@pytest.fixture
def shown(tmp_path: Path) -> Demo:
    demo = Demo(
        tmp_path, Ports(https=8443, redirect=8080, admin=9090), Certificate(*self_signed(["127.0.0.1"], now=NOW))
    )
    demo.people, demo.portal_port = three_people(), 3000
    return demo


def test_everything_needed_to_sign_in_is_said(shown: Demo) -> None:
    text = announcement(shown, NOW)
    assert "https://127.0.0.1:8443" in text
    for person in shown.people:
        assert person.password in text
        assert person.secret in text
        assert person.uri in text
        assert person.code(NOW) in text


def test_there_is_one_qr_code_and_the_commands_are_ready_to_paste(shown: Demo) -> None:
    text = announcement(shown, NOW)
    assert "█" in text
    for verb in ("audit tail --follow", "audit verify", "policy explain --as billing GET", "policy who-can"):
        assert f"gateway {verb}" in text
    assert f"-c {shown.config}" in text


def test_the_qr_code_is_painted_only_where_colours_are_seen(shown: Demo) -> None:
    assert "\x1b" not in announcement(shown, NOW)
    painted = announcement(shown, NOW, coloured=True)
    assert painted.count("\x1b[97;40m") == painted.count("\x1b[0m") > 10


def test_the_fingerprint_is_the_one_a_browser_shows(shown: Demo) -> None:
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(shown.certificate.chain.decode())).hexdigest()
    assert digest in announcement(shown, NOW).replace(":", "").replace("\n", "").lower()


def test_no_line_but_links_is_wider_than_a_terminal(shown: Demo) -> None:
    assert all(
        len(line) <= 100
        for line in announcement(shown, NOW).splitlines()
        if "://" not in line and "gateway " not in line
    )


def test_the_table_is_aligned() -> None:
    lines = people(three_people(), NOW).splitlines()
    assert len(lines) == 4
    assert len({line.index(line.split()[3]) for line in lines}) == 1


def test_programs_get_the_same_as_json(shown: Demo) -> None:
    answer = json.loads(json.dumps(as_json(shown, NOW)))
    assert answer["people"][1]["user"] == "billing"
    assert answer["people"][1]["totp_secret"] == shown.people[1].secret
    assert answer["config"] == str(shown.config)

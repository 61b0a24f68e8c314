from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.demo.announcement import announcement, as_json, people
from gateway.demo.certificate import issue
from gateway.demo.configuration import Ports
from gateway.demo.people import three_people
from gateway.demo.run import Demo

NOW = 1_700_000_000.0


@pytest.fixture
def shown(tmp_path: Path) -> Demo:
    demo = Demo(tmp_path, Ports(https=8443, redirect=8080, admin=9090))
    demo.people, demo.portal_port = three_people(), 3000
    demo.certificate = issue(("127.0.0.1",), datetime.now(UTC))
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
    for verb in ("audit tail", "audit verify", "policy explain"):
        assert f"gateway {verb}" in text
    assert f"-c {shown.config}" in text


def test_the_fingerprint_is_whole(shown: Demo) -> None:
    assert shown.certificate is not None
    assert shown.certificate.fingerprint.replace(":", "") in announcement(shown, NOW).replace(":", "").replace("\n", "")


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

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import program


def init(*arguments: object) -> Result:
    return CliRunner().invoke(program, ["init", *map(str, arguments)])


def test_a_new_directory_passes_check_without_a_warning(tmp_path: Path) -> None:
    assert init(tmp_path / "g").exit_code == 0
    done = CliRunner().invoke(program, ["check", "-c", str(tmp_path / "g" / "gateway.yaml")])
    assert done.exit_code == 0, done.output
    assert "warning" not in done.output


def test_an_empty_directory_is_accepted_and_a_full_one_is_not(tmp_path: Path) -> None:
    assert init(tmp_path).exit_code == 0
    before = (tmp_path / "config" / "keyring.json").read_bytes()
    done = init(tmp_path)
    assert done.exit_code == 2
    assert "not an empty directory" in done.output
    assert (tmp_path / "config" / "keyring.json").read_bytes() == before


def test_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    init(tmp_path)
    for name in ("config/keyring.json", "config/audit-keys.json", "config/tls/key.pem"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_two_directories_never_share_a_key(tmp_path: Path) -> None:
    init(tmp_path / "a")
    init(tmp_path / "b")
    for name in ("config/keyring.json", "config/audit-keys.json", "config/tls/key.pem"):
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "b" / name).read_bytes()


def test_what_is_asked_for_stands_in_the_file(tmp_path: Path) -> None:
    done = init(
        tmp_path / "g", "--public-url", "https://portal.example.com", "--upstream", "http://10.0.0.9:8080",
        "--listen", "127.0.0.1:9443", "--tenant", "acme",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    text = (tmp_path / "g" / "gateway.yaml").read_text()
    for part in (
        "public_url: https://portal.example.com",
        "http://10.0.0.9:8080",
        "127.0.0.1:9443",
        "acme: {hosts: [portal.example.com]}",
    ):
        assert part in text


@pytest.mark.parametrize("url", ["https://127.0.0.1:8443", "https://[::1]:8443", "http://localhost:8000"])
def test_every_kind_of_public_url_makes_a_configuration_that_passes_check(tmp_path: Path, url: str) -> None:
    assert init(tmp_path / "g", "--public-url", url).exit_code == 0
    done = CliRunner().invoke(program, ["check", "-c", str(tmp_path / "g" / "gateway.yaml")])
    assert done.exit_code == 0, done.output
    assert ("unsafe_plaintext" in done.output) is url.startswith("http:")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--public-url", "portal"),
        ("--upstream", "127.0.0.1:3000"),
        ("--listen", "8443"),
        ("--tenant", "No Name"),
        ("--upstream", "http://localhost:8443"),
    ],
)
def test_what_makes_no_configuration_is_refused_before_anything_is_written(
    tmp_path: Path, option: str, value: str
) -> None:
    assert init(tmp_path / "g", option, value).exit_code == 2
    assert not (tmp_path / "g").exists()


def test_the_answer_can_be_json(tmp_path: Path) -> None:
    done = init("--json", tmp_path / "g")
    answer = json.loads(done.output)
    assert answer["directory"] == str(tmp_path / "g")
    assert all((tmp_path / "g" / name).is_file() for name in answer["files"])


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = init(tmp_path / "file" / "g")
    assert done.exit_code == 2
    assert "cannot be written" in done.output


@pytest.mark.parametrize(
    ("url", "listen", "noted"),
    [
        ("https://portal.example.com", "0.0.0.0:8443", True),
        ("https://localhost:8443", "0.0.0.0:8443", False),
        ("https://portal.example.com", "0.0.0.0:443", False),
    ],
)
def test_another_port_than_browsers_ask_for_is_told(tmp_path: Path, url: str, listen: str, *, noted: bool) -> None:
    told = "the gateway listens on" in init(tmp_path / "g", "--public-url", url, "--listen", listen).output
    assert told is noted

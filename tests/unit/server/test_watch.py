"""When the files of a configuration count as changed: not while somebody writes, and once for each state."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.server.settings import load_settings
from gateway.server.watch import Watch, named_files

SETTLE_S = 2.0
YAML = """
version: 1
public_url: https://portal.example.com
listen: [{address: "127.0.0.1:8443", tls: {certificate: tls/cert.pem, key: tls/key.pem}}]
admin: {address: "127.0.0.1:9090"}
state_dir: state
upstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}
policies: policies
"""
Told = Callable[[], bool]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in (
        "policies/portal.yaml",
        "policies/tests/portal.yaml",
        "tls/cert.pem",
        "tls/key.pem",
        "state/gateway.db",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("one\n")
    (tmp_path / "gateway.yaml").write_text(YAML)
    return tmp_path


@pytest.fixture
def told(files: Path) -> Told:
    """Look twice, so far apart that what is at rest is told."""
    watch, now = Watch(files / "gateway.yaml"), [0.0]

    def look() -> bool:
        first = watch.look(now[0], SETTLE_S)
        now[0] += SETTLE_S
        second = watch.look(now[0], SETTLE_S)
        now[0] += SETTLE_S
        return first or second

    assert look(), "the first state is told: the files may have changed since they were read"
    assert not look()
    return look


@pytest.mark.parametrize(
    "name", ["gateway.yaml", "policies/portal.yaml", "policies/tests/portal.yaml", "tls/cert.pem", "tls/key.pem"]
)
def test_a_file_that_changed_is_told_once(files: Path, told: Told, name: str) -> None:
    path = files / name
    path.write_text(path.read_text() + "# more\n")
    assert told()
    assert not told()


def test_a_file_that_came_or_went_is_a_change(files: Path, told: Told) -> None:
    (files / "policies" / "more.yaml").write_text("two\n")
    assert told()
    (files / "policies" / "more.yaml").unlink()
    assert told()
    (files / "policies" / "tests" / "portal.yaml").unlink()
    assert told()
    assert not told()


def test_nothing_is_told_before_the_files_have_come_to_rest(files: Path) -> None:
    watch = Watch(files / "gateway.yaml")
    assert not watch.look(0.0, SETTLE_S)
    path = files / "policies" / "portal.yaml"
    for second in range(1, 6):  # somebody writes line after line
        path.write_text(path.read_text() + f"{second}\n")
        assert not watch.look(float(second), SETTLE_S)
    assert not watch.look(6.9, SETTLE_S)
    assert watch.look(7.0, SETTLE_S)
    assert not watch.look(100.0, SETTLE_S)


def test_a_file_that_became_unreadable_is_a_change(files: Path, told: Told) -> None:
    (files / "tls" / "key.pem").chmod(0o000)
    assert told()


def test_a_file_that_was_replaced_by_one_of_the_same_size_and_time_is_a_change(files: Path, told: Told) -> None:
    path = files / "policies" / "portal.yaml"
    status = path.stat()
    fresh = path.with_name(".fresh")
    fresh.write_text("two\n")
    os.utime(fresh, ns=(status.st_atime_ns, status.st_mtime_ns))
    fresh.replace(path)
    assert told()


def test_what_is_hidden_and_what_the_gateway_writes_is_not_looked_at(files: Path, told: Told) -> None:
    (files / "policies" / ".portal.yaml.swp").write_text("an editor's")
    (files / "state" / "gateway.db").write_text("changed")
    (files / "state" / "audit").mkdir()
    assert not told()


def test_a_directory_that_is_swapped_under_its_link_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: each file links through `..data` to the state of the moment."""
    for state, text in (("..one", YAML), ("..two", YAML + "# another\n")):
        (tmp_path / state).mkdir()
        (tmp_path / state / "gateway.yaml").write_text(text)
        (tmp_path / state / "portal.yaml").write_text(state)
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "policies").mkdir()
    (tmp_path / "gateway.yaml").symlink_to("..data/gateway.yaml")
    (tmp_path / "policies" / "portal.yaml").symlink_to("../..data/portal.yaml")
    watch = Watch(tmp_path / "gateway.yaml")
    watch.look(0.0, 0.0)
    assert not watch.look(1.0, 0.0)
    (tmp_path / "..data_tmp").symlink_to("..two")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert watch.look(2.0, 0.0)
    assert not watch.look(3.0, 0.0)


def test_a_file_that_gateway_yaml_names_from_now_on_is_looked_at(files: Path, told: Told) -> None:
    (files / "next").mkdir()
    (files / "next" / "portal.yaml").write_text("one\n")
    assert not told()
    (files / "gateway.yaml").write_text(YAML + "candidate: next\n")
    assert told()
    (files / "next" / "portal.yaml").write_text("two, longer\n")
    assert told()


def test_while_gateway_yaml_cannot_be_read_the_files_it_named_are_looked_at(files: Path, told: Told) -> None:
    (files / "gateway.yaml").write_text("{")
    assert told()
    (files / "policies" / "portal.yaml").write_text("two, longer\n")
    assert told()
    (files / "gateway.yaml").unlink()
    assert told()
    (files / "gateway.yaml").write_text(YAML)
    assert told()


def test_a_link_that_leads_to_itself_ends(files: Path, told: Told) -> None:
    (files / "policies" / "loop").symlink_to(files / "policies")
    assert told()
    assert not told()


def test_every_file_that_is_read_is_looked_at(files: Path) -> None:
    settings = load_settings(YAML + "candidate: next\nbranding: {name: A, logo: logo.svg}\n", files / "gateway.yaml")
    names = {str(path.relative_to(files)) for path in named_files(settings) if path.is_relative_to(files)}
    assert {"policies", "next", "logo.svg", "tls/cert.pem", "tls/key.pem", "config/keyring.json"} <= names
    assert "state" not in names


def test_a_name_that_cannot_be_looked_at_does_not_end_the_watch(files: Path, told: Told) -> None:
    path = files / "gateway.yaml"
    text = path.read_text()
    path.write_text(text.replace("policies: policies", f"policies: {'p' * 300}"))
    assert told()
    path.write_text(text)
    assert told()


def test_a_fifo_in_the_place_of_gateway_yaml_holds_nobody_up(files: Path, told: Told) -> None:
    """Attack: whoever opens it waits for a writer that never comes, and no change is noticed any more."""
    path = files / "gateway.yaml"
    text = path.read_text()
    path.unlink()
    os.mkfifo(path)
    assert told()
    path.unlink()
    path.write_text(text)
    assert told()

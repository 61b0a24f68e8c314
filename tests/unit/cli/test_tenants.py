"""Every verb that takes a tenant names nobody of another one, and changes nothing of theirs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click
import pytest

from gateway.cli import program
from gateway.exchange.session import Session
from gateway.session.token import HANDLE_BYTES, make_handle, make_token, row_of
from tests.unit.cli.conftest import House

TENANTS = "tenants:\n  acme: {hosts: [acme.example]}\n  globex: {hosts: [globex.example]}\n"
PEOPLE = {"alice": "acme", "gina": "globex"}


def verbs_of(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield every verb that takes --tenant."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from verbs_of(found, (*path, name))
    elif any("--tenant" in getattr(parameter, "opts", ()) for parameter in command.params):
        yield " ".join(path)


@pytest.fixture
def estate(house: House) -> House:
    """A gateway with a person, a session and a key in each of two tenants."""
    path = house.directory / "gateway.yaml"
    text = path.read_text()
    start = text.index("tenants:\n")
    end = text.index("identity:")
    path.write_text(text[:start] + TENANTS + text[end:])
    for file in (house.directory / "policies" / "tests").glob("*.yaml"):
        file.unlink()
    for name, tenant in PEOPLE.items():
        words = ("--tenant", tenant, "--role", "client", "--password-stdin", "--email", f"{name}@{tenant}.example")
        house.value("user", "add", name, *words, given="correct horse battery\n")
        house.value(
            "apikey",
            "create",
            f"key of {tenant}",
            "--service",
            f"robot-{tenant}",
            "--tenant",
            tenant,
            "--role",
            "client",
        )
    now = time.time()
    store = house.store()
    for number, (name, tenant) in enumerate(PEOPLE.items()):
        user = store.user_named(name)
        assert user is not None
        made = Session(
            handle=make_handle(bytes([number]) * HANDLE_BYTES), user_id=user.id, user=name, tenant=tenant, roles=("client",), auth_time=now,
            mfa_time=now, created=now, expires=now + 3600, idle_s=900.0, host=f"{tenant}.example", secure=True,
        )  # fmt: skip
        store.create_session(row_of(make_token(bytes([number]) * 32)), made, stamp=user.stamp, keep=None, now=now)
    store.close()
    return house


def only(found: Any, key: str = "tenant") -> None:
    assert found
    assert {item[key] for item in found} == {"acme"}


def people(house: House) -> None:
    only(house.value("user", "list", "--tenant", "acme")["users"])


def sessions(house: House) -> None:
    only(house.value("session", "list", "--tenant", "acme")["sessions"])


def keys(house: House) -> None:
    only(house.value("apikey", "list", "--tenant", "acme")["api_keys"])


def end_sessions(house: House) -> None:
    assert house.value("session", "revoke", "--tenant", "acme")["sessions_ended"] == 1
    assert [item["tenant"] for item in house.value("session", "list")["sessions"]] == ["globex"]


def end_keys(house: House) -> None:
    house.value("apikey", "revoke", "--service", "robot-acme", "--tenant", "acme")
    active = [item["tenant"] for item in house.value("apikey", "list")["api_keys"] if item["state"] == "serves"]
    assert active == ["globex"]
    house.value("apikey", "revoke", "--service", "robot-globex", "--tenant", "acme")
    assert [item["state"] for item in house.value("apikey", "list", "--tenant", "globex")["api_keys"]] == ["serves"]


def add_person(house: House) -> None:
    again = ("user", "add", "gina", "--tenant", "acme", "--role", "client", "--password-stdin")
    assert house.run(*again, given="correct horse battery\n").exit_code != 0, "one name is one person"
    nowhere = ("user", "add", "nora", "--tenant", "acmee", "--role", "client", "--password-stdin")
    refused = house.run(*nowhere, given="correct horse battery\n")
    assert refused.exit_code != 0
    assert "did you mean 'acme'" in refused.output


def make_key(house: House) -> None:
    refused = house.run("apikey", "create", "x", "--user", "gina", "--tenant", "acme", "--role", "client")
    assert refused.exit_code != 0
    assert {item["tenant"] for item in house.value("apikey", "list", "--tenant", "acme")["api_keys"]} == {"acme"}


def search(house: House) -> None:
    house.value("user", "list", "--tenant", "globex")
    found = house.run("audit", "query", "--tenant", "acme", "--json").stdout
    assert "alice" in found or "acme" in found
    assert "globex" not in found
    assert "gina" not in found


def ask_policy(house: House) -> None:
    words = ("policy", "explain", "--as", "anybody:client", "GET")
    own = house.run(*words, "https://acme.example/", "--tenant", "acme", "--json")
    assert own.exit_code == 0, own.output
    crossing = house.run(*words, "https://globex.example/", "--tenant", "acme", "--json")
    assert crossing.exit_code == 1
    assert '"tenant_mismatch"' in crossing.output


def ask_what(house: House) -> None:
    found = house.value("policy", "what-can", "role:client", "--tenant", "acme")["reach"]
    assert found
    assert not any("globex.example" in str(reach) for reach in found)
    assert house.run("policy", "what-can", "role:client", "--tenant", "acmee").exit_code != 0


def export_records(house: House) -> None:
    house.value("user", "list", "--tenant", "globex")
    found = house.run("audit", "export", "--tenant", "acme", "--format", "ocsf-jsonl").stdout
    assert "acme" in found
    assert "globex" not in found
    assert "gina" not in found


def about(house: House, verb: str, *more: str) -> None:
    """Ask a privacy verb about a person of another tenant, then about one of its own."""
    reason = () if verb == "status" else ("--reason", "case 7")
    refused = house.run("privacy", verb, "--subject", "gina", "--tenant", "acme", *reason, *more)
    assert refused.exit_code == 1
    assert "knows 'gina' at tenant 'acme'" in refused.output
    done = house.run("privacy", verb, "--subject", "alice", "--tenant", "acme", *reason, *more)
    assert done.exit_code == 0, done.output
    assert {user["name"] for user in house.value("user", "list", "--tenant", "globex")["users"]} == {"gina"}


def export_person(house: House) -> None:
    about(house, "export", "-o", str(house.directory.parent / "person.json"))
    assert "gina" not in (house.directory.parent / "person.json").read_text()


def lift(house: House) -> None:
    house.value("privacy", "restrict", "--subject", "alice", "--tenant", "acme", "--reason", "case 7")
    about(house, "lift")


def begin(house: House) -> None:
    done = house.run("init", str(house.directory.parent / "another"), "--tenant", "acme")
    assert done.exit_code == 0, done.output
    assert "  acme: {hosts: [localhost]}" in (house.directory.parent / "another" / "gateway.yaml").read_text()


ROWS: Mapping[str, Callable[[House], None]] = {
    "apikey create": make_key,
    "apikey list": keys,
    "apikey revoke": end_keys,
    "audit export": export_records,
    "audit query": search,
    "init": begin,
    "policy explain": ask_policy,
    "policy what-can": ask_what,
    "privacy erase": lambda house: about(house, "erase", "--yes"),
    "privacy export": export_person,
    "privacy lift": lift,
    "privacy restrict": lambda house: about(house, "restrict"),
    "privacy status": lambda house: about(house, "status"),
    "session list": sessions,
    "session revoke": end_sessions,
    "user add": add_person,
    "user list": people,
}


def test_every_verb_that_takes_a_tenant_has_a_row() -> None:
    assert set(verbs_of(program)) == set(ROWS)


@pytest.mark.parametrize("verb", ROWS)
def test_a_verb_for_one_tenant_leaves_the_other_alone(estate: House, verb: str) -> None:
    ROWS[verb](estate)


def test_who_is_moved_to_another_tenant_keeps_nothing_that_was_proven_in_the_first(estate: House) -> None:
    """A person is of one tenant: moving is deleting and adding, and takes sessions and keys along."""
    estate.value("apikey", "create", "own", "--user", "alice", "--role", "client")
    estate.value("user", "delete", "alice")
    words = ("--tenant", "globex", "--role", "client", "--password-stdin")
    estate.value("user", "add", "alice", *words, given="correct horse battery\n")
    assert estate.value("session", "list", "--tenant", "acme")["sessions"] == []
    left = [item for item in estate.value("apikey", "list")["api_keys"] if item["state"] == "serves"]
    assert {item["tenant"] for item in left} == {"acme", "globex"}
    assert all("robot-" in item["user"] for item in left)

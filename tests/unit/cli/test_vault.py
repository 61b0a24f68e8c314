from __future__ import annotations

from typing import Any

import pytest

from gateway.store.tables import PORTAL_ACCOUNTS

SIGN_ON = """\
    cookies: {vault: http_only}
    sign_on: {type: form, page: /login, fields: {u: username, p: password}%s}
"""


@pytest.fixture
def signed(house: Any) -> Any:
    configure(house, "")
    house.add("alice", "--self-enrol")
    return house


def configure(house: Any, more: str) -> None:
    path = house.directory / "gateway.yaml"
    lines = path.read_text().splitlines(keepends=True)
    lines = [line for line in lines if not line.startswith(("    cookies:", "    sign_on:"))]
    start = next(index for index, line in enumerate(lines) if line.startswith("upstreams:"))
    while not lines[start].lstrip().startswith("servers:"):
        start += 1
        if "{servers" in lines[start]:
            servers = lines[start].partition("servers: ")[2].partition("]")[0] + "]"
            lines[start : start + 1] = ["  portal:\n", f"    servers: {servers}\n"]
    lines.insert(start + 1, SIGN_ON % more)
    path.write_text("".join(lines))


def accounts(house: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = house.value("vault", "list", "--user", "alice")["accounts"]
    return found


WHOM = ("--user", "alice", "--upstream", "portal")


def test_an_account_is_kept_listed_and_deleted_and_never_shown(signed: Any) -> None:
    assert "There is no account." in signed.run("vault", "list", "--user", "alice").stdout
    signed.value("vault", "set", *WHOM, "--username", "al", given="very secret\n")
    (account,) = accounts(signed)
    assert (account["upstream"], account["username"], account["standing"]) == ("portal", "al", "untried")
    listed = signed.run("vault", "list", "--user", "alice").stdout
    assert "al" in listed
    assert "very secret" not in listed + repr(signed.records())
    signed.value("vault", "delete", *WHOM)
    assert accounts(signed) == []
    assert signed.run("vault", "delete", *WHOM).exit_code == 1
    assert [name for name, _ in signed.records()].count("vault set") == 1


def test_what_cannot_be_an_account_is_refused(signed: Any) -> None:
    for arguments, given, status in (
        ((*WHOM, "--username", "al"), "\n", 2),
        ((*WHOM, "--username", "al"), "a\x00b\n", 2),
        ((*WHOM, "--username", "al"), "x" * 5000, 2),
        ((*WHOM, "--username", "a\nb"), "secret\n", 2),
        (WHOM, "secret\n", 2),
        (("--user", "nobody", "--upstream", "portal", "--username", "al"), "secret\n", 1),
        (("--user", "alice", "--upstream", "shop", "--username", "al"), "secret\n", 1),
    ):
        assert signed.run("vault", "set", *arguments, given=given).exit_code == status, arguments
    assert accounts(signed) == []


def test_a_name_that_the_configuration_says_is_not_told_again(signed: Any) -> None:
    configure(signed, ', username: "{user}"')
    assert signed.run("vault", "set", *WHOM, "--username", "al", given="secret\n").exit_code == 2
    signed.value("vault", "set", *WHOM, given="secret\n")
    assert accounts(signed)[0]["username"] == ""


def test_the_accounts_of_a_person_go_with_the_person(signed: Any) -> None:
    signed.value("vault", "set", *WHOM, "--username", "al", given="secret\n")
    signed.value("user", "delete", "alice")
    signed.add("alice", "--self-enrol")
    assert accounts(signed) == []
    store = signed.store()
    assert store.rows.all(PORTAL_ACCOUNTS) == []
    store.close()

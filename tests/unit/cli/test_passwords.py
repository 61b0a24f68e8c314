from __future__ import annotations

from typing import Any

from gateway.authn.breached import digest_of


def write(house: Any, *lines: str) -> str:
    path = house.directory / "list.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_a_list_is_imported_and_used_at_once(house: Any) -> None:
    words = ("a phrase from a breach", "another one of them")
    source = write(house, *sorted(f"{digest_of(word).hex().upper()}:7" for word in words))
    assert house.value("passwords", "import", source) == {"ok": True, "entries": 2}
    refused = house.run(
        "user", "add", "bob", "--tenant", "main", "--role", "client", "--password-stdin", given=f"{words[0]}\n"
    )
    assert refused.exit_code == 1
    assert "known from data breaches" in refused.stderr
    assert ("passwords import", "admin") in [
        (name, record["unmapped"]["gw"].get("action", "admin")) for name, record in house.records()
    ]


def test_a_bad_list_is_named_and_changes_nothing(house: Any) -> None:
    refused = house.run("passwords", "import", write(house, "not a hash"))
    assert refused.exit_code == 1
    assert "line 1: is not a SHA-1" in refused.stderr


def test_a_directory_that_lacks_ranges_is_refused(house: Any) -> None:
    directory = house.directory / "ranges"
    directory.mkdir()
    refused = house.run("passwords", "import", str(directory))
    assert refused.exit_code == 1
    assert "the range 00000 is missing" in refused.stderr


def test_a_source_that_is_not_there_is_a_mistake_of_usage(house: Any) -> None:
    assert house.run("passwords", "import", "nowhere.txt").exit_code == 2


def test_a_list_from_standard_input_is_imported_whole_or_not_at_all(house: Any) -> None:
    line = f"{digest_of('an uncommon phrase').hex().upper()}:2\n"
    assert house.value("passwords", "import", "-", given=line) == {"ok": True, "entries": 1}
    bad = house.run("passwords", "import", "-", given="nonsense\n")
    assert bad.exit_code == 1
    assert "line 1" in bad.stderr
    assert house.run("passwords", "import", "-", "--restart", given=line).exit_code == 2

from hashlib import sha1

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.breached import (
    HEADER,
    BreachedList,
    BreachedListError,
    digest_of,
    header_of,
    make_list,
    parse_published,
)


def published(*passwords: str) -> list[bytes]:
    return [
        f"{sha1(p.encode()).hexdigest().upper()}:{n}\r\n".encode()
        for n, p in enumerate(sorted(passwords, key=lambda p: sha1(p.encode()).digest()), 1)
    ]


@given(st.lists(st.text(max_size=8), max_size=40), st.text(max_size=8))
def test_a_list_holds_exactly_what_it_was_made_of(passwords: list[str], other: str) -> None:
    made = BreachedList(make_list(passwords))
    assert len(made) == len(set(passwords))
    assert all(password in made for password in passwords)
    assert (other in made) is (other in passwords)


def test_the_published_form_gives_the_same_list() -> None:
    words = [f"word{number}" for number in range(300)]
    entries = list(parse_published(published(*words)))
    assert header_of(len(entries)) + b"".join(entries) == make_list(words)


def test_entries_that_repeat_are_kept_once() -> None:
    line = published("one")
    assert len(list(parse_published(line + line + [b"\r\n"]))) == 1


@pytest.mark.parametrize("line", [b"xyz:1\n", b"ABCDEF:1\n", b"\xff\xfe:1\n", b"A" * 42 + b":1\n"])
def test_a_malformed_line_is_named(line: bytes) -> None:
    with pytest.raises(BreachedListError, match="line 2"):
        list(parse_published([*published("one"), line]))


def test_a_file_that_is_ordered_by_count_is_refused() -> None:
    with pytest.raises(BreachedListError, match="line 2: is out of order"):
        list(parse_published(list(reversed(published("one", "two")))))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GWBREACH",
        make_list(["one", "two"])[:-1],
        make_list(["one"]) + b"\0",
        b"GWBREACX" + make_list(["one"])[8:],
        HEADER.pack(b"GWBREACH", 2, 10, 0),
        HEADER.pack(b"GWBREACH", 1, 1, 0),
    ],
)
def test_data_that_is_not_a_whole_list_is_refused(data: bytes) -> None:
    with pytest.raises(BreachedListError):
        BreachedList(data)


def test_a_lone_surrogate_is_looked_up_like_any_other_text() -> None:
    assert len(digest_of("\ud800")) == 20
    assert "\ud800" not in BreachedList(make_list(["one"]))

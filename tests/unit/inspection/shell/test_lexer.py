import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.shell.lexer import LONGEST_COMMAND, MOST_WORDS, read_command


def words(text: str, start: int = 0) -> list[str]:
    return [word.text for word in read_command(text, start).words]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("cat /etc/passwd", ["cat", "/etc/passwd"]),
        ("w'h'o'am'i", ["whoami"]),
        ('w"h"oami', ["whoami"]),
        ("\\w\\h\\o\\a\\m\\i", ["whoami"]),
        ("wh$@oami", ["whoami"]),
        ("who$()ami", ["whoami"]),
        ("who``ami", ["whoami"]),
        ("c^m^d /c dir", ["cmd", "/c", "dir"]),
        ("$'\\x63\\x61\\x74' x", ["cat", "x"]),
        ("$'\\143at\\n\\q\\u0061'", ["cat\nqa"]),
        ("$'open", ["open"]),
        ('$"cat"', ["cat"]),
        ("cat${IFS}/etc/passwd", ["cat", "/etc/passwd"]),
        ("cat$IFS$9/etc/passwd", ["cat", "/etc/passwd"]),
        ("{cat,/etc/passwd}", ["cat", "/etc/passwd"]),
        ("{l,-lh}s", ["ls", "-lhs"]),
        ("c{a,oun}t", ["cat", "count"]),
        ("{,ip,a}", ["ip", "a"]),
        ("{cat x", ["{cat", "x"]),
        ("{ cat x", ["cat", "x"]),
        ("cat</etc/passwd", ["cat", "/etc/passwd"]),
        ("cat 2>&1 >x", ["cat", "1", "x"]),
        ("cat &>x", ["cat", "x"]),
        ("cat /et'c/pa'ss'wd", ["cat", "/etc/passwd"]),
        ("echo 'a b' c", ["echo", "a b", "c"]),
        ("cat x # comment", ["cat", "x"]),
        ("a#b", ["a#b"]),
        ("cat\\\n x", ["cat", "x"]),
        ("$SHELL -c id", ["/bin/sh", "-c", "id"]),
        ("ls $HOME", ["ls", "$HOME"]),
        ("type C:\\windows\\win.ini", ["type", "C:\\windows\\win.ini"]),
        ("(cat x", ["cat", "x"]),
        ("cat $(id) x", ["cat", "", "x"]),
        ("cat $[1+1]", ["cat", ""]),
        ("cat $", ["cat", "$"]),
        ("cat ^", ["cat", "^"]),
        ("cat } x", ["cat", "}", "x"]),
        ("a -> b", ["a", "-"]),
        ("cat\u2028x", ["cat", "x"]),
    ],
)
def test_words_are_read_as_a_shell_expands_them(text: str, read: list[str]) -> None:
    assert words(text) == read


@pytest.mark.parametrize("end", [";", "|", "&", "\n", ")", "`x`"])
def test_command_ends_at_a_separator(end: str) -> None:
    command = read_command(f"cat x{end}y", 0)
    assert [word.text for word in command.words] == ["cat", "x"]
    assert command.end == len("cat x")


def test_noise_is_told_from_quotes_that_hold_something_together() -> None:
    assert read_command("w'h'oami", 0).words[0].is_noisy
    assert not read_command("'who am i'", 0).words[0].is_noisy
    assert not read_command("echo 'a b'", 0).words[1].is_noisy


def test_here_string_and_field_separator_are_told() -> None:
    assert read_command("cat<<<x", 0).has_here_string
    assert read_command("cat${IFS}x", 0).has_field_separator
    assert not read_command("cat x", 0).has_here_string


def test_a_command_is_read_to_a_limit_only() -> None:
    assert len(read_command("a " * 1000, 0).words) == MOST_WORDS
    assert read_command("a" * 10_000, 0).end == LONGEST_COMMAND
    assert read_command("a" * 100, 0, 10).end == 10


@given(st.text(alphabet=" ;|&\n`$(){}<>'\"\\/^#,aIFS@x1", max_size=64), st.integers(0, 64))
def test_reading_ends_within_the_text(text: str, start: int) -> None:
    command = read_command(text, min(start, len(text)))
    assert min(start, len(text)) <= command.end <= len(text) + 1

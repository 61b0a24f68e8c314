"""The ways in which a text can be read."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.readings import (
    AS_SENT,
    FREE_CHARACTERS,
    MAX_READINGS,
    MOST_AT_ONCE,
    MOST_TIMES,
    readings,
)

ATTACK = "<script>alert(1)</script>"


def ways(text: str) -> list[str]:
    return [reading.text for reading in readings(text).found]


@pytest.mark.parametrize(
    "text",
    [
        "O'Brien",
        "50 % off & more",
        "a < b && c > d",
        "C:\\Users\\me\\file.txt",
        "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "internationalization",
        "M\u00fcller & S\u00f6hne \u2013 5\u202f\u20ac \u2026",
        "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8",
        "dGhpcyBpcw",
    ],
)
def test_ordinary_text_is_read_as_sent_only(text: str) -> None:
    assert [tuple(reading) for reading in readings(text).found] == [(text, AS_SENT)]


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("%3Cscript%3Ealert(1)%3C/script%3E", "url"),
        ("%253Cscript%253Ealert(1)%253C/script%253E", "url > url"),
        ("%25253Cscript>alert(1)</script>", "url > url > url"),
        ("%u003cscript>alert(1)</script>", "url"),
        ("&lt;script&gt;alert(1)&lt;/script&gt;", "html"),
        ("&#60;script&#x3e;alert(1)&lt/script>", "html"),
        ("%26lt;script>alert(1)</script>", "url > html"),
        ("\\u003cscript>alert(1)</script>", "script"),
        ("\\x3cscript\\76alert(1)</script>", "script"),
        ("\\u{00003c}script>alert(1)</script>", "script"),
        ("\\3c script>alert(1)</script>", "style"),
        ("\uff1cscript\uff1ealert(1)\uff1c/script\uff1e", "nfkc"),
        ("\u2039script\u203aalert(1)\u2039/script\u203a", "nfkc"),
        ("<scr\u200bipt>alert(1)</script>", "nfkc"),
        ("<\U0001d42ccript>alert(1)</script>", "nfkc"),
        ("<scr\0ipt>alert(1)</script>", "without nul"),
        ("<scr/**/ipt>alert(1)</script>", "without comments"),
        ("+ADw-script+AD4-alert(1)+ADw-/script+AD4-", "utf-7"),
        (base64.b64encode(ATTACK.encode()).decode(), "base64"),
        (base64.urlsafe_b64encode(ATTACK.encode()).decode().rstrip("="), "base64"),
        ("data:text/html;base64," + base64.b64encode(ATTACK.encode()).decode(), "base64"),
        ("header0." + base64.b64encode(ATTACK.encode()).decode() + ".sig", "base64"),
        (base64.b64encode(b"%3Cscript%3Ealert(1)</script>").decode(), "base64 > url"),
        ("%c0%bcscript>alert(1)</script>", "url > overlong"),
        ("%e0%80%bcscript>alert(1)</script>", "url > overlong"),
        ("\udcc0\udcbcscript>alert(1)</script>", "overlong"),
    ],
)
def test_what_an_upstream_would_undo_is_undone(text: str, how: str) -> None:
    assert (ATTACK, how) in [tuple(reading) for reading in readings(text).found]


def test_a_plus_is_a_plus_and_a_space() -> None:
    assert "1 or 1" in ways("1+or+1")
    assert {"1 or 1", "1+or+1"} <= set(ways("1+%6fr+1"))


def test_bytes_that_are_no_utf_8_are_read_as_latin_1() -> None:
    assert ways("f\udcfcr 'x'") == ["f\ufffdr 'x'", "f\xfcr 'x'"]


def test_the_slash_that_a_careless_decoder_makes_of_c0_2f_is_found() -> None:
    assert "../../etc" in ways("..%c0%2f..%c0%2fetc")


def test_surrogates_of_json_are_no_bytes() -> None:
    assert ways("\ud800'") == ["\ufffd'"]


def test_what_decodes_to_no_text_is_no_base64() -> None:
    assert len(ways(base64.b64encode(bytes(range(128, 168))).decode())) == 1


def test_a_text_of_endless_wrappings_is_not_complete() -> None:
    nest = "%25252525253c&#x26;lt;\\u0025u003c+ADw-\uff1c/**/\\x26#x3c;\0%26#37;5c"
    assert not readings(nest).is_complete
    assert len(readings(nest).found) <= MAX_READINGS + MOST_AT_ONCE


def test_work_on_a_long_text_stays_linear() -> None:
    text = "%2525253c&#x26;lt;\\u0025u003c" * 20_000
    found, _ = readings(text)
    assert sum(len(reading.text) for reading in found) <= FREE_CHARACTERS + (MOST_TIMES + MOST_AT_ONCE) * len(text)


CODE = "f(a, '%20', '&amp;', '&#39;', /* \\x41 */ '\\u0041', a+b, '\\\\41 ') // 100%25\n"


@pytest.mark.parametrize("times", [1, 2_000])
def test_code_about_encodings_is_wrapped_in_none_of_them_twice(times: int) -> None:
    assert readings(CODE * times).is_complete


@pytest.mark.parametrize("times", [1, 2_000])
@pytest.mark.parametrize(
    "hidden",
    [
        "%253cscript>alert(1)</script>",
        "&amp;lt;script>alert(1)</script>",
        "%26lt;script>alert(1)</script>",
        "\\u0026lt;script>alert(1)</script>",
        "%5cx3cscript>alert(1)</script>",
        "%2526lt;script>alert(1)</script>",
        "\\u0025u003cscript>alert(1)</script>",
        "%c0%bcscript>alert(1)</script>",
        "\uff1cscript>alert(1)</script>",
        "<scr/**/ipt>alert(1)</script>",
        "<scr\0ipt>alert(1)</script>",
    ],
)
def test_an_attack_among_code_about_encodings_is_undone(hidden: str, times: int) -> None:
    found, _ = readings(CODE * times + hidden)
    assert any(ATTACK in reading.text for reading in found)


@given(st.text(st.characters() | st.sampled_from("%&\\+0123456789abcdefux;#/*=\0\udc80\udcc0\udcbc"), max_size=60))
def test_any_text_can_be_read_and_gives_no_surrogate(text: str) -> None:
    found, _ = readings(text)
    assert 1 <= len(found) <= MAX_READINGS + MOST_AT_ONCE
    for reading in found:
        reading.text.encode("utf-8")


@given(st.text(max_size=40))
def test_each_reading_stands_there_once(text: str) -> None:
    found = [reading.text for reading in readings(text).found]
    assert len(found) == len(set(found))


@pytest.mark.parametrize("gap", [" ", "\r\n", "\n\t "])
def test_base64_in_several_lines_is_decoded(gap: str) -> None:
    text = base64.b64encode(ATTACK.encode()).decode()
    assert ATTACK in ways(text[:10] + gap + text[10:24] + gap + text[24:] + gap)
    assert ATTACK in ways("data:text/html;base64," + text[:10] + gap + text[10:])


def test_a_sentence_is_no_base64() -> None:
    assert ways("This sentence has letters and blanks alone and is no base64") == [
        "This sentence has letters and blanks alone and is no base64"
    ]

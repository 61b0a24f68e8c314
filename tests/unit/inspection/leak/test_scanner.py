"""A body is looked through as it streams by, and what is found does not depend on how it is cut."""

from __future__ import annotations

import re
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.leak import private_key
from gateway.inspection.leak import scanner as scanner_module
from gateway.inspection.leak.pattern import InvalidPatternError, compile_pattern
from gateway.inspection.leak.reading import Found, Reading, Text
from gateway.inspection.leak.scanner import Scanner
from gateway.inspection.leak.sighting import Action, Kind
from gateway.inspection.leak.text_form import Markup, TextForm, UnknownCharsetError, of_content_type
from tests.unit.inspection.leak.scanning import KEY, MASK_ALL, in_pieces, masked, scanner

SNIPPETS = [
    b"Card number: 4111 1111 1111 1111", b"4111111111111111", b"card ", b"order ", b" exp 12/27", b"5555-5555-5555-4444", b"3782 822463 10005",
    b"4111", b" ", b"1111", b"-", b".", b"\xc2\xa0", b"&nbsp;", b"<span>", b"</span>", b"<!-- -->", b"%20", b"+", b"1", b"42", b"%", b"%3", b"\\u00a0", b"\\n",
    b"ghp_0123456789abcdefghijABCDEFGHIJ012345", b"ghp_", b"AKIAIOSFODNN7EXAMPLE", b"sk_live_", b"0123456789abcdefghijABCD",
    b"-----BEGIN RSA PRIVATE KEY-----\n", b"MIIEowIBAAKCAQEA0Z3VS5JJcds3xfn\n", b"-----END RSA PRIVATE KEY-----", b"-----", b"--", b"-----BEGIN ",
    b"postgres://app:s3cret@db/x", b"https://user:pa55@host/", b"https://", b"http", b":", b"//", b"@", b";Password=S3cr3t!;", b";pwd",
    b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", b"eyJhbGciOiJIUzI1NiJ9", b"eyJ", b"DE89 3704 0044 0532 0130 00", b"DE", b"GB82WEST12345698765432",
    b"078-05-1120", b"password=", b"Hunter2x9", b"aws_secret_access_key=", b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", b"secret",
    b"card_number", b"\n", b'"', b"\\", b'\\"', b",", b"x", b"_", b"KD-12345678", b"KD-", b"\x01", b"\xff", b"\xe2\x80\xaf", b"a" * 70, b"9" * 30, b"1111 " * 8,
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(SNIPPETS), max_size=14).map(b"".join)
CUTS = st.lists(st.integers(1, 60), max_size=25)
TYPES = st.sampled_from(
    [b"text/html", b"application/json", b"text/csv", b"text/javascript", b"application/x-www-form-urlencoded"]
)
CUSTOMER = compile_pattern("customer", r"\bKD-[0-9]{8}\b")
ACTIONS = {**MASK_ALL, "customer": Action.MASK}


@given(TEXTS, CUTS, TYPES)
def test_the_same_is_found_however_a_text_is_cut(text: bytes, cuts: list[int], content_type: bytes) -> None:
    whole = scanner(content_type, ACTIONS, (CUSTOMER,))
    expected = whole.feed(text) + whole.finish()
    pieces = scanner(content_type, ACTIONS, (CUSTOMER,))
    out, _ = in_pieces(pieces, text, cuts)
    assert out == expected
    assert len(out) == len(text)
    assert pieces.report.as_record() == whole.report.as_record()


@given(TEXTS)
def test_the_same_is_found_byte_by_byte(text: bytes) -> None:
    whole = scanner(b"text/html")
    expected = whole.feed(text) + whole.finish()
    pieces = scanner(b"text/html")
    out, _ = in_pieces(pieces, text, [1] * len(text))
    assert out == expected
    assert pieces.report.as_record() == whole.report.as_record()


@given(TEXTS, CUTS, st.sampled_from(list(Kind)))
def test_what_must_not_pass_stops_the_text_at_the_same_place(text: bytes, cuts: list[int], kind: Kind) -> None:
    actions = {**MASK_ALL, kind.value: Action.BLOCK}
    whole = scanner(b"text/html", actions)
    expected = whole.feed(text) + whole.finish()
    pieces = scanner(b"text/html", actions)
    out, _ = in_pieces(pieces, text, cuts)
    assert out == expected
    assert pieces.is_stopped is whole.is_stopped is whole.report.is_blocked is pieces.report.is_blocked
    if whole.is_stopped:
        assert text[: len(out)] == out or b"*" in out or b"9" in out
    else:
        assert pieces.report.as_record() == whole.report.as_record()


@given(TEXTS, CUTS, st.booleans(), st.booleans())
def test_utf_16_is_looked_through_like_any_other_text(
    text: bytes, cuts: list[int], is_big_endian: bool, has_mark: bool
) -> None:
    letters = text.decode("latin-1")
    clean = masked(text, b"text/html; charset=iso-8859-1").decode("latin-1")
    name = "utf-16-be" if is_big_endian else "utf-16-le"
    mark = "\ufeff" if has_mark else ""
    content_type = b"text/html" if has_mark else b"text/html; charset=" + name.replace("16-", "16").encode()
    looking = scanner(content_type)
    out, _ = in_pieces(looking, (mark + letters).encode(name), cuts)
    assert out.decode(name) == mark + clean


@given(TEXTS)
def test_an_alert_changes_nothing(text: bytes) -> None:
    looking = scanner(b"text/html", {kind.value: Action.ALERT for kind in Kind})
    out, _ = in_pieces(looking, text, [5] * 100)
    assert out == text
    assert not looking.is_stopped


@given(TEXTS, TYPES)
def test_what_was_masked_is_not_found_again(text: bytes, content_type: bytes) -> None:
    first = scanner(content_type, {Kind.SECRETS.value: Action.MASK})
    clean = first.feed(text) + first.finish()
    assert masked(clean, content_type, Kind.SECRETS) == clean


def test_ordinary_text_is_not_held_back() -> None:
    looking = scanner(b"text/html")
    text = b"<p>Dear Anna, your 3 invoices of 2024 are ready. See https://portal.example.com/invoices </p>\n"
    for n in range(20):
        looking.feed(text)
        assert looking.held == 0, n


def test_an_event_with_a_time_is_not_held_back() -> None:
    looking = scanner(b"text/event-stream")
    looking.feed(b'data: {"ts":1700000000000}\n\ndata: 1700000000000\n')
    assert looking.held == 0
    looking.feed(b'data: {"ts":1700000000000,"id":"018f3c2a-5b7d-7c31-9d3a-0123456789ab"}\n\n')
    assert looking.held == 0


@pytest.mark.parametrize(
    "unit",
    [
        b"4",
        b"4111 ",
        b"4111 1111 1111 1111 ",
        b"eyJ",
        b"eyJhbGciOiJIUzI1NiJ9",
        b"-",
        b"<",
        b"https://a:b",
        b"KD-1",
        b"AKIA",
        b"%2",
        b"&#1",
        b"DE89 3704 ",
    ],
)
def test_little_is_held_back_of_hostile_repetition(unit: bytes) -> None:
    looking = scanner(b"text/html", ACTIONS, (CUSTOMER,))
    out, held = in_pieces(looking, unit * (40_000 // len(unit)), [500] * 90)
    assert held <= 6_000
    assert len(out) == len(unit) * (40_000 // len(unit))


def test_keys_in_a_row_are_each_read_to_their_end_and_not_through_all_that_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[int] = []

    class Run:
        def match(self, data: bytes, start: int, limit: int) -> re.Match[bytes] | None:
            found = private_key._TAIL.run.match(data, start, limit)
            read.append(found.end() - found.start() if found is not None else 0)
            return found

    read_on = private_key.read

    def counted(text: Text, at: int, trigger: bytes) -> Reading:
        found = read_on(text, at, trigger)
        tail = private_key._TAIL._replace(run=cast("re.Pattern[bytes]", Run()))
        return found._replace(tail=tail) if isinstance(found, Found) else found

    looking = scanner(actions={"secrets": Action.MASK})
    chosen = [one._replace(read=counted) if one.read is read_on else one for one in looking._detectors._chosen]
    monkeypatch.setattr(looking._detectors, "_chosen", tuple(chosen))
    text = b"-----BEGIN PRIVATE KEY-----\nAAAAAAAABBBB" * 1_000
    looking.feed(text)
    looking.finish()
    assert len(read) == looking.report.tallies["secrets"].count == 1_000
    assert sum(read) < len(text)


def test_quotation_marks_are_followed_once_however_many_numbers_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[int] = []
    follow = scanner_module._quoted

    def counted(text: bytes, is_in_string: bool, is_escaped: bool) -> tuple[bool, bool]:
        followed.append(len(text))
        return follow(text, is_in_string, is_escaped)

    monkeypatch.setattr(scanner_module, "_quoted", counted)
    text = b'{"card":4111111111111111,"name":"a \\" card 4111111111111111"},' * 500
    out = masked(text, b"application/json")
    assert out == b'{"card":9999999999991111,"name":"a \\" card ************1111"},' * 500
    assert sum(followed) <= len(text)


def test_what_settles_leaves_at_once_and_the_look_goes_on() -> None:
    looking = scanner(b"text/event-stream")
    first = b"data: a card 4111 1111 1111 1111\n\n"
    assert looking.feed(first) + looking.settle() == first.replace(b"4111 1111 1111 1111", b"**** **** **** 1111")
    assert looking.held == 0
    assert looking.feed(first) + looking.finish() == first.replace(b"4111 1111 1111 1111", b"**** **** **** 1111")
    assert looking.report.tallies["cards"].count == 2


def test_a_token_of_any_length_is_covered() -> None:
    token = b"eyJhbGciOiJIUzI1NiJ9." + b"abcD" * 5_000 + b".c2ln"
    looking = scanner()
    out, held = in_pieces(looking, token + b" end", [1_000] * 30)
    assert out == b"*" * len(token) + b" end"
    assert held <= 1_100


def test_digests_tell_values_apart_and_need_the_key() -> None:
    def digests(key: bytes) -> object:
        form = TextForm(Markup.PLAIN)
        looking = Scanner(form, {"cards": Action.ALERT}, key=key)
        looking.feed(b"card 4111111111111111, card 4111 1111 1111 1111, card 5555555555554444.")
        looking.finish()
        return looking.report.as_record()

    record = digests(KEY)
    assert isinstance(record, list)
    assert record[0]["kind"] == "cards"
    assert record[0]["count"] == 3
    assert len(record[0]["digests"]) == 2
    assert digests(b"another key") != record
    assert b"4111" not in repr(record).encode()


def test_nothing_is_looked_for_that_is_allowed() -> None:
    looking = scanner(actions={kind.value: Action.ALLOW for kind in Kind})
    assert looking.feed(b"card 4111111111111111") == b"card 4111111111111111"
    assert looking.report.as_record() == []


def test_an_operators_pattern_is_masked_across_pieces() -> None:
    looking = scanner(b"text/plain", {"customer": Action.MASK}, (CUSTOMER,))
    assert in_pieces(looking, b"Kunde KD-12345678 und KD-1234\n", [9])[0] == b"Kunde *********** und KD-1234\n"


def test_a_pattern_sees_far_into_a_long_line() -> None:
    text = b"x" * 4_090 + b" KD-12345678 " + b"y" * 9_000 + b" KD-87654321"
    looking = scanner(b"text/plain", {"customer": Action.MASK}, (CUSTOMER,))
    out, _ = in_pieces(looking, text, [77] * 80)
    assert out == text.replace(b"KD-12345678", b"*" * 11).replace(b"KD-87654321", b"*" * 11)


@given(st.lists(st.sampled_from([b"ab", b"a", b"\n", b" ", b"b" * 4_000]), max_size=10).map(b"".join), CUTS)
def test_patterns_find_the_same_however_a_text_is_cut(text: bytes, cuts: list[int]) -> None:
    patterns = (compile_pattern("words", "ab+a?"), compile_pattern("ends", "a$|^b"))
    actions = {"words": Action.MASK, "ends": Action.MASK}
    whole = scanner(b"text/plain", actions, patterns)
    expected = whole.feed(text) + whole.finish()
    pieces = scanner(b"text/plain", actions, patterns)
    assert in_pieces(pieces, text, [*cuts, *[300] * 20])[0] == expected
    assert pieces.report.as_record() == whole.report.as_record()


@pytest.mark.parametrize("source", ["", "a" * 1_025, "(", "(?=a)", r"(a)\1", "a*", "Größe", "a{5000}"])
def test_a_pattern_that_cannot_be_used_is_refused_with_a_sentence(source: str) -> None:
    with pytest.raises(InvalidPatternError) as caught:
        compile_pattern("x", source)
    assert str(caught.value)


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        (b"text/html; charset=utf-8", TextForm(Markup.HTML)),
        (b'TEXT/HTML;charset="UTF-8"', TextForm(Markup.HTML)),
        (b"", TextForm(Markup.HTML)),
        (b"json", TextForm(Markup.HTML)),
        (b"*/*; charset=utf-8", TextForm(Markup.HTML)),
        (b"text/html,x", TextForm(Markup.HTML)),
        (b"application/unknown", TextForm(Markup.HTML)),
        (b"application/json", TextForm(Markup.JSON)),
        (b"application/problem+json", TextForm(Markup.JSON)),
        (b"image/svg+xml", TextForm(Markup.XML)),
        (b"text/csv; charset=windows-1252", TextForm(Markup.PLAIN)),
        (b"text/event-stream", TextForm(Markup.PLAIN)),
        (b"text/plain; charset=Shift_JIS", TextForm(Markup.PLAIN)),
        (b"text/plain; charset=utf-16be", TextForm(Markup.PLAIN, 2, is_big_endian=True)),
        (b"application/pdf", None),
        (b"image/png", None),
        (b"application/octet-stream", None),
        (b"multipart/form-data; boundary=x", None),
    ],
)
def test_what_is_text_is_told_by_its_type(content_type: bytes, form: TextForm | None) -> None:
    assert of_content_type(content_type) == form


@pytest.mark.parametrize("charset", [b"utf-7", b"utf-32", b"ibm037", b"iso-2022-jp", b"hz-gb-2312", b"nonsense"])
def test_a_text_that_cannot_be_looked_through_is_not_taken_for_clean(charset: bytes) -> None:
    with pytest.raises(UnknownCharsetError):
        of_content_type(b"text/html; charset=" + charset)

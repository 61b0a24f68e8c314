from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.inspection.csp.scripts import hash_of, read_approved
from gateway.inspection.rewrite.charset import Charset
from gateway.inspection.rewrite.insertion import Insertion
from gateway.inspection.rewrite.page import MAX_SCRIPT_BYTES, MAX_TAG_BYTES, Page
from gateway.inspection.rewrite.tag import Tag

OWN = "https://portal.example"
GOOD = "start()"
INTO = Insertion(
    url=OWN + "/app/page?x=1",
    own=OWN,
    charset=Charset.UTF_8,
    nonce="bm9uY2U=",
    approved=read_approved([hash_of(GOOD), "/static/app.js", "/lib/*", "https://cdn.example/lib.js", hash_of("file")]),
    input=b'<input type="hidden" name="gw_csrf" value="T">',
)
N = b' nonce="bm9uY2U="'
I = INTO.input  # noqa: E741 - I for the input, as N for the nonce


def passed(text: bytes, into: Insertion = INTO) -> bytes:
    page = Page(into)
    return page.feed(text) + page.finish()


def test_an_approved_inline_script_gets_the_nonce_and_another_does_not() -> None:
    page = Page(INTO)
    out = page.feed(b"<p>a</p><SCRIPT>start()</script><script>evil()</script>") + page.finish()
    assert out == b"<p>a</p><SCRIPT" + N + b">start()</script><script>evil()</script>"
    assert page.seen == [hash_of("evil()")]
    assert page.stopped == ""


@pytest.mark.parametrize(
    "tag",
    [
        b'<script src="/static/app.js?v=3&amp;t=4" defer>',
        b"<script src=../static/app.js>",
        b"<script src='//portal.example/lib/a/b.js'>",
        b"<script\nsrc='https://cdn.example/lib.js'>",
        b"<script src=/any.js integrity='" + hash_of("file").encode() + b"'>",
        b'<script type="module" src=/lib/m.js>',
    ],
)
def test_an_approved_address_gets_the_nonce(tag: bytes) -> None:
    assert passed(tag + b"</script>") == b"<script" + N + tag[7:] + b"</script>"


@pytest.mark.parametrize(
    "tag",
    [
        b"<script src=/other.js>",
        b"<script src=//evil.example/static/app.js>",
        b"<script src=https://portal.example@evil.example/static/app.js>",
        b"<script src=/lib/%2e%2e/upload/evil.js>",
        b"<script src=/lib/../upload/evil.js>",
        b"<script src='/lib/..\\upload/evil.js'>",
        b"<script src='/static/&#47;../app.js'>",
        b"<script src='/static/app.js&quot'>",
        b"<script src=///evil.example/lib/x.js>",
        b"<script src=https:/lib/x.js>",
        b"<script src=data:text/javascript,alert(1)>",
        b"<script src=/evil.js src=/static/app.js>",
        b"<script src=/static/app.js src=/evil.js>",
        b"<script src='/evil.js' <script src=/static/app.js>",
        b"<script src=/static/app.js x='<script src=/a>'>",
        b"<script src=/static/app.js nonce=portal>",
        b"<script src=/static/app.js type=text/template>",
        b"<script src=>",
        b"<script src=/any.js integrity='" + hash_of("file").encode() + b" sha256-AAAA'>",
    ],
)
def test_what_a_browser_could_read_as_another_script_stays_without_a_nonce(tag: bytes) -> None:
    text = tag + b"</script>"
    assert passed(text) == text


@pytest.mark.parametrize(
    "before",
    [
        b"<!-- ", b"<!--a--!b ", b"<textarea>", b"<title>", b"<style>", b"<noscript>", b"<iframe>", b"<xmp>", b"<template><p>",
        b"<plaintext>", b"<a title='", b'<a title="x', b"<script>", b"<script type=text/x-template>", b"<svg>", b"<math><mi>",
        b"<svg><foreignObject>", b"<!x ", b"<?x ", b"</ ", b"<select>", b"<frameset>", b"<svg><p></svg>",
        b"<svg><desc><div/></desc></svg>", b"<svg/x><style><!--</style>", b"<svg><![CDATA[ > ]]></svg>", b"<svg><title/></svg>",
        b"<script><!--<script></script>", b"<svg><script>a<b</script></svg>", b"<select><style><i></style></select>",
    ],
)  # fmt: skip
def test_nothing_goes_in_where_a_parser_may_read_something_else(before: bytes) -> None:
    text = before + b"<script src=/static/app.js></script>"
    assert passed(text) == text


@pytest.mark.parametrize(
    "before", [b"<!-- ", b"<textarea>", b"<script>", b"<style>", b"<template>", b"<svg>", b"<select>", b"<a title='"]
)
def test_no_field_goes_in_where_no_form_is(before: bytes) -> None:
    assert passed(before + b"<form method=post>") == before + b"<form method=post>"


@pytest.mark.parametrize(
    "before",
    [
        b"<!---->", b"<!-->", b"<!--->", b"<!-- > -- -> --!>", b"<title><b></title >", b"<textarea><!-- </TEXTAREA/>", b"<style>a>b</style\n>",
        b"<template><template></template></template>", b"<script><!--<script></script>--></script>", b"<script><!--></script>",
        b"<svg><title>Icon</title><path d='M0 0'/></svg>", b"<svg/>", b"<svg><foreignObject><div><br>x</div></foreignObject></svg>",
        b"<svg><style>.a{fill:red}</style><![CDATA[x]]></svg>", b"<select><option>a<option>b</select>", b"</>", b"< script", b"<3",
        b"<!doctype html>", b"<?xml?>", b"</ x>", b"<a/b='>'>", b"<!>", b"<math><mi>x</mi></math>", b"<![CDATA[>", b"<noscript><p></noscript>",
        b"<script>a</scripty></script>", b"<script>'<!-- '</script>", b"<svg><desc><select></select></desc></svg>", b"</select>", b"</template>",
    ],
)  # fmt: skip
def test_scripts_are_found_again_behind_what_is_no_markup(before: bytes) -> None:
    assert passed(before + b"<script src=/static/app.js>") == before + b"<script" + N + b" src=/static/app.js>"


def test_a_hidden_script_of_the_nineties_is_hashed_as_the_browser_reads_it() -> None:
    text = "<!--\r\nvar a = '</scr' + 'ipt>';\r\n//-->"
    into = Insertion(
        url=INTO.url,
        own=OWN,
        charset=Charset.UTF_8,
        nonce="x",
        approved=read_approved([hash_of(text.replace("\r\n", "\n"))]),
    )
    assert passed(b"<script>" + text.encode() + b"</script>", into).startswith(b'<script nonce="x">')


@pytest.mark.parametrize(
    ("charset", "text", "goes_in"),
    [
        (Charset.UTF_8, "gr\xfc\xdfe()".encode(), True),
        (Charset.WINDOWS_1252, "gr\xfc\xdfe()".encode("latin-1"), True),
        (Charset.UNDECLARED, "gr\xfc\xdfe()".encode(), False),
        (Charset.UTF_8, "gr\xfc\xdfe()".encode("latin-1"), False),
        (Charset.WINDOWS_1252, "gr\xfc\xdfe()".encode(), False),
    ],
)
def test_a_script_with_umlauts_is_approved_in_the_encoding_of_its_page(
    charset: Charset, text: bytes, goes_in: bool
) -> None:
    into = Insertion(
        url=INTO.url, own=OWN, charset=charset, nonce="x", approved=read_approved([hash_of("gr\xfc\xdfe()")])
    )
    assert (b"nonce" in passed(b"<script>" + text + b"</script>", into)) is goes_in


def undeclared(text: bytes) -> bytes:
    return passed(text, Insertion(url=INTO.url, own=OWN, charset=Charset.UNDECLARED, nonce="x", approved=INTO.approved))


def test_a_page_may_say_its_encoding_itself() -> None:
    script = b"<script>start()</script>"
    assert b"nonce" in undeclared(b"<meta charset=UTF-8>" + script)
    assert b"nonce" in undeclared(script)
    assert b"nonce" not in undeclared(b"<meta charset=iso-2022-jp>" + script)
    assert b"nonce" not in undeclared(b"<meta http-equiv=Content-Type content='text/html; charset=utf-16'>" + script)
    assert b"nonce" in undeclared(b"<meta name=x content='text/html; charset=utf-16'>" + script)
    assert b"nonce" in undeclared(b" " * 1025 + b"<meta charset=iso-2022-jp>" + script)


def test_a_page_whose_encoding_a_browser_would_guess_is_left_alone_from_its_escape_on() -> None:
    assert undeclared(b"<script>start()</script>\x1b$B<script>start()</script>") == (
        b'<script nonce="x">start()</script>\x1b$B<script>start()</script>'
    )


def test_the_mark_of_utf_16_stops_everything_and_that_of_utf_8_declares_it() -> None:
    script = b"<script>start()</script>"
    assert b"nonce" not in passed(b"\xff\xfe" + script)
    assert b"nonce" not in passed(b"\xfe\xff" + script)
    assert b"nonce" in passed(b"\xef\xbb\xbf" + script)


def test_relative_addresses_go_by_base_as_in_a_browser() -> None:
    script = b"<script src=app.js></script>"
    assert N in passed(b"<base href=/static/>" + script)
    assert N not in passed(b"<base href=/uploads/><base href=/static/>" + script)
    assert N not in passed(b"<base href=https://evil.example/static/>" + script)
    assert N in passed(b"<template><base href=/uploads/></template><base href=/static/>" + script)
    assert N not in passed(b"<select><base href=/uploads/></select><script src=../static/app.js></script>")
    assert N not in passed(b"<svg><p><base href=/uploads/></p></svg><base href=/static/>" + script)
    hidden = b" ".join(b"a%d" % number for number in range(200))
    assert N not in passed(b"<base " + hidden + b" href=/uploads/><base href=/static/>" + script)


def test_an_approved_place_is_not_reached_by_dots() -> None:
    for address in (b"https://portal.example/lib/../uploads/x.js", b"../uploads/me///../../static/app.js"):
        assert N not in passed(b"<script src=%b></script>" % address)


@pytest.mark.parametrize(
    ("tag", "goes_in"),
    [
        (b"<form method=post>", True),
        (b"<FORM METHOD='POST' ACTION='save'>", True),
        (b"<form action=/save method=post enctype=multipart/form-data>", True),
        (b"<form action=https://portal.example/save method=post>", True),
        (b"<form action=https://portal.example method=post>", True),
        (b"<form>", False),
        (b"<form method=get action=/save>", False),
        (b"<form method=dialog>", False),
        (b"<form method=post action=//evil.example/>", False),
        (b"<form method=post action=https://portal.example.evil.example/>", False),
        (b"<form method=post action=https://portal.example:8443/>", False),
        (b"<form method=post action=http://portal.example/>", False),
        (b"<form method=post action='javascript:x'>", False),
        (b"<form method=post action='/a\\b'>", False),
        (b"<form method=post action=/.gateway/logout>", False),
        (b"<form method=post enctype=text/plain>", False),
        (b"<form method=post action=/a action=//evil.example>", False),
    ],
)
def test_a_form_that_is_posted_to_us_gets_the_field_and_no_other(tag: bytes, goes_in: bool) -> None:
    assert passed(tag + b"<input>") == tag + (I if goes_in else b"") + b"<input>"


def test_a_form_within_a_form_is_none_and_gets_no_field_that_the_outer_one_would_send_away() -> None:
    inner = b"<form method=post></form>"
    assert passed(b"<form action=//evil.example>" + inner) == b"<form action=//evil.example>" + inner
    assert passed(b"<svg><form></svg></form>" + inner) == b"<svg><form></svg></form>" + inner
    assert passed(b"<form action=//evil.example></form>" + inner).count(I) == 1
    assert passed(b"<template><form></template>" + inner).count(I) == 1
    assert passed(inner + inner).count(I) == 2


def test_a_preloaded_script_gets_the_nonce_and_a_style_sheet_does_not() -> None:
    assert N in passed(b"<link rel=preload as=script href=/static/app.js>")
    assert N in passed(b"<link rel=modulepreload href=/lib/m.js>")
    assert N not in passed(b"<link rel=modulepreload href=/evil.js>")
    assert N not in passed(b"<link rel=stylesheet href=/lib/m.css>")


def test_nothing_goes_in_where_nothing_was_asked_for() -> None:
    text = b"<script>start()</script><form method=post>"
    assert passed(text, Insertion(url=INTO.url, own=OWN, charset=Charset.UTF_8)) == text


def test_scripts_that_are_not_approved_are_named_without_their_queries() -> None:
    page = Page(INTO)
    page.feed(
        b"<script src='/js/other.js?user=17#x'></script><script src='https://cdn.example/x.js?u=1'></script>"
        b"<script type=application/json>{}</script><script> </script><script>evil()</script><script>evil()</script>"
    )
    assert page.seen == ["/js/other.js", "https://cdn.example/x.js", hash_of("evil()")]


def test_a_script_too_long_to_hold_back_passes_without_a_nonce() -> None:
    text = b"<script>" + b"x" * (MAX_SCRIPT_BYTES + 1) + b"</script><script>start()</script>"
    page = Page(INTO)
    out = b"".join(page.feed(text[at : at + 65536]) for at in range(0, len(text), 65536))
    assert len(out) > MAX_SCRIPT_BYTES
    assert out + page.finish() == passed(text)
    assert passed(text).count(N) == 1


def test_an_image_in_its_own_address_is_not_held_back() -> None:
    page = Page(INTO)
    assert len(page.feed(b'<img src="data:' + b"A" * 100_000)) > 90_000
    assert page.feed(b'"><script src=/static/app.js>').endswith(N + b" src=/static/app.js>")


def test_a_script_tag_too_long_to_hold_back_passes_without_a_nonce() -> None:
    text = b"<script src=/static/app.js data-x='" + b"x" * 2 * MAX_TAG_BYTES + b"'></script>"
    page = Page(INTO)
    assert b"".join(page.feed(text[at : at + 5000]) for at in range(0, len(text), 5000)) + page.finish() == text
    assert passed(text) == text


def test_what_follows_the_end_of_rewriting_passes_as_it_came() -> None:
    page = Page(INTO)
    script = b"<script src=/static/app.js>"
    assert page.feed(b"<plaintext>") + page.feed(script) + page.finish() == b"<plaintext>" + script
    assert page.stopped == "markup"


def test_a_comment_is_found_however_it_is_cut() -> None:
    for text in (b"<!-->", b"<!--->", b"<!---->", b"<!-- x --!>", b"<!x>"):
        page = Page(INTO)
        out = b"".join(page.feed(text[at : at + 1]) for at in range(len(text)))
        assert out + page.feed(b"<script src=/static/app.js>") == text + b"<script" + N + b" src=/static/app.js>"


def test_a_page_that_breaks_off_leaves_as_it_came() -> None:
    for text in (
        b"<script>start()",
        b"<script src=/static/app.js",
        b"<!-",
        b"<",
        b"<svg><![CDA",
        b"\xef\xbb",
        b"<textarea></texta",
    ):
        assert passed(text) == text


PIECES = st.lists(
    st.sampled_from(
        [
            b"<script>start()</script>", b"<script>evil()</script>", b"<script", b" src=/static/app.js", b">", b"</script>", b"<!--", b"-->", b"--!>",
            b"<form method=post>", b"<form method=post action='", b"'", b'"', b"=", b"/", b" ", b"<textarea>", b"</textarea>", b"<title>", b"</title", b"<svg>", b"</svg>",
            b"<svg", b"<path/>", b"<![CDATA[", b"]]>", b"<template>", b"</template>", b"<base href=/static/>", b"<select>", b"</select>", b"<meta charset=utf-8>",
            b"<meta charset=euc-jp>", b"<style>", b"</style>", b"<b>", b"text", b"\r\n", b"\x1b", b"\xfc", b"\xef\xbb\xbf", b"<", b"a", b"<desc>", b"</desc>", b"start()",
        ]
    ),
    max_size=24,
).map(b"".join)  # fmt: skip


@given(
    PIECES, st.lists(st.integers(1, 9), min_size=1, max_size=9), st.sampled_from([Charset.UTF_8, Charset.UNDECLARED])
)
@example(b"<script>start()</script>", [1], Charset.UTF_8)
@example(b"<svg><style></style><![CDATA[]]></svg><script>start()</script>", [1], Charset.UNDECLARED)
def test_what_comes_out_is_the_same_however_the_page_is_cut(text: bytes, steps: list[int], charset: Charset) -> None:
    into = Insertion(url=INTO.url, own=OWN, charset=charset, nonce=INTO.nonce, approved=INTO.approved, input=INTO.input)
    whole, pieces = Page(into), Page(into)
    out, at, turn = b"", 0, 0
    while at < len(text):
        step = steps[turn % len(steps)]
        out += pieces.feed(text[at : at + step])
        at, turn = at + step, turn + 1
    expected = whole.feed(text)
    assert (out + pieces.finish(), pieces.seen, pieces.stopped) == (
        expected + whole.finish(),
        whole.seen,
        whole.stopped,
    )
    assert (expected + b"").replace(N, b"").replace(I, b"") == text[: len(expected.replace(N, b"").replace(I, b""))]


@given(st.binary(max_size=300))
def test_bytes_of_no_page_pass_as_they_came(text: bytes) -> None:
    assert passed(text).replace(N, b"").replace(I, b"") == text


def test_each_byte_is_looked_at_a_bounded_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    real = Tag.read

    def counted(tag: Tag, data: bytes | bytearray, at: int) -> int:
        nonlocal looked
        end = real(tag, data, at)
        looked += end - at
        return end

    monkeypatch.setattr(Tag, "read", counted)
    text = b"<a title='" + b">" * 20_000
    page = Page(INTO)
    for at in range(len(text)):
        page.feed(text[at : at + 1])
    assert looked <= len(text)

import pytest

from gateway.inspection.finding import Position
from gateway.inspection.prose import CodeSpans, Speech, is_plain_word, is_running


@pytest.mark.parametrize(
    "text",
    [
        "I would like to order",
        "Ich h\u00e4tte gern f\u00fcnf St\u00fcck",
        "C\u2019est simple comme bonjour, non?",
        "\u6ce8\u6587\u756a\u53f7\u306f",
        "see 5 apples, pears and other fruit",
    ],
)
def test_sentence_is_running_text(text: str) -> None:
    assert is_running(text)


@pytest.mark.parametrize("text", ["", "cat /etc/passwd", "a;b;c;d", "one two three", "x=1 y=2 z=3 w=4", "1 2 3 4 5"])
def test_value_is_no_running_text(text: str) -> None:
    assert not is_running(text)


@pytest.mark.parametrize(
    ("word", "is_plain"),
    [("cat", True), ("don't", True), ("(yes)", True), ("end.", True), ("-x", False), ("a.b", False), ("x1", False)],
)
def test_word_of_a_sentence(word: str, is_plain: bool) -> None:
    assert is_plain_word(word) is is_plain


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("please run `ls -la` for me", "ls -la"),
        ("look:\n```\nls -la\n```\nthat is all", "ls -la"),
        ("look here:\n~~~\nls -la", "ls -la"),
        ("```sh\nls -la\n```", "ls -la"),
        ("one `a` and\n```\nls -la\n```\nmore `b` here", "ls -la"),
        ("\u6ce8\u6587\u756a\u53f7 `ls -la` \u6ce8", "ls -la"),
    ],
)
def test_code_that_is_shown_is_found(text: str, code: str) -> None:
    spans = CodeSpans(text, Position.FORM)
    assert spans
    assert text.index(code) in spans
    assert 0 not in spans or text.startswith("`")


@pytest.mark.parametrize("text", ["`ls -la`", "x`ls -la`", "127.0.0.1;`id`", "```\nls -la\n```", "no code at all"])
def test_what_shows_no_code(text: str) -> None:
    assert not CodeSpans(text, Position.FORM)


def test_nobody_writes_sentences_into_a_cookie() -> None:
    assert not CodeSpans("please run `ls -la` for me", Position.COOKIE)


def test_speech_is_found_before_and_behind() -> None:
    text = "I would like to; cat /etc/passwd; and then some more words"
    speech = Speech(text)
    assert speech.before(text.index(";"))
    assert not speech.before(3)
    assert speech.after(20)
    assert not speech.after(len(text))
    assert not Speech("x").before(1)
    assert not Speech("x").after(0)

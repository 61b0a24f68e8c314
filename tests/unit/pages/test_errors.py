from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from gateway.exchange.reason import ANSWERS, Reason
from gateway.inspection.upload.objection import Objection
from gateway.pages.errors import ERROR_PAGE_CSP, error_page


class _Outline(HTMLParser):
    """The tags and texts of a page, and whether each opened tag was closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(f"{tag} {attrs}")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def outline(page: bytes) -> _Outline:
    parser = _Outline()
    parser.feed(page.decode())
    assert parser.open == []
    return parser


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_whole_page_that_says_it_and_names_the_request(reason: Reason) -> None:
    page = outline(error_page(reason, request_id="01JREQUEST"))
    assert ANSWERS[reason].title in page.text
    assert ANSWERS[reason].sentence in page.text
    assert str(ANSWERS[reason].status) in page.text
    assert "01JREQUEST" in page.text
    assert page.tags.count("h1") == 1
    assert "script" not in page.tags


def test_the_policy_names_exactly_the_style_in_the_page() -> None:
    style = re.search(rb"<style>(.*?)</style>", error_page(Reason.NO_ROUTE, request_id="r"), re.DOTALL)
    assert style is not None
    assert b"'sha256-" + b64encode(sha256(style[1]).digest()) + b"'" in ERROR_PAGE_CSP
    assert b"unsafe-inline" not in ERROR_PAGE_CSP
    assert b"default-src 'none'" in ERROR_PAGE_CSP


@pytest.mark.parametrize(
    "attack", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><b>", "&lt;&", "'\x00"]
)
def test_reflected_values_stay_text(attack: str) -> None:
    page = outline(error_page(Reason.ROLE_MISSING, request_id=attack, route="r", rule=attack))
    assert page.tags == outline(error_page(Reason.ROLE_MISSING, request_id="r", route="r", rule="d")).tags
    assert page.text.count(attack) == 2


def test_a_refusal_shows_which_rule_decided_and_offers_another_account() -> None:
    page = outline(
        error_page(
            Reason.ROLE_MISSING, request_id="r", route="r", rule="policies/portal.yaml:15:9 asks for the role billing"
        )
    )
    assert "policies/portal.yaml:15:9 asks for the role billing" in page.text
    assert "/.gateway/logout" in page.links


def test_sign_in_is_offered_where_asked_for_and_where_the_status_says_so() -> None:
    assert "/.gateway/login" in outline(error_page(Reason.NO_ROUTE, request_id="r", sign_in="/.gateway/login")).links
    assert "/.gateway/login" in outline(error_page(Reason.SESSION_EXPIRED, request_id="r")).links
    assert "/.gateway/login" not in outline(error_page(Reason.NO_ROUTE, request_id="r")).links


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "a second"),
        (30, "30 seconds"),
        (89, "89 seconds"),
        (90, "2 minutes"),
        (121, "3 minutes"),
        (5340, "89 minutes"),
        (5400, "2 hours"),
    ],
)
def test_waiting_time_is_said_in_words_and_never_too_short(seconds: int, words: str) -> None:
    assert f"again in {words}." in outline(error_page(Reason.RATE_LIMITED, request_id="r", retry_after=seconds)).text


def test_a_page_never_reloads_itself() -> None:
    assert b"http-equiv" not in error_page(Reason.STORE_UNAVAILABLE, request_id="r", retry_after=2)


def test_the_page_speaks_the_language_of_the_browser() -> None:
    page = outline(error_page(Reason.NO_ROUTE, request_id="r", accepted="de-AT,en;q=0.5"))
    assert "Nicht gefunden" in page.text
    assert b'<html lang="de">' in error_page(Reason.NO_ROUTE, request_id="r", accepted="de")
    assert b'<html lang="en">' in error_page(Reason.NO_ROUTE, request_id="r", accepted="x" * 9999)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_page_has_the_same_shape_in_every_language(reason: Reason) -> None:
    english = outline(error_page(reason, request_id="r", route="a", rule="b", retry_after=5, not_kept="full"))
    german = outline(
        error_page(reason, request_id="r", accepted="de", route="a", rule="b", retry_after=5, not_kept="full")
    )
    assert german.tags == english.tags
    assert german.links == english.links


def test_a_person_is_told_in_words_which_file_was_not_taken_and_what_is() -> None:
    page = outline(
        error_page(
            Reason.UPLOAD_REFUSED, request_id="r", route="portal", rule="type_not_allowed", bound="JPEG, PDF, PNG"
        )
    )
    assert "Files of this kind are not accepted here. Accepted are: JPEG, PDF, PNG." in page.text
    assert "type_not_allowed" not in page.text
    assert "“portal”" not in page.text


@pytest.mark.parametrize("objection", sorted(set(Objection) - {Objection.INFECTED, Objection.UNSCANNED}))
@pytest.mark.parametrize("language", ["en", "de"])
def test_every_objection_to_a_file_has_words(objection: Objection, language: str) -> None:
    page = error_page(Reason.UPLOAD_REFUSED, request_id="r", accepted=language, rule=objection.value)
    assert b'<p class="detail">' in page
    assert objection.value.encode() not in page


def test_the_answer_of_a_detector_has_no_rule_that_means_something_to_the_person() -> None:
    page = outline(error_page(Reason.ABUSE_BLOCKED, request_id="r", route="none", rule="a_d284a462d926"))
    assert "none" not in page.text
    assert "a_d284a462d926" not in page.text

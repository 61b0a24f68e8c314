from __future__ import annotations

import pytest

from gateway.exchange.reason import Reason
from gateway.pages.provenance import refuse_embedding, refuse_foreign_submission

ORIGIN = "https://portal.example.com"
BROWSER = {
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Origin": ORIGIN,
}


def test_a_browser_that_navigates_from_our_form_passes() -> None:
    assert refuse_foreign_submission(BROWSER, ORIGIN) is None


def test_a_client_that_says_nothing_is_left_to_the_token() -> None:
    assert refuse_foreign_submission({}, ORIGIN) is None
    assert refuse_embedding({}, frozenset({"document"})) is None


@pytest.mark.parametrize(
    "change",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": ""},
        {"Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Mode": "same-origin"},
        {"Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Dest": "embed"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://portal.example.com"},
        {"Origin": "https://portal.example.com:8443"},
        {"Origin": "https://portal.example.com.evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
    ],
    ids=str,
)
def test_one_foreign_word_of_the_browser_refuses(change: dict[str, str]) -> None:
    assert refuse_foreign_submission(BROWSER | change, ORIGIN) is Reason.CROSS_ORIGIN
    assert refuse_foreign_submission(change, ORIGIN) is Reason.CROSS_ORIGIN


@pytest.mark.parametrize(
    "destination", ["iframe", "frame", "script", "empty", "object", "embed", "serviceworker", "style", ""]
)
def test_a_page_is_for_documents_only(destination: str) -> None:
    assert refuse_embedding({"Sec-Fetch-Dest": destination}, frozenset({"document"})) is Reason.CROSS_ORIGIN

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pages.device import describe_device

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0", "Firefox on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/130.0.0.0 Safari/537.36", "Chrome on Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/130.0 Safari/537.36 Edg/130.0", "Edge on Windows"),
        (f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Version/17.5 Safari/605.1.15", "Safari on macOS"),
        (
            f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) {WEBKIT} Version/18.0 Mobile/15E148 Safari/604.1",
            "Safari on iPhone",
        ),
        (
            f"Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) {WEBKIT} CriOS/130.0 Mobile/15E148 Safari/604.1",
            "Chrome on iPad",
        ),
        (f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {WEBKIT} Chrome/130.0 Mobile Safari/537.36", "Chrome on Android"),
        (
            f"Mozilla/5.0 (Linux; Android 14) {WEBKIT} SamsungBrowser/26.0 Chrome/122 Safari/537.36",
            "Samsung Internet on Android",
        ),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/130.0 Safari/537.36", "Chrome on ChromeOS"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/130.0 Safari/537.36", "Chromium on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko", "Internet Explorer on Windows"),
        (
            f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Chrome/130 Safari/537.36 OPR/115",
            "Opera on macOS",
        ),
        ("curl/8.5.0", "Curl"),
        ("Python-urllib/3.11", "Unknown device"),
        ("python-requests/2.32", "A Python program"),
        ("Mozilla/5.0 (X11; FreeBSD amd64)", "A browser on FreeBSD"),
        ("", "Unknown device"),
        ("<script>alert(1)</script>", "Unknown device"),
    ],
)
def test_a_browser_is_named_as_people_know_it(user_agent: str, name: str) -> None:
    assert describe_device(user_agent) == name


@given(st.text())
def test_any_text_gets_a_name_of_ours_and_never_its_own_words(text: str) -> None:
    name = describe_device("§§§" + text)
    assert name
    assert "§" not in name


def test_a_very_long_field_is_read_in_part() -> None:
    assert describe_device("x" * 1_000_000 + " Firefox/1 Linux") == "Unknown device"

"""Addresses are read as browsers read them."""

import pytest

from gateway.inspection.html import address


@pytest.mark.parametrize(
    "text",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " \x01javascript:alert(1)",
        "java\nscript:alert(1)",
        "j\ta\rv\nascript:x",
        "vbscript:x",
        "data:text/html,x",
        "data: text/html;base64,x",
        "data:image/svg+xml,x",
        "data:application/xhtml+xml,x",
        "view-source:javascript:x",
        "\ufeffjavascript:x",
    ],
)
def test_what_runs_is_known_in_every_spelling(text: str) -> None:
    assert address.runs(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/javascript:x",
        "mailto:a@example.org",
        "data:image/png;base64,x",
        "data:text/plain,x",
        "/javascript:",
        "C:\\x",
        "",
        "x",
    ],
)
def test_what_only_leads_somewhere_does_not_run(text: str) -> None:
    assert not address.runs(text)


def test_a_scheme_is_split_from_what_follows() -> None:
    assert address.scheme("HTTPS://example.org") == ("https", "//example.org")
    assert address.scheme("no scheme here") == ("", "no scheme here")


def test_padding_before_a_scheme_does_not_hide_it() -> None:
    assert address.scheme(" " * 5000 + "javascript:x")[0] == "javascript"

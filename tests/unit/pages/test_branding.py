from __future__ import annotations

import pytest

from gateway.pages.branding import Branding
from gateway.pages.look import Look

LOGO = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


@pytest.mark.parametrize(
    "values",
    [
        {"accent": "red"},
        {"accent": "#12345"},
        {"accent": "#123456;} body{background:url(//evil)"},
        {"accent_dark": "#12345g"},
        {"accent": "#ffcc00"},
        {"accent_dark": "#123456"},
        {"name": "two\nlines"},
        {"name": "x" * 121},
        {"help_text": "\x1b[0m"},
        {"help_url": "javascript:alert(1)"},
        {"help_url": "//evil.example"},
        {"help_url": "http://plain.example"},
        {"help_url": "https://x y"},
        {"logo": b"\x89PNG", "name": "Acme"},
        {"logo": LOGO + b" " * 65536, "name": "Acme"},
        {"logo": LOGO},
    ],
    ids=str,
)
def test_a_value_outside_its_grammar_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"must|needs"):
        Branding(**values)  # type: ignore[arg-type]


def test_no_branding_changes_nothing() -> None:
    assert Branding().style() == ""
    assert [asset.content_type for asset in Look().assets if asset.path.startswith("/.gateway/static/logo")] == []


def test_accents_become_the_last_rules_of_the_sheet() -> None:
    look = Look(Branding(accent="#5b3fd6", accent_dark="#88aaff"))
    sheet = look.style.body.decode()
    assert "--accent: #5b3fd6" in sheet
    assert "--accent: #88aaff" in sheet
    assert look.style.path != Look(Branding()).style.path


def test_a_logo_is_served_as_an_image_of_its_own() -> None:
    look = Look(Branding(name="Acme", logo=LOGO, help_url="https://help.example", help_text="Ask us"))
    assert look.logo in look.assets
    assert look.logo.content_type == "image/svg+xml"

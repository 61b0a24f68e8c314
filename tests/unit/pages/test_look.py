from __future__ import annotations

import re
from importlib.resources import files
from itertools import pairwise

import pytest
from jinja2 import Template

from gateway.pages.branding import DARK_CARD, LIGHT_CARD, Branding, contrast
from gateway.pages.look import TEMPLATES, Look, make_nonce, page_csp

CSS = "".join(files("gateway.pages").joinpath(f"static/{name}").read_text() for name in ("base.css", "pages.css"))


@pytest.mark.parametrize("name", [*TEMPLATES, "base.html", "console_base.html", "console_parts.html", "forms.html"])
def test_no_template_holds_script_style_or_a_foreign_address(name: str) -> None:
    source = files("gateway.pages").joinpath(f"templates/{name}").read_text()
    assert re.search(r"<script|\son\w+=|style=|<style|javascript:|https?://|\|\s*safe|autoescape false", source) is None


PARTS = (
    "base.html", "console_base.html", "console_parts.html", "forms.html", "idle.html", "passkey_use.html", "providers.html",
)  # fmt: skip
"""What other templates are made of."""


def test_every_template_is_in_the_closed_list() -> None:
    found = {entry.name for entry in files("gateway.pages").joinpath("templates").iterdir()}
    assert found == {*TEMPLATES, *PARTS}


@pytest.fixture(scope="module")
def look() -> Look:
    return Look()


@pytest.mark.parametrize("name", [*TEMPLATES, *PARTS])
def test_a_template_compiles_to_the_same_in_every_language(look: Look, name: str) -> None:
    """So that it is compiled once, for all of them."""
    source = files("gateway.pages").joinpath(f"templates/{name}").read_text()
    environments = [templates["login.html"].environment for templates in look._templates.values()]
    assert len(environments) > 1
    assert len({environment.compile(source, name, raw=True) for environment in environments}) == 1


def test_all_languages_share_what_one_compiled_and_speak_for_themselves(look: Look) -> None:
    english, german = (look._templates[tag]["login.html"] for tag in ("en", "de"))
    assert english.root_render_func is not german.root_render_func
    assert english.root_render_func.__code__ is german.root_render_func.__code__
    texts = ('{{ "Sign in" | said }}', '{{ _("Sign in") }}', "{% trans %}Sign in{% endtrans %}")
    compiled = [english.environment.compile(text) for text in texts]
    for template, wanted in ((english, "Sign in"), (german, "Anmelden")):
        environment = template.environment
        made = [Template.from_code(environment, code, environment.globals) for code in compiled]
        assert [each.render() for each in made] == [wanted] * len(texts)


def test_the_style_sheet_asks_nobody_for_anything() -> None:
    assert "url(" not in CSS
    assert "@import" not in CSS


def test_the_style_sheet_serves_dark_screens_still_screens_and_paper() -> None:
    for query in (
        "prefers-color-scheme: dark",
        "prefers-reduced-motion: reduce",
        "forced-colors: active",
        "@media print",
    ):
        assert query in CSS
    assert ":focus-visible" in CSS


def _colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))


def test_contrast_is_measured_as_the_guideline_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_enough_from_its_ground(scheme: str) -> None:
    """WCAG 2.2 §1.4.3: 4.5 to 1 for text; §1.4.11: 3 to 1 for the edges of inputs."""
    light, dark = (_colours(block) for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[:2])
    colours = light if scheme == "light" else light | dark
    pairs = [
        (text, ground, 4.5)
        for text in ("ink", "soft", "accent", "accent-strong", "danger")
        for ground in ("card", "page")
    ]
    pairs += [("ink", "tint", 4.5), ("accent", "tint", 4.5), ("danger", "danger-tint", 4.5), ("warn", "warn-tint", 4.5)]
    pairs += [
        ("on-accent", "accent", 4.5),
        ("on-accent", "accent-strong", 4.5),
        ("edge", "card", 3.0),
        ("edge", "field", 3.0),
    ]
    for text, ground, least in pairs:
        assert contrast(colours[text], colours[ground]) >= least, (text, ground)
    assert colours["card"] == (LIGHT_CARD if scheme == "light" else DARK_CARD)


def test_a_policy_allows_nothing_but_our_style_images_and_forms() -> None:
    policy = dict(part.strip().split(" ", 1) for part in page_csp("abc").split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == "'nonce-abc'"
    assert policy["form-action"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == "'none'"
    assert "unsafe" not in page_csp("abc")
    assert "script-src" not in policy


def test_nonces_hold_all_their_random_bytes() -> None:
    for first, second in pairwise(make_nonce(bytes([number]) * 18) for number in range(8)):
        assert first != second
        assert len(first) == 24


def test_another_look_shares_what_was_compiled_and_changes_only_the_look() -> None:
    plain = Look()
    logo = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
    heron = plain.wearing(Branding(name="Heron Town", logo=logo, accent="#7a1f5c"))
    values = {
        "nonce": "n",
        "host": "h",
        "errors": None,
        "token": lambda form: "t",
        "recovery_codes": True,
        "session": None,
    }
    dressed, bare = heron.render("logout.html", **values), plain.render("logout.html", **values)
    assert b'alt="Heron Town"' in dressed
    assert b"Heron" not in bare
    assert heron.style.path != plain.style.path
    assert heron.logo.path == Branding(name="Heron Town", logo=logo).logo_path
    assert heron.logo in heron.assets
    assert plain.branding == Branding()

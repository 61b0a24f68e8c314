"""Languages: which one a browser gets, and what a catalogue may be."""

from __future__ import annotations

import re
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

from gateway.pages.look import TEMPLATES, Look
from gateway.pages.oidc_chooser import Ways
from gateway.pages.texts import SOURCE, Texts, load_texts, negotiate
from tools import collect_texts

PARTS = r"%\(\w+\)[sd]|<[a-z][^>]*>"
"""What a translation must not invent."""
OFFERED = ("en", "de", "pt-BR", "zh-Hant")


def catalogue(language: str, **texts: str) -> bytes:
    """Compile a catalogue, as msgfmt does."""
    catalog = Catalog(locale=language)
    for text, said in texts.items():
        catalog.add(text.replace("_", " "), said)
    written = BytesIO()
    write_mo(written, catalog)
    return written.getvalue()


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT", "de"),
        ("DE-at", "de"),
        ("pt-br", "pt-BR"),
        ("pt", "en"),
        ("zh-Hant-TW", "zh-Hant"),
        ("fr, de;q=0.8, en;q=0.9", "en"),
        ("fr, en;q=0.8, de;q=0.9", "de"),
        ("fr,*;q=0.1", "en"),
        ("de;q=0", "en"),
        ("de;q=0, *", "en"),
        ("de;q=2", "en"),
        ("<script>", "en"),
        ("x" * 10_000 + ",de", "en"),
        ("de" + ",de" * 5000, "de"),
    ],
)
def test_a_browser_gets_the_language_it_prefers_among_those_there_are(accepted: str, language: str) -> None:
    assert negotiate(accepted, OFFERED, "en") == language


@given(st.text(max_size=600))
def test_whatever_a_browser_says_the_language_is_one_of_ours(accepted: str) -> None:
    assert negotiate(accepted, OFFERED, "en") in OFFERED


def test_a_text_that_a_catalogue_lacks_is_english() -> None:
    texts = load_texts({"eo": catalogue("eo", Sign_in="Ensaluti")})
    assert texts["eo"].gettext("Sign in") == "Ensaluti"
    assert texts["eo"].gettext("Sign out") == "Sign out"


def test_an_operator_rewords_a_shipped_language_without_losing_the_rest() -> None:
    shipped = load_texts()["de"]
    texts = load_texts({"de": catalogue("de", Sign_in="Zum Portal")})
    assert texts["de"].gettext("Sign in") == "Zum Portal"
    assert texts["de"].gettext("Sign out") == shipped.gettext("Sign out")


def test_an_operator_rewords_even_english() -> None:
    assert load_texts({"en": catalogue("en", Sign_in="Log on")})["en"].gettext("Sign in") == "Log on"


def test_the_head_of_a_catalogue_is_never_a_text() -> None:
    assert load_texts()["de"].gettext("") == ""


@pytest.mark.parametrize(
    "content", [b"", b"no catalogue", catalogue("eo", Sign_in="Ensaluti")[:-5], b"\xde\x12\x04\x95" * 9]
)
def test_a_damaged_catalogue_is_refused_by_its_name(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^eo: "):
        load_texts({"eo": content})


def test_a_catalogue_without_a_language_is_refused() -> None:
    with pytest.raises(ValueError, match="language tag"):
        load_texts({"../x": catalogue("eo", Sign_in="Ensaluti")})


def test_no_template_hands_a_value_to_the_catalogue_as_markup() -> None:
    """`_` trusts its argument as markup of ours: what is no literal goes through `said`, which is escaped."""
    for name in TEMPLATES:
        source = files("gateway.pages").joinpath("templates", name).read_text(encoding="utf-8")
        assert not re.findall(r"\b_\((?!\")", source), name


def test_a_translated_text_cannot_bring_markup_along() -> None:
    look = Look(texts={SOURCE: Texts(), "eo": load_texts({"eo": catalogue("eo", Oh="<b>Ho</b>")})["eo"]})
    page = look.render(
        "login.html", "eo", nonce="n", host="h", errors=None, token=str, recovery_codes=True, name="", return_to="/",
        notice=("Oh", "Oh"), is_kept=False, again=False, passkey="", challenge="", can_reset=True, ways=Ways(passwords=True),
    )  # fmt: skip
    assert b"&lt;b&gt;Ho&lt;/b&gt;" in page
    assert b'<html lang="eo">' in page


def test_the_catalogue_is_what_templates_and_code_say() -> None:
    stale = [path.name for path, content in collect_texts.wanted() if path.read_bytes() != content]
    assert stale == [], "run make texts"


@pytest.mark.parametrize("path", sorted(collect_texts.LOCALE.glob("*.po")), ids=lambda path: path.stem)
def test_a_language_that_ships_lacks_no_text_and_keeps_every_placeholder(path: Path) -> None:
    assert collect_texts.untranslated(path) == []
    with path.open("rb") as file:
        for message in read_po(file, locale=path.stem):
            texts = message.id if isinstance(message.id, tuple | list) else (message.id,)
            translations = message.string if isinstance(message.string, tuple | list) else (message.string or "",)
            known = {part for text in texts for part in re.findall(PARTS, text)}
            for translation in translations:
                assert set(re.findall(PARTS, translation)) <= known, translation

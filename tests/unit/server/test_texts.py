"""The section `texts`: whose words the pages use, and where a wrong catalogue is found."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo

from gateway.exchange.errors import ConfigurationError
from gateway.server.bundle import read_bundle
from gateway.server.validate import validate

NOW = 1_790_000_000.0


def say(directory: Path, section: str) -> None:
    """Add a section to gateway.yaml."""
    path = directory / "gateway.yaml"
    path.write_text(path.read_text() + f"\ntexts: {section}\n")


def put_catalogue(directory: Path, name: str = "eo.mo") -> None:
    """Put a compiled catalogue where gateway.yaml says."""
    (directory / "texts").mkdir(exist_ok=True)
    catalog = Catalog(locale="eo")
    catalog.add("Sign in", "Ensaluti")
    written = BytesIO()
    write_mo(written, catalog)
    (directory / "texts" / name).write_bytes(written.getvalue())


def test_a_catalogue_of_the_operators_is_a_language_of_the_pages(directory: Path) -> None:
    put_catalogue(directory)
    say(directory, "{language: eo, catalogues: texts}")
    bundle, errors = read_bundle(directory / "gateway.yaml")
    assert errors == []
    assert validate(bundle, now=NOW).texts["eo"].gettext("Sign in") == "Ensaluti"
    assert validate(bundle.narrow("audit"), now=NOW).texts.keys() >= {"en", "de"}


def test_a_language_without_a_catalogue_is_an_error_that_lists_those_there_are(directory: Path) -> None:
    say(directory, "{language: eo}")
    with pytest.raises(ConfigurationError, match="no catalogue for eo; there are de, en"):
        validate(read_bundle(directory / "gateway.yaml")[0], now=NOW)


def test_a_catalogue_that_is_none_is_an_error_that_names_it(directory: Path) -> None:
    put_catalogue(directory)
    (directory / "texts" / "eo.mo").write_bytes(b"msgid")
    say(directory, "{catalogues: texts}")
    with pytest.raises(ConfigurationError, match=r"texts\.catalogues: eo: is not a compiled gettext catalogue"):
        validate(read_bundle(directory / "gateway.yaml")[0], now=NOW)


@pytest.mark.parametrize(
    ("section", "error"), [("{language: '../de'}", "write a language tag"), ("{catalogues: nowhere}", "nowhere")]
)
def test_what_is_no_language_or_no_directory_is_refused(directory: Path, section: str, error: str) -> None:
    say(directory, section)
    try:
        _, errors = read_bundle(directory / "gateway.yaml")
    except ConfigurationError as refused:
        errors = list(refused.diagnostics)
    assert any(error in str(line) for line in errors)


def test_a_directory_without_catalogues_is_refused(directory: Path) -> None:
    (directory / "texts").mkdir()
    say(directory, "{catalogues: texts}")
    assert any("holds no catalogue" in line for line in read_bundle(directory / "gateway.yaml")[1])

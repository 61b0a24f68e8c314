"""`branding:` of gateway.yaml, from the file to what the pages show."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.exchange.errors import ConfigurationError
from gateway.server.bundle import read_bundle
from gateway.server.validate import read_and_validate, validate

LOGO = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def brand(directory: Path, text: str) -> None:
    path = directory / "gateway.yaml"
    path.write_text(f"{path.read_text()}branding: {text}\n")


def problems(directory: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read_and_validate(directory / "gateway.yaml")
    return list(caught.value.diagnostics)


def test_name_logo_and_colours_reach_the_pages_and_the_logo_nobody_else(directory: Path) -> None:
    (directory / "logo.svg").write_bytes(LOGO)
    brand(directory, '{name: Heron Town, logo: logo.svg, accent: "#7a1f5c", help_text: Desk, help_url: /help}')
    bundle, errors = read_bundle(directory / "gateway.yaml")
    assert errors == []
    pages = validate(bundle.narrow("pages"), now=time.time())
    shown = pages.settings.branding.values(pages.bundle.logo or b"")
    assert (shown.name, shown.logo, shown.accent, shown.accent_dark) == ("Heron Town", LOGO, "#7a1f5c", "")
    assert (shown.help_text, shown.help_url) == ("Desk", "/help")
    assert bundle.narrow("edge").logo is None
    assert bundle.narrow("audit").logo is None


def test_a_changed_logo_is_a_changed_configuration(directory: Path) -> None:
    (directory / "logo.svg").write_bytes(LOGO)
    brand(directory, "{name: Heron Town, logo: logo.svg}")
    before = read_bundle(directory / "gateway.yaml")[0].digest
    (directory / "logo.svg").write_bytes(LOGO + b"\n")
    assert read_bundle(directory / "gateway.yaml")[0].digest != before


def test_a_missing_logo_is_named(directory: Path) -> None:
    brand(directory, "{name: Heron Town, logo: config/logo.svg}")
    assert problems(directory) == ["config/logo.svg: does not exist"]


@pytest.mark.parametrize("content", [b"\x89PNG\r\n", b"", LOGO + b" " * 65_536], ids=["png", "empty", "large"])
def test_a_logo_that_is_no_small_svg_is_refused(directory: Path, content: bytes) -> None:
    (directory / "logo.svg").write_bytes(content)
    brand(directory, "{name: Heron Town, logo: logo.svg}")
    assert problems(directory) == ["branding.logo: must be an SVG document of at most 65536 bytes"]


def test_an_absent_section_keeps_the_gateways_own_look(directory: Path) -> None:
    validated = read_and_validate(directory / "gateway.yaml")
    assert validated.settings.branding.values(b"").style() == ""

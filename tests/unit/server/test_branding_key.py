"""`branding:` of gateway.yaml, from the file to what the pages show."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from gateway.exchange.errors import ConfigurationError
from gateway.exchange.reason import Reason
from gateway.pages.errors import ErrorPages
from gateway.server.bundle import brand_of, read_bundle
from gateway.server.validate import read_and_validate, validate

LOGO = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def brand(directory: Path, text: str) -> None:
    path = directory / "gateway.yaml"
    path.write_text(f"{path.read_text()}branding: {text}\n")


def problems(directory: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read_and_validate(directory / "gateway.yaml")
    return list(caught.value.diagnostics)


def test_name_logo_and_colours_reach_pages_and_edge_and_the_logo_nobody_else(directory: Path) -> None:
    (directory / "logo.svg").write_bytes(LOGO)
    brand(directory, '{name: Heron Town, logo: logo.svg, accent: "#7a1f5c", help_text: Desk, help_url: /help}')
    bundle, errors = read_bundle(directory / "gateway.yaml")
    assert errors == []
    pages = validate(bundle.narrow("pages"), now=time.time())
    shown = pages.settings.branding.values(pages.bundle.logo or b"")
    assert (shown.name, shown.logo, shown.accent, shown.accent_dark) == ("Heron Town", LOGO, "#7a1f5c", "")
    assert (shown.help_text, shown.help_url) == ("Desk", "/help")
    assert bundle.narrow("edge").logo == LOGO, "its address stands in error pages"
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


# Of one tenant

TENANTS = """tenants:
  heron: {hosts: [heron.example.com], branding: {name: Heron Town, logo: heron.svg, accent: "#7a1f5c"}}
  otter: {hosts: [otter.example.com], branding: {help_text: Otter desk, help_url: /help}}
  plain: {hosts: [plain.example.com]}
"""


def tenants(directory: Path, text: str = TENANTS) -> None:
    path = directory / "gateway.yaml"
    path.write_text(re.sub(r"(?m)^tenants:.*\n", text.replace("\\", r"\\"), path.read_text()))


def test_a_tenant_has_its_own_look_and_the_general_one_for_the_rest(directory: Path) -> None:
    (directory / "logo.svg").write_bytes(LOGO)
    (directory / "heron.svg").write_bytes(LOGO + b"<!-- heron -->")
    brand(directory, '{name: Country, logo: logo.svg, accent: "#0a6254", help_text: Desk, help_url: /desk}')
    tenants(directory)
    bundle, errors = read_bundle(directory / "gateway.yaml")
    assert errors == []
    pages = validate(bundle.narrow("pages"), now=time.time())
    heron, otter, plain = (brand_of(pages.bundle, pages.settings, name) for name in ("heron", "otter", "plain"))
    assert (heron.name, heron.logo, heron.accent, heron.help_text) == (
        "Heron Town",
        LOGO + b"<!-- heron -->",
        "#7a1f5c",
        "Desk",
    )
    assert (otter.name, otter.logo, otter.help_text, otter.help_url) == ("Country", LOGO, "Otter desk", "/help")
    assert plain == brand_of(pages.bundle, pages.settings, "")
    assert bundle.narrow("audit").tenant_logos == {}


def test_a_tenants_look_that_would_not_be_shown_is_named_with_its_place(directory: Path) -> None:
    branding = '{accent: "#ffffff", logo: a.svg}'
    tenants(directory, f"tenants:\n  heron: {{hosts: [heron.example.com], branding: {branding}}}\n")
    found = problems(directory)
    assert any("tenants.heron.branding.accent: must be darker" in each for each in found)
    assert any("tenants.heron.branding.logo: a logo needs a name" in each for each in found)


def test_a_tenants_logo_that_is_no_svg_is_refused(directory: Path) -> None:
    (directory / "heron.svg").write_bytes(b"PNG")
    tenants(directory)
    assert problems(directory) == ["tenants.heron.branding.logo: must be an SVG document of at most 65536 bytes"]


def test_error_pages_wear_the_tenants_look_and_stay_closed(directory: Path) -> None:
    (directory / "heron.svg").write_bytes(LOGO)
    tenants(directory)
    bundle, _ = read_bundle(directory / "gateway.yaml")
    edge = validate(bundle.narrow("edge"), now=time.time())
    page = ErrorPages(brand_of(edge.bundle, edge.settings, "heron"))
    document = page(Reason.NO_RULE, request_id="r")
    assert b'alt="Heron Town"' in document
    assert b"#7a1f5c" in document
    assert b"default-src 'none'; img-src 'self'; style-src 'sha256-" in page.csp
    assert b"unsafe" not in page.csp
    assert b"frame-ancestors 'self'" in page.framed_csp
    assert b"img-src" not in ErrorPages().csp

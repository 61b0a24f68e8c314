"""Virtual patches."""

import pytest

from gateway.document.place import Place
from gateway.document.source import Diagnostic, load
from gateway.inspection.finding import Position
from gateway.inspection.patch import Patch, read_patches, template

NOW = 1_800_000_000.0


def read(text: str) -> tuple[list[Patch], list[Diagnostic]]:
    findings: list[Diagnostic] = []
    return read_patches(Place(load(text, "gateway.yaml"), findings), NOW), findings


def patch(match: str, more: str = "") -> Patch:
    found, findings = read(f"[{{id: cve-2027-1, title: T, match: {match}{more}}}]")
    assert findings == []
    return found[0]


def test_a_patch_is_about_its_method_and_path() -> None:
    found = patch("{methods: [POST], path: '/api/{version}/export/**'}")
    assert found.is_about("POST", "/api/v1/export", NOW)
    assert found.is_about("POST", "/api/v1/export/a/b", NOW)
    assert not found.is_about("GET", "/api/v1/export", NOW)
    assert not found.is_about("POST", "/api/v1/exports", NOW)
    assert not found.is_about("POST", "/api/export", NOW)


@pytest.mark.parametrize(
    "path", ["/API/V1/Export", "/api/v1/%65xport", "/api/v1/export/", "/api/v1/export;x=1", "/api//v1/export"]
)
def test_a_path_written_otherwise_does_not_escape_a_patch(path: str) -> None:
    assert patch("{path: '/api/*/export'}").is_about("GET", path, NOW)


def test_a_patch_finds_its_value_by_place_name_and_pattern() -> None:
    found = patch("{positions: [query, form], name: Format, pattern: '[^a-z]'}")
    assert found.find(Position.QUERY, "format", "pdf;x") == (3, 4)
    assert found.find(Position.QUERY, "format", "pdf") is None
    assert found.find(Position.JSON, "format", "pdf;x") is None
    assert found.find(Position.QUERY, "other", "pdf;x") is None


def test_a_patch_without_a_pattern_takes_any_value() -> None:
    assert patch("{name: debug}").find(Position.COOKIE, "Debug", "1") == (0, 1)


def test_a_patch_ends_with_its_last_day() -> None:
    found = patch("{name: debug}", ", expires: '2027-01-15'")
    assert found.is_about("GET", "/", NOW)
    assert not found.is_about("GET", "/", NOW + 86_400)


def test_an_expired_patch_is_told_and_left_out() -> None:
    found, findings = read("[{id: cve-2027-1, title: T, match: {name: a}, expires: '2026-12-31'}]")
    assert found == []
    assert [(finding.name, finding.severity) for finding in findings] == [("expired-patch", "warning")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[{id: cve-2027-1, title: T, match: {}}]", "a patch that matches everything"),
        ("[{id: cve-2027-1, title: T, match: {pattern: '(?=a)'}}]", "gateway.yaml:1:46: RE2 does not take"),
        ("[{id: cve-2027-1, title: T, match: {path: a}}]", "expected a path such as"),
        ("[{id: cve-2027-1, title: T, match: {path: /a/**/b}}]", "** stands at the end only"),
        ("[{id: cve-2027-1, title: T, match: {methods: [get]}}]", "expected a method in capitals"),
        ("[{id: cve-2027-1, title: T, match: {names: a}}]", "unknown key 'names'"),
        ("[{id: cve-2027-1, title: T, match: {name: a}, action: drop}]", "'drop' is not one of block, detect"),
        ("[{id: x, title: T, match: {name: a}}]", "expected a name such as cve-2026-1234"),
        (
            "[{id: a-b, title: T, match: {name: a}}, {id: a-b, title: T, match: {name: b}}]",
            "the patch 'a-b' stands here a second time",
        ),
    ],
)
def test_what_is_not_understood_is_an_error(text: str, expected: str) -> None:
    _, findings = read(text)
    assert any(expected in str(finding) for finding in findings)


def test_letters_of_a_template_are_no_pattern() -> None:
    assert template("/a.b").fullmatch("/axb") is None


def test_a_patch_of_get_is_about_head_too() -> None:
    assert patch("{methods: [GET], path: /export}").is_about("HEAD", "/export", NOW)
    assert not patch("{methods: [POST], path: /export}").is_about("HEAD", "/export", NOW)


@pytest.mark.parametrize("path", ["/export.json", "/index.php/export", "/Export.xml"])
def test_another_address_of_the_same_page_does_not_escape_a_patch(path: str) -> None:
    assert patch("{path: /export}").is_about("GET", path, NOW)


@pytest.mark.parametrize(
    "name",
    ["file_name", "FILE_NAME", "file.name", "file name", " file_name", "file_name\0x", "file_name[]", "file[name"],
)
def test_a_name_that_is_the_same_to_the_upstream_does_not_escape_a_patch(name: str) -> None:
    assert patch("{name: file_name}").find(Position.QUERY, name, "x") is not None


@pytest.mark.parametrize("name", ["file_names", "file-name", "a[file_name]", ""])
def test_another_name_is_left_alone_by_a_patch(name: str) -> None:
    assert patch("{name: file_name}").find(Position.QUERY, name, "x") is None


def test_a_patch_of_the_query_needs_no_body() -> None:
    assert not patch("{name: x, positions: [query, header]}").reads_bodies
    assert patch("{name: x, positions: [query, form]}").reads_bodies
    assert patch("{name: x}").reads_bodies

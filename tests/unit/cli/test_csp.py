from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.inspection.csp.scripts import hash_of
from gateway.inspection.csp.tally import Tally
from gateway.store.page_counts import PageCounts

POLICY = "{mode: report, policy: {img-src: \"'self'\"}, scripts: [/known.js]}"


@pytest.fixture
def told(house: Any) -> Any:
    """A gateway whose one route has a policy, and that was told something about its pages."""
    path = house.directory / "gateway.yaml"
    path.write_text(path.read_text() + f"\ninspection: {{csp: {POLICY}}}\n")
    tally = Tally()
    tally.add("portal", "reported", "img-src", "https://pics.example", enforced=False, now=1.8e9, times=7)
    tally.add("portal", "script", "", "/app.js", enforced=False, now=1.8e9)
    tally.add("other", "reported", "script-src", "eval", enforced=True, now=1.8e9)
    assert house.run("session", "list").exit_code == 0  # makes the state
    store = house.store()
    PageCounts(store.rows, store.sealer).add(tally, 1.8e9)
    store.close()
    return house


def test_what_was_reported_is_listed_by_route(told: Any) -> None:
    listed = told.value("csp", "reports")["routes"]
    assert [(count["kind"], count["what"], count["times"]) for count in listed["portal"]] == [
        ("reported", "https://pics.example", 7), ("script", "/app.js", 1),
    ]  # fmt: skip
    assert list(told.value("csp", "reports", "other")["routes"]) == ["other"]
    text = told.run("csp", "reports").stdout
    assert "would stop" in text
    assert "stopped" in text
    assert "Nothing was reported." in told.run("csp", "reports", "nobody").stdout


def test_the_next_policy_can_be_pasted_and_passes_the_check(told: Any) -> None:
    text = told.run("csp", "suggest", "portal").stdout
    section = yaml.safe_load(text)["inspection"]["csp"]
    assert section["policy"]["img-src"] == ["'self'", "https://pics.example"]
    assert section["scripts"] == ["/known.js", "/app.js"], "what was approved stays"
    path = told.directory / "gateway.yaml"
    path.write_text(
        path.read_text().replace(POLICY, yaml.safe_dump(section, default_flow_style=True, width=10_000).strip())
    )
    assert told.run("check").exit_code == 0, told.run("check").output
    assert told.value("csp", "suggest", "portal")["policy"]["img-src"] == ["'self'", "https://pics.example"]


def test_a_route_without_a_policy_has_none_to_suggest(told: Any) -> None:
    result = told.run("csp", "suggest", "nobody")
    assert result.exit_code == 1
    assert "no inspection.csp" in result.output


def test_a_route_is_counted_anew_when_its_policy_has_changed(told: Any) -> None:
    assert told.run("csp", "forget", "portal").exit_code == 0
    assert told.value("csp", "reports")["routes"].keys() == {"other"}
    assert told.run("csp", "forget", "portal").exit_code == 1


def test_looking_and_forgetting_are_recorded(told: Any) -> None:
    told.run("csp", "reports")
    told.run("csp", "suggest", "portal")
    told.run("csp", "forget", "portal")
    assert [name for name, _ in told.records()][-3:] == ["csp reports", "csp suggest", "csp forget"]


def test_the_scripts_of_a_saved_page_are_named_as_they_would_be_approved(told: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<script>  start( 1 );\n</script><script src=/app.js></script><script type=text/x>no</script>")
    assert told.value("csp", "hash", str(page))["scripts"] == [hash_of("  start( 1 );\n"), "/app.js"]
    assert "start( 1 );" in told.run("csp", "hash", str(page)).stdout


def test_scripts_that_never_end_cost_no_more_than_others(told: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_bytes(b"<script>" * 200_000)  # each looked for its end to the end of the page: hours
    assert told.value("csp", "hash", str(page))["scripts"] == []


def test_an_error_is_told_with_its_place(house: Any) -> None:
    path = house.directory / "gateway.yaml"
    path.write_text(
        path.read_text()
        + "\ninspection:\n  cors: {origins: [https://a.example], credentials: true}\n  csp:\n    policy: {script-src: self}\n"
    )
    result = house.run("check")
    assert result.exit_code == 2
    line = path.read_text().splitlines().index("    policy: {script-src: self}") + 1
    assert f"gateway.yaml:{line}:" in result.output
    assert "single quotes" in result.output

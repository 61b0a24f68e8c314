from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.policy import compile_policy
from gateway.policy.cases import load_cases, run_cases
from gateway.server.settings import load_settings

TOP = Path(__file__).parents[2]
README = (TOP / "README.md").read_text(encoding="utf-8")
CONFIGURATION, POLICY, CASES = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


def test_its_configuration_is_accepted_without_a_warning() -> None:
    assert load_settings(CONFIGURATION, "/etc/gateway/gateway.yaml").warnings() == []


def test_its_policy_compiles_without_a_warning_and_its_cases_hold() -> None:
    hosts = {"portal.example.com": ""}
    table, warnings = compile_policy({"portal.yaml": POLICY}, upstreams=["portal"], tenants=[], hosts=hosts)
    assert warnings == []
    cases = load_cases({"cases.yaml": CASES}, table=table, hosts=hosts, tenants=frozenset())
    results = run_cases(cases, table=table, hosts=hosts, now=1_800_000_000.0)
    assert [result.actual for result in results if not result.passed] == []
    assert results


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"\]\(([^):]+)\)|`((?:deploy|policies|gateway)/[^`]*)`", README)))
)
def test_every_file_it_points_at_exists(path: tuple[str, str]) -> None:
    assert (TOP / "".join(path).partition("#")[0]).exists()


@pytest.mark.parametrize("page", sorted([*TOP.glob("*.md"), *TOP.glob("docs/**/*.md")]), ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_heading_that_is_there(page: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match("https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        other = page.parent / path if path else page
        if not other.exists() or (anchor and anchor not in headings(other.read_text(encoding="utf-8"))):
            dead.append(target)
    assert dead == []


def headings(text: str) -> set[str]:
    """List the anchors that GitHub makes of the headings of a page."""
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_every_page_of_the_documentation_is_in_its_table() -> None:
    pages = {page.name for page in (TOP / "docs").glob("*.md")}
    assert {name for name in pages if f"(docs/{name}" not in README} == set()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z-]+)", README))))
def test_every_target_it_names_is_in_the_makefile(target: str) -> None:
    assert re.search(rf"^{target}:", (TOP / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(
    "pattern", [r'"(gateway_[a-z0-9_]+)"', r'_log\.\w+\(\s*"([a-z_]+\.[a-z_]+)"'], ids=["metric", "event of the log"]
)
def test_every_metric_and_every_event_of_the_log_is_explained(pattern: str) -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (TOP / "gateway").rglob("*.py"))
    pages = "".join(page.read_text(encoding="utf-8") for page in (TOP / "docs").glob("*.md"))
    assert {name for name in re.findall(pattern, source) if name not in pages} == set()

"""A candidate policy in the configuration: read, judged and given to those who need it, as strictly as the live one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.exchange.errors import ConfigurationError
from gateway.server.bundle import read_bundle
from gateway.server.snapshot import build_snapshot
from gateway.server.validate import Validated, read_and_validate, validate


@pytest.fixture
def tried(directory: Path) -> Path:
    """The configuration of the other tests, with a copy of its policy as the candidate."""
    shutil.copytree(directory / "policies", directory / "next")
    path = directory / "gateway.yaml"
    path.write_text(path.read_text() + "\ncandidate: next\n")
    return directory


def judged(directory: Path) -> Validated:
    return read_and_validate(directory / "gateway.yaml")


def errors(directory: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        judged(directory)
    return list(caught.value.diagnostics)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_without_one_there_is_none(directory: Path) -> None:
    validated = judged(directory)
    assert validated.candidate is None
    assert build_snapshot(validated, "pages.sock").candidate is None


def test_a_directory_is_compiled_beside_the_live_policy_and_reaches_the_edge(tried: Path) -> None:
    replace(tried / "next" / "portal.yaml", "name: portal", "name: front")
    replace(tried / "next" / "tests" / "portal.yaml", "route: portal", "route: front")
    validated = judged(tried)
    assert validated.candidate is not None
    assert (list(validated.table.routes), list(validated.candidate.routes)) == (["portal"], ["front"])
    assert build_snapshot(validated, "pages.sock").candidate is validated.candidate


def test_its_files_and_cases_are_part_of_the_digest(tried: Path) -> None:
    before, _ = read_bundle(tried / "gateway.yaml")
    for name in ("portal.yaml", "tests/portal.yaml"):
        path = tried / "next" / name
        path.write_text(path.read_text() + "# more\n")
        after, _ = read_bundle(tried / "gateway.yaml")
        assert after.digest != before.digest
        before = after


def test_its_errors_have_their_places_and_come_with_those_of_the_live_policy(tried: Path) -> None:
    replace(tried / "policies" / "portal.yaml", "roles: [client]", "roles: [clinet]")
    replace(tried / "next" / "portal.yaml", "roles: [client]", "roles: [cleint]")
    first, second = errors(tried)
    assert first.startswith("policies/portal.yaml:9:")
    assert second.startswith("next/portal.yaml:9:")


def test_a_case_of_its_own_that_fails_is_an_error(tried: Path) -> None:
    replace(tried / "next" / "tests" / "portal.yaml", "decision: allow, route: portal", "decision: deny")
    (found,) = errors(tried)
    assert found.startswith("next/tests/portal.yaml:2:")
    assert "'a client opens the portal' fails: expected deny, got allow" in found


def test_it_must_fit_to_gateway_yaml_like_the_live_one(tried: Path) -> None:
    replace(
        tried / "next" / "portal.yaml", "    upstream: portal\n", "    upstream: portal\n    credentials: [bearer]\n"
    )
    shutil.rmtree(tried / "next" / "tests")
    (found,) = errors(tried)
    assert found.startswith("next/portal.yaml:")
    assert found.endswith("names no issuer (identity.issuers), so no token could count (in the candidate)")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (shutil.rmtree, "next: does not exist"),
        (lambda path: (path / "portal.yaml").unlink(), "next: holds no policy (*.yaml)"),
        (lambda path: (path / "more.yml").write_text(""), "next/more.yml: is not read"),
    ],
)  # fmt: skip
def test_a_directory_that_is_no_policy_is_an_error(tried: Path, spoil: Callable[[Path], object], sentence: str) -> None:
    spoil(tried / "next")
    assert any(sentence in found for found in errors(tried))


def test_the_live_directory_is_no_candidate(directory: Path) -> None:
    path = directory / "gateway.yaml"
    path.write_text(path.read_text() + "\ncandidate: policies\n")
    (found,) = errors(directory)
    assert "candidate: is the directory of the live policies; name another one, or write mode: shadow in them" in found


def test_what_the_live_files_say_in_shadow_is_the_candidate_without_a_directory(directory: Path) -> None:
    (directory / "policies" / "next.yaml").write_text(
        "version: 1\nmode: shadow\nroutes:\n"
        "  - {name: closed, match: {path: /closed, methods: [GET]}, upstream: portal, deny: true}\n"
    )
    validated = judged(directory)
    assert validated.candidate is not None
    assert list(validated.table.routes) == ["portal"]
    assert sorted(validated.candidate.routes) == ["closed", "portal"]
    assert validated.candidate.version != validated.table.version


def test_what_would_break_a_case_or_be_idle_once_it_is_in_force_is_a_warning(directory: Path) -> None:
    """Whoever takes `mode: shadow` away must not be the first to learn it; while it stands, nothing of it is in force."""
    policy = directory / "policies" / "portal.yaml"
    policy.write_text(
        policy.read_text() + "    deny:\n      - {roles: [client], when: 'user.name == \"alice\"', mode: shadow}\n"
    )
    validated = judged(directory)
    (found,) = [sentence for sentence in validated.warnings if "the case 'a client opens the portal' fails" in sentence]
    assert found.startswith("policies/tests/portal.yaml:2:")
    assert found.endswith("(if what is in shadow were in force)")
    assert len(set(validated.warnings)) == len(validated.warnings)


def test_a_mistake_in_shadow_is_told_once(directory: Path) -> None:
    (directory / "policies" / "next.yaml").write_text(
        "version: 1\nmode: shadow\nroutes:\n"
        "  - {name: closed, match: {path: /closed, methods: [GET]}, upstream: prtal, deny: true}\n"
    )
    (found,) = errors(directory)
    assert found.startswith("policies/next.yaml:4:")


def test_a_directory_leaves_shadow_parts_untried_and_says_so(tried: Path) -> None:
    (tried / "policies" / "next.yaml").write_text(
        "version: 1\nmode: shadow\nroutes:\n"
        "  - {name: closed, match: {path: /closed, methods: [GET]}, upstream: portal, deny: true}\n"
    )
    validated = judged(tried)
    assert validated.candidate is not None
    assert list(validated.candidate.routes) == ["portal"]
    assert validated.warnings == (
        "candidate: names another policy, so that what the live files say in shadow mode is not tried",
    )


def test_the_edges_try_it_the_pages_show_it_and_the_log_does_not_know_it(tried: Path) -> None:
    """The console showed none where there was one: the process of the pages was not given it."""
    bundle, _ = read_bundle(tried / "gateway.yaml")
    for kind in ("edge", "pages"):
        narrowed = bundle.narrow(kind)
        assert narrowed.candidate_cases == {}
        candidate = validate(narrowed, now=time.time()).candidate
        assert candidate is not None
        assert candidate.version == judged(tried).candidate.version  # type: ignore[union-attr]
    assert (bundle.narrow("audit").candidate, bundle.narrow("audit").candidate_cases) == ({}, {})

"""A candidate policy beside a running gateway's own, and files that are loaded when they change."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(240)  # whole processes on a busy machine

SUCCESS = 'gateway_policy_reloads_total{result="success"}'
FAILURE = 'gateway_policy_reloads_total{result="failure"}'


def test_who_would_lose_something_is_served_and_reported(make_gateway: Any, make_browser: Any) -> None:
    gateway = make_gateway(workers=1)
    live, candidate = gateway.directory / "policies", gateway.directory / "policies-next"
    candidate.mkdir()
    text = (live / "portal.yaml").read_text()
    (candidate / "portal.yaml").write_text(
        text.replace("  client: {}", "  client: {}\n  boss: {}").replace("roles: [client]", "roles: [boss]")
    )
    gateway.edit(("policies: policies/", "policies: policies/\ncandidate: policies-next/"))
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    assert [browser.get("/").status for _ in range(3)] == [200] * 3
    assert gateway.metric('gateway_policy_shadow_total{outcome="would_deny",route="portal"}') == 3
    done = gateway.cli("policy", "shadow", "--json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["by"]["would_refuse"] == {
        "route": {"portal": 3}, "role": {"client": 3}, "person": {"alice@main": 3},
    }  # fmt: skip
    assert told["changes"][0]["after"]["rule"].startswith("policies-next/portal.yaml:")
    assert f'gateway_policy_candidate_info{{policy="{told["version"]}"}} 1.0' in gateway.admin("/metrics").body.decode()
    # one that is broken is refused like any other file, and the live policy with its candidate stays
    (candidate / "portal.yaml").write_text(text.replace("roles: [client]", "rolls: [client]"))
    for verb in ("reload", "check"):
        done = gateway.cli(verb)
        assert done.returncode == 2
        assert "policies-next/portal.yaml:" in done.stderr
    assert browser.get("/").status == 200
    assert gateway.metric('gateway_policy_shadow_total{outcome="would_deny",route="portal"}') == 4


def test_what_a_live_file_says_in_shadow_is_tried_without_a_directory(make_gateway: Any, make_browser: Any) -> None:
    gateway = make_gateway(workers=1)
    (gateway.directory / "policies" / "next.yaml").write_text(
        "version: 1\nmode: shadow\nroutes:\n"
        "  - {name: closed, match: {path: /closed, methods: [GET]}, upstream: portal, deny: true}\n"
    )
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    assert browser.get("/closed").status == 200
    assert browser.get("/").status == 200
    told = json.loads(gateway.cli("policy", "shadow", "--json").stdout)
    assert (told["judged"], told["would_refuse"], told["by"]["would_refuse"]["person"]) == (2, 1, {"alice@main": 1})


def test_files_that_changed_are_loaded_when_they_have_come_to_rest(make_gateway: Any, make_browser: Any) -> None:
    """As Kubernetes does it: the directory behind a link is another one from one moment to the next."""
    gateway = make_gateway(workers=2)
    link, texts = gateway.directory / "policies", gateway.directory / "policies" / "portal.yaml"
    states = gateway.directory / "states"
    states.mkdir()
    link.rename(states / "one")
    link.symlink_to(states / "one")
    gateway.edit(("policies: policies/", "policies: policies/\nreload: {watch: true, settle: 200ms}"))
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    before = version(gateway)

    # a case that fails blocks it, and says which
    swap(
        link, change(states, "two", ("  client: {}", "  client: {}\n  boss: {}"), ("roles: [client]", "roles: [boss]"))
    )
    gateway.wait_until(lambda: gateway.metric(FAILURE) == 1)
    log = rejected(gateway)
    assert log["asked_by"] == "watch"
    assert "policies/tests/portal.yaml:" in log["errors"][0]
    assert "the case 'a client opens the portal' fails: expected allow" in log["errors"][0]
    assert "got deny (role_missing) by portal at policies/portal.yaml:" in log["errors"][0]
    assert gateway.metric("gateway_policy_last_reload_success") == 0
    assert browser.get("/").status == 200
    assert version(gateway) == before

    # back to what runs: there is nothing to swap in, and it shows that all is well again
    swap(link, states / "one")
    gateway.wait_until(lambda: gateway.metric("gateway_policy_last_reload_success") == 1)
    assert (gateway.metric(FAILURE), gateway.metric(SUCCESS), version(gateway)) == (1, 1, before)
    swap(link, states / "two")
    gateway.wait_until(lambda: gateway.metric(FAILURE) == 2)

    # the same content under other times is not tried again; what comes next is
    os.utime(texts)
    case = states / "two" / "tests" / "portal.yaml"
    text = case.read_text().replace("roles: [client]", "roles: [boss]")
    (states / "three").mkdir()
    (states / "three" / "tests").mkdir()
    (states / "three" / "portal.yaml").write_text(texts.read_text())
    (states / "three" / "tests" / "portal.yaml").write_text(text)
    swap(link, states / "three")
    gateway.wait_until(lambda: gateway.metric(SUCCESS) == 2)
    assert gateway.metric(FAILURE) == 2
    assert gateway.metric("gateway_policy_last_reload_success") == 1
    assert browser.get("/").status == 403
    assert version(gateway) != before

    # a command has nothing left to find, and the log of the gateway says who asked
    assert gateway.cli("reload").returncode == 0
    records = [
        json.loads(line)["record"]["unmapped"]["gw"]
        for line in gateway.cli("audit", "query", "--json", "--limit", "200").stdout.splitlines()
        if '"gateway.reload' in line
    ]
    assert [(found["event"], found["asked_by"]) for found in records] == [
        ("gateway.reload_rejected", "watch"), ("gateway.reloaded", "watch"), ("gateway.reload_rejected", "watch"),
        ("gateway.reloaded", "watch"), ("gateway.reloaded", "command"),
    ]  # fmt: skip
    reloaded = records[3]
    assert (reloaded["policy_before"], reloaded["policy"]) == (before, version(gateway))
    assert (reloaded["routes"], reloaded["roles"], reloaded["cases"]) == (1, 2, 2)
    assert reloaded["routes_changed"]["changed"] == {"count": 1, "names": ["portal"]}
    assert reloaded["duration_ms"] >= 0
    assert records[4]["routes_changed"]["changed"] == {"count": 0, "names": []}


def swap(link: Path, directory: Path) -> None:
    """Let the link lead to another directory, in one step."""
    fresh = link.with_name(".fresh")
    fresh.symlink_to(directory)
    fresh.replace(link)


def change(states: Path, name: str, *changes: tuple[str, str]) -> Path:
    """Make another state of the policies."""
    (states / name / "tests").mkdir(parents=True)
    text = (states / "one" / "portal.yaml").read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (states / name / "portal.yaml").write_text(text)
    (states / name / "tests" / "portal.yaml").write_bytes((states / "one" / "tests" / "portal.yaml").read_bytes())
    return states / name


def version(gateway: Any) -> str:
    """Which policy is in force, by the metrics."""
    (line,) = [
        line for line in gateway.admin("/metrics").body.decode().splitlines() if line.startswith("gateway_policy_info{")
    ]
    return str(line.split('"')[1])


def rejected(gateway: Any) -> Any:
    """What the log says of the last reload that was refused."""
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines() if '"policy.rejected"' in line]
    return lines[-1]

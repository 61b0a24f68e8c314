"""Attacks against a whole gateway: stopped, told, explained and allowed; by our own rules and by the Core Rule Set."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.machine import cannot_run
from tests.process.conftest import Browser

pytestmark = pytest.mark.timeout(240)  # whole processes on a busy machine

INJECTION = "/?q=1%27+OR+%271%27%3D%271"
CRS, SETUP = Path("/usr/share/modsecurity-crs"), Path("/etc/modsecurity/crs/crs-setup.conf")


def inspected(make_gateway: Callable[..., Any], inspection: str, *, workers: int = 1) -> Any:
    gateway = make_gateway(workers=workers)
    gateway.edit(("policies: policies/", f"policies: policies/\ninspection: {inspection}"))
    return gateway


def test_an_attack_is_stopped_told_apart_explained_and_allowed_where_it_was_honest(
    make_gateway: Callable[..., Any], make_browser: type[Browser]
) -> None:
    gateway = inspected(make_gateway, "{waf: block}")
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    assert browser.get("/?q=O%27Brien+%26+Sons").status == 200

    stopped = browser.get(INJECTION)
    assert stopped.status == 403
    request_id = stopped.headers["x-request-id"]
    assert request_id in stopped.body.decode(), "the page gives the reference number"
    assert b"sql" not in stopped.body.lower()
    assert gateway.metric('gateway_inspection_findings_total{class="sqli",outcome="blocked",route="portal"}') >= 1
    assert gateway.metric('gateway_decisions_total{reason="hostile_input",stage="inspection"}') == 1

    tried = gateway.cli("inspection", "test", "GET", INJECTION, "--json")
    assert tried.returncode == 1, tried.stderr
    rules = {item["rule"] for item in json.loads(tried.stdout)["findings"] if item["score"]}

    def explained() -> bool:
        done: int = gateway.cli("inspection", "explain", request_id).returncode
        return done == 0

    gateway.wait_until(explained)
    told = json.loads(gateway.cli("inspection", "explain", request_id, "--json").stdout)
    assert (told["outcome"], told["reason"], told["route"]) == ("refused", "hostile_input", "portal")
    found = told["inspection"]["waf"][0]["findings"]
    assert {item["rule"] for item in found} == rules
    assert found[0]["position"] == "query"
    assert found[0]["name"] == "q"
    finding = gateway.cli("audit", "query", "--event", "request.hostile", "--json")
    assert json.loads(finding.stdout.splitlines()[0])["record"]["metadata"]["correlation_uid"] == request_id

    # what `explain` says is pasted as it is
    exclusions = "".join(
        "    " + line + "\n" for text in dict.fromkeys(told["exclusions"]) for line in text.splitlines()
    )
    gateway.edit(("inspection: {waf: block}", f"inspection:\n  waf: block\n  exclusions:\n{exclusions}"))
    done = gateway.cli("reload")
    assert done.returncode == 0, done.stderr
    assert browser.get(INJECTION).status == 200
    assert browser.get(INJECTION.replace("?q=", "?other=")).status == 403


def test_a_route_says_otherwise_and_what_is_wrong_there_is_told_with_its_place(
    make_gateway: Callable[..., Any], make_browser: type[Browser]
) -> None:
    gateway = inspected(make_gateway, "{waf: block}")
    policy = gateway.directory / "policies" / "portal.yaml"
    text = policy.read_text()
    policy.write_text(
        text.replace("    upstream: portal\n", "    upstream: portal\n    inspection: {waf: detct, paranoa: 2}\n")
    )
    refused = gateway.cli("check")
    assert refused.returncode == 2
    assert "policies/portal.yaml:" in refused.stderr
    assert "detct" in refused.stderr
    assert "paranoia" in refused.stderr
    policy.write_text(text.replace("    upstream: portal\n", "    upstream: portal\n    inspection: {waf: detect}\n"))
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    assert browser.get(INJECTION).status == 200
    assert gateway.metric('gateway_inspection_findings_total{class="sqli",outcome="detected",route="portal"}') >= 1
    report = json.loads(gateway.cli("inspection", "report", "--since", "1h", "--json").stdout)
    assert report["requests"] == 1
    assert report["honest"] == []


@pytest.fixture
def crs() -> str:
    if not (CRS / "rules").is_dir() or not SETUP.exists():
        cannot_run("not installed: modsecurity-crs; tests/install-packages installs it")
    return f"{{rules: {CRS}, setup: {SETUP}}}"


def test_the_core_rule_set_judges_what_our_rules_let_pass(
    make_gateway: Callable[..., Any], make_browser: type[Browser], crs: str
) -> None:
    gateway = inspected(make_gateway, f"{{crs: {crs}}}", workers=2)
    gateway.start()
    browser = make_browser(gateway)
    browser.sign_in()
    assert browser.get("/?q=hello+world").status == 200
    stopped = browser.get(INJECTION)
    assert stopped.status == 403
    assert gateway.metric('gateway_crs_requests_total{outcome="blocked",route="portal"}') == 1

    # a process that dies is replaced, and nobody is let through meanwhile
    children = [child for edge in gateway.children("edge") for child in gateway.children(parent=edge)]
    assert len(children) == 2
    for child in children:
        os.kill(child, signal.SIGKILL)
    gateway.wait_until(lambda: gateway.metric("gateway_crs_processes_replaced_total") == 2)
    gateway.wait_until(lambda: browser.get("/?q=hello").status == 200)
    assert browser.get(INJECTION).status == 403

    # a reload to another level keeps serving; rules that cannot be loaded change nothing
    gateway.edit((crs, crs.replace("}", ", paranoia: 2}")))
    done = gateway.cli("reload")
    assert done.returncode == 0, done.stderr
    gateway.wait_until(lambda: browser.get("/?q=hello").status == 200)
    broken = gateway.directory / "crs"
    broken.mkdir()
    (broken / "a.conf").write_text('SecRule ARGS "@rx x" "id:1,phase:2,deny,exec:/bin/sh"\n')
    gateway.edit((str(CRS), str(broken)))
    for verb in ("check", "reload"):
        refused = gateway.cli(verb)
        assert refused.returncode == 2, refused.stdout
        assert "a.conf:1" in refused.stderr
    assert browser.get(INJECTION).status == 403

"""Routes whose path is another one at their upstream."""

from __future__ import annotations

import pytest

from gateway.document.source import DocumentError
from gateway.exchange.reason import Reason
from gateway.policy import PolicyTable, compile_policy
from gateway.policy.explanation import explain
from gateway.policy.judgement import parse_request
from gateway.wire.rewriting import PathMapping

HOSTS = {"portal.example.com": ""}
POLICY = """
version: 1
routes:
  - {name: all, match: {path: "/**", methods: [GET]}, upstream: portal, public: true}
  - {name: own, match: {path: "/own/**", methods: [GET]}, upstream: portal, public: true, path: {add_prefix: /v2}}
  - {name: other, match: {path: "/other/**", methods: [GET]}, upstream: other, public: true}
"""


def compiled(text: str = POLICY, strip: str = "/app") -> PolicyTable:
    made, _ = compile_policy(
        {"policies/test.yaml": text}, upstreams=["portal", "other"], tenants=[], hosts=HOSTS, paths={"portal": PathMapping(strip, "")}
    )  # fmt: skip
    return made


def test_a_route_goes_by_its_own_path_then_by_its_upstreams() -> None:
    table = compiled()
    assert {name: rule.mapping for name, rule in table.rules.items()} == {
        "all": PathMapping("/app", ""),
        "own": PathMapping("", "/v2"),
        "other": None,
    }


def test_a_template_that_can_never_be_under_the_prefix_is_an_error_where_it_stands() -> None:
    text = POLICY.replace('"/**"', '"/news/**"')
    with pytest.raises(DocumentError) as caught:
        compiled(text)
    (error,) = caught.value.diagnostics
    assert (
        error
        == "policies/test.yaml:4:31: no path of this template is at or under the strip_prefix /app [prefix-outside-template]"
    )


@pytest.mark.parametrize(
    ("path", "rewritten"),
    [
        ("/app/a", "/a"),
        ("/app", "/"),
        ("/news", Reason.NO_ROUTE),
        ("/app//evil.example", Reason.AMBIGUOUS_PATH),
        ("/app/a;b/c", "/a;b/c"),
        ("/app/" + "%25C3%25A9;x/a.%2520%255c" * 60, Reason.AMBIGUOUS_PATH),
    ],
)
def test_a_path_is_judged_again_after_its_rewrite(path: str, rewritten: str | Reason) -> None:
    assert compiled().rewrite("portal.example.com", path, PathMapping("/app", "")) == rewritten


@pytest.mark.parametrize(
    ("path", "outcome", "detail"),
    [
        ("/app/a", "hit", "/app/a is /a there"),
        ("/own/a", "hit", "/own/a is /v2/own/a there"),
        ("/news", "miss", "/news is not under /app, which is stripped"),
    ],
)
def test_explain_says_what_the_upstream_is_asked_for(path: str, outcome: str, detail: str) -> None:
    explanation = explain(compiled(), HOSTS, parse_request("GET", f"https://portal.example.com{path}"), None, 0.0)
    (criterion,) = [item for item in explanation.criteria if item.name == "upstream"]
    assert (criterion.outcome, criterion.detail) == (outcome, detail)
    assert explanation.decision.allowed is (outcome == "hit")


def test_a_route_whose_path_stays_as_it_is_says_nothing_about_it() -> None:
    explanation = explain(compiled(), HOSTS, parse_request("GET", "https://portal.example.com/other/a"), None, 0.0)
    assert "upstream" not in {item.name for item in explanation.criteria}

"""Property: `policy fmt` changes how a policy is written and nothing that it means."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.cli.policy.fmt import formatted
from gateway.document.diagnostic import DocumentError
from gateway.policy import PolicyTable, compile_policy

HOSTS = {"acme.example.com": "acme", "portal.example.com": ""}
CONDITIONS = (
    'session.mfa_age < duration("1h")',
    '"billing" in session.roles && request.host == "acme.example.com"',
    "path.id != 'x: y' || session.tenant == \"acme\"",
    'request.path.matches("/[a-z]{1,3}#?")',
    " && ".join(f'request.path != "/no/{number}"' for number in range(9)),
    'request.secure &&\n  session.tenant == "acme"\n',
)
ROLES = st.lists(st.sampled_from(("client", "billing", "auditor")), min_size=1, max_size=3, unique=True)
ENTRIES = st.fixed_dictionaries(
    {"roles": ROLES},
    optional={
        "when": st.sampled_from(CONDITIONS),
        "tenants": st.lists(st.sampled_from(("acme", "zeta")), min_size=1, unique=True),
    },
)
ROUTES = st.fixed_dictionaries(
    {
        "methods": st.lists(st.sampled_from(("GET", "POST", "DELETE")), min_size=1, unique=True),
        "allow": st.lists(ENTRIES, min_size=1, max_size=2),
    },
    optional={
        "deny": st.lists(ENTRIES, min_size=1, max_size=1),
        "action": st.sampled_from(("view", "edit")),
        "resource": st.just({"type": "invoice", "id": "{id}"}),
        "rate_limit": st.just({"rate": "60/m", "burst": 5, "per": "user"}),
        "require": st.just({"network": ["10.0.0.0/8", "2001:db8::/32"], "mfa_age": "5m"}),
        "headers": st.just({"request": {"X-Plan": "gold: 1 # no comment"}}),
        "max_body": st.sampled_from(("25MiB", 1024)),
        "activity": st.booleans(),
    },
)


@st.composite
def policies(draw: st.DrawFn) -> str:
    """Write a policy with its keys in any order, in either style, with comments wherever a line ends."""
    routes = []
    for number, drawn in enumerate(draw(st.lists(ROUTES, min_size=1, max_size=3))):
        match = {"path": f"/r{number}/{{id}}", "methods": drawn.pop("methods")}
        route = {"name": f"r{number}", "match": match, "upstream": "portal", **drawn}
        routes.append(dict(draw(st.permutations(list(route.items())))))
    data: dict[str, Any] = {
        "version": 1,
        "roles": {"client": {}, "billing": {"includes": ["client"]}, "auditor": {}},
        "routes": routes,
    }
    data = dict(draw(st.permutations(list(data.items()))))
    style = draw(st.sampled_from((False, None)))
    text: str = yaml.safe_dump(data, sort_keys=False, default_flow_style=style, width=draw(st.sampled_from((40, 1000))))
    lines = text.splitlines()
    for number in sorted(draw(st.sets(st.integers(0, len(lines)), max_size=4)), reverse=True):
        lines.insert(number, " " * draw(st.sampled_from((0, 2, 4))) + draw(st.sampled_from(("# remark", ""))))
    return "\n".join(lines) + "\n"


def compiled(text: str) -> PolicyTable:
    return compile_policy({"p.yaml": text}, upstreams={"portal"}, tenants={"acme", "zeta"}, hosts=HOSTS)[0]


def meaning(text: str) -> list[object]:
    """Take a compiled policy apart, without the places in the file."""
    return [
        (
            msgspec.structs.replace(rule.route, source=""),
            [
                (grant.roles, grant.accepts, grant.tenants, grant.scopes, grant.condition and grant.condition.text)
                for grant in rule.grants
            ],
            [
                (denial.roles, denial.accepts, denial.tenants, denial.condition and denial.condition.text)
                for denial in rule.denials
            ],
        )
        for rule in compiled(text).rules.values()
    ]


@settings(max_examples=60)
@given(policies())
def test_what_a_policy_means_stays_and_the_form_is_its_own(text: str) -> None:
    try:
        before = meaning(text)
    except DocumentError:
        assume(False)  # a remark inside a text, or an entry that another one hides
        raise
    written = formatted(text, "p.yaml")
    assert meaning(written) == before
    assert formatted(written, "p.yaml") == written
    assert written.count("# remark") == text.count("# remark")

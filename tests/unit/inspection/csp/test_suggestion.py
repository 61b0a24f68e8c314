from __future__ import annotations

import yaml

from gateway.inspection.csp.policy import STRICT, read_directives
from gateway.inspection.csp.suggestion import suggest, write_yaml
from gateway.inspection.csp.tally import Tally


def counted(*told: tuple[str, str, str, int]) -> Tally:
    tally = Tally()
    for kind, directive, what, times in told:
        tally.add(
            "r", "script" if kind == "script" else "reported", directive, what, enforced=False, now=1.0, times=times
        )
    return tally


def test_an_origin_that_was_reported_is_added_by_name() -> None:
    base = read_directives({"default-src": "'self'", "img-src": "'none'"})
    tally = counted(
        ("", "img-src", "https://pics.example", 7),
        ("", "font-src", "data:", 2),
        ("", "connect-src", "https://api.example", 1),
    )
    found = dict(suggest(base, (), tally.of("r")).directives)
    assert found["img-src"] == ("https://pics.example",)
    assert found["font-src"] == ("'self'", "data:")
    assert found["connect-src"] == ("'self'", "https://api.example")


def test_nothing_is_granted_that_would_undo_the_policy() -> None:
    tally = counted(
        ("", "script-src-elem", "https://evil.example", 9), ("", "script-src", "eval", 3), ("", "script-src-attr", "inline", 4),
        ("", "object-src", "https://evil.example", 1), ("", "base-uri", "https://evil.example", 1), ("", "script-src-elem", "data:", 1),
        ("", "style-src-elem", "inline", 2), ("", "img-src", "other", 2), ("", "img-src", "https://elsewhere.example", 2),
    )  # fmt: skip
    found = suggest(STRICT, (), tally.of("r"))
    assert found.directives == STRICT
    assert found.scripts == ()
    assert [times for _, times in found.work] == [4, 3, 2]


def test_scripts_that_were_seen_are_proposed_with_how_often() -> None:
    name = "sha256-" + "A" * 43 + "="
    tally = counted(
        ("script", "", name, 12),
        ("script", "", "/app.js", 3),
        ("script", "", "/known.js", 1),
        ("", "script-src-elem", "inline", 12),
    )
    found = suggest(STRICT, ["/known.js"], tally.of("r"))
    assert found.scripts == ("/app.js", name)
    assert found.work == ()


def test_without_strict_dynamic_an_origin_may_be_named() -> None:
    base = read_directives({"script-src": "'self'"})
    found = suggest(base, (), counted(("", "script-src-elem", "https://cdn.example", 1)).of("r"))
    assert dict(found.directives)["script-src"] == ("'self'", "https://cdn.example")


def test_the_text_can_be_pasted_and_means_what_was_proposed() -> None:
    base = read_directives({"default-src": "'self'", "upgrade-insecure-requests": []})
    tally = counted(
        ("", "img-src", "https://pics.example", 7), ("script", "", "/app.js", 3), ("", "script-src", "eval", 1)
    )
    proposal = suggest(base, (), tally.of("r"))
    text = write_yaml(proposal, mode="report")
    read = yaml.safe_load(text)["csp"]
    assert read["mode"] == "report"
    assert read["scripts"] == ["/app.js"]
    assert read_directives(read["policy"]) == proposal.directives
    assert "told 7 times" in text
    assert "not granted (1 times): eval" in text


def test_what_a_pattern_approves_is_not_proposed_once_more() -> None:
    tally = counted(
        ("script", "", "/static/a.js", 1), ("script", "", "https://cdn.example/lib/x.js", 1), ("script", "", "/b.js", 1)
    )
    assert suggest(STRICT, ["/static/*", "https://cdn.example/lib/*"], tally.of("r")).scripts == ("/b.js",)


def test_what_is_pasted_keeps_what_was_approved_before() -> None:
    text = write_yaml(suggest(STRICT, ["/known.js"], counted(("script", "", "/app.js", 3)).of("r")), mode="enforce")
    assert yaml.safe_load(text)["csp"]["scripts"] == ["/known.js", "/app.js"]
    assert '"/app.js"  # new, seen 3 times' in text

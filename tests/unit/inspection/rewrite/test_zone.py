from __future__ import annotations

from gateway.inspection.rewrite.zone import MAX_DEPTH, Zone


def walked(*steps: str) -> Zone:
    zone = Zone()
    for step in steps:
        if step.startswith("/"):
            zone.closed(step[1:].encode())
        else:
            zone.opened(step.rstrip("/").encode(), is_self_closing=step.endswith("/"))
    return zone


def test_plain_html_is_plain() -> None:
    assert walked("html", "body", "div", "/span", "p/").is_plain


def test_templates_are_undisputed_and_take_nothing() -> None:
    assert not walked("template").is_plain
    assert not walked("template").is_disputed
    assert walked("template", "template", "/template", "/template", "/template").is_plain


def test_foreign_content_ends_where_it_closes_as_it_opened() -> None:
    assert walked("svg", "g", "path/", "/g").is_disputed
    assert walked("svg", "g", "path/", "/g", "/svg").is_plain
    assert walked("svg", "svg", "/svg").is_disputed
    assert walked("svg", "foreignobject", "div", "br", "/div", "/foreignobject", "/svg").is_plain


def test_foreign_content_that_closes_otherwise_never_ends() -> None:
    assert walked("svg", "p", "/svg").is_disputed
    assert walked("svg", "desc", "div", "/svg", "/div", "/desc", "/svg").is_disputed
    assert walked("svg", "desc", "div/", "/desc", "/svg").is_disputed
    assert walked("math", *["mrow"] * MAX_DEPTH, *["/mrow"] * (MAX_DEPTH - 1), "/math").is_disputed


def test_select_and_frame_sets_are_disputed() -> None:
    assert walked("select", "option").is_disputed
    assert walked("select", "/select").is_plain
    assert walked("frameset", "/frameset").is_disputed

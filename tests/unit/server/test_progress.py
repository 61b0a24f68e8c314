from __future__ import annotations

import io

import pytest

from gateway.server import progress
from gateway.server.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_shown_where_no_terminal_is() -> None:
    stream = io.StringIO()
    with Progress("working", stream) as display:
        display("still working")
    assert stream.getvalue() == ""


def test_nothing_is_shown_for_what_is_quick() -> None:
    stream = Terminal()
    with Progress("working", stream):
        pass
    assert stream.getvalue() == ""


def test_long_work_shows_one_line_and_takes_it_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(progress, "_FRAME_S", 0.001)
    stream = Terminal()
    display = Progress("reading", stream)
    with display:
        while "reading" not in stream.getvalue():
            pass
        display("starting")
        while "starting" not in stream.getvalue():
            pass
        display("")
        shown = stream.getvalue()
    assert shown.endswith("\r\x1b[K")
    assert stream.getvalue() == shown

"""A mistake in any file the gateway reads stops the start and a reload, and is told with its place."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

FILES = ("gateway.yaml", "policies/portal.yaml", "policies/tests/portal.yaml")
MISTAKES: dict[str, Callable[[str], str]] = {
    "is not YAML": lambda text: text + "\n  - {unclosed: [\n",
    "has an unknown key": lambda text: text + "\nsurprise: 1\n",
    "has a key twice": lambda text: text + "\n" + text,
    "is empty": lambda text: "",
    "is not text": lambda text: "\x00\x01",
    "has a tag": lambda text: text + "\nsurprise: !!python/object/apply:os.system ['true']\n",
    "has an alias": lambda text: text + "\na: &a 1\nb: *a\n",
    "is two documents": lambda text: text + "\n---\n" + text,
}
IN_EVERY_FILE = 4


def test_every_mistake_in_every_file_is_told_with_its_place(make_gateway: Callable[..., Any]) -> None:
    gateway = make_gateway()
    assert gateway.cli("check").returncode == 0
    for at, name in enumerate(FILES):
        path = Path(gateway.directory, name)
        good = path.read_text()
        for number, (what, spoil) in enumerate(MISTAKES.items()):
            if number >= IN_EVERY_FILE and number % len(FILES) != at:
                continue  # one loader reads them all
            path.write_text(spoil(good))
            done = gateway.cli("check")
            assert done.returncode == 2, (name, what, done.stdout, done.stderr)
            assert re.search(rf"^{re.escape(name)}(:\d+:\d+)?: .", done.stderr, re.MULTILINE), (name, what, done.stderr)
            assert "Traceback" not in done.stderr
        path.write_text(good)
    assert gateway.cli("check").returncode == 0


@pytest.mark.parametrize("name", FILES)
def test_a_gateway_does_not_start_on_a_file_with_a_mistake_and_a_running_one_keeps_the_old(
    gateway: Any, browser: Any, name: str
) -> None:
    path = Path(gateway.directory, name)
    path.write_text(path.read_text() + "\nsurprise: 1\n")
    done = gateway.cli("reload")
    assert done.returncode == 2
    assert f"{name}:" in done.stderr
    assert browser.get("/invoices/1").status == 200
    assert gateway.stop() == 0
    done = gateway.cli("run")
    assert done.returncode == 2
    assert f"{name}:" in done.stderr

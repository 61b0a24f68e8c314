"""For the whole suite: which tests take turns.

Unit and contract tests spread over the workers of xdist. Tests that start whole gateways, kill processes or measure
them share one worker (`--dist loadgroup`), so that only one of them runs at a time.
"""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
TAKE_TURNS = ("process", "e2e", "fault")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(HERE).parts[0] in TAKE_TURNS:
            item.add_marker(pytest.mark.xdist_group("one at a time"))

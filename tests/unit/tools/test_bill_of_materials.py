from __future__ import annotations

from typing import Any

import pytest

from gateway import __version__
from tools.bill_of_materials import locked, shipped

LOCK = """\
prometheus-client==0.26.0 \\
    --hash=sha256:aa
pycparser==3.12 ; implementation_name != 'PyPy' \\
    --hash=sha256:bb
async-timeout==5.0.1 ; python_full_version < '3.0' \\
    --hash=sha256:cc
"""


def bom() -> dict[str, Any]:
    def component(name: str) -> dict[str, str]:
        return {"bom-ref": f"{name}==1", "name": name}

    return {
        "metadata": {"component": {"bom-ref": "root", "name": "gateway"}},
        "components": [component("prometheus_client"), component("pycparser"), component("pytest")],
        "dependencies": [
            {"ref": "root", "dependsOn": ["prometheus_client==1"]},
            {"ref": "prometheus_client==1", "dependsOn": ["pytest==1", "pycparser==1"]},
            {"ref": "pycparser==1"},
            {"ref": "pytest==1", "dependsOn": []},
        ],
    }


def test_pins_are_read_with_hashes_and_only_those_whose_markers_hold_here() -> None:
    assert locked(LOCK) == {"prometheus-client", "pycparser"}


def test_only_locked_components_and_their_edges_remain() -> None:
    reduced = shipped(bom(), locked(LOCK))
    assert [component["name"] for component in reduced["components"]] == ["prometheus_client", "pycparser"]
    assert {entry["ref"]: entry["dependsOn"] for entry in reduced["dependencies"]} == {
        "root": ["prometheus_client==1"],
        "prometheus_client==1": ["pycparser==1"],
        "pycparser==1": [],
    }


def test_the_main_component_carries_our_version() -> None:
    assert shipped(bom(), locked(LOCK))["metadata"]["component"]["version"] == __version__


def test_a_locked_package_that_is_not_installed_is_an_error() -> None:
    with pytest.raises(ValueError, match="locked but not installed: yarl"):
        shipped(bom(), locked(LOCK) | {"yarl"})

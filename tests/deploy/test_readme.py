from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.policy import compile_policy
from gateway.server.settings import load_settings

TOP = Path(__file__).parents[2]
README = (TOP / "README.md").read_text(encoding="utf-8")
CONFIGURATION, POLICY = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


def test_its_configuration_is_accepted_without_a_warning() -> None:
    assert load_settings(CONFIGURATION, "/etc/gateway/gateway.yaml").warnings() == []


def test_its_policy_compiles_without_a_warning() -> None:
    assert (
        compile_policy({"portal.yaml": POLICY}, upstreams=["portal"], tenants=[], hosts=["portal.example.com"])[1] == []
    )


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"\]\(([^):]+)\)|`((?:deploy|policies|gateway)/[^`]*)`", README)))
)
def test_every_file_it_points_at_exists(path: tuple[str, str]) -> None:
    assert (TOP / "".join(path)).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z-]+)", README))))
def test_every_target_it_names_is_in_the_makefile(target: str) -> None:
    assert re.search(rf"^{target}:", (TOP / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Tool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def dockerfile(deploy: Path) -> Path:
    return deploy / "container" / "Dockerfile"


@pytest.fixture
def services(deploy: Path) -> dict[str, Any]:
    text = (deploy / "container" / "compose.yaml").read_text(encoding="utf-8")
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    return services


def test_hadolint_finds_nothing(dockerfile: Path, tool: Tool) -> None:
    done = tool("hadolint", "--failure-threshold", "ignore", "--no-color", dockerfile)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_as_a_user_and_asks_readyz(dockerfile: Path) -> None:
    final = dockerfile.read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    assert re.search(r"^USER (\d+):\d+$", final, re.MULTILINE), "a number, so that Kubernetes can check runAsNonRoot"
    assert "/readyz" in final
    assert final.index("COPY --from=build") < final.index("USER ")


def test_everything_the_build_copies_exists_and_is_sent_to_it(dockerfile: Path) -> None:
    top = dockerfile.parents[2]
    sent = re.findall(
        r"^!(.+)$", dockerfile.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8"), re.MULTILINE
    )
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
        for word in line.split()
    ]
    assert sorted(copied) == sorted(sent)
    assert all((top / path).exists() for path in copied)


@pytest.mark.parametrize("name", ["gateway", "prometheus"])
def test_our_services_have_no_privilege_and_nothing_to_write_on(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "pid", "ipc", "devices"} & set(service)


def test_only_the_gateway_can_be_reached_and_only_it_reaches_the_portal(services: dict[str, Any], deploy: Path) -> None:
    assert [name for name, service in services.items() if "ports" in service] == ["gateway"]
    assert services["portal"]["networks"] == ["back"]
    networks = yaml.safe_load((deploy / "container" / "compose.yaml").read_text(encoding="utf-8"))["networks"]
    assert networks["back"]["internal"] is True


def test_the_gateway_has_time_to_drain(services: dict[str, Any]) -> None:
    assert int(services["gateway"]["stop_grace_period"].removesuffix("s")) > 10

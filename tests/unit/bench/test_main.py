"""The command line of the bench."""

from __future__ import annotations

import pytest

from tests.bench import peers
from tests.bench.__main__ import arguments


def test_everything_is_measured_in_five_rounds_unless_told_otherwise() -> None:
    chosen = arguments([])
    assert chosen.rounds == 5
    assert chosen.candidates == list(peers.EVERYONE)
    assert "tunnels" in chosen.sections


def test_quick_is_the_throughput_only() -> None:
    chosen = arguments(["--quick", "--only", "envoy,nginx"])
    assert [each.name for each in chosen.candidates] == ["nginx", "envoy"]
    assert (chosen.sections, chosen.rounds, chosen.seconds) == (["throughput"], 2, 1.0)


@pytest.mark.parametrize(
    "words",
    [["--only", "ngnix"], ["--sections", "speed"], ["--rounds", "0"], ["--publish", "--quick"], ["--seconds", "0.1"]],
)
def test_what_is_unknown_or_too_short_is_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err


def test_absent_requirements_are_found_by_name_and_version() -> None:
    text = "aiohttp==0.0.1 \\\n    --hash=sha256:00\nno-such-package==1.0 \\\n    --hash=sha256:00\n"
    assert peers.absent(text) == ["aiohttp==0.0.1", "no-such-package==1.0"]

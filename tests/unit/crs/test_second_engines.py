"""Pools of the second engine over the reloads of an edge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.crs.pool import Pool
from gateway.exchange.errors import ConfigurationError
from gateway.server.second_engines import SecondEngines
from gateway.server.sections.inspection.crs import Crs
from tests.unit.crs.test_pool import RULES, asked, verdict


@pytest.fixture
async def engines() -> AsyncIterator[SecondEngines]:
    engines = SecondEngines()
    yield engines
    pools = list(engines._pools.values())
    engines.close()
    while any(pool.available or pool._starting for pool in pools):
        await asyncio.sleep(0.01)


async def reloaded(engines: SecondEngines, directory: Path) -> Pool:
    section = Crs.model_validate({"rules": str(directory), "timeout": "10s"}, context={"base": directory})
    engines.prepare()
    pool = await asyncio.to_thread(engines.find, section)
    engines.commit()
    return pool


async def test_a_reload_that_changes_nothing_keeps_the_processes(engines: SecondEngines, tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text(RULES)
    assert await reloaded(engines, tmp_path) is await reloaded(engines, tmp_path)


@pytest.mark.parametrize("name", ["a.conf", "words.data"])
async def test_a_reload_after_the_rules_changed_loads_them(engines: SecondEngines, tmp_path: Path, name: str) -> None:
    words = 'SecRule ARGS "@pmFromFile words.data" "id:7,phase:2,deny,msg:\'word\'"'
    (tmp_path / "words.data").write_text("forbidden\n")
    (tmp_path / "a.conf").write_text(RULES + "\n\n" + words)
    before = await reloaded(engines, tmp_path)
    found = await verdict(before, asked(b"/?q=somethingelse"))
    assert found is not None
    assert not found.is_hostile
    changed = (tmp_path / name).read_text()
    (tmp_path / name).write_text(
        changed
        + (
            "somethingelse\n"
            if name.endswith("data")
            else "\n\n" + words.replace("id:7", "id:8").replace("@pmFromFile words.data", "@contains somethingelse")
        )
    )
    after = await reloaded(engines, tmp_path)
    found = await verdict(after, asked(b"/?q=somethingelse"))
    assert found is not None
    assert found.is_hostile
    while before.available:
        await asyncio.sleep(0.01)


async def test_rules_that_are_gone_refuse_the_reload_and_the_processes_go_on(
    engines: SecondEngines, tmp_path: Path
) -> None:
    rules = tmp_path / "crs"
    rules.mkdir()
    (rules / "a.conf").write_text(RULES)
    pool = await reloaded(engines, rules)
    (rules / "a.conf").unlink()
    rules.rmdir()
    with pytest.raises(ConfigurationError, match="No such file"):
        await reloaded(engines, rules)
    assert await verdict(pool, asked(b"/?q=hello")) is not None

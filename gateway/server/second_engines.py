"""The second engines of one edge process: one pool for each way the configuration asks for, kept over reloads that change neither it nor its rules."""

from __future__ import annotations

from pathlib import Path

from gateway.crs.pool import Pool, try_rules
from gateway.crs.process import Rules
from gateway.crs.rules import RulesError, files_of
from gateway.exchange.errors import ConfigurationError
from gateway.server.sections.inspection.crs import Crs

Key = tuple[Rules, tuple[tuple[str, int, int], ...], int, float]
"""Which rules, the files they are read from, processes, seconds."""


def rules_of(section: Crs) -> Rules:
    """Say which rules a section asks for."""
    return Rules(
        directory=str(section.rules),
        setup=str(section.setup or ""),
        without=section.without,
        paranoia=section.paranoia,
        threshold=section.threshold,
    )


class SecondEngines:
    """Starts pools when they are prepared, takes them into use when that is committed, and ends those nobody wants any more."""

    def __init__(self) -> None:
        self._pools: dict[Key, Pool] = {}
        self._prepared: dict[Key, Pool] = {}

    def prepare(self) -> None:
        """Forget what an earlier configuration asked for that was refused."""
        for key, pool in self._prepared.items():
            if key not in self._pools:
                pool.close()
        self._prepared = {}

    def find(self, section: Crs) -> Pool:
        """Return the pool of a section, started; blocks while its rules are loaded. Raises ConfigurationError."""
        try:
            files = files_of(Path(section.rules), Path(section.setup) if section.setup is not None else None)
            key = (rules_of(section), files, section.processes, section.timeout)
            pool = self._prepared.get(key) or self._pools.get(key)
            if pool is None:
                pool = Pool(key[0], processes=section.processes, timeout_s=section.timeout)
                pool.start()
        except RulesError as error:
            raise ConfigurationError((f"inspection.crs: {error}",)) from None
        self._prepared[key] = pool
        return pool

    def commit(self) -> None:
        """Take into use what was prepared, on the running loop."""
        for key, pool in self._prepared.items():
            if key not in self._pools:
                pool.open()
        for key, pool in self._pools.items():
            if key not in self._prepared:
                pool.close()
        self._pools, self._prepared = self._prepared, {}

    def close(self) -> None:
        """End all processes."""
        self.prepare()
        for pool in self._pools.values():
            pool.close()
        self._pools = {}

    @property
    def replaced(self) -> int:
        """Processes that had to be replaced."""
        return sum(pool.replaced for pool in self._pools.values())

    @property
    def lacking(self) -> int:
        """Pools without a single process."""
        return sum(pool.available == 0 for pool in self._pools.values())


def rule_problems(sections: list[Crs]) -> list[str]:
    """Load the rules of each section once, and tell why those that cannot be loaded cannot."""
    found = []
    for rules in dict.fromkeys(rules_of(section) for section in sections):
        try:
            try_rules(rules)
        except RulesError as error:
            found.append(f"inspection.crs: {error}")
    return found

"""Where an address is, by the operator's own database (MaxMind DB format); no address leaves the machine.

Decides how a place is written. A database that is missing or damaged is an error at start; an address
that it does not know has no place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import maxminddb

from gateway.exchange.errors import ConfigurationError


class Places:
    """An open database."""

    def __init__(self, reader: maxminddb.Reader) -> None:
        self._reader = reader

    def name(self, address: str) -> str:
        """`Bern, Switzerland`, or the country alone; empty when the database does not know the address."""
        try:
            found: Any = self._reader.get(address)
        except ValueError:
            return ""
        if not isinstance(found, dict):
            return ""
        parts = (_english(found.get("city")), _english(found.get("country")))
        return ", ".join(part for part in parts if part)

    def country(self, address: str) -> str:
        """ISO 3166-1 code of the country, upper case; empty when the database does not know the address."""
        try:
            found: Any = self._reader.get(address)
        except ValueError:
            return ""
        country = found.get("country") if isinstance(found, dict) else None
        code = country.get("iso_code", "") if isinstance(country, dict) else ""
        return code if isinstance(code, str) else ""


def open_places(path: Path) -> Places:
    """Open a database. Raises `ConfigurationError` with the file and what is wrong."""
    try:
        if path.exists() and not path.is_file():  # a FIFO must not hang a process that prepares a reload
            raise ConfigurationError((f"geo.database: {path}: is not a file",))
        return Places(maxminddb.open_database(str(path)))
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "is not a MaxMind database"
        raise ConfigurationError((f"geo.database: {path}: {reason}",)) from error


def _english(part: Any) -> str:
    names = part.get("names") if isinstance(part, dict) else None
    name = names.get("en", "") if isinstance(names, dict) else ""
    return name if isinstance(name, str) else ""

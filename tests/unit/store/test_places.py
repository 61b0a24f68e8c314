"""Places of addresses by the operator's own database."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from gateway.exchange.errors import ConfigurationError
from gateway.store.places import open_places


def database(path: Path) -> Path:
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True)
    writer.insert_network(
        IPSet(["198.51.100.0/24"]), {"city": {"names": {"en": "Bern"}}, "country": {"names": {"en": "Switzerland"}}}
    )
    writer.insert_network(IPSet(["203.0.113.0/24"]), {"country": {"names": {"en": "Japan"}}})
    writer.insert_network(IPSet(["192.0.2.0/24"]), {"country": "odd"})
    writer.to_db_file(str(path))
    return path


def test_an_address_is_named_by_city_and_country_or_not_at_all(tmp_path: Path) -> None:
    places = open_places(database(tmp_path / "places.mmdb"))
    assert places.name("198.51.100.7") == "Bern, Switzerland"
    assert places.name("203.0.113.7") == "Japan"
    assert places.name("192.0.2.7") == places.name("10.0.0.1") == places.name("no address") == ""


def test_a_missing_or_damaged_database_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.mmdb"):
        open_places(tmp_path / "missing.mmdb")
    (tmp_path / "damaged.mmdb").write_bytes(b"x" * 100)
    with pytest.raises(ConfigurationError, match="is not a MaxMind database"):
        open_places(tmp_path / "damaged.mmdb")


def test_a_fifo_in_the_place_of_the_database_holds_no_process_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mmdb")
    with pytest.raises(ConfigurationError, match="is not a file"):
        open_places(tmp_path / "pipe.mmdb")

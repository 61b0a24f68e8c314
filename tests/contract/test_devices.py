import msgspec
import pytest

from gateway.session.device import device_id, make_device
from gateway.store.devices import (
    GRACE_S,
    KNOWN_S,
    MAX_DEVICES,
    Devices,
    Marked,
)
from gateway.store.rows import Backend
from gateway.store.sealing import Sealer
from tests.contract.conftest import NOW, OpenRows

HOST = "portal.example.com"
DAYS_S = 86_400.0


def cookie(number: int) -> bytes:
    return make_device(bytes([number]) * 32)


def mark(
    devices: Devices, shown: bytes, number: int, *, user: str = "u_alice", host: str = HOST, now: float = NOW
) -> Marked:
    return devices.mark(
        shown,
        user_id=user,
        host=host,
        renewed=cookie(number),
        name=f"{number:032x}",
        user_agent="Firefox",
        now=now,
    )


@pytest.fixture
def devices(rows: Backend, sealer: Sealer) -> Devices:
    return Devices(rows, sealer)


def test_a_browser_is_new_once(devices: Devices) -> None:
    first = mark(devices, b"", 1)
    assert first.is_new
    again = mark(devices, cookie(1), 2, now=NOW + 60)
    assert not again.is_new
    assert again.device.name == first.device.name
    assert devices.knows(cookie(2), user_id="u_alice", host=HOST, now=NOW + 61)
    assert len(devices.of("u_alice", now=NOW + 61)) == 1


def test_the_cookies_value_is_good_for_one_sign_in_and_a_moment(devices: Devices) -> None:
    """attack: a copy of the cookie that was used since."""
    mark(devices, b"", 1)
    mark(devices, cookie(1), 2, now=NOW + 60)
    assert devices.knows(cookie(1), user_id="u_alice", host=HOST, now=NOW + 60 + GRACE_S - 1)
    assert not devices.knows(cookie(1), user_id="u_alice", host=HOST, now=NOW + 60 + GRACE_S)


def test_a_device_is_known_to_its_person_on_its_host_alone(devices: Devices) -> None:
    mark(devices, b"", 1)
    assert not devices.knows(cookie(1), user_id="u_bob", host=HOST, now=NOW)
    assert not devices.knows(cookie(1), user_id="u_alice", host="acme.portal.example.com", now=NOW)
    assert mark(devices, cookie(1), 2, user="u_bob").is_new


@pytest.mark.parametrize("shown", [b"", b"gwd_", b"x" * 47, b"gwd_" + b"A" * 44, b"gwd_" + b"\xe9" * 43])
def test_what_is_no_value_of_ours_knows_no_device(devices: Devices, shown: bytes) -> None:
    mark(devices, b"", 1)
    assert devices.find(shown, user_id="u_alice", host=HOST, now=NOW) is None
    assert mark(devices, shown, 2).is_new


def test_a_device_is_remembered_for_as_long_as_was_said(devices: Devices) -> None:
    marked = mark(devices, b"", 1)
    assert not marked.device.is_remembered(NOW)
    assert devices.remember(marked.device.name, user_id="u_alice", until=NOW + 30 * DAYS_S, now=NOW)
    found = devices.find(cookie(1), user_id="u_alice", host=HOST, now=NOW)
    assert found is not None
    assert found.is_remembered(NOW + 30 * DAYS_S - 1)
    assert not found.is_remembered(NOW + 30 * DAYS_S)
    assert found.mfa_time == NOW


def test_nobody_remembers_somebody_elses_device(devices: Devices) -> None:
    marked = mark(devices, b"", 1)
    assert not devices.remember(marked.device.name, user_id="u_bob", until=NOW + DAYS_S, now=NOW)
    assert not devices.forget(marked.device.name, user_id="u_bob", now=NOW)


def test_a_change_of_factors_asks_everywhere_again_and_forgets_no_device(rows: Backend, devices: Devices) -> None:
    marked = mark(devices, b"", 1)
    devices.remember(marked.device.name, user_id="u_alice", until=NOW + DAYS_S, now=NOW)
    assert rows.transact(lambda tx: devices.ask_again_in(tx, "u_alice", now=NOW)) == 1
    found = devices.find(cookie(1), user_id="u_alice", host=HOST, now=NOW)
    assert found is not None
    assert not found.is_remembered(NOW)
    assert rows.transact(lambda tx: devices.ask_again_in(tx, "u_alice", now=NOW)) == 0


def test_a_reset_forgets_every_device(rows: Backend, devices: Devices) -> None:
    mark(devices, b"", 1)
    mark(devices, b"", 2)
    mark(devices, b"", 3, user="u_bob")
    assert rows.transact(lambda tx: devices.forget_all_in(tx, "u_alice")) == 2
    assert devices.of("u_alice", now=NOW) == []
    assert devices.knows(cookie(3), user_id="u_bob", host=HOST, now=NOW)


def test_a_device_that_was_forgotten_is_new_again(devices: Devices) -> None:
    marked = mark(devices, b"", 1)
    assert devices.forget(marked.device.name, user_id="u_alice", now=NOW)
    assert mark(devices, cookie(1), 2).is_new


def test_the_device_unused_for_longest_makes_room(devices: Devices) -> None:
    for number in range(MAX_DEVICES + 2):
        mark(devices, b"", number, now=NOW + number)
    known = {device.name for device in devices.of("u_alice", now=NOW + 100)}
    assert len(known) == MAX_DEVICES
    assert f"{0:032x}" not in known
    assert f"{MAX_DEVICES + 1:032x}" in known


def test_a_device_that_nobody_uses_is_forgotten(devices: Devices) -> None:
    mark(devices, b"", 1)
    assert not devices.knows(cookie(1), user_id="u_alice", host=HOST, now=NOW + KNOWN_S)


def test_two_processes_see_one_device(open_rows: OpenRows, sealer: Sealer) -> None:
    one, other = Devices(open_rows(), sealer), Devices(open_rows(), sealer)
    first = mark(one, b"", 1)
    assert mark(other, cookie(1), 2, now=NOW + 1).device.name == first.device.name


def test_the_store_holds_no_value_of_a_cookie(devices: Devices) -> None:
    marked = mark(devices, b"", 1)
    assert marked.device.cookie == device_id(cookie(1))
    assert cookie(1) not in msgspec.msgpack.encode(marked.device)

"""An operator names sessions by conditions that all have to hold."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from gateway.exchange.session import Owed
from gateway.session.life import Lifetimes, start
from gateway.session.selection import Selection

SESSION = start(
    handle="s_1", user_id="u_1", user="alice", tenant="acme", roles=["client"], email="", owes=Owed.NOTHING, lifetimes=Lifetimes(),
    host="portal.test", secure=True, client_ip="192.0.2.7", user_agent="Firefox", now=1000.0, provider="okta",
)  # fmt: skip
MATCHING: dict[str, Any] = {
    "user_id": "u_1",
    "tenant": "acme",
    "provider": "okta",
    "role": "client",
    "network": ip_network("192.0.2.0/24"),
    "issued_before": 1000.1,
}
OTHERS: dict[str, Any] = {
    "user_id": "u_2",
    "tenant": "globex",
    "provider": "local",
    "role": "admin",
    "network": ip_network("2001:db8::/32"),
    "issued_before": 1000.0,
}


def test_without_a_condition_every_session_is_meant_and_all_conditions_have_to_hold() -> None:
    assert Selection().chooses(SESSION)
    assert Selection(**MATCHING).chooses(SESSION)


@pytest.mark.parametrize("name", list(OTHERS))
def test_one_condition_that_does_not_hold_is_enough(name: str) -> None:
    assert Selection(**{name: MATCHING[name]}).chooses(SESSION)
    assert not Selection(**MATCHING | {name: OTHERS[name]}).chooses(SESSION)


@pytest.mark.parametrize("address", ["", "rubbish", "2001:db8::1"])
def test_a_session_that_began_nobody_knows_where_is_in_no_network(address: str) -> None:
    session = msgspec.structs.replace(SESSION, client_ip=address)
    assert not Selection(network=ip_network("0.0.0.0/0")).chooses(session)


def test_what_the_store_finds_without_opening_a_row_is_plain() -> None:
    assert all(each.is_plain for each in (Selection(), Selection(user_id="u"), Selection(tenant="t")))
    assert not any(Selection(**{name: MATCHING[name]}).is_plain for name in ("provider", "role", "network"))
    assert not Selection(user_id="u", tenant="t").is_plain

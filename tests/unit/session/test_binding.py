"""A cookie alone does not open a session that is bound to more."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.session import Owed, Session
from gateway.session.binding import COUNTRY, Binding, Bond, Network, broken_bond, is_bound
from gateway.session.life import Lifetimes, start

SESSION = start(
    handle="s_1", user_id="u_1", user="alice", tenant="acme", roles=["client"], email="", owes=Owed.NOTHING, lifetimes=Lifetimes(),
    host="portal.test", secure=True, client_ip="192.0.2.1", user_agent="Firefox", now=1000.0,
)  # fmt: skip


def bound(**changes: str) -> Session:
    return msgspec.structs.replace(SESSION, **changes)


def judged(session: Session, *, device: str = "", address: str = "192.0.2.1", country: str = "", certificate: str = "") -> Bond | None:  # fmt: skip
    return broken_bond(session, device=device, address=address, country=country, certificate=certificate)


def test_a_session_that_is_bound_to_nothing_is_good_everywhere() -> None:
    assert not is_bound(SESSION)
    assert judged(SESSION, device="d", address="203.0.113.9", country="XX", certificate="f") is None


@pytest.mark.parametrize("device", ["", "d_2", "d_", "d_11"])
def test_a_stolen_cookie_without_its_device_is_refused(device: str) -> None:
    session = bound(device="d_1")
    assert is_bound(session)
    assert judged(session, device=device) is Bond.DEVICE
    assert judged(session, device="d_1") is None


@pytest.mark.parametrize(
    ("network", "address", "broken"),
    [
        ("192.0.2.0/24", "192.0.2.200", None),
        ("192.0.2.0/24", "192.0.3.1", Bond.NETWORK),
        ("192.0.2.0/24", "2001:db8::1", Bond.NETWORK),
        ("192.0.2.0/24", "rubbish", Bond.NETWORK),
        ("2001:db8:0:ff00::/56", "2001:db8:0:ff01::9", None),
        ("2001:db8:0:ff00::/56", "2001:db8:0:fe00::9", Bond.NETWORK),
        ("rubbish", "192.0.2.1", Bond.NETWORK),
    ],
)
def test_a_session_bound_to_a_network_is_good_inside_it_only(network: str, address: str, broken: Bond | None) -> None:
    assert judged(bound(network=network), address=address) is broken


@pytest.mark.parametrize(
    ("began", "now", "broken"), [("CH", "CH", None), ("CH", "DE", Bond.COUNTRY), ("CH", "", Bond.COUNTRY), ("", "", None), ("", "CH", Bond.COUNTRY)]
)  # fmt: skip
def test_a_session_bound_to_its_country_is_good_inside_it_only(began: str, now: str, broken: Bond | None) -> None:
    assert judged(bound(network=COUNTRY, country=began), address="203.0.113.1", country=now) is broken


def test_a_country_that_is_only_known_binds_nobody() -> None:
    assert judged(bound(country="CH"), country="DE") is None


def test_a_session_bound_to_a_certificate_wants_exactly_that_one() -> None:
    assert judged(bound(certificate="ab")) is Bond.CERTIFICATE
    assert judged(bound(certificate="ab"), certificate="cd") is Bond.CERTIFICATE
    assert judged(bound(certificate="ab"), certificate="ab") is None


def test_every_bond_has_to_hold() -> None:
    session = bound(device="d", network="192.0.2.0/24", certificate="ab")
    assert judged(session, device="d", certificate="ab") is None
    assert judged(session, device="d", certificate="ab", address="198.51.100.1") is Bond.NETWORK


@pytest.mark.parametrize(
    ("network", "address", "written"),
    [
        (Network(), "192.0.2.77", ""),
        (Network(ipv4=24, ipv6=56), "192.0.2.77", "192.0.2.0/24"),
        (Network(ipv4=24, ipv6=56), "2001:db8:0:ff17::1", "2001:db8:0:ff00::/56"),
        (Network(ipv4=24), "2001:db8::1", ""),
        (Network(country=True), "192.0.2.77", COUNTRY),
        (Network(ipv4=24), "rubbish", ""),
    ],
)
def test_what_a_new_session_is_bound_to(network: Network, address: str, written: str) -> None:
    assert network.of(address) == written
    if written and written != COUNTRY:
        assert judged(bound(network=written), address=address) is None


NETWORKS = st.builds(Network, ipv4=st.integers(0, 32), ipv6=st.integers(0, 128)) | st.just(Network(country=True))


@given(NETWORKS, NETWORKS)
def test_the_narrower_of_two_networks_is_at_least_as_narrow_as_each(one: Network, other: Network) -> None:
    both = one.narrower(other)
    assert both == other.narrower(one)
    assert both.ipv4 >= max(one.ipv4, other.ipv4)
    assert both.ipv6 >= max(one.ipv6, other.ipv6)
    assert bool(both) is (bool(one) or bool(other))


def test_bindings_add_up() -> None:
    both = Binding(device=True).narrower(Binding(network=Network(country=True), certificate=True))
    assert both == Binding(device=True, network=Network(country=True), certificate=True)

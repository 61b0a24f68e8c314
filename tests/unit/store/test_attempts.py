import os

import pytest

from gateway.store.attempts import AttemptKeys, network_of
from gateway.store.keyring import Keyring

KEYRING = Keyring.generate(os.urandom, 0)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("unix", "unix"),
        ("", ""),
    ],
)
def test_a_customer_is_one_network_however_many_addresses_it_has(address: str, network: str) -> None:
    assert network_of(address) == network


def test_keys_name_nobody_and_differ_by_kind() -> None:
    keys = AttemptKeys(KEYRING)
    made = {keys.account("alice"), keys.factor("alice"), keys.network("alice"), keys.account("bob")}
    assert len(made) == 4
    assert all(b"alice" not in key for key in made)
    assert keys.account("alice") == AttemptKeys(KEYRING.rotate(os.urandom, 1)).account("alice")

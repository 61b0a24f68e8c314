"""A device cookie is known by an id from which it cannot be made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.session.device import COOKIE_NAMES, ENTROPY_BYTES, device_id, make_device


@given(
    st.binary(min_size=ENTROPY_BYTES, max_size=ENTROPY_BYTES), st.binary(min_size=ENTROPY_BYTES, max_size=ENTROPY_BYTES)
)
def test_two_devices_have_two_ids_and_each_has_one(one: bytes, other: bytes) -> None:
    assert (device_id(make_device(one)) == device_id(make_device(other))) is (one == other)
    assert make_device(one)[4:].decode() not in device_id(make_device(one))


@pytest.mark.parametrize(
    "value",
    [b"", b"gwd_", b"gws_" + b"A" * 43, b"gwd_" + b"A" * 42 + b"B", b"gwd_" + b"A" * 43 + b"\n", b"gwd_" + b"A" * 44, b"d_" + b"0" * 32],
)  # fmt: skip
def test_what_is_no_device_cookie_has_no_id(value: bytes) -> None:
    assert device_id(value) == ""


def test_a_device_is_made_of_exactly_so_much_randomness() -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        make_device(b"short")
    assert COOKIE_NAMES["https"].startswith("__Host-")

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.same_site import enforce_same_site


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"sid=1", b"sid=1; SameSite=Lax"),
        (b"sid=1; SameSite=None; Secure", b"sid=1; Secure; SameSite=Lax"),
        (b"sid=1; samesite=strict", b"sid=1; SameSite=Strict"),
        (b"sid=1; SameSite=Lax; SameSite=None", b"sid=1; SameSite=Lax"),
        (b"sid=1; SameSite=whatever", b"sid=1; SameSite=Lax"),
        (b"sid=1; SameSite", b"sid=1; SameSite=Lax"),
        (b"SameSite=None; Path=/", b"SameSite=None; Path=/; SameSite=Lax"),
        (b"sid=1; Path=/;; HttpOnly ", b"sid=1; Path=/; HttpOnly; SameSite=Lax"),
    ],
)
def test_a_cookie_that_other_sites_would_send_along_is_kept_from_it(value: bytes, kept: bytes) -> None:
    assert enforce_same_site(value, "lax") == kept


def test_a_stricter_floor_is_kept_and_the_portal_is_left_alone_where_the_operator_says_so() -> None:
    assert enforce_same_site(b"sid=1; SameSite=Lax", "strict") == b"sid=1; SameSite=Strict"
    assert enforce_same_site(b"sid=1; SameSite=None", "portal") == b"sid=1; SameSite=None"


@given(st.lists(st.sampled_from([b"SameSite=None", b"SameSite=strict", b"samesite = lax", b"Path=/", b"x", b""])))
def test_there_is_one_word_at_the_end_and_it_stays(attributes: list[bytes]) -> None:
    once = enforce_same_site(b"; ".join((b"a=b", *attributes)), "lax")
    assert once.lower().count(b"samesite") == 1
    assert enforce_same_site(once, "lax") == once

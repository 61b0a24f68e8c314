"""Signatures that libraries of Standard Webhooks verify."""

from __future__ import annotations

from base64 import b64encode

import pytest

from gateway.audit.webhook import message_id, read_secret, sign


def test_the_example_of_the_specification_is_signed_as_it_says() -> None:
    secret = read_secret(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(secret, identity="msg_p5jXN8AQM9LWM0D4loKWxJek", time_s=1614265330, body=b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_is_its_bytes_or_base64_after_its_prefix() -> None:
    assert read_secret(b"x" * 32) == b"x" * 32
    assert read_secret(b"whsec_" + b64encode(b"y" * 24)) == b"y" * 24


@pytest.mark.parametrize("content", [b"short", b"whsec_" + b64encode(b"short"), b"whsec_no base64!", b""])
def test_a_weak_or_broken_secret_is_refused_without_being_said(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"secret has at least|not base64") as refused:
        read_secret(content)
    assert content.decode() not in str(refused.value) or not content


def test_the_id_of_a_batch_is_one_word_without_dots() -> None:
    assert message_id("gw.example.com/a#1-2#" + "ab" * 32) == "batch_" + "ab" * 21

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.server.sections.console import Console


def test_it_must_be_said_whether_there_is_one() -> None:
    with pytest.raises(ValidationError, match="enabled"):
        Console.model_validate({})


def test_networks_and_ages_are_read() -> None:
    console = Console.model_validate({"enabled": True, "networks": ["10.0.0.0/8", "2001:db8::/32"], "mfa_age": "5m"})
    assert console.mfa_age == 300.0
    assert console.networks is not None
    assert [str(network) for network in console.networks] == ["10.0.0.0/8", "2001:db8::/32"]
    assert Console.model_validate({"enabled": True}).mfa_age == 900.0


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"enabled": "yes"}, "bool"),
        ({"enabled": True, "networks": []}, "at least 1"),
        ({"enabled": True, "networks": ["everywhere"]}, "network"),
        ({"enabled": True, "mfa_age": "13h"}, "more than 12h proves nothing"),
        ({"enabled": True, "mfa_age": "0s"}, "must be more than 0"),
        ({"enabled": True, "hosts": ["a.example"]}, "Extra inputs"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Console.model_validate(values)

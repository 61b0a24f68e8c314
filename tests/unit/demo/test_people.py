from __future__ import annotations

import pyotp

from gateway.demo.people import three_people


def test_there_are_three_people_of_two_organisations() -> None:
    people = three_people()
    assert [(person.name, person.tenant, person.roles) for person in people] == [
        ("client", "acme", ("client",)),
        ("billing", "acme", ("billing",)),
        ("admin", "globex", ("admin", "gateway.admin")),
    ]


def test_secrets_are_new_each_time_and_long_enough() -> None:
    first, second = three_people(), three_people()
    assert len({person.password for person in first + second}) == 6
    assert len({person.secret for person in first + second}) == 6
    assert all(len(person.password) >= 12 for person in first)


def test_the_code_and_the_uri_come_from_the_secret() -> None:
    person = three_people()[1]
    assert pyotp.TOTP(person.secret).verify(person.code(1_700_000_000), for_time=1_700_000_000)
    parsed = pyotp.parse_uri(person.uri)
    assert (parsed.secret, parsed.name, parsed.issuer) == (person.secret, "billing@acme", "Gateway demo")

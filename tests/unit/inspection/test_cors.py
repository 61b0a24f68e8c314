from __future__ import annotations

import pytest

from gateway.inspection.cors import CorsRules, Excess, Refused, answer_fields, excess_of, is_sharing_field, preflight

APP = b"https://app.example.com"
RULES = CorsRules(
    origins=frozenset((APP,)),
    methods=frozenset((b"GET", b"PUT")),
    fields=frozenset((b"x-request-source",)),
    expose=(b"ETag",),
    credentials=True,
    max_age_s=300,
)


def test_a_listed_origin_is_granted_what_the_route_grants() -> None:
    granted = preflight(RULES, origin=APP, method=b"PUT", names=b"X-Request-Source, content-type")
    assert granted == (
        (b"access-control-allow-origin", APP),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-allow-methods", b"GET, PUT"),
        (b"access-control-allow-headers", b"content-type, x-request-source"),
        (b"access-control-max-age", b"300"),
        (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    )


@pytest.mark.parametrize(
    "origin",
    [
        b"null", b"https://evil.example", b"https://app.example.com.evil.example", b"http://app.example.com",
        b"https://app.example.com:443", b"https://APP.example.com", b"https://app.example.com/", b"*", b"", b"https://xapp.example.com",
    ],
)  # fmt: skip
def test_no_other_origin_is_ever_reflected(origin: bytes) -> None:
    assert preflight(RULES, origin=origin, method=b"GET", names=b"") is Refused.ORIGIN
    assert answer_fields(RULES, origin) == ((b"vary", b"Origin"),)


def test_what_the_route_does_not_grant_is_refused() -> None:
    assert preflight(RULES, origin=APP, method=b"DELETE", names=b"") is Refused.METHOD
    assert preflight(RULES, origin=APP, method=b"put", names=b"") is Refused.METHOD
    assert preflight(RULES, origin=APP, method=b"PUT", names=b"authorization") is Refused.FIELD
    assert preflight(RULES, origin=APP, method=b"PUT", names=b"x y") is Refused.FIELD
    assert preflight(RULES, origin=APP, method=b"PUT", names=b"*") is Refused.FIELD


def test_an_endless_list_of_names_is_refused_before_it_is_read() -> None:
    assert preflight(RULES, origin=APP, method=b"PUT", names=b"range," * 5000) is Refused.FIELD


def test_answers_name_the_origin_and_vary_by_it() -> None:
    assert answer_fields(RULES, APP) == (
        (b"access-control-allow-origin", APP),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"ETag"),
        (b"vary", b"Origin"),
    )


def test_every_origin_goes_with_no_credentials() -> None:
    with pytest.raises(ValueError, match="no credentials"):
        CorsRules(origins=frozenset((b"*",)), credentials=True)
    with pytest.raises(ValueError, match="stands alone"):
        CorsRules(origins=frozenset((b"*", APP)))
    anybody = CorsRules(origins=frozenset((b"*",)))
    assert answer_fields(anybody, b"https://any.example")[0] == (b"access-control-allow-origin", b"*")
    assert answer_fields(anybody, b"null") == ((b"vary", b"Origin"),)


OWN = b"https://portal.example"


@pytest.mark.parametrize(
    ("fields", "asked_by", "excess"),
    [
        ([(b"access-control-allow-origin", b"*")], APP, None),
        ([(b"access-control-allow-origin", b"null")], b"null", Excess.NULL),
        ([(b"access-control-allow-origin", APP)], APP, None),
        (
            [(b"access-control-allow-origin", APP), (b"access-control-allow-credentials", b"true")],
            APP,
            Excess.REFLECTED,
        ),
        ([(b"access-control-allow-origin", OWN), (b"access-control-allow-credentials", b"true")], OWN, None),
        ([(b"access-control-allow-origin", APP), (b"access-control-allow-credentials", b"true")], b"", None),
        (
            [(b"access-control-allow-origin", b"*"), (b"access-control-allow-credentials", b"true")],
            b"",
            Excess.ANYBODY_WITH_CREDENTIALS,
        ),
        ([(b"content-type", b"text/html")], APP, None),
    ],
)
def test_a_portal_that_shares_with_everybody_is_noticed(
    fields: list[tuple[bytes, bytes]], asked_by: bytes, excess: Excess | None
) -> None:
    assert excess_of(tuple(fields), asked_by=asked_by, own=OWN) is excess


def test_sharing_fields_are_known_by_their_name() -> None:
    assert is_sharing_field(b"access-control-allow-private-network")
    assert not is_sharing_field(b"access")

from __future__ import annotations

import pytest

from gateway.audit.placement import place
from gateway.exchange.reason import Reason
from gateway.exchange.route import Route
from gateway.exchange.stream import STREAMS_BY_NUMBER, Stream


def placed(
    reason: Reason = Reason.ALLOWED,
    *,
    method: bytes = b"GET",
    allowed: bool = True,
    is_known: bool = True,
    has_events: bool = False,
    name: str = "invoice",
    template: str = "/invoices/{id}",
    public: bool = False,
    stream: Stream | None = None,
) -> Stream:
    route = Route(name=name, template=template, methods=("GET",), upstream="u", public=public, stream=stream)
    number = place(route, method, reason, allowed=allowed, is_known=is_known, has_events=has_events)
    return STREAMS_BY_NUMBER[number]


def test_who_saw_which_data_is_access_and_public_places_are_traffic() -> None:
    assert placed() is Stream.ACCESS
    assert placed(Reason.PUBLIC, public=True, is_known=False) is Stream.TRAFFIC
    assert placed(Reason.PUBLIC, public=True, is_known=True) is Stream.TRAFFIC


@pytest.mark.parametrize("reason", [Reason.DENIED, Reason.ROLE_MISSING, Reason.CROSS_ORIGIN, Reason.STEP_UP_REQUIRED])
def test_a_refusal_of_somebody_or_of_a_protected_place_is_security(reason: Reason) -> None:
    assert placed(reason, allowed=False) is Stream.SECURITY
    assert placed(Reason.SIGN_IN_REQUIRED, allowed=False, is_known=False) is Stream.SECURITY
    assert placed(reason, allowed=False, is_known=True, public=True) is Stream.SECURITY


@pytest.mark.parametrize("reason", [Reason.NO_ROUTE, Reason.RATE_LIMITED, Reason.MALFORMED_HEAD, Reason.UPSTREAM_DOWN])
def test_a_refusal_that_says_nothing_about_anybody_is_traffic(reason: Reason) -> None:
    assert placed(reason, allowed=False) is Stream.TRAFFIC
    assert placed(Reason.CROSS_ORIGIN, allowed=False, is_known=False, public=True) is Stream.TRAFFIC


def test_sign_in_and_accounts_are_security() -> None:
    own = {"name": "gateway.login", "template": "/.gateway/login", "public": True}
    assert placed(method=b"POST", is_known=False, **own) is Stream.SECURITY  # type: ignore[arg-type]
    assert placed(is_known=False, **own) is Stream.TRAFFIC  # type: ignore[arg-type]  # the empty form
    assert placed(has_events=True, public=True) is Stream.SECURITY
    assert placed(name="gateway.account", template="/.gateway/account", method=b"POST") is Stream.SECURITY


def test_a_route_says_where_its_allowed_requests_go_and_nothing_else() -> None:
    assert placed(stream=Stream.TRAFFIC) is Stream.TRAFFIC
    assert placed(Reason.PUBLIC, public=True, stream=Stream.ACCESS) is Stream.ACCESS
    assert placed(Reason.DENIED, allowed=False, stream=Stream.TRAFFIC) is Stream.SECURITY

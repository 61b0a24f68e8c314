"""The record of a request: canonical JSON whatever the request holds."""

from __future__ import annotations

import time

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.access import COURSES, Node, Place, Subject, encode_text, fill, template
from gateway.audit.canonical import encode
from gateway.audit.resource import Named, encode_resources, own_resource
from gateway.exchange.route import Action, Resource, Route
from gateway.exchange.session import Owed, Session
from gateway.exchange.stream import Stream
from gateway.exchange.tenancy import TenantBinding

NODE = Node("node-a", "boot", "0.1.0")
PLACE = Place("portal.example", "acme", secure=True, tls="TLSv1.3 TLS_AES_256_GCM_SHA384", policy_version="abc")


def session(user: str = "alice") -> Session:
    now = time.time()
    return Session(
        handle="h", user_id="u1", user=user, tenant="acme", roles=("client",), amr=("pwd", "otp"), auth_time=now, mfa_time=now, created=now,
        expires=now + 60, idle_s=60, host="portal.example", secure=True,
    )  # fmt: skip


def route(**changes: object) -> Route:
    values = {
        "name": "invoice",
        "template": "/invoices/{id}",
        "methods": ("GET",),
        "upstream": "portal",
        "resource": Resource(type="invoice", id="{id}"),
    }
    return Route(**{**values, **changes})  # type: ignore[arg-type]


def filled(
    baked: bytes,
    path: bytes = b'"/invoices/42"',
    user_agent: bytes = b'"x"',
    resources: bytes = b"",
    events: bytes = b"",
) -> bytes:
    return fill(
        baked, 0, b"r-1", path, user_agent, b'"content_type":"text/html",', 3, 12, 7, b"u-1", resources,
        b'"ip":"192.0.2.1"', 555, 1, b"b" * 16, b"a" * 32, events, 5, COURSES["single"]["completed"],
    )  # fmt: skip


@pytest.mark.parametrize("who", [None, session(), Subject("u1", "alice", "acme"), session('quote"\\ percent% é')])
@pytest.mark.parametrize("place", [PLACE, Place("a", "", secure=False, tls="", policy_version="")])
def test_a_record_is_canonical_json(who: Session | Subject | None, place: Place) -> None:
    payload = filled(
        template(route(), "GET", who, place, NODE, stream=Stream.ACCESS),
        resources=encode_resources(route(), [Named("invoice", "42")])[0],
        events=b'"events":[{"name":"x"}],',
    )
    assert encode(orjson.loads(payload)) == payload


@given(st.binary(max_size=400), st.integers(1, 300))
def test_no_byte_of_a_request_suppresses_or_breaks_a_record(value: bytes, limit: int) -> None:
    payload = filled(
        template(route(), "GET", session(), PLACE, NODE, stream=Stream.ACCESS),
        path=encode_text(value, limit),
        user_agent=encode_text(value, limit),
    )
    record = orjson.loads(payload)
    assert encode(record) == payload
    assert b"\n" not in payload


def test_what_a_request_does_is_told_by_class_and_activity() -> None:
    read = orjson.loads(filled(template(route(), "GET", None, PLACE, NODE, stream=Stream.ACCESS)))
    assert (read["class_uid"], read["activity_id"], read["unmapped"]["gw"]["action"]) == (6003, 2, "view")
    deleted = orjson.loads(
        filled(template(route(methods=("DELETE",)), "DELETE", None, PLACE, NODE, stream=Stream.ACCESS))
    )
    assert (deleted["activity_id"], deleted["type_uid"]) == (4, 600304)
    exported = orjson.loads(
        filled(template(route(action=Action.EXPORT), "GET", None, PLACE, NODE, stream=Stream.ACCESS))
    )
    assert exported["unmapped"]["gw"]["action"] == "export"
    sign_in = orjson.loads(
        filled(
            template(
                route(name="gateway.login", template="/.gateway/login", public=True),
                "POST",
                None,
                PLACE,
                NODE,
                stream=Stream.ACCESS,
            )
        )
    )
    assert (sign_in["class_uid"], sign_in["activity_id"], sign_in["unmapped"]["gw"]["action"]) == (3002, 1, "login")
    assert sign_in["metadata"]["tenant_uid"] == "acme", "nobody is signed in, but the host has a tenant"


def test_a_resource_carries_the_id_of_the_path() -> None:
    assert orjson.loads(b"{" + encode_resources(route(), [Named("invoice", 'a"b')])[0][:-1] + b"}") == {
        "resources": [{"type": "invoice", "uid": 'a"b'}]
    }
    assert encode_resources(route(), []) == (b"", 0)
    assert own_resource(route(resource=None), "") is None


def test_a_record_holds_what_it_was_decided_from() -> None:
    who = msgspec.structs.replace(
        session(),
        owes=Owed.DEVICE,
        owes_next=Owed.ENROLMENT,
        known_device=True,
        email="a@b.example",
        provider="okta",
        country="DE",
    )
    whole = orjson.loads(
        filled(
            template(
                route(),
                "GET",
                who,
                PLACE,
                NODE,
                stream=Stream.ACCESS,
                asked=("user.email", "session.provider", "session.country"),
            )
        )
    )["unmapped"]["gw"]["decision_inputs"]
    assert {name: whole[name] for name in ("owes", "owes_next", "known_device", "email", "provider", "country", "secure")} == {
        "owes": "device", "owes_next": "enrolment", "known_device": True, "email": "a@b.example", "provider": "okta", "country": "DE",
        "secure": True,
    }  # fmt: skip
    least = orjson.loads(filled(template(route(), "GET", who, PLACE, NODE, stream=Stream.ACCESS)))["unmapped"]["gw"][
        "decision_inputs"
    ]
    assert {"email", "provider", "country"}.isdisjoint(least), "what nobody asks about is not kept"


def test_what_a_route_looked_at_is_recorded_where_it_is_unusual() -> None:
    bound = TenantBinding(by="header", value="x-tenant")
    asked = route(credentials=("api_key",), tenant=bound)
    inputs = orjson.loads(filled(template(asked, "GET", None, PLACE, NODE, stream=Stream.ACCESS)))["unmapped"]["gw"][
        "decision_inputs"
    ]
    assert (inputs["credentials"], inputs["tenant_field"], inputs["request_tenant"]) == (
        ["api_key"],
        "x-tenant",
        "acme",
    )
    plain = orjson.loads(filled(template(route(), "GET", None, PLACE, NODE, stream=Stream.ACCESS)))["unmapped"]["gw"][
        "decision_inputs"
    ]
    assert {"credentials", "tenant_field"}.isdisjoint(plain)

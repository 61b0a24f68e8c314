from __future__ import annotations

from gateway.demo.visitor import visitor_of


def test_a_visitor_is_who_the_gateway_names() -> None:
    visitor = visitor_of({"X-Gateway-User": "alice", "X-Gateway-Tenant": "acme", "X-Gateway-Roles": "client, billing"})
    assert (visitor.name, visitor.tenant, visitor.roles) == ("alice", "acme", ("client", "billing"))


def test_without_headers_there_is_a_guest_without_roles() -> None:
    visitor = visitor_of({})
    assert (visitor.name, visitor.tenant, visitor.roles) == ("guest", "", ())


def test_an_empty_role_list_is_no_role() -> None:
    assert visitor_of({"X-Gateway-Roles": " , "}).roles == ()

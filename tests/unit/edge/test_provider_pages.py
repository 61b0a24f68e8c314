"""The pages of identity providers at the edge: beginning is counted, logout tokens are not, and our cookies stay ours."""

from __future__ import annotations

from tests.unit.edge.conftest import Edge


async def test_beginning_to_sign_in_at_a_provider_is_counted_as_a_form(edge: Edge) -> None:
    """Each one may cost a request to the provider."""
    statuses = [(await edge.get("/.gateway/oidc/okta/start")).status for _ in range(13)]
    assert statuses == [200] * 12 + [429]


async def test_beginning_by_head_is_counted_all_the_same(edge: Edge) -> None:
    """attack: our pages answer HEAD as they answer GET, so each costs what a GET costs, and none was counted."""
    statuses = [(await edge.get("/.gateway/oidc/okta/start", method="HEAD")).status for _ in range(13)]
    assert statuses == [200] * 12 + [429]


async def test_logout_tokens_come_in_a_burst_from_one_address(edge: Edge) -> None:
    statuses = {(await edge.get("/.gateway/oidc/okta/logout", method="POST", body=b"x")).status for _ in range(20)}
    assert statuses == {200}


async def test_memory_of_the_provider_goes_to_our_pages_and_to_no_portal(edge: Edge) -> None:
    cookie = "Cookie: gw-provider=okta; theirs=1\r\n"
    await edge.get("/.gateway/login", fields=cookie)
    assert b"gw-provider=okta" in edge.portal.heads[-1]
    await edge.get("/public/a", fields=cookie)
    assert b"gw-provider" not in edge.portal.heads[-1]
    assert b"theirs=1" in edge.portal.heads[-1]

"""What claims are worth: only what the table lists, and nothing where the provider left something out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.claims import (
    OVERAGE_VALUES,
    ClaimTable,
    Mapped,
    MappingFault,
    Unmapped,
    domain_of,
    is_incomplete,
    map_claims,
    values_at,
)

TABLE = ClaimTable(
    roles=("groups",),
    role_grants={"users": ("client",), "money": ("client", "billing")},
    tenant=("org",),
    tenant_grants={"acme-inc": "acme", "acme-gmbh": "acme", "globex": "globex"},
)
CLAIMS: dict[str, Any] = {
    "iss": "https://id.example",
    "sub": "1",
    "preferred_username": "Carol",
    "groups": ["users"],
    "org": "acme-inc",
    "email": "carol@acme.example",
    "email_verified": True,
}


def mapped(table: ClaimTable = TABLE, **claims: Any) -> Mapped:
    result = map_claims(CLAIMS | claims, table)
    assert isinstance(result, Mapped), result
    return result


def fault(table: ClaimTable = TABLE, **claims: Any) -> MappingFault:
    result = map_claims(CLAIMS | claims, table)
    assert isinstance(result, Unmapped), result
    return result.fault


def with_table(**changes: Any) -> ClaimTable:
    return msgspec.structs.replace(TABLE, **changes)


def test_listed_values_give_what_the_table_says() -> None:
    result = mapped(groups=["money", "nobody", "users"])
    assert (result.user, result.tenant, result.roles, result.email) == (
        "carol",
        "acme",
        ("client", "billing"),
        "carol@acme.example",
    )
    assert result.ignored == 1


@pytest.mark.parametrize(
    "groups", [None, [], "", "nobody", ["USERS"], [" users"], ["users\0"], 7, True, {"users": 1}, [7]]
)
def test_anything_else_gives_no_role(groups: Any) -> None:
    assert fault(groups=groups) is MappingFault.NO_ROLE


def test_default_roles_are_for_people_without_any() -> None:
    table = with_table(default_roles=("guest",))
    assert mapped(table, groups=["nobody"]).roles == ("guest",)
    assert mapped(table).roles == ("client",)


@pytest.mark.parametrize(
    ("org", "expected"),
    [
        ("nowhere", MappingFault.NO_TENANT),
        (None, MappingFault.NO_TENANT),
        (["acme-inc", "globex"], MappingFault.TWO_TENANTS),
    ],
)
def test_exactly_one_tenant_is_needed(org: Any, expected: MappingFault) -> None:
    assert fault(org=org) is expected


def test_two_values_may_give_the_same_tenant() -> None:
    assert mapped(org=["acme-inc", "acme-gmbh"]).tenant == "acme"


def test_provider_vouches_for_its_own_tenants_alone() -> None:
    assert fault(with_table(tenants=("acme",)), org="globex") is MappingFault.FOREIGN_TENANT


def test_one_tenant_for_everybody() -> None:
    assert mapped(with_table(tenant=(), tenant_grants={}, always_tenant="acme"), org=None).tenant == "acme"


@pytest.mark.parametrize(
    "claims",
    [
        {"_claim_names": {"groups": "src1"}, "groups": ["users"]},
        {"_claim_names": "groups"},
        {"groups:src1": "https://graph.example"},
        {"hasgroups": True},
        {"hasgroups": "true"},
        {"groups": ["users"] * OVERAGE_VALUES},
        {"_claim_names": {"org": "src1"}},
    ],
)
def test_list_that_is_not_whole_refuses(claims: dict[str, Any]) -> None:
    assert fault(with_table(default_roles=("guest",)), **claims) is MappingFault.OVERAGE


def test_overage_of_a_claim_that_decides_nothing_is_no_matter() -> None:
    assert mapped(_claim_names={"photos": "src1"}, hasgroups=False).roles == ("client",)
    assert not is_incomplete({"hasgroups": True}, ("roles",))


@pytest.mark.parametrize("name", [None, "", "two words", "a\u202eb", "x" * 200, 7, ["a", "b"]])
def test_person_needs_one_name_that_an_account_can_have(name: Any) -> None:
    assert fault(preferred_username=name) is MappingFault.NO_NAME


def test_name_that_is_an_address_must_be_verified() -> None:
    table = with_table(user=("email",))
    assert mapped(table).user == "carol@acme.example"
    assert fault(table, email_verified=False) is MappingFault.UNVERIFIED_NAME
    assert (
        mapped(msgspec.structs.replace(table, email_verified=False), email_verified=None).user == "carol@acme.example"
    )


def test_address_that_is_not_verified_is_left_out() -> None:
    assert mapped(email_verified=False).email == ""
    assert mapped(email_verified="true").email == ""
    assert mapped(email=["a@b.example", "c@d.example"]).email == ""


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("a@acme.example", "acme.example"),
        ("a@ACME.Example", "acme.example"),
        ("a@evil.example@acme.example", ""),
        ("@acme.example", ""),
        ("a@", ""),
        ("acme.example", ""),
        ("a b@acme.example", ""),
        ("a@acme.example\n", ""),
        ("\u00e4@acme.example", ""),
        ("a" * 250 + "@acme.example", ""),
    ],
)
def test_address_has_exactly_one_domain(address: str, domain: str) -> None:
    assert domain_of(address) == domain


def test_second_factor_counts_only_by_the_table() -> None:
    told: dict[str, Any] = {"acr": "phr", "amr": ["pwd", "mfa", "hwk", "face", "made up", 7]}
    assert (mapped(**told).second_factor, mapped(**told).amr) == (False, ("fed", "pwd", "face"))
    counted = mapped(with_table(mfa_amr=("hwk",)), **told)
    assert (counted.second_factor, counted.amr) == (True, ("fed", "pwd", "hwk", "face", "mfa"))
    assert mapped(with_table(mfa_acr=("phr",)), **told).second_factor
    assert not mapped(with_table(mfa_acr=("phr",)), acr=["other"]).second_factor


def test_context_is_passed_on_only_where_the_table_lists_it() -> None:
    """Portals and policies read it: a provider must not choose a word of ours."""
    assert mapped(acr="phr").acr == ""
    assert mapped(with_table(contexts=("phr",)), acr="phr").acr == "phr"
    assert mapped(with_table(mfa_acr=("phr",)), acr="phr").acr == "phr"
    assert mapped(with_table(contexts=("phr",)), acr=["phr"]).acr == ""


def test_claims_may_lie_deep() -> None:
    table = with_table(roles=("realm_access", "roles"))
    assert mapped(table, realm_access={"roles": ["users"]}).roles == ("client",)
    assert fault(table, realm_access=["roles"]) is MappingFault.NO_ROLE
    assert values_at({"https://acme.example/roles": "users"}, ("https://acme.example/roles",)) == ("users",)


def test_each_step_can_be_shown() -> None:
    steps = [(step.what, step.claim, step.value, step.result) for step in mapped(groups=["users", "x"]).steps]
    assert ("role", "groups", "users", "client") in steps
    assert ("role", "groups", "x", "") in steps
    assert ("tenant", "org", "acme-inc", "acme") in steps


def test_strange_overage_is_overage() -> None:
    """Found by hypothesis: a list there was no answer at all."""
    assert fault(hasgroups=[]) is MappingFault.OVERAGE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [
        "groups",
        "org",
        "preferred_username",
        "email",
        "email_verified",
        "acr",
        "amr",
        "_claim_names",
        "hasgroups",
        "groups:src1",
    ]
)


@given(
    st.dictionaries(
        NAMES, JSON | st.lists(st.sampled_from(["users", "money", "acme-inc", "globex", "a@b"]), max_size=3)
    )
)
def test_no_claims_give_more_than_the_table_lists(claims: dict[str, Any]) -> None:
    result = map_claims({"iss": "https://id.example", "sub": "1", **claims}, TABLE)
    if isinstance(result, Mapped):
        assert set(result.roles) <= {"client", "billing"}
        assert result.roles
        assert result.tenant in {"acme", "globex"}
        assert not result.second_factor
        assert "mfa" not in result.amr


@given(st.dictionaries(st.text(max_size=12), JSON, max_size=6))
def test_more_claims_never_give_more_roles(extra: dict[str, Any]) -> None:
    before = mapped()
    after = map_claims({**extra, **CLAIMS}, TABLE)
    assert isinstance(after, Unmapped) or after.roles == before.roles

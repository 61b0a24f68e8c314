from __future__ import annotations

from gateway.authn.assurance import Method, Required
from gateway.policy.roles import Roles
from gateway.server.factor_rule import factor_rule, tenant_rules, unknown_roles
from gateway.server.second_factors import authenticator_rule
from gateway.server.sections.mfa import MFA
from gateway.server.sections.tenants import Tenant

AAGUID = "cb69481e-8ff7-4039-93ec-0a2729a154a8"
ROLES = Roles({"client": (), "billing": ("client",), "admin": ("billing",)})


def mfa(**words: object) -> MFA:
    return MFA.model_validate(words)


def test_what_is_said_of_a_role_holds_for_whoever_includes_it() -> None:
    rule = factor_rule(
        mfa(required="by_role", roles=["billing"], remember_device="30d", never_remember=["admin"]), ROLES
    )
    assert rule.required is Required.BY_ROLE
    assert rule.demands(frozenset({"admin"}), frozenset())
    assert not rule.demands(frozenset({"client"}), frozenset())
    assert rule.remembers(frozenset({"billing"}))
    assert not rule.remembers(frozenset({"admin"}))
    assert rule.methods == {Method.WEBAUTHN, Method.TOTP, Method.RECOVERY}


def test_roles_that_no_policy_declares_are_named_with_what_was_meant() -> None:
    found = list(unknown_roles(mfa(required="by_role", roles=["biling"]), ROLES.names))
    assert found == [(("mfa", "roles", 0), "no policy declares the role 'biling'; did you mean 'billing'?")]


def test_only_allowed_makes_are_taken_and_each_root_stands_alone() -> None:
    pem = b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
    words = {"attestation": "direct", "aaguids": {"allow": [AAGUID.upper()]}, "roots": "makers.pem"}
    rule = authenticator_rule(mfa(passkeys=words), pem + b"# another\n" + pem)
    assert rule.allowed == {AAGUID}
    assert rule.denied == frozenset()
    assert len(rule.roots) == 2
    assert all(root.endswith(b"-----END CERTIFICATE-----\n") for root in rule.roots)


def test_makes_that_are_denied_need_no_root() -> None:
    rule = authenticator_rule(mfa(passkeys={"aaguids": {"deny": [AAGUID]}}), None)
    assert not rule.allowed
    assert rule.denied == {AAGUID}
    assert rule.roots == ()


def test_a_tenant_asks_for_a_factor_by_the_general_rules_methods() -> None:
    tenants = {
        "acme": Tenant.model_validate({"mfa": {"required": "by_role", "roles": ["billing"]}}),
        "globex": Tenant.model_validate({}),
    }
    found = tenant_rules(tenants, mfa(required="enrolled", methods=["totp"], remember_device="30d"), ROLES)
    assert set(found) == {"acme"}
    assert found["acme"].demands(frozenset({"admin"}), frozenset())
    assert not found["acme"].demands(frozenset({"client"}), frozenset())
    assert found["acme"].methods == {Method.TOTP}
    assert found["acme"].remember_s == 30 * 86_400.0

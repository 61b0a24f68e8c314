import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.assurance import FactorRule, Method, Required, Signal, owed, owed_after
from gateway.exchange.session import Owed

TOTP = frozenset({Method.TOTP})
PASSKEY = frozenset({Method.WEBAUTHN})
NONE: frozenset[Method] = frozenset()
CLIENT, ADMIN = frozenset({"client"}), frozenset({"client", "admin"})
EVERY = frozenset(Method)
DAYS_S = 30 * 86_400.0

RULES = st.builds(
    FactorRule,
    required=st.sampled_from(Required),
    roles=st.frozensets(st.sampled_from(["admin", "billing"])),
    methods=st.frozensets(st.sampled_from(Method)),
    remember_s=st.sampled_from([0.0, DAYS_S]),
    never_remembered=st.frozensets(st.sampled_from(["admin", "billing"])),
)
ROLES = st.frozensets(st.sampled_from(["admin", "billing", "client"]))
FACTORS = st.frozensets(st.sampled_from(Method))
SIGNALS = st.frozensets(st.sampled_from(Signal))


@pytest.mark.parametrize(
    ("required", "roles", "factors", "signals", "expected"),
    [
        (Required.ALWAYS, CLIENT, NONE, set(), Owed.ENROLMENT),
        (Required.ALWAYS, CLIENT, TOTP, set(), Owed.MFA),
        (Required.ALWAYS, CLIENT, PASSKEY, set(), Owed.MFA),
        (Required.BY_ROLE, CLIENT, NONE, set(), Owed.NOTHING),
        (Required.BY_ROLE, CLIENT, TOTP, set(), Owed.MFA),
        (Required.BY_ROLE, ADMIN, NONE, set(), Owed.ENROLMENT),
        (Required.BY_ROLE, ADMIN, TOTP, set(), Owed.MFA),
        (Required.RISK, CLIENT, NONE, set(), Owed.NOTHING),
        (Required.RISK, CLIENT, TOTP, set(), Owed.NOTHING),
        (Required.RISK, CLIENT, TOTP, {Signal.NEW_DEVICE}, Owed.MFA),
        (Required.RISK, CLIENT, TOTP, {Signal.NEW_NETWORK}, Owed.MFA),
        (Required.RISK, CLIENT, NONE, {Signal.NEW_COUNTRY}, Owed.ENROLMENT),
        (Required.OFFERED, CLIENT, NONE, {Signal.NEW_DEVICE}, Owed.NOTHING),
        (Required.OFFERED, CLIENT, TOTP, set(), Owed.MFA),
        (Required.ENROLLED, CLIENT, NONE, set(), Owed.NOTHING),
        (Required.ENROLLED, CLIENT, PASSKEY, set(), Owed.MFA),
    ],
)
def test_what_a_session_owes(
    required: Required, roles: frozenset[str], factors: frozenset[Method], signals: set[Signal], expected: Owed
) -> None:
    rule = FactorRule(required=required, roles=frozenset({"admin"}), methods=EVERY)
    assert owed(rule, roles=roles, factors=factors, proven=False, signals=frozenset(signals)) is expected


@pytest.mark.parametrize("required", Required)
def test_recovery_codes_alone_are_no_factor(required: Required) -> None:
    rule = FactorRule(required=required, methods=EVERY)
    alone = owed(rule, roles=CLIENT, factors=frozenset({Method.RECOVERY}), proven=False)
    assert alone is owed(rule, roles=CLIENT, factors=NONE, proven=False)


def test_a_mail_address_counts_only_where_codes_by_mail_are_allowed() -> None:
    mail = frozenset({Method.EMAIL})
    rule = FactorRule(required=Required.ALWAYS, methods=EVERY)
    assert owed(rule, roles=CLIENT, factors=mail, proven=False) is Owed.MFA
    rule = FactorRule(required=Required.ALWAYS, methods=TOTP)
    assert owed(rule, roles=CLIENT, factors=mail, proven=False) is Owed.ENROLMENT


def test_forbidding_a_method_lets_no_stolen_password_set_up_the_next_one() -> None:
    """attack: the person has an app, the operator allows passkeys alone, the thief has the password."""
    rule = FactorRule(required=Required.ALWAYS, methods=PASSKEY)
    assert owed(rule, roles=CLIENT, factors=TOTP, proven=False) is Owed.MFA
    assert owed_after(rule, factors=TOTP) is Owed.ENROLMENT
    assert owed_after(rule, factors=TOTP | PASSKEY) is Owed.NOTHING


def test_a_remembered_device_is_not_asked_again() -> None:
    rule = FactorRule(required=Required.ALWAYS, remember_s=DAYS_S)
    assert owed(rule, roles=CLIENT, factors=TOTP, proven=False, remembered=True) is Owed.NOTHING


def test_a_device_is_remembered_only_where_the_rule_says_so() -> None:
    rule = FactorRule(required=Required.ALWAYS)
    assert owed(rule, roles=CLIENT, factors=TOTP, proven=False, remembered=True) is Owed.MFA


def test_roles_that_are_never_remembered_are_asked_on_every_device() -> None:
    rule = FactorRule(required=Required.ALWAYS, remember_s=DAYS_S, never_remembered=frozenset({"admin"}))
    assert owed(rule, roles=ADMIN, factors=TOTP, proven=False, remembered=True) is Owed.MFA
    assert owed(rule, roles=CLIENT, factors=TOTP, proven=False, remembered=True) is Owed.NOTHING


@pytest.mark.parametrize("signal", set(Signal) - {Signal.NEW_NETWORK})
def test_a_remembered_device_is_asked_when_something_is_unusual(signal: Signal) -> None:
    rule = FactorRule(required=Required.ALWAYS, remember_s=DAYS_S)
    signals = frozenset({signal})
    assert owed(rule, roles=CLIENT, factors=TOTP, proven=False, remembered=True, signals=signals) is Owed.MFA


def test_a_remembered_device_may_travel() -> None:
    rule = FactorRule(required=Required.ALWAYS, remember_s=DAYS_S)
    signals = frozenset({Signal.NEW_NETWORK})
    assert owed(rule, roles=CLIENT, factors=TOTP, proven=False, remembered=True, signals=signals) is Owed.NOTHING


def test_remembering_a_device_spares_nobody_the_first_factor_of_their_own() -> None:
    rule = FactorRule(required=Required.ALWAYS, remember_s=DAYS_S)
    assert owed(rule, roles=CLIENT, factors=NONE, proven=False, remembered=True) is Owed.ENROLMENT


@given(rule=RULES, roles=ROLES, factors=FACTORS, remembered=st.booleans(), signals=SIGNALS)
def test_whoever_proved_a_factor_just_now_owes_nothing(
    rule: FactorRule, roles: frozenset[str], factors: frozenset[Method], *, remembered: bool, signals: frozenset[Signal]
) -> None:
    owes = owed(rule, roles=roles, factors=factors, proven=True, remembered=remembered, signals=signals)
    assert owes is Owed.NOTHING


@given(
    rule=RULES, roles=ROLES, factors=FACTORS, remembered=st.booleans(), signals=SIGNALS, more=st.sampled_from(Signal)
)
def test_one_more_signal_never_makes_a_session_owe_less(  # noqa: PLR0917 - the whole table
    rule: FactorRule,
    roles: frozenset[str],
    factors: frozenset[Method],
    remembered: bool,
    signals: frozenset[Signal],
    more: Signal,
) -> None:
    before = owed(rule, roles=roles, factors=factors, proven=False, remembered=remembered, signals=signals)
    after = owed(rule, roles=roles, factors=factors, proven=False, remembered=remembered, signals=signals | {more})
    assert after is before or before is Owed.NOTHING


@given(rule=RULES, roles=ROLES, factors=FACTORS, signals=SIGNALS, role=st.sampled_from(["admin", "billing"]))
def test_one_more_role_never_makes_a_session_owe_less(
    rule: FactorRule, roles: frozenset[str], factors: frozenset[Method], signals: frozenset[Signal], role: str
) -> None:
    before = owed(rule, roles=roles, factors=factors, proven=False, remembered=True, signals=signals)
    after = owed(rule, roles=roles | {role}, factors=factors, proven=False, remembered=True, signals=signals)
    assert after is before or before is Owed.NOTHING

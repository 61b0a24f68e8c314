"""Of several rules the strictest holds, key by key."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.session.binding import Binding, Network
from gateway.session.life import Lifetimes
from gateway.session.rules import Bounds, NewDevice, RuleBook, Rules, TenantRules

SECONDS = st.floats(min_value=1, max_value=1e6)
BOUNDS = st.builds(
    Bounds,
    idle_s=st.none() | SECONDS,
    absolute_s=st.none() | SECONDS,
    concurrent=st.none() | st.integers(1, 9),
    binding=st.builds(Binding, device=st.booleans(), certificate=st.booleans()),
)


def test_a_person_without_a_role_that_says_anything_lives_by_the_tenants_rules() -> None:
    rules = Rules(lifetimes=Lifetimes(idle_s=60))
    tenant = TenantRules(rules=rules, roles={"admin": (Bounds(idle_s=5),)})
    book = RuleBook(tenants={"acme": tenant})
    assert book.of("acme", ["client"]) is rules
    assert book.of("unknown", ["admin"]) == Rules()


def test_the_strictest_of_tenant_and_roles_holds_key_by_key() -> None:
    tenant = TenantRules(
        rules=Rules(
            lifetimes=Lifetimes(idle_s=600, absolute_s=3600, concurrent=None, when_full="refuse"),
            new_device=NewDevice.NOTIFY,
        ),
        roles={
            "admin": (Bounds(idle_s=300, binding=Binding(device=True)), Bounds(concurrent=2)),
            "auditor": (Bounds(idle_s=900, absolute_s=1800, binding=Binding(network=Network(ipv4=24))),),
        },
    )
    rules = tenant.of(["client", "admin", "auditor"])
    assert rules.lifetimes == Lifetimes(idle_s=300, absolute_s=1800, concurrent=2, when_full="refuse")
    assert rules.binding == Binding(device=True, network=Network(ipv4=24))
    assert rules.new_device is NewDevice.NOTIFY


def test_an_idle_time_never_exceeds_the_absolute_one() -> None:
    rules = Rules(lifetimes=Lifetimes(idle_s=600, absolute_s=3600)).tightened([Bounds(absolute_s=60)])
    assert (rules.lifetimes.idle_s, rules.lifetimes.absolute_s) == (60, 60)


@given(SECONDS, SECONDS, st.none() | st.integers(1, 9), st.lists(BOUNDS, max_size=4))
def test_no_bound_ever_makes_a_session_longer_or_looser(
    idle: float, absolute: float, concurrent: int | None, bounds: list[Bounds]
) -> None:
    rules = Rules(lifetimes=Lifetimes(idle_s=idle, absolute_s=absolute, concurrent=concurrent))
    tight = rules.tightened(bounds)
    assert tight.lifetimes.idle_s <= idle
    assert tight.lifetimes.absolute_s <= absolute
    for bound in bounds:
        assert tight.lifetimes.idle_s <= (bound.idle_s or idle)
        assert tight.lifetimes.absolute_s <= (bound.absolute_s or absolute)
        if bound.concurrent is not None:
            assert tight.lifetimes.concurrent is not None
            assert tight.lifetimes.concurrent <= bound.concurrent
    assert tight.binding.device is any(bound.binding.device for bound in bounds)
    assert tight == rules.tightened(reversed(bounds))

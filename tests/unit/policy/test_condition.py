from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

import pytest

from gateway.exchange.route import Action, Resource, Route
from gateway.exchange.session import Session
from gateway.policy import Facts
from gateway.policy.condition import (
    MAX_LENGTH,
    NAMES,
    NEVER,
    Circumstances,
    ConditionCompiler,
    ConditionError,
    Problem,
    conjuncts,
    tokens,
)
from gateway.policy.roles import Roles


class Invoice:
    """A route and its resource."""

    route = Route(
        name="invoice",
        template="/invoices/{id}",
        methods=("GET",),
        upstream="portal",
        action=Action.DOWNLOAD,
        resource=Resource(type="invoice", id="{id}"),
    )

    def resource_id(self) -> str:
        return "42"


INVOICE = Invoice()
NO_NAMES: frozenset[str] = frozenset()
ROLES = Roles({"client": (), "billing": ("client",)})


@pytest.fixture
def ask(session: Callable[..., Session], facts: Callable[..., Facts], now: float) -> Callable[..., bool | None]:
    """Compile and evaluate a condition for alice, who holds billing."""

    def answer(text: str, parameters: dict[str, str] | None = None, at: float = now, **changes: object) -> bool | None:
        facts_names = {"method", "host", "path", "query", "client_ip", "secure", "user_agent"}
        about_request = {name: value for name, value in changes.items() if name in facts_names}
        about_session = {name: value for name, value in changes.items() if name not in facts_names}
        names = frozenset(parameters or {})
        circumstances = Circumstances(
            session("billing", **about_session), facts(**about_request), parameters or {}, ROLES, at, INVOICE
        )
        return ConditionCompiler().compile(text, names).evaluate(circumstances)

    return answer


def problems_of(text: str, *parameters: str) -> list[Problem]:
    with pytest.raises(ConditionError) as caught:
        ConditionCompiler().compile(text, frozenset(parameters))
    return list(caught.value.problems)


@pytest.mark.parametrize(
    "text",
    [
        'user.name == "alice"',
        'user.id == "u_1"',
        'user.email.endsWith("@acme.example")',
        'session.tenant == "acme" && tenant == "acme"',
        '"billing" in session.roles',
        '"otp" in session.amr',
        'session.mfa_age == duration("60s")',
        'session.auth_age == duration("2m")',
        'session.handle == "s_1"',
        'session.provider == "local"',
        'session.country == ""',
        "!session.known_device",
        'request.method == "GET"',
        'request.action == "download"',
        'request.resource.type == "invoice" && request.resource.id == "42"',
        'request.host.startsWith(session.tenant + ".")',
        'request.path == "/"',
        'request.query == ""',
        'request.scheme == "https"',
        "request.secure",
        'request.client_ip == "10.1.2.3"',
        'request.user_agent.matches("^Browser/")',
        'network.ip == "10.1.2.3"',
        'network.is_in("10.0.0.0/8")',
        'network.is_in(["192.0.2.0/24", "10.1.2.3"])',
        'now > timestamp("2026-01-01T00:00:00Z")',
        'now.getHours("Europe/Berlin") >= 0',
    ],
)
def test_every_name_of_the_schema_has_its_value(ask: Callable[..., bool | None], text: str) -> None:
    assert ask(text) is True


def test_every_name_of_the_schema_can_be_used(ask: Callable[..., bool | None]) -> None:
    for name in NAMES:
        assert ask(f"{name} == {name}") is True


def test_roles_are_those_of_the_session_with_what_they_include(ask: Callable[..., bool | None]) -> None:
    assert ask('"client" in session.roles') is True
    assert ask('"root" in session.roles', roles=("billing", "root")) is False


def test_path_parameters_are_names_of_their_route(ask: Callable[..., bool | None]) -> None:
    assert ask("path.owner == user.name", {"owner": "alice"}) is True
    assert ask("path.owner == user.name", {"owner": "bob"}) is False


def test_a_factor_that_was_never_proven_is_older_than_everything(ask: Callable[..., bool | None]) -> None:
    assert ask('session.mfa_age < duration("87600h")', mfa_time=0.0) is False
    assert NEVER.days > 36_000


def test_a_clock_that_was_set_back_makes_nothing_negative(ask: Callable[..., bool | None], now: float) -> None:
    assert ask('session.mfa_age == duration("0s")', at=now - 10_000) is True


@pytest.mark.parametrize(
    "text",
    [
        'network.is_in("10.0.0.0/8")',  # no address is known
        "request.query.matches(request.user_agent)",  # not a regular expression
        "int(request.query) / 0 == 1",
        'duration(request.query) < duration("1h")',
        "network.is_in(request.query)",
    ],
)
def test_an_evaluation_that_fails_is_neither_true_nor_false(ask: Callable[..., bool | None], text: str) -> None:
    """The library answers with a truthy value of type ERROR: `if expr.eval().value()` would be open."""
    assert ask(text, client_ip="", query="x", user_agent="(") is None


@pytest.mark.parametrize("at", [float("nan"), float("inf"), 1e18, -1e18])
def test_a_time_that_cannot_be_shown_fails_closed(ask: Callable[..., bool | None], at: float) -> None:
    assert ask('now > timestamp("2000-01-01T00:00:00Z")', at=at) is None


def test_text_that_is_not_unicode_fails_closed(ask: Callable[..., bool | None]) -> None:
    assert ask('request.user_agent != "x"', user_agent="\ud800") is None


def test_a_missing_parameter_fails_closed(
    session: Callable[..., Session], facts: Callable[..., Facts], now: float
) -> None:
    condition = ConditionCompiler().compile('path.id != "1"', frozenset({"id"}))
    circumstances = Circumstances(session("billing"), facts(), {}, ROLES, now, INVOICE)
    assert condition.evaluate(circumstances) is None
    assert condition.diagnose(circumstances) == "'id'"


def test_a_failure_is_explained_to_the_operator(
    session: Callable[..., Session], facts: Callable[..., Facts], now: float
) -> None:
    condition = ConditionCompiler().compile('network.is_in("10.0.0.0/8")', NO_NAMES)
    assert "does not appear to be an IPv4 or IPv6 address" in condition.diagnose(
        Circumstances(session(), facts(client_ip=""), {}, ROLES, now, INVOICE)
    )
    assert condition.diagnose(Circumstances(session(), facts(), {}, ROLES, now, INVOICE)) == ""


def test_a_slow_regular_expression_is_harmless(ask: Callable[..., bool | None]) -> None:
    assert ask('request.query.matches("^(a+)+$")', query="a" * 4000 + "!") is False


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        ('user.nmae == "x"', (1, 5), "unknown name 'user.nmae'; did you mean 'user.name'?"),
        ('user == "x"', (1, 1), "unknown name 'user'"),
        ("network", (1, 1), "of type string"),
        ("session.roles.exists(r, r == user.nmae)", (1, 34), "unknown name 'user.nmae'"),
        ('path.idd == "1"', (1, 5), "unknown name 'path.idd'; the path parameters of this route are: path.id, path.year"),
        ("user.name == 1", (1, 11), "== does not work on (string, int)"),
        ('user.name.lowerAscii() == "x"', (1, 21), "unknown name 'lowerAscii'"),
        ("session.mfa_age < 12", (1, 17), '(duration, int); a duration is written duration("12h")'),
        ('now > "2026"', (1, 5), "> does not work on (timestamp, string)"),
        ('user.name == "x" &&', (1, 20), "not CEL: it ends where something is still missing"),
        ("user.name ==\n  1 1", (2, 5), "not CEL: "),
        ("user.name", (1, 1), "must be true or false, but it is of type string"),
        ("has(user.name)", (1, 1), "of type string"),
        ("dyn(user.name)", (1, 1), "of type dyn"),
        ("size(session.roles)", (1, 1), "of type int"),
        ("true", (1, 1), "does not depend on the request"),
        ('"tenant" == "now"', (1, 1), "does not depend on the request"),
        ('session.mfa_age < duration("12 hours")', (1, 28), 'duration cannot use "12 hours"'),
        ('tenant == "ä" &&\n  session.mfa_age < duration("x")', (2, 30), 'duration cannot use "x"'),
        ('now < timestamp("2026-13-01T00:00:00Z")', (1, 17), "timestamp cannot use"),
        ('user.name.matches("(")', (1, 19), "matches cannot use"),
        ('now.getHours("Mars/Olympus") > 1', (1, 14), "getHours cannot use"),
        ('network.is_in("10.0.0.1/8")', (1, 15), "has host bits set"),
        ('network.is_in(["10.0.0.0/8", "intranet"])', (1, 30), "unknown network 'intranet'"),
        ("user.name == " + "(" * 60 + "tenant" + ")" * 60, (1, 1), "recursion limit"),
        ("tenant == 'x'" + " " * MAX_LENGTH, (1, 1), "longer than"),
    ],
)  # fmt: skip
def test_a_condition_that_cannot_work_is_found_at_load(text: str, place: tuple[int, int], sentence: str) -> None:
    line, column, message, _ = problems_of(text, "id", "year")[0]
    assert (line, column) == place
    assert sentence in message


@pytest.mark.parametrize(
    "text",
    [
        '__import__("os").system("true") == 0', 'eval("1") == 1', 'open("/etc/passwd").read() == ""', 'user.__class__ == ""',
        'user.name.__class__.__mro__[1] == ""', "().__class__ == tenant", 'os.environ["PATH"] == ""', '"{0.__class__}".format(user) == ""',
        "lambda: tenant == ''", "[x for x in session.roles] == []", "f'{tenant}' == ''", 'exec("1") || request.secure',
        'user.name == getattr(user, "id")', 'network.is_in.__globals__ == ""', 'http.get("http://127.0.0.1") == ""',
    ],
)  # fmt: skip
def test_cve_2026_25227_a_condition_cannot_run_code(text: str) -> None:
    """authentik ran what somebody wrote who was only allowed to look; a condition has the names of the schema alone."""
    assert problems_of(text)


def test_all_problems_of_a_condition_are_found() -> None:
    assert len(problems_of('user.nmae == "x" && user.nme == "y"')) == 2
    assert len(problems_of('session.mfa_age < duration("x") && session.auth_age < duration("y")')) == 2


def test_a_route_without_parameters_says_so() -> None:
    assert problems_of('path.id == "1"')[0][2].endswith("are: none")


def test_words_inside_a_text_are_not_calls(ask: Callable[..., bool | None]) -> None:
    assert ask("user.name == 'duration(\"x\")'") is False


def test_a_list_that_is_not_all_texts_is_checked_where_it_can_be() -> None:
    assert problems_of('network.is_in([tenant, "10.0.0.0/8", "x"])')[0][:2] == (1, 38)


def test_equal_conditions_are_compiled_once() -> None:
    compiler = ConditionCompiler()
    assert compiler.compile("request.secure", NO_NAMES) is compiler.compile("request.secure", NO_NAMES)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("request.secure", ["request.secure"]),
        ("a && b &&  c", ["a", "b", "c"]),
        ("a && (b && c)", ["a", "(b && c)"]),
        ("a && b || c", ["a && b || c"]),
        ("a && (b || c)", ["a", "(b || c)"]),
        ("a ? b : c && d", ["a ? b : c && d"]),
        ('a == "x && y" && b', ['a == "x && y"', "b"]),
        ("a == 'it\\'s && ' && b", ["a == 'it\\'s && '", "b"]),
        ('a == """x " && y""" && b', ['a == """x " && y"""', "b"]),
        ("l.exists(x, x && y) && b", ["l.exists(x, x && y)", "b"]),
    ],
)
def test_a_conjunction_splits_where_its_parts_stand_alone(text: str, parts: list[str]) -> None:
    assert conjuncts(text) == parts


def test_tokens_leave_out_blanks_and_comments() -> None:
    assert [token.text for token in tokens('a // "b\n && r"c"')] == ["a", "&&", 'r"c"']


# Networks with names

OFFICE = {"office": (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")), "lab-1": (ip_network("192.0.2.0/24"),)}


@pytest.mark.parametrize(
    ("text", "address", "answer"),
    [
        ('network.is_in("office")', "10.1.2.3", True),
        ("network.is_in('office')", "2001:db8::7", True),
        ('network.is_in("office")', "192.0.2.1", False),
        ('network.is_in(["lab-1", "office"])', "192.0.2.1", True),
        ('network.is_in(["lab-1", "198.51.100.0/24"])', "198.51.100.1", True),
        ('request.client_ip.is_in("office") && network.is_in("10.1.0.0/16")', "10.1.2.3", True),
        ('!network.is_in("office") || network.is_in(["lab-1"])', "10.1.2.3", False),
        ('network.is_in("office")', "", None),
    ],
)
def test_a_network_is_called_by_its_name(
    session: Callable[..., Session], facts: Callable[..., Facts], now: float, text: str, address: str, *, answer: bool
) -> None:
    condition = ConditionCompiler(OFFICE).compile(text, NO_NAMES)
    circumstances = Circumstances(session(), facts(client_ip=address), {}, ROLES, now, INVOICE)
    assert condition.evaluate(circumstances) is answer
    assert condition.text == text, "shown as it was written"


@pytest.mark.parametrize(
    ("text", "column"), [('network.is_in("ofice")', 15), ('network.is_in(["10.0.0.0/8", "ofice"])', 30)]
)
def test_an_unknown_network_is_found_at_load(text: str, column: int) -> None:
    with pytest.raises(ConditionError) as caught:
        ConditionCompiler(OFFICE).compile(text, NO_NAMES)
    assert caught.value.problems == (
        Problem(1, column, "unknown network 'ofice'; did you mean 'office'?", "unknown-network"),
    )


def test_a_text_elsewhere_is_no_network(
    session: Callable[..., Session], facts: Callable[..., Facts], now: float
) -> None:
    condition = ConditionCompiler(OFFICE).compile('request.query == "office"', NO_NAMES)
    assert condition.evaluate(Circumstances(session(), facts(query="office"), {}, ROLES, now, INVOICE)) is True


def test_a_name_that_is_made_at_run_time_is_no_network(
    session: Callable[..., Session], facts: Callable[..., Facts], now: float
) -> None:
    """attack: a path that chooses the network it is compared with."""
    condition = ConditionCompiler(OFFICE).compile("network.is_in(path.where)", frozenset({"where"}))
    assert condition.evaluate(Circumstances(session(), facts(), {"where": "office"}, ROLES, now, INVOICE)) is None


# Public routes


def test_on_a_public_route_a_condition_asks_about_nobody() -> None:
    compiler = ConditionCompiler()
    assert compiler.compile('request.path == "/x"', NO_NAMES, anonymous=True).names == frozenset({"request.path"})
    for name in ("user.name", "session.roles", "tenant", "session.known_device"):
        with pytest.raises(ConditionError, match="a public route asks nobody who they are"):
            compiler.compile(f"{name} == {name}", NO_NAMES, anonymous=True)
        assert compiler.asks_about_people(f"{name} == {name}", NO_NAMES)
    assert not compiler.asks_about_people("request.secure", NO_NAMES)
    assert not compiler.asks_about_people("user.nme == 'x'", NO_NAMES)

"""A condition of a rule: one CEL expression, checked at load and answered per request.

The only module that knows the CEL library. The library answers a failed evaluation with a
truthy value of type ERROR instead of raising; here only the value True allows, and whatever
is neither True nor False counts as failed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import takewhile
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from cel_expr_python import cel

from gateway.document.diagnostic import did_you_mean
from gateway.exchange.route import Route
from gateway.exchange.session import Session
from gateway.exchange.step_up import Network, assurance_of
from gateway.policy.roles import Roles
from gateway.policy.syntax import Term, read_term
from gateway.wire.address import parse_network

_NO_NETWORKS: Final[Mapping[str, tuple[Network, ...]]] = MappingProxyType({})
MAX_LENGTH: Final = 4096
NEVER: Final = timedelta(days=36500)
"""Age of a factor that was never proven: older than every limit a condition may set."""


class Facts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known about a request before anybody is asked who sent it."""

    method: str
    host: str
    """Lower case, without port."""
    path: str
    """Canonical."""
    query: str = ""
    """As sent, without `?`."""
    client_ip: str = ""
    tenant: str = ""
    """About which the request is, by its route or its host; empty where neither says one."""
    fields: tuple[tuple[str, str], ...] = ()
    """Header fields that may name the tenant: names in lower case, and values."""
    secure: bool = True
    user_agent: str = ""


NO_FACTS: Final = Facts(method="", host="", path="")
"""For rules that ask nothing about the request."""


class Matched(Protocol):
    """The route that a request takes."""

    @property
    def route(self) -> Route:
        """The route."""

    def resource_id(self) -> str:
        """The id of its resource, with the parameters of the path filled in."""


NOBODY: Final = Session(
    handle="",
    user_id="",
    user="",
    tenant="",
    roles=(),
    auth_time=0.0,
    created=0.0,
    expires=0.0,
    idle_s=0.0,
    host="",
    secure=True,
)
"""Stands for who asks on a public route, whose conditions ask about nobody."""


class Circumstances(NamedTuple):
    """Everything a condition can ask about."""

    session: Session
    facts: Facts
    parameters: Mapping[str, str]
    closure: Roles
    """What the session's roles include."""
    now: float
    match: Matched


class Problem(NamedTuple):
    """What is wrong with an expression: line and column in it, from 1, a sentence, and the name of the finding."""

    line: int
    column: int
    sentence: str
    name: str


class ConditionError(ValueError):
    """An expression that must not run."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(problem.sentence for problem in problems))
        self.problems = problems


def _age(since: float, now: float) -> timedelta:
    """Time since a factor was proven. A clock that was set back makes nothing younger than now."""
    return timedelta(seconds=max(0.0, now - since)) if since else NEVER


_STRINGS = cel.Type.List(cel.Type.STRING)

_VARIABLES: Final[dict[str, tuple[cel.Type, Callable[[Circumstances], Any]]]] = {
    "user.name": (cel.Type.STRING, lambda of: of.session.user),
    "user.id": (cel.Type.STRING, lambda of: of.session.user_id),
    "user.email": (cel.Type.STRING, lambda of: of.session.email),
    "session.tenant": (cel.Type.STRING, lambda of: of.session.tenant),
    "session.roles": (_STRINGS, lambda of: sorted(of.closure.held(of.session.roles))),
    "session.amr": (_STRINGS, lambda of: list(of.session.amr)),
    "session.acr": (cel.Type.STRING, lambda of: assurance_of(of.session).value),
    "session.mfa_age": (cel.Type.DURATION, lambda of: _age(of.session.mfa_time, of.now)),
    "session.auth_age": (cel.Type.DURATION, lambda of: _age(of.session.auth_time, of.now)),
    "session.credential": (cel.Type.STRING, lambda of: of.session.credential),
    "session.scopes": (_STRINGS, lambda of: list(of.session.scopes)),
    "session.handle": (cel.Type.STRING, lambda of: of.session.handle),
    "session.provider": (cel.Type.STRING, lambda of: of.session.provider),
    "session.country": (cel.Type.STRING, lambda of: of.session.country),
    "session.known_device": (cel.Type.BOOL, lambda of: of.session.known_device),
    "request.method": (cel.Type.STRING, lambda of: of.facts.method),
    "request.host": (cel.Type.STRING, lambda of: of.facts.host),
    "request.path": (cel.Type.STRING, lambda of: of.facts.path),
    "request.query": (cel.Type.STRING, lambda of: of.facts.query),
    "request.tenant": (cel.Type.STRING, lambda of: of.facts.tenant),
    "request.scheme": (cel.Type.STRING, lambda of: "https" if of.facts.secure else "http"),
    "request.secure": (cel.Type.BOOL, lambda of: of.facts.secure),
    "request.client_ip": (cel.Type.STRING, lambda of: of.facts.client_ip),
    "request.user_agent": (cel.Type.STRING, lambda of: of.facts.user_agent),
    "request.action": (cel.Type.STRING, lambda of: of.match.route.action_of(of.facts.method).value),
    "request.resource.type": (
        cel.Type.STRING,
        lambda of: of.match.route.resource.type if of.match.route.resource else "",
    ),
    "request.resource.id": (cel.Type.STRING, lambda of: of.match.resource_id()),
    "network": (cel.Type.STRING, lambda of: of.facts.client_ip),
    "network.ip": (cel.Type.STRING, lambda of: of.facts.client_ip),
    "tenant": (cel.Type.STRING, lambda of: of.session.tenant),
    "now": (cel.Type.TIMESTAMP, lambda of: datetime.fromtimestamp(of.now, UTC)),
}
"""The request schema: name, type, and where the value comes from."""

NAMES: Final = tuple(name for name in _VARIABLES if name != "network")
"""Names every condition may use; `path.NAME` comes with the template of the route."""


def is_about_person(name: str) -> bool:
    """Tell whether a name of the schema says something about who asks."""
    return name == "tenant" or name.startswith(("user.", "session."))


@lru_cache(maxsize=4096)
def _network(text: str) -> IPv4Network | IPv6Network:
    return parse_network(text)


def _is_in(address: str, networks: str | list[str]) -> bool:
    """CEL's `network.is_in("10.0.0.0/8")` and `network.is_in(["10.0.0.0/8", "192.0.2.1"])`. ValueError refuses."""
    ip = ip_address(address)
    candidates = [networks] if isinstance(networks, str) else list(networks)
    return any([ip in _network(candidate) for candidate in candidates])  # noqa: C419 - each must be valid, whatever the order


_IS_IN = cel.FunctionDecl(
    "is_in",
    [
        cel.Overload(
            "is_in_network",
            return_type=cel.Type.BOOL,
            parameters=[cel.Type.STRING, cel.Type.STRING],
            is_member=True,
            impl=_is_in,
        ),
        cel.Overload(
            "is_in_networks",
            return_type=cel.Type.BOOL,
            parameters=[cel.Type.STRING, _STRINGS],
            is_member=True,
            impl=_is_in,
        ),
    ],
)


_PARTS: Final = cel.NewEnv(variables={name: kind for name, (kind, _) in _VARIABLES.items()}, functions=[_IS_IN])
"""Evaluates parts of expressions that were checked elsewhere; path parameters are texts, which need no declaration."""
# The library takes the types of variables in when it first compiles; until then it knows no durations.
_PARTS.compile("true")


class Condition:
    """A compiled expression. Its answer is True, False, or None when it could not be found out."""

    __slots__ = ("_expression", "_inputs", "text")

    def __init__(
        self, text: str, expression: Any, inputs: tuple[tuple[str, Callable[[Circumstances], Any]], ...]
    ) -> None:
        self.text = text
        self._expression = expression
        self._inputs = inputs

    @property
    def names(self) -> frozenset[str]:
        """What the expression asks about, as `NAMES` and `path.NAME` say it."""
        return frozenset(name for name, _ in self._inputs)

    def evaluate(self, circumstances: Circumstances) -> bool | None:
        """Answer for one request. Never raises: what cannot be evaluated is None, and None refuses."""
        try:
            answer = self._answer(circumstances).value()
        except Exception:  # noqa: BLE001 - a foreign library and foreign values: every failure refuses
            return None
        # An ERROR's value is its message, so identity with True and False also proves the type BOOL.
        return answer if answer is True or answer is False else None

    def diagnose(self, circumstances: Circumstances) -> str:
        """Say why the answer is None, for an operator; empty when it is not."""
        try:
            answer = self._answer(circumstances)
        except Exception as error:  # noqa: BLE001 - as in evaluate
            return str(error)
        return str(answer.value()) if answer.type() == cel.Type.ERROR else ""

    def tree(self) -> Term:
        """Read the expression as a tree, to find out what it compares."""
        return read_term(self._expression.serialize())

    def part(self, term: Term) -> Condition:
        """Make a part of the tree that is true or false a condition of its own."""
        names = frozenset(term.names())
        inputs = tuple((name, value) for name, value in self._inputs if name in names)
        return Condition(self.text, _PARTS.deserialize(term.checked), inputs)

    @staticmethod
    def constant(term: Term) -> object:
        """Evaluate a part of the tree that asks about nothing; None where it cannot be evaluated."""
        answer = _PARTS.deserialize(term.checked).eval()
        return None if answer.type() == cel.Type.ERROR else answer.value()

    def _answer(self, circumstances: Circumstances) -> Any:
        return self._expression.eval(None, {name: value(circumstances) for name, value in self._inputs})


class ConditionCompiler:
    """Compiles expressions; keeps one CEL environment for each set of path parameters."""

    def __init__(self, networks: Mapping[str, tuple[Network, ...]] = _NO_NETWORKS) -> None:
        """Compile for a policy that calls `networks` by these names."""
        self._networks = networks
        self.called: set[str] = set()
        """Names of networks that some expression calls."""
        self._environments: dict[tuple[frozenset[str], bool], Any] = {}
        self._compiled: dict[tuple[str, frozenset[str], bool], Condition] = {}

    def compile(self, text: str, parameters: frozenset[str], *, anonymous: bool = False) -> Condition:
        """Check and compile an expression that may use the path parameters of its route.

        `anonymous`: on a public route nobody is asked who they are, so it can ask about nobody.

        Raises:
            ConditionError: with every problem found.

        """
        key = text, parameters, anonymous
        if key not in self._compiled:
            self._compiled[key] = self._compile(*key)
        return self._compiled[key]

    def asks_about_people(self, text: str, parameters: frozenset[str]) -> bool:
        """Tell whether an expression asks about who asks; False for one that does not compile."""
        try:
            names = self.compile(text, parameters).names
        except ConditionError:
            return False
        return any(map(is_about_person, names))

    def _environment(self, parameters: frozenset[str], anonymous: bool) -> Any:  # noqa: FBT001 - a part of the key
        key = parameters, anonymous
        if key not in self._environments:
            types = {name: kind for name, (kind, _) in _VARIABLES.items() if not (anonymous and is_about_person(name))}
            types.update((f"path.{name}", cel.Type.STRING) for name in parameters)
            self._environments[key] = cel.NewEnv(variables=types, functions=[_IS_IN])
        return self._environments[key]

    def _compile(self, text: str, parameters: frozenset[str], anonymous: bool) -> Condition:  # noqa: FBT001 - as above
        if len(text) > MAX_LENGTH:
            sentence = f"the condition is longer than {MAX_LENGTH} characters"
            raise ConditionError((Problem(1, 1, sentence, name="condition-too-long"),))
        environment = self._environment(parameters, anonymous)
        try:
            expression = environment.compile(text)
        except RuntimeError as error:
            raise ConditionError(tuple(_problems(str(error), parameters, anonymous=anonymous))) from None
        if expression.return_type() != cel.Type.BOOL:
            kind = str(expression.return_type()).lower()
            sentence = f"the condition must be true or false, but it is of type {kind}"
            raise ConditionError((Problem(1, 1, sentence, name="wrong-type"),))
        problems = tuple(_faulty_literals(text, environment, self._networks))
        if problems:
            raise ConditionError(problems)
        self.called.update(_called_network(argument.text) for _, argument, _ in _calls(text, ("is_in",)))
        spelled_out = _with_networks(text, self._networks)
        if spelled_out != text:
            expression = environment.compile(spelled_out)
        serialized = expression.serialize()
        inputs = [(name, value) for name, (_, value) in _VARIABLES.items() if _uses(serialized, name)]
        inputs += [
            (f"path.{name}", _parameter(name)) for name in sorted(parameters) if _uses(serialized, f"path.{name}")
        ]
        if not inputs:
            sentence = "the condition does not depend on the request; remove it, or the rule"
            raise ConditionError((Problem(1, 1, sentence, name="constant-condition"),))
        return Condition(text, expression, tuple(inputs))


def _uses(serialized: bytes, name: str) -> bool:
    """Find a name in the references of a checked expression: field 1, a string (cel.expr.Reference.name).

    A name that was missed would only be missing from the evaluation, which then fails and refuses.
    """
    return b"\x0a%c%b" % (len(name), name.encode()) in serialized


def _parameter(name: str) -> Callable[[Circumstances], str]:
    return lambda of: of.parameters[name]


_PROBLEM = re.compile(r"^(?:[A-Z_]+: )?ERROR: <input>:(\d+):(\d+): (.*)$", re.MULTILINE)
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'.*")
_EXPECTING = re.compile(r" expecting \{.*")
_HALF_A_DURATION = ("(duration, string)", "(string, duration)", "(duration, int)", "(int, duration)")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '(.*)'")


def _problems(report: str, parameters: frozenset[str], *, anonymous: bool = False) -> Iterator[Problem]:
    """Turn the library's report into places and sentences."""
    found = _PROBLEM.findall(report)
    if not found:
        yield Problem(1, 1, "not CEL: " + report.partition("[")[0].strip(), name="not-cel")
    for line, column, message in found:
        yield Problem(int(line), int(column), *_sentence(message, parameters, anonymous=anonymous))


def _sentence(message: str, parameters: frozenset[str], *, anonymous: bool) -> tuple[str, str]:
    """Say what a message of the library means, and name the finding."""
    undeclared = _UNDECLARED.fullmatch(message)
    if undeclared:
        name = undeclared[1]
        if name.startswith("path."):
            known = ", ".join(f"path.{parameter}" for parameter in sorted(parameters)) or "none"
            return f"unknown name {name!r}; the path parameters of this route are: {known}", "unknown-name"
        if anonymous and name in NAMES:
            return f"a public route asks nobody who they are; a condition on it cannot use {name!r}", "asks-nobody"
        hint = did_you_mean(name, (*NAMES, *(f"path.{parameter}" for parameter in parameters)))
        return f"unknown name {name!r}{hint}", "unknown-name"
    overload = _OVERLOAD.fullmatch(message)
    if overload:
        operands = overload[2].replace("google.protobuf.", "").replace("Duration", "duration")
        operands = operands.replace("Timestamp", "timestamp")
        hint = '; a duration is written duration("12h")' if operands in _HALF_A_DURATION else ""
        return f"{overload[1].strip('_')} does not work on {operands}{hint}", "wrong-type"
    broken = _EXPECTING.sub("", message.removeprefix("Syntax error: "))
    if "'<EOF>'" in broken:
        return "not CEL: it ends where something is still missing", "not-cel"
    return f"not CEL: {broken}", "not-cel"


class Token(NamedTuple):
    """A piece of an expression: kind, text, offset."""

    kind: str
    text: str
    offset: int


_TOKEN = re.compile(
    r"""(?P<text>[rRbB]{0,2}(?:\"\"\"(?s:.*?)\"\"\"|'''(?s:.*?)'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))"""
    r"|(?P<blank>\s+|//[^\n]*)|(?P<name>[A-Za-z_]\w*)|(?P<sign>&&|\|\||(?s:.))"
)


def tokens(text: str) -> list[Token]:
    """Cut a valid expression into texts, names and signs, without blanks and comments."""
    return [
        Token(str(found.lastgroup), found[0], found.start())
        for found in _TOKEN.finditer(text)
        if found.lastgroup != "blank"
    ]


def conjuncts(text: str) -> list[str]:
    """Split a valid expression at its outermost `&&`; an outermost `||` or `?` keeps it whole."""
    depth = 0
    cuts: list[int] = []
    for token in tokens(text):
        if token.kind == "sign":
            depth += (token.text in "([{") - (token.text in ")]}")
            if depth == 0 and token.text in {"||", "?"}:
                return [text.strip()]
            if depth == 0 and token.text == "&&":
                cuts.append(token.offset)
    starts = [0, *(cut + 2 for cut in cuts)]
    return [text[start:end].strip() for start, end in zip(starts, [*cuts, len(text)], strict=True)]


_CALLED: Final = re.compile(r"""\"([A-Za-z][A-Za-z0-9._-]{0,63})\"|'([A-Za-z][A-Za-z0-9._-]{0,63})'""")
"""A name never reads as an address: it begins with a letter and has no colon."""
_PROBES: Final = {
    "duration": "duration({0})",
    "timestamp": "timestamp({0})",
    "matches": '"".matches({0})',
    "is_in": '"192.0.2.1".is_in({0})',
    **{
        name: 'timestamp("2026-01-01T00:00:00Z").%s({0})' % name  # noqa: UP031 - braces are the next format's
        for name in (
            "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear",
            "getHours", "getMilliseconds", "getMinutes", "getMonth", "getSeconds",
        )
    },
}  # fmt: skip
"""Calls that fail at run time for a bad constant: tried at load, so that a typing error does not wait for its request."""


def _calls(text: str, names: Collection[str]) -> Iterator[tuple[str, Token, bool]]:
    """Yield each call of one of these functions with a text constant: its name, the constant, and whether a list holds that."""
    parts = tokens(text)
    for index in range(len(parts) - 2):
        call = parts[index]
        if call.kind == "name" and call.text in names and parts[index + 1].text == "(":
            for argument in _constants(parts[index + 2 :]):
                yield call.text, argument, parts[index + 2].text == "["


def _faulty_literals(text: str, environment: Any, networks: Collection[str]) -> Iterator[Problem]:
    for call, argument, _ in _calls(text, _PROBES):
        name = _called_network(argument.text) if call == "is_in" else ""
        if name in networks:
            continue
        answer = environment.compile(_PROBES[call].format(argument.text)).eval()
        if answer.type() == cel.Type.ERROR:
            line = text.count("\n", 0, argument.offset) + 1
            column = argument.offset - text.rfind("\n", 0, argument.offset)
            sentence = f"{call} cannot use {argument.text}: {_reason(str(answer.value()))}"
            if name:
                sentence = f"unknown network {name!r}{did_you_mean(name, networks)}"
            yield Problem(line, column, sentence, name="unknown-network" if name else "faulty-constant")


def _called_network(literal: str) -> str:
    """Return the name by which a text constant calls a network; empty where it cannot be one."""
    found = _CALLED.fullmatch(literal)
    return found[1] or found[2] if found else ""


def _with_networks(text: str, networks: Mapping[str, tuple[Network, ...]]) -> str:
    """Write the networks in the place of the names by which an expression calls them."""
    for _, argument, is_item in reversed(list(_calls(text, ("is_in",)))):
        name = _called_network(argument.text)
        if name in networks:
            items = ", ".join(f'"{network}"' for network in networks[name])
            spelled = items if is_item else f"[{items}]"
            text = text[: argument.offset] + spelled + text[argument.offset + len(argument.text) :]
    return text


def _constants(parts: list[Token]) -> Iterator[Token]:
    """Yield the text constants that are all of an argument, or the items of a list that is."""
    if len(parts) > 1 and parts[0].kind == "text" and parts[1].text == ")":
        yield parts[0]
    elif parts[0].text == "[":
        items = takewhile(lambda part: part.text != "]", parts[1:])
        yield from (part for part in items if part.kind == "text")


def _reason(message: str) -> str:
    return message.partition(": ")[2] or message

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from gateway.document.diagnostic import UNNAMED, Diagnostic, DocumentError
from gateway.exchange.session import Session
from gateway.policy import Facts, PolicyTable, compile_policy

HOSTS = {"portal.example.com": "", "acme.example.com": "acme", "zeta.example.com": "zeta"}
NOW = 1_800_000_000.0


def _sentence(finding: Diagnostic) -> str:
    return str(msgspec.structs.replace(finding, name=UNNAMED))


@pytest.fixture
def now() -> float:
    return NOW


@pytest.fixture
def hosts() -> dict[str, str]:
    return HOSTS


@pytest.fixture
def compiled() -> Callable[..., PolicyTable]:
    """Compile the text of policy files; one text is policies/p.yaml."""

    def compile_texts(text: str | dict[str, str], *, mfa_required: bool = True) -> PolicyTable:
        files = {"policies/p.yaml": text} if isinstance(text, str) else text
        return compile_policy(
            files, upstreams={"portal", "files"}, tenants={"acme", "zeta"}, hosts=HOSTS, mfa_required=mfa_required
        )[0]

    return compile_texts


@pytest.fixture
def warnings_of() -> Callable[[str], list[str]]:
    def compile_text(text: str) -> list[str]:
        _, warnings = compile_policy({"p.yaml": text}, upstreams={"portal"}, tenants={"acme"}, hosts=HOSTS)
        return [_sentence(warning) for warning in warnings]

    return compile_text


@pytest.fixture
def errors_of() -> Callable[..., list[str]]:
    """Compile policy files that must not compile, and return every error, without its name."""

    def compile_texts(text: str | dict[str, str]) -> list[str]:
        files = {"p.yaml": text} if isinstance(text, str) else text
        with pytest.raises(DocumentError) as caught:
            compile_policy(files, upstreams={"portal", "files"}, tenants={"acme", "zeta"}, hosts=HOSTS)
        return [_sentence(finding) for finding in caught.value.findings]

    return compile_texts


@pytest.fixture
def session() -> Callable[..., Session]:
    """Make the session of alice of acme, signed in and proven a minute ago."""

    def make(*roles: str, **changes: object) -> Session:
        values: dict[str, object] = {
            "handle": "s_1", "user_id": "u_1", "user": "alice", "email": "alice@acme.example", "tenant": "acme", "roles": roles,
            "amr": ("pwd", "otp", "mfa"), "auth_time": NOW - 120, "mfa_time": NOW - 60, "created": NOW - 120, "expires": NOW + 3600,
            "idle_s": 900.0, "host": "acme.example.com", "secure": True,
        }  # fmt: skip
        return Session(**{**values, **changes})  # type: ignore[arg-type]  # a factory of test values

    return make


@pytest.fixture
def facts() -> Callable[..., Facts]:
    def make(method: str = "GET", path: str = "/", **changes: object) -> Facts:
        values: dict[str, object] = {
            "method": method,
            "host": "acme.example.com",
            "path": path,
            "client_ip": "10.1.2.3",
            "user_agent": "Browser/1",
        }
        return Facts(**{**values, **changes})  # type: ignore[arg-type]  # a factory of test values

    return make

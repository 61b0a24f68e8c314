"""What gates let through, and what stricter tunings see that paranoia 1 leaves alone."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.engine import specials_of
from gateway.inspection.finding import Position
from gateway.inspection.mechanisms import (
    code,
    deserialisation,
    lookup,
    path,
    protocol,
    shell,
    ssrf,
    xxe,
)
from gateway.inspection.sign import Mechanism

SERVER: Final[tuple[Mechanism, ...]] = (code, deserialisation, lookup, path, protocol, shell, ssrf, xxe)
PIECES: Final = st.sampled_from(
    [
        *" ;|&\n`$(){}<>'\"\\/.,:=-?*[]@%#!^~\0",
        "a",
        "cat",
        "id",
        "/etc/passwd",
        "../",
        "$IFS",
        "<?php ",
        "system(",
        "http://",
        "127.0.0.1",
        "O:8:",
        "${jndi:",
        "<!ENTITY ",
        "rO0AB",
        "GET / HTTP/1.1",
        "```",
        "word ",
        "\u00e4",
        "\ud800",
        "\u0130",
        "\U0001f600",
    ]
)
TEXTS: Final = st.lists(PIECES, max_size=24).map("".join)


def names(mechanism: Mechanism, text: str, position: Position = Position.FORM) -> list[str]:
    """List the signs of a text, asking the gate first as the engine does."""
    ascii_text = text.encode("ascii", "ignore")
    if not mechanism.can_occur(specials_of(ascii_text), ascii_text.lower().decode()):
        return []
    return [sign.name for sign in mechanism.signs(text, position)]


@pytest.mark.parametrize("mechanism", SERVER)
@given(text=TEXTS, position=st.sampled_from(Position))
def test_signs_are_known_and_lie_in_the_text(mechanism: Mechanism, text: str, position: Position) -> None:
    for sign in mechanism.signs(text, position):
        assert sign.name in mechanism.SIGNS
        assert 0 <= sign.start <= sign.end <= len(text)


@pytest.mark.parametrize("mechanism", SERVER)
@given(text=TEXTS)
def test_gate_never_fails(mechanism: Mechanism, text: str) -> None:
    names(mechanism, text)


@pytest.mark.parametrize("mechanism", SERVER)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello world",
        "O'Brien & Sons",
        "Dear Ms Smith, thank you for your message (of 12 May). It's 5 o'clock; see you & yours!",
        "2026-01-31",
        "date_desc",
        "me@example.com",
        "kJ8sX0qLzW3vTnB5cYhGdR7f00000003",
    ],
)
def test_ordinary_text_ends_at_the_gate(mechanism: Mechanism, text: str) -> None:
    ascii_text = text.encode("ascii", "ignore")
    assert not mechanism.can_occur(specials_of(ascii_text), ascii_text.lower().decode())


@pytest.mark.parametrize(
    ("mechanism", "text", "sign"),
    [
        (shell, "How do I run `cat /etc/passwd` on your servers?", "shell.quoted"),
        (shell, "I ran docker ps; docker logs app -f and waited", "shell.quoted"),
        (shell, "curl https://api.example.com/v1", "shell.quoted"),
        (shell, "$(frobnicate)", "shell.unknown_substitution"),
        (shell, "name|id", "shell.bare_word"),
        (path, "Please see ../../README.md for what I mean by it", "path.traversal_mentioned"),
        (path, "Button from ../../components/Button builds, then web.config is missing", "path.traversal_mentioned"),
        (path, "Your guide says `../../etc/passwd` and nobody here has it", "path.traversal_mentioned"),
        (path, "Where is /etc/passwd stored on your servers?", "path.secret_file_mentioned"),
        (ssrf, "Is http://169.254.169.254/latest reachable from your containers?", "ssrf.mentioned"),
        (ssrf, "http://intranet/wiki", "ssrf.single_label"),
        (ssrf, "10.0.0.5/admin", "ssrf.host_alone"),
        (code, "We call system('ls') in a script, is that allowed?", "code.quoted"),
        (lookup, "What does ${env:PATH} print in your editor, please?", "lookup.quoted"),
        (deserialisation, "Does java.lang.Runtime work in your sandbox, or not?", "object.quoted"),
        (deserialisation, "java.io.File", "object.java_package"),
        (xxe, "My file has this:\n```xml\n<!DOCTYPE a [<!ENTITY b SYSTEM 'c'>]>\n```\nwhy?", "xxe.quoted"),
        (protocol, "a\x01b", "protocol.control"),
    ],
)
def test_what_is_merely_shown_is_a_weak_sign(mechanism: Mechanism, text: str, sign: str) -> None:
    assert names(mechanism, text) == [sign]


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("/.hidden", "path.hidden"),
        ("/.git/config", "path.restricted"),
    ],
)
def test_a_name_that_begins_with_a_dot_is_seen_in_a_path(text: str, sign: str) -> None:
    assert sign in names(path, text, Position.PATH)


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("user__password__startswith", "code.orm"),
        ("a__b__c__d__startswith", "code.orm"),
        ("title__istartswith", "code.orm_lookup"),
        ("created__gte", None),
        ("__proto__", None),
    ],
)
def test_a_name_of_a_parameter_reaches_through_relations(name: str, sign: str | None) -> None:
    assert names(code, name, Position.QUERY_NAME) == ([] if sign is None else [sign])


@pytest.mark.parametrize("host", ["http://localhost:3000/", "http://127.0.0.1:8080/x"])
def test_a_developer_may_come_from_his_own_machine(host: str) -> None:
    assert names(ssrf, host, Position.HEADER) == []
    assert names(ssrf, host, Position.FORM) == ["ssrf.loopback"]


@pytest.mark.parametrize("agent", ["curl/8.5.0", "python-requests/2.31", "Go-http-client/1.1"])
def test_a_client_that_is_a_tool_says_so(agent: str) -> None:
    assert names(protocol, agent, Position.HEADER) == ["protocol.tool"]


@pytest.mark.parametrize("word", ["nuclei", "Medusa lamp", "Hydra", "vega"])
def test_a_word_that_is_also_a_scanner_says_nothing_in_a_form(word: str) -> None:
    assert names(protocol, word) == []

"""Administration leaves a record behind: every verb and every form of the console, or a reason why not."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gateway.cli import program
from gateway.pages.console.addresses import ADDRESSES

DOCUMENTED = Path(__file__).parents[3] / "docs" / "audit.md"
RECORDS = re.compile(
    r"record_administration|record_account_change|record_use|record_act\(|\.record\(|\.record_each\(|\bappend\(|record\.administration"
)

UNRECORDED = {
    "init": "there is no trail before it",
    "run": "the supervisor records start, stop and reload itself",
    "demo": "a gateway of its own, which records itself",
    "reload": "the supervisor records it, with the files that changed and the versions before and after",
    "check": "reads the operator's own files and shows nothing of people",
    "doctor": "reads the state of the installation and shows nothing of people",
    "policy": "reads the operator's own files; the verbs that look at people or at the log record themselves",
    "inspection test": "judges what the operator wrote by the operator's own files",
    "inspection rules": "prints the rules that ship",
    "csp hash": "reads the operator's own files",
    "upgrade": "the supervisor that goes and the one that comes record it",
    "backup": "not built yet",
    "incident": "not built yet",
    "compliance": "not built yet",
    "probe": "not built yet",
    "audit verify": "proves the trail; needs no keys and must not change what it proves",
    "audit check-proof": "an auditor's, without a gateway",
    "audit trust": "writes public keys",
    "audit schema": "prints what a record is",
    "witness": "a program of its own, which logs what it signs",
}
"""Verbs, or groups of them, that need no record."""


def leaves(command: click.Command, context: click.Context, path: tuple[str, ...] = ()) -> Iterator[tuple[str, object]]:
    """Yield each verb and what it runs."""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from leaves(found, click.Context(found, parent=context, info_name=name), (*path, name))
    else:
        yield " ".join(path), command.callback


VERBS = dict(leaves(program, click.Context(program)))


def is_excused(verb: str) -> bool:
    return any(verb == name or verb.startswith(f"{name} ") for name in UNRECORDED)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_records_itself_or_need_not(verb: str) -> None:
    callback = VERBS[verb]
    assert callable(callback)
    module = inspect.getmodule(inspect.unwrap(callback))
    assert module is not None
    does = bool(RECORDS.search(inspect.getsource(module)))
    assert does or is_excused(verb), f"gateway {verb} leaves nothing behind"


@pytest.mark.parametrize("verb", sorted(UNRECORDED))
def test_every_excuse_is_of_a_verb_that_exists(verb: str) -> None:
    assert any(name == verb or name.startswith(f"{verb} ") for name in VERBS)


def test_every_verb_that_leaves_something_behind_stands_in_the_documentation() -> None:
    section = DOCUMENTED.read_text().partition("## What administration leaves behind")[2].partition("\n## ")[0]
    assert section
    missing = [verb for verb in VERBS if not is_excused(verb) and f"`{verb.split()[0]}" not in section]
    assert missing == []


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda address: address.path)
def test_every_page_and_form_of_the_console_is_noted(address: object) -> None:
    for handler in (getattr(address, "show", None), getattr(address, "submit", None)):
        if handler is None:
            continue
        module = inspect.getmodule(handler)
        assert module is not None
        source = inspect.getsource(handler)
        called = {name for name in re.findall(r"\b(_[a-z_]+)\(", source) if hasattr(module, name)}
        sources = [
            source,
            *(inspect.getsource(getattr(module, name)) for name in called if callable(getattr(module, name))),
        ]
        assert any(re.search(r"\.note\(|events", text) for text in sources), handler.__qualname__

"""Verbs are run, not read: each leaves a record that verifies, and none that names the person in clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.reader import entries
from tests.unit.cli.conftest import House

WHOM = ("--subject", "alice", "--tenant", "main", "--reason", "case 7")
VERBS = (
    ("user", "list"),
    ("user", "add", "alice2", "--tenant", "main", "--role", "client", "--self-enrol", "--password-stdin"),
    ("user", "role", "alice", "--remove", "client"),
    ("user", "reset", "alice"),
    ("user", "disable", "alice"),
    ("user", "enable", "alice"),
    ("user", "delete", "alice"),
    ("session", "list", "--user", "alice"),
    ("session", "revoke", "--user", "alice"),
    ("apikey", "create", "nightly", "--role", "client", "--user", "alice"),
    ("apikey", "list", "--user", "alice"),
    ("vault", "list", "--user", "alice"),
    ("keys", "list"),
    ("keys", "rotate"),
    ("audit", "query", "--user", "alice"),
    ("audit", "query", "--actor", "alice@example.org"),
    ("audit", "export", "--subject", "alice"),
    ("audit", "tail"),
    ("audit", "gaps"),
    ("audit", "open-intents"),
    ("audit", "seal"),
    ("audit", "receipt-key", "portal", "--number", "1"),
    ("break-glass", "list"),
    ("audit", "hold", "create", "--case", "7-2026", "--subject", "alice", "--reason", "suit"),
    ("audit", "retention", "apply"),
    ("privacy", "status", "--subject", "alice", "--tenant", "main"),
    ("privacy", "restrict", *WHOM),
    ("privacy", "export", *WHOM, "-o", "{}/alice.json"),
    ("privacy", "erase", *WHOM, "--yes"),
)

QUIET = (("audit", "cursors"), ("audit", "hold", "list"), ("audit", "retention", "plan"), ("audit", "key", "list"))
"""They show where sinks, holds, rules and keys stand, and no record of the log."""


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: " ".join(verb[:3]))
def test_a_verb_that_was_run_leaves_a_record_that_names_nobody_in_clear(
    house: House, tmp_path: Path, verb: tuple[str, ...]
) -> None:
    house.add("alice", "--email", "alice@example.org", "--self-enrol")
    before = len(stored(house))
    done = house.run(*(word.format(tmp_path) for word in verb), given="correct horse battery\n")
    assert done.exit_code == 0, done.output
    left = stored(house)
    assert len(left) > before
    assert b"alice" not in b"\n".join(left)
    assert house.value("audit", "verify")["ok"]


@pytest.mark.parametrize("verb", QUIET, ids=" ".join)
def test_a_verb_that_leaves_nothing_shows_nothing_of_anybody(house: House, verb: tuple[str, ...]) -> None:
    house.add("alice", "--email", "alice@example.org", "--self-enrol")
    before = stored(house)
    done = house.run(*verb)
    assert done.exit_code == 0, done.output
    assert "alice" not in done.output
    assert stored(house) == before


def stored(house: House) -> list[bytes]:
    """Return every record as it stands in the log."""
    keys = AuditKeys.load(house.directory / "config" / "audit-keys.json")
    directory = Layout(house.state_dir).directory
    return [each.entry.payload for each in entries(directory, keys, on_damage=pytest.fail)]

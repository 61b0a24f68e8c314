"""Rule sets as they are read from their directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.crs.rules import RulesError, directives, read_rules

CHAIN = """
SecRule ARGS "@rx a" \\
    "id:101,\\
    phase:2,\\
    block,\\
    chain"
    SecRule ARGS "@rx b" \\
        "t:none"
"""
PLAIN = 'SecRule ARGS "@rx c" "id:102,phase:2,block"\n'


def written(directory: Path, **files: str) -> Path:
    (directory / "rules").mkdir()
    for name, text in files.items():
        (directory / "rules" / f"{name}.conf").write_text(text)
    return directory


def test_rules_are_read_in_the_order_of_their_files_after_the_setup_and_the_levels(tmp_path: Path) -> None:
    written(tmp_path, b="SecMarker B", a="SecMarker A")
    (tmp_path / "crs-setup.conf").write_text("SecMarker SETUP")
    text = read_rules(tmp_path, levels="SecMarker LEVELS")
    assert [line for line in text.splitlines() if line] == [
        "SecMarker SETUP",
        "SecMarker LEVELS",
        "SecMarker A",
        "SecMarker B",
    ]


def test_a_directive_goes_on_after_a_backslash_and_a_comment_is_none() -> None:
    found = list(directives("# said\n" + CHAIN + PLAIN))
    assert [(item.line, item.text.split()[0]) for item in found] == [(3, "SecRule"), (8, "SecRule"), (10, "SecRule")]


def test_a_rule_is_left_out_with_the_chain_it_begins(tmp_path: Path) -> None:
    text = read_rules(written(tmp_path, a=CHAIN + PLAIN), without=[101])
    assert "@rx a" not in text
    assert "@rx b" not in text
    assert "@rx c" in text


def test_leaving_out_a_rule_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="no rule has the id 7"):
        read_rules(written(tmp_path, a=PLAIN), without=[7])


@pytest.mark.parametrize(
    "rule",
    [
        'SecRule ARGS "@rx x" "id:1,exec:/bin/sh"',
        'SecRule ARGS "@pmFromFile https://evil.test/list" "id:1"',
        'SecRule FILES "@inspectFile /bin/true" "id:1"',
        "SecRemoteRules key https://evil.test/rules",
        "SecAuditLog /var/log/audit",
        "SecDebugLog /tmp/debug",
        "Include /etc/passwd",
        'SecRuleScript /tmp/x.lua "id:1"',
    ],
)
def test_a_rule_that_reaches_out_of_its_process_is_refused_with_its_place(tmp_path: Path, rule: str) -> None:
    with pytest.raises(RulesError, match=r"a\.conf:2: "):
        read_rules(written(tmp_path, a="# first\n" + rule))


@pytest.mark.parametrize("operator", ["@geoLookup", "@rbl dnsbl.test"])
def test_a_chain_that_asks_others_about_an_address_is_left_out(tmp_path: Path, operator: str) -> None:
    text = read_rules(written(tmp_path, a=CHAIN.replace("@rx b", operator) + PLAIN))
    assert "id:101" not in text
    assert "id:102" in text


def test_lists_beside_the_rules_are_found_wherever_the_gateway_runs(tmp_path: Path) -> None:
    text = read_rules(written(tmp_path, a='SecRule ARGS "@pmFromFile words.data" "id:1"'))
    assert f'"@pmFromFile {tmp_path}/rules/words.data"' in text


def test_the_default_action_of_a_setup_does_not_win_over_scoring(tmp_path: Path) -> None:
    assert "deny" not in read_rules(written(tmp_path, a='SecDefaultAction "phase:1,deny"\nSecMarker A'))


def test_a_directory_without_rules_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="holds no rules"):
        read_rules(tmp_path)


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RulesError, match=r"a\.conf: is no text"):
        read_rules(tmp_path)

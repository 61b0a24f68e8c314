"""`gateway audit cursors`, `replay` and what `doctor` says of sinks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import program
from gateway.custody.sinks import cursor as cursor_module
from gateway.custody.sinks.cursor import Cursor, CursorFile, DeadLetter, Replay


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    where = tmp_path / "g"
    assert CliRunner().invoke(program, ["init", str(where)]).exit_code == 0
    path = where / "gateway.yaml"
    old = "audit: {durability: group, keys: config/audit-keys.json}"
    assert old in path.read_text()
    sinks = (
        "audit:\n  keys: config/audit-keys.json\n  sinks:\n"
        f"    - {{name: local, type: file, path: {tmp_path}/audit.jsonl, streams: [security], required: true}}\n"
        "    - {name: far, type: syslog, server: '127.0.0.1:9', unsafe_plaintext: true, streams: [access]}\n"
    )
    path.write_text(path.read_text().replace(old, sinks))
    return where


def ask(directory: Path, *words: str) -> Result:
    return CliRunner().invoke(program, [*words, "-c", str(directory / "gateway.yaml")])


def cursors(directory: Path, sink: str = "local", stream: str = "security") -> CursorFile:
    where = directory / "state" / "cursors"
    where.mkdir(parents=True, exist_ok=True)
    return CursorFile(where, sink, stream)


def test_each_sink_and_stream_is_listed_with_what_waits(directory: Path) -> None:
    assert ask(directory, "audit", "gaps").exit_code == 0  # writes a record
    done = ask(directory, "audit", "cursors", "--json")
    assert done.exit_code == 0, done.output
    local, far = json.loads(done.stdout)["cursors"]
    assert (local["sink"], local["stream"], local["required"], local["next_index"]) == ("local", "security", True, 0)
    assert local["lag_records"] >= 1
    cursors(directory).store(Cursor(origin=local["origin"], next_index=local["lag_records"]))
    assert "local/security file next=" in ask(directory, "audit", "cursors").stdout
    assert json.loads(ask(directory, "audit", "cursors", "--json").stdout)["cursors"][0]["lag_records"] == 0
    assert far["lag_records"] == 0


def test_what_was_refused_for_good_is_listed_and_is_exit_1(directory: Path) -> None:
    letter = DeadLetter(origin="gateway/x", index=17, time=1, detail="it answered 400 \x1b[31m")
    cursors(directory).bury([letter])
    done = ask(directory, "audit", "cursors", "--dead-letters")
    assert done.exit_code == 1
    assert "refused for good: 1 (17)" in done.stdout
    assert "gateway/x#17: it answered 400" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_replay_is_recorded_and_then_asked_for(directory: Path) -> None:
    done = ask(directory, "audit", "replay", "--sink", "local", "--from", "3", "--reason", "ticket 4711")
    assert done.exit_code == 0, done.output
    assert cursors(directory).asked() == Replay(start=3)
    found = ask(directory, "audit", "query", "--json")
    assert "audit replay" in found.stdout
    assert "ticket 4711" in found.stdout
    assert ask(directory, "audit", "replay", "--sink", "local", "--dead-letters").exit_code == 0
    assert cursors(directory).asked() == Replay(dead_letters=True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--sink", "locl", "--from", "0"], "there is no sink locl"),
        (["--sink", "local"], "write --from INDEX or --dead-letters"),
        (["--sink", "local", "--from", "0", "--dead-letters"], "write --from INDEX or --dead-letters"),
        (["--sink", "local", "--stream", "traffic", "--from", "0"], "local is not sent the stream traffic"),
        (["--sink", "local", "--from", "-1"], "--from"),
    ],
)
def test_a_replay_of_nothing_is_refused_and_not_recorded(directory: Path, words: list[str], sentence: str) -> None:
    done = ask(directory, "audit", "replay", *words)
    assert done.exit_code == 2
    assert sentence in done.output
    assert not (directory / "state" / "audit").exists()


def test_without_a_sink_there_is_nothing_to_list(directory: Path) -> None:
    path = directory / "gateway.yaml"
    text = path.read_text()
    path.write_text(text[: text.index("  sinks:")] + text[text.index("streams: [access]}\n") + 19 :])
    assert "no sink" in ask(directory, "audit", "cursors").stdout
    assert "weak: audit.sinks: the log is on this machine alone" in ask(directory, "doctor").stdout


def test_doctor_says_which_receiver_cannot_be_reached_and_what_was_refused(directory: Path) -> None:
    cursors(directory).bury([DeadLetter(origin="o", index=1, time=1, detail="it answered 400")])
    done = ask(directory, "doctor")
    assert done.exit_code == 1
    assert "wrong: audit sink far: the receiver cannot be reached" in done.stdout
    assert "wrong: audit sink local: records of security that it refused for good: 1;" in done.stdout
    assert "weak: gateway.yaml: audit.sinks[1].unsafe_plaintext: everybody on the way to far" in done.stdout
    assert not (directory.parent / "audit.jsonl").exists()


def test_what_is_refused_and_not_listed_is_counted_and_how_to_send_it_again_is_said(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cursor_module, "MOST_BURIED", 1)
    cursors(directory).bury([DeadLetter(origin="gateway/x", index=at, time=1, detail="400") for at in (17, 20, 23)])
    done = ask(directory, "audit", "cursors", "--dead-letters")
    assert done.exit_code == 1
    assert "refused for good: 3 (17)" in done.stdout
    assert "2 more of 20 to 23, not listed" in done.stdout
    assert "gateway audit replay --sink local --stream security --from 20" in done.stdout
    value = json.loads(ask(directory, "audit", "cursors", "--json").stdout)["cursors"][0]
    assert value["not_listed"] == {"origin": "gateway/x", "first": 20, "last": 23, "count": 2}
    assert "refused for good: 3;" in ask(directory, "doctor").stdout

"""What the log promised holds, whatever the files beside it say; and a log that is not whole promises everything."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.audit.canonical import encode
from gateway.audit.protocol import CLI_SLOT, CUSTODIAN_SLOT
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger import retention
from gateway.ledger.holds import Hold, Holds
from gateway.ledger.layout import file_name
from gateway.ledger.promise_reader import PromiseReader, Standing
from gateway.ledger.reader import UnreadableLogError
from gateway.ledger.retention import Change, Rule, Rules, describe, described
from gateway.ledger.search import WORTH_AN_INDEX, Search
from tests.unit.ledger.conftest import Bench
from tests.unit.ledger.test_spool import seal_file

HELD = Hold(
    case="A",
    reason="suit",
    streams=(Stream.ACCESS,),
    since_ns=100,
    until_ns=200,
    created_by="os:1",
    created_ns=10**18,
)
Record = tuple[str, dict[str, Any]]


def created(hold: Hold = HELD) -> Record:
    return "hold.created", hold.facts()


def about(event: str, case: str = "A", **more: str) -> Record:
    return f"hold.{event}", {"case": case, **more}


def changed(now: str, stream: str = "access") -> Record:
    return "retention.changed", {"approver": "os:2", "before": "none", "now": now, "proposer": "os:1", "stream": stream}


def say(bench: Bench, *said: Record, slot: int = CLI_SLOT, filler: int = 0) -> None:
    """Have these in a file of the security stream, which is then closed."""
    log = bench.open(capacity=1 << 20)
    if filler:
        bench.append(log, filler)
    for event, fields in said:
        matter = "prune" if event == "retention.prune" else event.partition(".")[0]
        gw = {"event": event, matter: fields}
        payload = encode({"actor": {"user": {"uid": "1"}}, "unmapped": {"gw": gw}})
        sequence = log.taken.get(slot, 0) + 1
        bench.now_ns += 10**6
        log.append([(slot, range(sequence, sequence + 1), [payload])], is_safe=True, now_ns=bench.now_ns)
    log.close()


def standing(bench: Bench) -> Standing:
    return PromiseReader(bench.layout, bench.keys).standing()


def in_force(bench: Bench) -> dict[str, Hold]:
    return {hold.case: hold for hold in standing(bench).holds.holds}


def messages(bench: Bench) -> list[str]:
    return [found.message for found in standing(bench).differences]


LACKS = "holds.json lacks the hold of the case A, which is in force by the log"
LESS = "holds.json says less of the hold of the case A than the log does"


def test_files_that_say_what_the_log_says_differ_in_nothing(bench: Bench) -> None:
    several = Hold(
        case="B",
        reason="r",
        streams=(Stream.TRAFFIC, Stream.ACCESS),
        subjects=("alice",),
        created_by="os:1",
        created_ns=1,
    )
    say(bench, created(), created(several))
    Holds([HELD, several]).save(bench.layout)
    found = standing(bench)
    assert found.differences == ()
    assert [hold.case for hold in found.holds.holds] == ["A", "B"]
    assert found.holds.named("A") == HELD
    assert found.holds.blocks_subject({"alice"}, lambda _: False)
    assert not Holds([found.holds.holds[1]]).blocks_subject({"bob"}, lambda _: True)


def test_without_a_log_the_file_counts(bench: Bench) -> None:
    bench.state_dir.mkdir()
    assert in_force(bench) == {}
    assert standing(bench).rules == Rules(streams={stream: Rule() for stream in STREAMS})
    Holds([HELD]).save(bench.layout)
    assert in_force(bench) == {"A": HELD}


@pytest.mark.parametrize(
    "change",
    [
        {"since_ns": 150},
        {"until_ns": 150},
        {"streams": (Stream.TRAFFIC,)},
        {"since_ns": 300, "until_ns": 400},
    ],
)
def test_a_hold_that_was_edited_counts_as_the_wider_of_both(bench: Bench, change: dict[str, Any]) -> None:
    """attack: one date in holds.json, and retention removes what was held."""
    say(bench, created())
    edited = msgspec.structs.replace(HELD, **change)
    Holds([edited]).save(bench.layout)
    found = in_force(bench)["A"]
    assert messages(bench) == [LESS]
    assert found.covers(Stream.ACCESS, 100, 100)
    assert found.covers(Stream.ACCESS, 200, 200)
    for stream in edited.streams:
        assert found.covers(stream, edited.since_ns, edited.until_ns), "what the file says beyond that counts too"


def test_a_hold_that_the_file_makes_wider_is_no_difference(bench: Bench) -> None:
    say(bench, created())
    wide = msgspec.structs.replace(HELD, streams=STREAMS, since_ns=0, until_ns=0)
    Holds([wide]).save(bench.layout)
    assert (in_force(bench)["A"], messages(bench)) == (wide, [])


def test_a_hold_that_only_the_log_knows_is_in_force(bench: Bench) -> None:
    """The file was removed or edited, or the process was killed between the record and the file."""
    say(bench, created())
    assert messages(bench) == [LACKS]
    found = in_force(bench)["A"]
    assert (found.streams, found.since_ns, found.until_ns) == (HELD.streams, 100, 200)
    assert (found.reason, found.created_by, found.everybody) == ("suit", "os:1", False)
    Holds([msgspec.structs.replace(HELD, case="B")]).save(bench.layout)
    assert sorted(in_force(bench)) == ["A", "B"], "what only the file knows counts as well"
    assert messages(bench) == [LACKS]


def test_a_hold_that_named_people_and_lost_their_names_keeps_every_key(bench: Bench) -> None:
    named = msgspec.structs.replace(HELD, subjects=("alice", "bob"), salt="s")
    say(bench, created(named))
    assert standing(bench).holds.blocks_subject({"carol"}, lambda _: False)
    for others in (("bob",), ("bob", "carol")):
        Holds([msgspec.structs.replace(named, subjects=others)]).save(bench.layout)
        assert messages(bench) == [LESS]
        assert standing(bench).holds.blocks_subject({"alice"}, lambda _: False)
    Holds([named]).save(bench.layout)
    assert messages(bench) == []
    assert not standing(bench).holds.blocks_subject({"carol"}, lambda _: False)


def test_a_hold_of_everybody_cannot_be_made_one_of_somebody(bench: Bench) -> None:
    say(bench, created())
    Holds([msgspec.structs.replace(HELD, subjects=("alice",))]).save(bench.layout)
    assert messages(bench) == [LESS]
    assert standing(bench).holds.blocks_subject({"bob"}, lambda _: True)


def test_a_hold_that_was_released_is_over_and_one_that_the_file_still_has_is_not(bench: Bench) -> None:
    second = msgspec.structs.replace(HELD, case="B")
    say(bench, created(), created(second), about("release_asked", by="os:1"), about("released", by="os:2"))
    Holds([second]).save(bench.layout)
    assert (list(in_force(bench)), messages(bench)) == (["B"], [])
    Holds([HELD, second]).save(bench.layout)
    assert sorted(in_force(bench)) == ["A", "B"], "a kill between the record and the file ends nothing"
    assert messages(bench) == []
    assert standing(bench).unsaid == ()
    unknown = msgspec.structs.replace(HELD, case="C")
    Holds([unknown]).save(bench.layout)
    assert standing(bench).unsaid == (unknown,)


def test_a_case_that_is_held_again_after_its_end_is_held(bench: Bench) -> None:
    say(bench, created(), about("released"), created(msgspec.structs.replace(HELD, since_ns=150)))
    assert in_force(bench)["A"].since_ns == 150


def test_a_hold_that_was_recorded_twice_is_what_either_says(bench: Bench) -> None:
    say(bench, created(), created(msgspec.structs.replace(HELD, since_ns=50, until_ns=0)))
    found = in_force(bench)["A"]
    assert (found.since_ns, found.until_ns, found.everybody) == (50, 0, False)


@pytest.mark.parametrize("fields", [{"case": "A"}, {"case": "A", "streams": ["other"], "since_ns": "x"}])
def test_a_record_that_does_not_say_what_is_held_holds_everything(bench: Bench, fields: dict[str, Any]) -> None:
    say(bench, ("hold.created", fields))
    assert standing(bench).holds.blocks(Stream.TRAFFIC, 1, 2)
    assert standing(bench).holds.blocks_subject({"anybody"}, lambda _: False)


def test_who_asked_for_the_end_of_a_hold_is_the_logs_to_say(bench: Bench) -> None:
    """attack: a first person who never asked is written into holds.json, and one person ends the hold."""
    say(bench, created())
    Holds([msgspec.structs.replace(HELD, release_by="os:9", release_ns=1)]).save(bench.layout)
    assert (in_force(bench)["A"].release_by, messages(bench)) == ("", [LESS])
    say(bench, about("release_asked", by="os:1"))
    Holds([HELD]).save(bench.layout)
    assert (in_force(bench)["A"].release_by, messages(bench)) == ("os:1", [])


@pytest.mark.parametrize("slot", [7, 1000])
def test_a_process_that_parses_hostile_input_ends_no_hold(bench: Bench, slot: int) -> None:
    say(bench, created())
    say(bench, about("released"), slot=slot)
    assert list(in_force(bench)) == ["A"]


def test_a_difference_is_told_once_for_each_state_of_the_file(bench: Bench) -> None:
    say(bench, created())
    [found] = standing(bench).differences
    assert (found.event, found.name, found.file_sha256, found.is_told) == ("hold.differs", "A", "", False)
    say(bench, ("hold.differs", {"case": "A", "file_sha256": ""}), slot=CUSTODIAN_SLOT)
    assert standing(bench).differences[0].is_told
    Holds().save(bench.layout)
    assert not standing(bench).differences[0].is_told, "another file"


# retention

SHORTER = "retention.json keeps access for less time than the log says was agreed"
UNSAID = "retention.json says of access that a shorter retention was agreed to, and the log does not"


@pytest.mark.parametrize(
    ("said", "kept", "seconds", "found"),
    [
        ([], 864_000.0, None, [SHORTER]),
        ([changed("30d")], 864_000.0, 30 * 86_400.0, [SHORTER]),
        ([changed("30d"), changed("none")], 30 * 86_400.0, None, [SHORTER]),
        ([changed("30d")], 30 * 86_400.0, 30 * 86_400.0, []),
        ([changed("1s")], 1.5, 1.5, []),
        ([changed("30d")], None, 30 * 86_400.0, []),
        ([changed("whatever")], 30 * 86_400.0, None, [SHORTER]),
        ([changed("30d", "traffic")], 30 * 86_400.0, None, [SHORTER]),
    ],
)
def test_a_retention_is_as_long_as_the_log_says(
    bench: Bench, said: list[Record], kept: float | None, seconds: float | None, found: list[str]
) -> None:
    """attack: a number in retention.json, and what was to be kept is over its time."""
    say(bench, *said)
    retention.make_directory(bench.layout)
    retention.save(bench.layout, Rules(streams={Stream.ACCESS: Rule(seconds=kept)}))
    assert standing(bench).rules.of(Stream.ACCESS).seconds == seconds
    assert messages(bench) == found


def test_what_was_agreed_is_what_was_recorded(bench: Bench) -> None:
    """attack: whoever proposed, who approved and when, written into retention.json."""
    wanted = {"stream": "access", "wanted": "10d"}
    say(bench, ("retention.proposed", wanted | {"by": "os:1"}), ("retention.approved", wanted | {"by": "os:1"}))
    change = Change(seconds=864_000.0, proposed_by="os:1", proposed_ns=1, approved_by="os:2", approved_ns=2)
    retention.make_directory(bench.layout)
    retention.save(bench.layout, Rules(streams={Stream.ACCESS: Rule(change=change)}))
    found = standing(bench).rules.of(Stream.ACCESS).change
    assert found is not None
    assert (found.proposed_by, found.approved_by, messages(bench)) == ("os:1", "", [UNSAID])
    say(bench, ("retention.approved", wanted | {"by": "os:2"}))
    found = standing(bench).rules.of(Stream.ACCESS).change
    assert found is not None
    assert (found.approved_by, found.approved_ns, messages(bench)) == ("os:2", bench.now_ns, [])
    say(bench, ("retention.withdrawn", wanted | {"by": "os:3"}))
    assert (standing(bench).rules.of(Stream.ACCESS).change, messages(bench)) == (None, [UNSAID])


@pytest.mark.parametrize("seconds", [None, 1.0, 86_399.0, 86_400.0, 90_000.0, 365 * 86_400.0])
def test_a_retention_is_read_as_it_was_written(seconds: float | None) -> None:
    assert described(describe(seconds)) == seconds


# the stream itself


def test_what_was_read_is_not_read_again_and_what_is_new_is(bench: Bench) -> None:
    say(bench, created())
    say(bench, filler=3)
    reader = PromiseReader(bench.layout, bench.keys)
    assert list(reader.read().holds) == ["A"]
    say(bench, created(msgspec.structs.replace(HELD, case="B")))
    assert list(reader.read().holds) == ["A", "B"]
    seal_file(bench, 1)
    seal_file(bench, 2)
    say(bench, about("released"))
    assert list(reader.read().holds) == ["B"]
    assert list(PromiseReader(bench.layout, bench.keys).read().holds) == ["B"]


@pytest.mark.parametrize("is_sealed", [False, True])
def test_the_search_index_of_a_closed_file_says_the_same_and_a_damaged_one_nothing(
    bench: Bench, *, is_sealed: bool
) -> None:
    say(bench, created(), filler=WORTH_AN_INDEX)
    say(bench, created(msgspec.structs.replace(HELD, case="B")), about("released"), filler=WORTH_AN_INDEX)
    say(bench, filler=WORTH_AN_INDEX)
    say(bench, filler=1)
    if is_sealed:
        for number in (1, 2, 3):
            seal_file(bench, number)
    assert list(in_force(bench)) == ["B"]
    assert Search(bench.state_dir, bench.keys, on_damage=pytest.fail).index() == 3
    assert list(in_force(bench)) == ["B"]
    indexes = sorted((bench.state_dir / "index").iterdir())
    assert len(indexes) == 3
    indexes[0].write_bytes(indexes[1].read_bytes())  # attack: the index of a file that says nothing of it
    damaged = bytearray(indexes[1].read_bytes())
    damaged[-1] ^= 1
    indexes[1].write_bytes(damaged)
    assert list(in_force(bench)) == ["B"]


def _remove(number: int) -> Callable[[Bench], None]:
    def remove(bench: Bench) -> None:
        (bench.layout.directory / file_name(Stream.SECURITY, number)).unlink()

    return remove


def _change(number: int, at: int) -> Callable[[Bench], None]:
    def change(bench: Bench) -> None:
        path = bench.layout.directory / file_name(Stream.SECURITY, number)
        data = bytearray(path.read_bytes())
        data[at if at >= 0 else len(bytes(data).rstrip(b"\0")) + at] ^= 1
        path.write_bytes(data)

    return change


def _cut(bench: Bench) -> None:
    path = bench.layout.directory / file_name(Stream.SECURITY, 1)
    os.truncate(path, len(path.read_bytes().rstrip(b"\0")) - 1)


def _swap(bench: Bench) -> None:
    one, other = (bench.layout.directory / file_name(Stream.SECURITY, number) for number in (1, 2))
    other.write_bytes(one.read_bytes())


def _forge_checkpoint(bench: Bench) -> None:
    bench.layout.checkpoint(Stream.SECURITY).write_text("gateway/node\n0\nAAAA\n")


@pytest.mark.parametrize(
    "harm",
    [
        _remove(1),
        _remove(2),
        _remove(3),
        _change(1, 10),
        _change(1, -5),
        _change(2, -5),
        _change(3, -5),
        _cut,
        _swap,
        _forge_checkpoint,
    ],
)
def test_a_stream_that_is_not_whole_says_nothing_and_everything_counts_as_held(
    bench: Bench, harm: Callable[[Bench], None]
) -> None:
    """attack: the record of the hold is removed with the file that holds it."""
    say(bench, created())
    say(bench, about("released"))
    say(bench, created())
    Holds([HELD]).save(bench.layout)
    harm(bench)
    with pytest.raises(UnreadableLogError, match="what the log says of holds and retention cannot be read"):
        standing(bench)


@pytest.mark.parametrize(
    ("change", "is_excused"),
    [({}, True), ({"to": 0}, False), ({"stream": "access"}, False), ({"origin": "another"}, False)],
)
def test_a_beginning_of_the_stream_that_was_pruned_is_excused_by_its_record(
    bench: Bench, change: dict[str, Any], *, is_excused: bool
) -> None:
    say(bench, filler=3)
    origin = retention.heads(bench.layout, Stream.SECURITY)[0].origin
    say(bench, created(), ("retention.prune", {"stream": "security", "origin": origin, "to": 2} | change))
    first: Path = bench.layout.directory / file_name(Stream.SECURITY, 1)
    first.unlink()
    if is_excused:
        assert list(in_force(bench)) == ["A"]
    else:
        with pytest.raises(UnreadableLogError, match="entries 0 to 2 of the security stream are not there"):
            standing(bench)

"""What verbs of `gateway policy` ask of the past: the requests in the audit log, read by several processes at once.

Needs the keys of the audit log, unlike the other verbs, and each use is itself in the log before anything is shown. Which
records count is `policy.recorded`'s to say, what is found in them the verb's.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import click

from gateway.audit.entry import EntryError
from gateway.audit.filehead import FileHeadError
from gateway.audit.frame import FrameError
from gateway.audit.subject import Revealer
from gateway.cli.audit.sight import Sight
from gateway.cli.audit.span import when
from gateway.cli.audit.use import record_use
from gateway.exchange.stream import STREAMS
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.reader import FileReader, list_files
from gateway.policy.history.recorded import Recall, Recorded
from gateway.server.progress import Progress
from gateway.server.settings import Settings

WORTH_A_PROCESS_BYTES: Final = 48 << 20
"""Less is read before another process has begun."""
_EVERY: Final = 20_000
_BAR: Final = 24
Found = TypeVar("Found")
Found_co = TypeVar("Found_co", covariant=True)
Found_contra = TypeVar("Found_contra", contravariant=True)


class Collector(Protocol[Found_co]):
    """Looks at requests, one after the other."""

    def take(self, recorded: Recorded) -> None:
        """Look at one."""

    def drain(self) -> Found_co:
        """Return what was found since the last time, as plain values."""


class Job(Protocol[Found]):
    """What is looked for. It goes to other processes, so it holds plain values only."""

    def begin(self) -> Collector[Found]:
        """Prepare to look; once in each process."""

    def join(self, whole: Found, part: Found) -> Found:
        """Put together what was found in two parts of the log; `part` is the later one or from anywhere."""

    def summary(self, found: Found) -> str:
        """Say in a few words what was found so far, for whoever watches."""


@dataclass(slots=True)
class Tally:
    """What was read."""

    decided: int = 0
    """Requests that were looked at."""
    passed: dict[str, int] = field(default_factory=dict)
    """Records that were not, by why."""
    versions: dict[str, int] = field(default_factory=dict)
    """Requests by the policy of their time."""
    first: float = 0.0
    last: float = 0.0
    """Unix seconds of the first and the last request; 0 = there was none."""
    damages: list[str] = field(default_factory=list)

    def count(self, recorded: Recorded) -> None:
        """Count a request that was looked at."""
        self.decided += 1
        self.versions[recorded.version] = self.versions.get(recorded.version, 0) + 1
        if not self.first or recorded.time_s < self.first:
            self.first = recorded.time_s
        self.last = max(self.last, recorded.time_s)

    def add(self, other: Tally) -> None:
        """Add what was read elsewhere."""
        self.decided += other.decided
        for mine, theirs in ((self.passed, other.passed), (self.versions, other.versions)):
            for key, number in theirs.items():
                mine[key] = mine.get(key, 0) + number
        self.first = min((time_s for time_s in (self.first, other.first) if time_s), default=0.0)
        self.last = max(self.last, other.last)
        self.damages += other.damages

    def value(self) -> dict[str, Any]:
        """Write as JSON's words."""
        return {
            "requests": self.decided,
            "not_decided": dict(sorted(self.passed.items())),
            "policy_versions": dict(sorted(self.versions.items())),
            "first_time": moment(self.first),
            "last_time": moment(self.last),
            "unreadable": self.damages,
        }


@dataclass(frozen=True, slots=True)
class Span:
    """Which part of which log."""

    directory: Path
    settings: Settings
    keys: Path
    since_ms: int
    until_ms: int
    is_of_candidates: bool = False
    """What a candidate answered otherwise counts too, whatever refused it."""


class _File(NamedTuple):
    path: Path
    size: int
    tail: int
    """Where it ends by what the next one says."""


def span_options(default: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb `--since`, `--until`, `--log` and `--reason`."""

    def give(verb: Callable[..., None]) -> Callable[..., None]:
        for option in (
            click.option("--reason", "purpose", default="", help="Why you look; it is recorded."),
            click.option(
                "--log",
                "directory",
                type=click.Path(path_type=Path, file_okay=False, exists=True),
                help="A copy of the log files.  [default: those of the gateway]",
            ),
            click.option("--until", callback=when, help="A time, or a length of time before now."),
            click.option(
                "--since",
                callback=when,
                default=default,
                show_default=True,
                help="A time, or a length of time before now: 12h, 30d.",
            ),
        ):
            verb = option(verb)
        return verb

    return give


def span_of(
    settings: Settings, verb: str, *, since: float, until: float | None, directory: Path | None, purpose: str
) -> Span:
    """Settle what is read, and record that it is."""
    asked = {"since": moment(since)} | ({"until": moment(until)} if until is not None else {})
    asked |= {"log": str(directory)} if directory is not None else {}
    AuditKeys.load(settings.audit.keys)  # whoever cannot read learns it before the use is recorded
    record_use(settings, verb, asked, purpose)
    return Span(
        directory=directory or Layout(settings.state_dir).directory,
        settings=settings,
        keys=settings.audit.keys,
        since_ms=int(since * 1000),
        until_ms=int(until * 1000) if until is not None else sys.maxsize,
    )


def sift(span: Span, job: Job[Found], what: str) -> tuple[Found, Tally]:
    """Look through a span of the log, with a process for each core where there is enough to read.

    Returns what was found and what was read. Raises `UnreadableLogError`, `KeyringError`.
    """
    files = _files(span)
    total = max(1, sum(file.size for file in files))
    workers = min(len(files), len(os.sched_getaffinity(0)), max(1, total // WORTH_A_PROCESS_BYTES))
    tally, done = Tally(), 0
    found: Found | None = None
    with Progress(what) as progress:
        parts = _alone(span, job, files, progress, what) if workers <= 1 else _together(span, job, files, workers)
        for file, part, read in parts:
            tally.add(read)
            found = part if found is None else job.join(found, part)
            done += file.size
            progress(f"{bar(done / total)}  {what}: {tally.decided:,} requests, {job.summary(found)}")
    return (job.begin().drain() if found is None else found), tally


def _files(span: Span) -> list[_File]:
    """List the files that may hold the span; a log that was not begun holds nothing."""
    if not span.directory.exists():
        return []
    found = []
    for stream in STREAMS:
        files, _ = list_files(span.directory, stream)
        for index, file in enumerate(files):
            following = files[index + 1].head if index + 1 < len(files) else None
            ended = following is not None and following.created_ns // 1_000_000 < span.since_ms
            if not ended:
                tail = following.prev_tail if following else sys.maxsize
                found.append(_File(file.path, file.path.stat().st_size, tail))
    return found


def _alone(
    span: Span, job: Job[Found], files: list[_File], progress: Progress, what: str
) -> Iterator[tuple[_File, Found, Tally]]:
    worker = _Worker(span, job)
    try:
        for file in files:
            found, tally = worker.read(file, lambda count: progress(f"{bar(0)}  {what}: {count:,} records"))
            yield file, found, tally
    finally:
        worker.close()


def _together(span: Span, job: Job[Found], files: list[_File], workers: int) -> Iterator[tuple[_File, Found, Tally]]:
    # Spawned, not forked: the display of the progress is a thread, and so may be what libraries have running.
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (span, job)) as pool:
        pending = {pool.submit(_read, file): file for file in files}
        for future in as_completed(pending):
            found, tally = future.result()
            yield pending[future], found, tally


class _Worker:
    """Reads files, one after the other."""

    def __init__(self, span: Span, job: Job[Any]) -> None:
        self._span = span
        self._keys = AuditKeys.load(span.keys)
        self._sight = Sight(span.settings)
        self._revealer = Revealer(self._sight.keys)
        self._recall = Recall(is_of_candidates=span.is_of_candidates)
        self._collector = job.begin()

    def close(self) -> None:
        """Let go of the state, where a record needed it."""
        self._sight.close()

    def read(self, file: _File, watch: Callable[[int], None]) -> tuple[Any, Tally]:
        """Look at every request of one file."""
        tally, recall, collector = Tally(), self._recall, self._collector
        since_ms, until_ms = self._span.since_ms, self._span.until_ms
        reader = FileReader(file.path, self._keys)
        try:
            for count, stored in enumerate(reader.poll()):
                if not count % _EVERY:
                    watch(count)
                recorded = recall.read(self._revealer.payload(stored.entry.payload), since_ms, until_ms)
                if isinstance(recorded, str):
                    tally.passed[recorded] = tally.passed.get(recorded, 0) + 1
                elif recorded is not None:
                    tally.count(recorded)
                    collector.take(recorded)
        except (OSError, FileHeadError, FrameError, EntryError) as error:
            tally.damages.append(f"{file.path.name}: {error}")
        if reader.is_damaged and reader.offset < file.tail:
            tally.damages.append(f"{file.path.name}: not readable from byte {reader.offset} on")
        return collector.drain(), tally


_worker: _Worker | None = None
"""Of this process, where it is one that `sift` began."""


def _begin(span: Span, job: Job[Any]) -> None:
    global _worker  # noqa: PLW0603 - what a pool gives to the initializer and not to the call
    gc.disable()  # what a worker makes has no cycles, and looking for them is a third of its work
    _worker = _Worker(span, job)


def _read(file: _File) -> tuple[Any, Tally]:
    assert _worker is not None  # noqa: S101 - begun
    return _worker.read(file, lambda _: None)


def warn_of(tally: Tally) -> None:
    """Say on stderr what could not be read."""
    for damage in tally.damages:
        click.echo(f"warning: {damage}; run gateway audit verify", err=True)


def bar(share: float) -> str:
    """Draw a share, 0 to 1."""
    filled = round(_BAR * min(1.0, max(0.0, share)))
    return f"[{'#' * filled}{'.' * (_BAR - filled)}] {100 * share:3.0f} %"


def moment(time_s: float | None) -> str:
    """Write a time of the log, UTC; empty for none."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if time_s else ""


def told(tally: Tally) -> str:
    """Say what was read, in a line."""
    if not tally.decided:
        return "the log holds no request of that time that policy decided"
    left_out = sum(number for why, number in tally.passed.items() if why != "part of another")
    passed = f"; {_number(left_out, 'record')} that policy did not decide" if left_out else ""
    return f"{_number(tally.decided, 'request')} from {moment(tally.first)} to {moment(tally.last)}{passed}"


def _number(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Order by number, then by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))

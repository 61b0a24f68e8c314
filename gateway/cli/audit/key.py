"""`gateway audit key`: which keys sign and encrypt the audit log, without a secret.

It says what the key file holds and what the files of the log say they were made with; whether their signatures
hold is the business of `verify`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import click

from gateway.audit.filehead import FileHead
from gateway.cli.administration import answer, read_settings, table
from gateway.cli.audit.trust import known_logs
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.reader import list_files

ACTIVE: Final = "active"
UNKNOWN: Final = "unknown"
"""Files of the log name it, and it is not in the key file."""
_COLUMNS: Final = ("KIND", "STREAM", "KEY", "STATE", "SINCE", "FILES")


@click.group("key", short_help="Show the keys of the audit log.")
def key_group() -> None:
    """Show the keys that sign and encrypt the audit log."""


@key_group.command("list", short_help="List the keys: what for, since when, how many files need each.")
def list_keys() -> None:
    """List the key that signs each stream, with its verifier key for auditors, and the key that opens the files.

    A key that files of the log name and that the key file does not hold is shown as `unknown`, and the verb exits 1:
    these files do not open, or do not verify. So it does where a file does not say which keys it needs. Nothing secret is shown, so the use is not recorded.
    """
    settings = read_settings()
    keys = AuditKeys.load(settings.audit.keys)
    layout = Layout(settings.state_dir)
    unreadable: list[str] = []
    heads = {stream: _heads(layout, stream, unreadable) for stream in STREAMS}
    vkeys = known_logs(settings, keys)
    found: list[dict[str, Any]] = []
    for stream in STREAMS:
        signed = Counter(head.public for head in heads[stream])
        if stream in vkeys:
            vkey = vkeys[stream]
            found.append(
                {
                    "kind": "signing",
                    "stream": stream.value,
                    "id": vkey.key_id.hex(),
                    "vkey": str(vkey),
                    "state": ACTIVE,
                    "since": keys.created,
                    "files": signed.pop(keys.public, 0),
                }
            )
        signed.pop(keys.public, None)
        found += [_unknown("signing", public.hex(), files, stream) for public, files in sorted(signed.items())]
    wrapped = Counter(head.kek_id for of_stream in heads.values() for head in of_stream)
    found.append(
        {
            "kind": "encryption",
            "id": keys.kek_id.hex(),
            "state": ACTIVE,
            "since": keys.created,
            "files": wrapped.pop(keys.kek_id, 0),
        }
    )
    found += [_unknown("encryption", kek_id.hex(), files) for kek_id, files in sorted(wrapped.items())]
    has_each = all(key["state"] == ACTIVE for key in found)
    lines = [table(_COLUMNS, [_row(key) for key in found]), *(key["vkey"] for key in found if "vkey" in key)]
    if not vkeys:
        lines.append("No stream has begun yet: the verifier keys have the name of a log in them.")
    lines += [f"{name}: its head cannot be read; run gateway audit verify" for name in unreadable]
    if not has_each:
        lines.append(
            f"{settings.audit.keys} does not hold every key: restore it from the backup, or run gateway audit verify"
        )
    is_whole = has_each and not unreadable
    answer({"ok": is_whole, "origin": keys.origin, "keys": found, "unreadable": unreadable}, lines)
    if not is_whole:
        raise click.exceptions.Exit(1)


def _heads(layout: Layout, stream: Stream, unreadable: list[str]) -> list[FileHead]:
    """Return the heads of the files of a stream; files whose head cannot be read are named in `unreadable`."""
    if not layout.directory.exists():
        return []
    files, _ = list_files(layout.directory, stream)
    unreadable += [file.path.name for file in files if file.head is None]
    return [file.head for file in files if file.head is not None]


def _unknown(kind: str, uid: str, files: int, stream: Stream | None = None) -> dict[str, Any]:
    of_stream = {} if stream is None else {"stream": stream.value}
    return {"kind": kind, **of_stream, "id": uid, "state": UNKNOWN, "since": "", "files": files}


def _row(key: dict[str, Any]) -> tuple[str, ...]:
    return (
        key["kind"],
        key.get("stream", "all"),
        key["id"],
        key["state"],
        key["since"] or "-",
        str(key["files"]),
    )

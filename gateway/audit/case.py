"""A case: records taken out of the log together with everything that proves them, in one file for others.

Decides what is in such a file and how it is called; `case_judge` says whether it is what it says. It proves that
each record is in the log and unchanged, by the log's signed tree head; that the collection is the one that was made, by the
signature of its list. It does not prove that nothing was left out, nor that a record is true.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec
import orjson

SIGNATURE_CONTEXT: Final = b"gateway audit case v1\n"
VERSION: Final = 1
README: Final = "README.txt"
MANIFEST: Final = "manifest.json"
RECORDS: Final = "records.jsonl"
OPENED: Final = "opened.jsonl"
TABLE: Final = "records.csv"
KEY: Final = "log-key.pem"
SUMS: Final = "SHA256SUMS"
SIGNATURE: Final = "SHA256SUMS.sig"
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME: Final = 60


class CaseError(ValueError):
    """Not a case, or one of another version."""


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken from one stream."""

    stream: str
    origin: str
    vkey: str
    size: int
    """Entries in the tree that the proofs lead to."""
    records: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Who made the collection, when and why."""

    version: int = VERSION
    case: str
    made_at: str
    """UTC, RFC 3339."""
    made_by: str
    """The user of the operating system who ran the command."""
    reason: str
    gateway: str
    """Version of the program."""
    asked: dict[str, str]
    """What was searched for."""
    opened: bool
    """Some values were sealed under a person's key, and stand opened in `opened.jsonl`."""
    unreadable: tuple[str, ...] = ()
    """Files of the log that could not be read when the collection was made."""
    streams: tuple[Collected, ...]


def directory_name(case: str) -> str:
    """Return the directory that a case unpacks into: its name, as far as a file may be called so."""
    return "case-" + (_UNFIT.sub("-", case).strip("-._")[:_LONGEST_NAME] or "unnamed")


def proof_name(stream: str, index: int) -> str:
    """Return where the proof of a record stands."""
    return f"proofs/{stream}/{index}.tlog-proof"


def policy_name(stream: str) -> str:
    """Return where the trust policy of a stream stands."""
    return f"policy/{stream}.policy"


def vkey_name(stream: str) -> str:
    """Return where the verifier key of a stream's log stands."""
    return f"keys/{stream}.vkey"


def checkpoint_name(stream: str) -> str:
    """Return where the signed tree head of a stream stands."""
    return f"checkpoints/{stream}"


def record_line(stream: str, origin: str, index: int, taken_in_ns: int, record: Mapping[str, Any]) -> bytes:
    """Return one line of `records.jsonl` or `opened.jsonl`."""
    made = {"index": index, "origin": origin, "record": record, "stream": stream, "taken_in_ns": taken_in_ns}
    return orjson.dumps(made, option=orjson.OPT_SORT_KEYS) + b"\n"


def list_sums(files: Mapping[str, bytes]) -> bytes:
    """Return the list of files with their SHA-256, as `sha256sum -c` reads it."""
    return "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())).encode()


def stored_record(payload: bytes) -> dict[str, Any]:
    """Return the record as it stands in a case; bytes that are no JSON object as text."""
    try:
        read = orjson.loads(payload)
    except orjson.JSONDecodeError:
        read = None
    return read if isinstance(read, dict) else {"raw": payload.decode("utf-8", "backslashreplace")}

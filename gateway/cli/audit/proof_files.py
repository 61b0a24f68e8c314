"""`gateway audit query --with-proofs`: a proof of each record that is shown, for whoever will not take a screen's word."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from gateway.audit.merkle import ProofError
from gateway.audit.tlog_proof import SUFFIX
from gateway.cli.administration import refuse
from gateway.exchange.errors import ConfigurationError
from gateway.exchange.stream import Stream
from gateway.ledger.case_file import head_covering, prove
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.search import Found


def make_place(path: Path) -> None:
    """Make the directory, which only its owner reads; nothing is ever written over. Raises `click.UsageError`."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        raise click.UsageError(f"{path} exists; name a new directory") from None
    except OSError as exc:
        raise click.UsageError(f"{path}: {os.strerror(exc.errno or 0).lower()}") from exc


def write_proofs(
    path: Path, layout: Layout, keys: AuditKeys, found: Sequence[Found], progress: Callable[[int, int], None]
) -> int:
    """Write `STREAM-INDEX.tlog-proof` for each record; returns how many. Raises `ConfigurationError`, `SpoolError`."""
    written = 0
    for stream in Stream:
        indexes = sorted({each.index for each in found if each.stream is stream})
        if not indexes:
            continue
        try:
            head = head_covering(layout, keys, stream, indexes[-1])
            files = prove(layout, keys, stream, indexes, head, progress=progress)
        except ProofError as error:
            refuse(f"cannot be proven: {error}")
        for name, proof in files.items():
            place = path / f"{stream}-{Path(name).name.removesuffix(SUFFIX)}{SUFFIX}"
            try:
                place.touch(mode=0o600)  # it holds the record
                place.write_bytes(proof)
            except OSError as error:
                raise ConfigurationError((f"{place}: {os.strerror(error.errno or 0).lower()}",)) from error
            written += 1
    return written

"""`gateway privacy export`: everything that is recorded about a person, for that person (Art. 15 and 20).

What others did stands in it with date, purpose and legal basis; staff by their roles, and by name only where somebody approved
that (C-579/21). What belongs to other people is left out (Art. 15(4)).
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from gateway.audit.merkle import ProofError, hash_leaf
from gateway.audit.subject import reveal, tokens_in
from gateway.audit.tlog_proof import TlogProof
from gateway.audit.verdict import moment
from gateway.cli.administration import answer, refuse
from gateway.cli.policy.reading import count
from gateway.cli.privacy.disclosure import COLUMNS, disclosed
from gateway.cli.privacy.subject import Request, also_at, names_somebody, request
from gateway.exchange.stream import STREAMS
from gateway.exchange.subject import SubjectKey
from gateway.ledger.case_file import head_covering, prove
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.search import Filters, Search, Somebody
from gateway.ledger.spool import SpoolError
from gateway.server.progress import Progress

_WHERE_PROOFS_ARE: Final = "A table holds no proofs: gateway audit prove --stream STREAM --index INDEX makes that of a row, --format json writes all."
_OTHERS: Final = "(another person)"
_TIMES: Final = frozenset(
    [
        "at",
        "created",
        "expires",
        "last_sign_in",
        "last_used",
        "noticed",
        "password_changed",
        "remembered_until",
        "seen",
        "since",
        "used",
    ]
)


@click.command()
@names_somebody
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="File to write; never one that exists."
)
@click.option("--format", "form", type=click.Choice(["json", "csv"]), default="json", show_default=True)
@click.option("--with-names", is_flag=True, help="Name members of staff; needs --approver.")
@click.option("--approver", default="", help="Who weighed the rights of the staff against those of the person.")
def export(*, subject: str, tenant: str, reason: str, output: Path, form: str, with_names: bool, approver: str) -> None:
    """Write what the state holds about a person, what they did, and who looked at their data when, why and on what ground."""
    if with_names and not approver.strip():
        refuse("--with-names needs --approver: whoever weighed the rights of the members of staff (C-579/21)")
    with request(subject, tenant, reason) as asked:
        asked.record("privacy.exported", "export", format=form, with_names=with_names, approver=approver)
        damages: list[str] = []
        with Progress("searching the audit log"):
            records = list(_records(asked, with_names=with_names, damages=damages))
        held = _dated(asked.data.tell(asked.person, now=asked.act.now))
        requests = _requests(records)
        elsewhere = asked.data.elsewhere(asked.person)
        if form == "json":
            with Progress("proving what was found"):
                heads = _prove(asked, records, damages)
            value = {
                "subject": {"id": asked.person.id, "tenant": tenant},
                "made": _date(asked.act.now),
                "held": held,
                "requests": requests,
                "records": records,
                "heads": heads,
                "incomplete": damages,
            }
            text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
        else:
            text = _csv(held, records, damages)
    _write(output, text)
    own, of_others = requests["own"], requests["of_others"]
    answer(
        {
            "ok": True,
            "file": str(output),
            "records": len(records),
            **requests,
            "elsewhere": elsewhere,
            "damages": damages,
        },
        [
            f"Wrote {output}: {count(own, 'act')} of the person and {of_others} of others that concern them.",
            "It is readable by its owner alone; give it to nobody but the person.",
            *([_WHERE_PROOFS_ARE] if form == "csv" else []),
            *also_at(elsewhere),
            *(f"warning: {damage}; run gateway audit verify" for damage in damages),
        ],
    )


def _requests(records: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count requests, of which one may have several records, and what was recorded of no request."""
    found: dict[object, bool] = {}
    for record in records:
        key = record["request"] or (record["stream"], record["index"])
        found[key] = found.get(key, False) or record["kind"] == "own"
    own = sum(found.values())
    return {"own": own, "of_others": len(found) - own}


def _records(asked: Request, *, with_names: bool, damages: list[str]) -> Iterator[dict[str, Any]]:
    settings, person = asked.act.settings, asked.person
    own = {stored.token.hex(): stored.subject for stored in asked.keys}
    everybody = asked.act.store.subjects.finder(now=asked.act.now)

    def keys(token: str) -> SubjectKey | str:
        return own.get(token, _OTHERS)

    search = Search(settings.state_dir, AuditKeys.load(settings.audit.keys), on_damage=damages.append)
    somebody = Somebody(names=person.names, tokens=frozenset(own))
    for found in search.find(Filters(person=somebody)):
        sealed = not own.keys().isdisjoint(tokens_in(found.record))
        if not sealed and _tenant(found.record) not in {"", person.tenant}:
            continue  # attack: somebody of another organisation goes by the same id, in records that name people in clear
        shown = reveal(found.record, keys)
        staff = reveal(found.record, everybody) if with_names else {}
        place = {"stream": found.stream.value, "index": found.index}
        yield place | disclosed(shown, staff, names=person.names, others=_OTHERS)


def _prove(asked: Request, records: list[dict[str, Any]], damages: list[str]) -> dict[str, str]:
    """Add to each record what proves that it is in the log, and return the signed tree heads that the proofs lead to.

    The stored record is not told, since it holds what is others': its hash is. The record with that hash is shown by whoever keeps the log.
    """
    settings, heads = asked.act.settings, {}
    layout, keys = Layout(settings.state_dir), AuditKeys.load(settings.audit.keys)
    for stream in STREAMS:
        its = {record["index"]: record for record in records if record["stream"] == stream}
        if not its:
            continue
        try:
            head = head_covering(layout, keys, stream, max(its))
            proofs = prove(layout, keys, stream, sorted(its), head)
        except (ProofError, SpoolError) as error:
            damages.append(f"{stream} could not be proven: {error}")
            continue
        heads[stream.value] = head.note.decode()
        for file in proofs.values():
            proof = TlogProof.parse(file)
            its[proof.index]["proof"] = {
                "leaf": b64encode(hash_leaf(proof.extra)).decode(),
                "path": [b64encode(node).decode() for node in proof.hashes],
            }
    return heads


def _tenant(read: Mapping[str, Any]) -> object:
    metadata = read.get("metadata")
    return metadata.get("tenant_uid", "") if isinstance(metadata, dict) else ""


def _csv(held: Mapping[str, Any], records: Sequence[Mapping[str, Any]], damages: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["kind", *COLUMNS])
    for name, value in held.items():
        for one in value if isinstance(value, list) else [value]:
            if one:
                writer.writerow(["held", "", name, _plain(json.dumps(one, ensure_ascii=False))])
    for record in records:
        writer.writerow([record["kind"], *(_plain(record.get(column, "")) for column in COLUMNS)])
    writer.writerows(["incomplete", "", _plain(damage)] for damage in damages)
    return text.getvalue()


def _dated(held: Mapping[str, Any]) -> dict[str, Any]:
    """Write every time as people read it: a letter has to be intelligible (Art. 12(1))."""
    dated: dict[str, Any] = {}
    for name, value in held.items():
        if name in _TIMES and isinstance(value, float | int):
            dated[name] = _date(value)
        elif isinstance(value, list):
            dated[name] = [_dated(one) if isinstance(one, dict) else one for one in value]
        else:  # what a provider said stands as it said it
            dated[name] = _dated(value) if isinstance(value, dict) and name != "claims" else value
    return dated


def _date(time_s: float) -> str:
    return moment(int(time_s * 1_000_000_000)) if math.isfinite(time_s) else ""


def _plain(value: object) -> str:
    """Return a cell that no spreadsheet takes for a formula (attack: CSV injection by whoever names themselves)."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


def _write(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        refuse(f"{path}: exists already")
    except OSError as error:
        refuse(f"{path}: cannot be written: {error.strerror}")
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)

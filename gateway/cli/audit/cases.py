"""What `gateway audit verify` says of cases: archives that `gateway audit export --sign` made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.audit.case import CaseError
from gateway.audit.case_judge import CaseVerdict, judge_case
from gateway.audit.checkpoint import Vkey
from gateway.audit.trust import TrustPolicy
from gateway.audit.verdict import INCOMPLETE, INTACT, POLICY_NOT_MET, TAMPERED
from gateway.cli.audit.showing import plain
from gateway.cli.invocation import current
from gateway.exchange.errors import ConfigurationError
from gateway.ledger.case_file import read_case

_WORST_LAST: Final = (INTACT, INCOMPLETE, POLICY_NOT_MET, TAMPERED)


def judge_cases(paths: Sequence[Path], *, vkeys: Sequence[Vkey], policies: Sequence[TrustPolicy]) -> int:
    """Check each case, say what it proves, and return the worst exit code. Raises `ConfigurationError`: one cannot be read."""
    lines: list[str] = []
    values: list[dict[str, Any]] = []
    verdicts: list[CaseVerdict] = []
    for path in paths:
        try:
            verdict = judge_case(read_case(path), vkeys=vkeys, policies=policies)
        except OSError as error:
            raise ConfigurationError((f"{path}: cannot be read: {(error.strerror or '').lower()}",)) from error
        except CaseError as error:
            raise ConfigurationError((plain(f"{path}: {error}"),)) from error
        verdicts.append(verdict)
        values.append(_value(path, verdict))
        lines += [*(plain(str(finding)) for finding in verdict.findings), plain(f"{path.name}: {verdict.sentence()}")]
    code = max((verdict.exit_code for verdict in verdicts), key=_WORST_LAST.index)
    current().answer({"ok": code == 0, "exit_code": code, "cases": values}, "\n".join(lines))
    return code


def _value(path: Path, verdict: CaseVerdict) -> dict[str, Any]:
    return {
        "file": str(path),
        "exit_code": verdict.exit_code,
        "verdict": verdict.sentence(),
        "manifest": None if verdict.manifest is None else msgspec.to_builtins(verdict.manifest),
        "proven_records": verdict.records,
        "witnesses": list(verdict.witnesses),
        "findings": [
            {"kind": each.kind.value, "file": each.file, "message": each.message} for each in verdict.findings
        ],
    }

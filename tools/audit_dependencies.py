"""Ask the advisory services about the locked dependencies, and never mistake silence for "nothing found".

`pip-audit` prints "No known vulnerabilities found" and exits 0 when it could not look anything up, so this
script reads its JSON and decides for itself. It fixes nothing and it installs nothing.

Exit 0: every dependency was checked and none has a known vulnerability. Exit 1: one has, or some could not be
checked while others were. Exit 3: the advisory services could not be reached, nothing is known.
"""

from __future__ import annotations

import json
import subprocess
import sys
from enum import IntEnum
from typing import Any, NamedTuple

SERVICES = ("pypi", "osv")
TIMEOUT_S = 300


class Verdict(IntEnum):
    """What is known about the dependencies; the value is the exit status."""

    CLEAN = 0
    FAILED = 1
    NOT_CHECKED = 3


class Finding(NamedTuple):
    """One known vulnerability, or one dependency the service said nothing about."""

    dependency: str
    text: str


class Report(NamedTuple):
    """The verdict of one service over all dependencies."""

    verdict: Verdict
    checked: int
    findings: tuple[Finding, ...]


def judge(answer: str) -> Report:
    """Decide about pip-audit's JSON `answer`.

    A vulnerability always fails. Dependencies that were skipped fail too (as `--strict` has it), except
    when every one was: then nothing was checked. An empty or unreadable answer is "not checked".
    """
    try:
        dependencies: list[dict[str, Any]] = json.loads(answer)["dependencies"]
        vulnerable = [
            Finding(
                f"{entry['name']} {entry['version']}",
                f"{found['id']}, fixed in {', '.join(found['fix_versions']) or 'no release'}",
            )
            for entry in dependencies
            if "skip_reason" not in entry
            for found in entry["vulns"]
        ]
        skipped = [Finding(entry["name"], entry["skip_reason"]) for entry in dependencies if "skip_reason" in entry]
    except (ValueError, KeyError, TypeError):
        return Report(Verdict.NOT_CHECKED, 0, (Finding("all", "pip-audit gave no readable answer"),))
    checked = len(dependencies) - len(skipped)
    if vulnerable:
        return Report(Verdict.FAILED, checked, (*vulnerable, *skipped))
    if not checked:
        return Report(Verdict.NOT_CHECKED, 0, tuple(skipped))
    return Report(Verdict.FAILED if skipped else Verdict.CLEAN, checked, tuple(skipped))


def ask(service: str, requirements: str) -> str:
    """Run pip-audit over a hashed `requirements` file; its JSON, or nothing when it gave none in time."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--strict",
        "--disable-pip",
        "--require-hashes",
        "--progress-spinner",
        "off",
    ]
    command += ["--vulnerability-service", service, "--format", "json", "--requirement", requirements]
    try:
        # --strict stops at the first dependency it cannot check, so a second run without it tells how many there are.
        for arguments in (command, [word for word in command if word != "--strict"]):
            done = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603 - our own arguments
            if done.stdout.strip():
                return done.stdout
    except subprocess.TimeoutExpired:
        pass
    return ""


def _say(line: str) -> None:
    sys.stdout.write(f"audit-deps: {line}\n")


def main(arguments: list[str]) -> int:
    """Audit the requirements file named by the one argument; print what is known and return the exit status."""
    (requirements,) = arguments
    report = Report(Verdict.NOT_CHECKED, 0, ())
    for service in SERVICES:
        report = judge(ask(service, requirements))
        if report.verdict is not Verdict.NOT_CHECKED:
            break
        _say(f"{service}: {report.findings[0].text}" if report.findings else f"{service}: no answer")
    for finding in report.findings if report.verdict is Verdict.FAILED else ():
        _say(f"{finding.dependency}: {finding.text}")
    match report.verdict:
        case Verdict.CLEAN:
            _say(f"{report.checked} dependencies checked, no known vulnerability")
        case Verdict.FAILED:
            _say(f"FAILED: {report.checked} dependencies checked, {len(report.findings)} findings")
        case Verdict.NOT_CHECKED:
            _say("*" * 66)
            _say("NOT CHECKED: advisory service unreachable. This is not a clean result:")
            _say("nothing is known about vulnerabilities of the dependencies.")
            _say("*" * 66)
    return report.verdict


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What the inspection engine makes of the public corpora: caught and stopped, by class, tier and paranoia.

    python -m tests.bench.inspection_corpus [--class sqli] [--tier core] [--paranoia 1] [--misses] [--stopped]

A request counts as caught when its head or its body is blocked, when its body is unreadable, and when the wire layer
refuses its target.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.exchange.reason import Reason
from gateway.inspection.bodies import BodyTooComplexError, BodyUnreadableError, Limits
from gateway.inspection.engine import Inspection, RequestLine
from gateway.inspection.mechanisms import MECHANISMS
from gateway.inspection.readings import SIGNS
from gateway.inspection.rules import Rule, Rules, known_signs, read_rules
from gateway.inspection.tuning import Mode, Settings, Tuning, tuned
from gateway.inspection.verdict import Verdict
from gateway.wire.authority import Authority
from gateway.wire.target import parse_target
from tests.bench.inspection_lines import line_samples
from tests.bench.inspection_portal import portal_samples
from tests.bench.inspection_sample import Sample

ROOT = Path(__file__).resolve().parents[2]
CORPORA = ROOT.parent / "shared" / "corpora"
RULES = ROOT / "config" / "inspection" / "rules"
ATTACKS = "waf_attacks.jsonl"
BENIGN = "waf_benign.jsonl"
NOW = 1_700_000_000.0
HOST = Authority("portal.example", None, "portal.example")


def samples(path: Path) -> Iterator[Sample]:
    """Read a corpus."""
    for text in path.read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(text)
        request = row["request"]
        target = request["target"].encode("utf-8", "surrogateescape")
        parsed = parse_target(target, HOST)
        path_text = target.partition(b"?")[0].decode("latin-1") if isinstance(parsed, Reason) else parsed.path
        fields = tuple((name.encode("latin-1"), value.encode("utf-8")) for name, value in request["headers"])
        types = [value for name, value in fields if name.lower() == b"content-type"]
        if "body_b64" in request:
            body = base64.b64decode(request["body_b64"])
        else:
            body = request.get("body", "").encode("utf-8")
        yield Sample(
            row["id"],
            row["class"],
            row["tier"],
            row["place"],
            row["payload"],
            RequestLine(request["method"], target, path_text),
            fields,
            types[0] if types else b"",
            body,
            parsed.value if isinstance(parsed, Reason) else "",
        )


def rules_of_the_house(*, is_complete: bool = True) -> Rules:
    """Read the rules that ship; a sign that none of them names yet counts 5 at paranoia 1 unless they must be complete."""
    signs = known_signs(MECHANISMS) | SIGNS
    files = {str(path): path.read_text() for path in sorted(RULES.glob("*.yaml"))}
    named = set() if is_complete else {sign for text in files.values() for sign in re.findall(r" sign: (\S+)", text)}
    rules = read_rules(files, signs.keys() | named)
    missing = signs.keys() - rules.by_sign.keys()
    if missing and is_complete:
        raise SystemExit(f"no rule goes by {', '.join(sorted(missing))}")
    unnamed = {sign: Rule(f"unnamed-{sign}", "protocol", signs[sign], 5, 1, sign) for sign in missing}
    if unnamed:
        print("signs without a rule, taken for 5 at paranoia 1:", ", ".join(sorted(unnamed)), file=sys.stderr)
    by_id = {**rules.by_id, **{rule.id: rule for rule in unnamed.values()}}
    return Rules(by_id, {**rules.by_sign, **unnamed}, rules.patterns)


def judge(engine: Inspection, tuning: Tuning, sample: Sample) -> tuple[Verdict, str]:
    """Judge one request; the text says why its body was refused, or nothing."""
    verdict = engine.judge_head(sample.line, sample.fields, tuning, now=NOW)
    if sample.refused:
        return verdict, sample.refused
    try:
        body = engine.judge_body(sample.line, sample.content_type, sample.body, tuning, limits=Limits(), now=NOW)
    except (BodyUnreadableError, BodyTooComplexError) as error:
        return verdict, str(error)
    return verdict.merge(body), ""


def main() -> None:
    """Print a table, and what was asked for below it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--class", dest="attack", action="append", help="one class of the corpus; may be repeated")
    parser.add_argument("--tier", action="append")
    parser.add_argument("--paranoia", type=int, default=1)
    parser.add_argument("--threshold", type=int, default=5)
    parser.add_argument("--misses", action="store_true", help="list attacks that pass")
    parser.add_argument("--stopped", action="store_true", help="list benign requests that do not")
    parser.add_argument("--rules", action="store_true", help="count what each rule caught and stopped")
    parser.add_argument("--corpus", type=Path, default=CORPORA)
    parser.add_argument("--portal", action="store_true", help="the project's own texts of portals instead")
    parser.add_argument("--lines", action="store_true", help="the requests that are written one a line instead")
    chosen = parser.parse_args()
    rules = rules_of_the_house(is_complete=False)
    engine = Inspection(rules)
    tuning = tuned(Settings(mode=Mode.BLOCK, paranoia=chosen.paranoia, threshold=chosen.threshold), rules)
    for name, is_attack in ((ATTACKS, True), (BENIGN, False)):
        counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        by_rule: Counter[str] = Counter()
        alone: Counter[str] = Counter()
        listed: list[str] = []
        if chosen.lines:
            chosen_samples = line_samples("hostile" if is_attack else "honest")
        elif chosen.portal:
            chosen_samples = portal_samples(Path(name).stem.removeprefix("waf_"))
        else:
            chosen_samples = samples(chosen.corpus / name)
        for sample in chosen_samples:
            if is_attack and chosen.attack and sample.attack not in chosen.attack:
                continue
            if chosen.tier and is_attack and sample.tier not in chosen.tier:
                continue
            verdict, refused = judge(engine, tuning, sample)
            stopped = verdict.is_blocked or bool(refused)
            counts[sample.attack, sample.tier]["all"] += 1
            counts[sample.attack, sample.tier]["stopped"] += stopped
            counts["", sample.tier]["all"] += 1
            counts["", sample.tier]["stopped"] += stopped
            counts["", sample.tier]["refused"] += bool(refused)
            found = {finding.rule for finding in verdict.findings}
            by_rule.update(found)
            alone.update(found if len(found) == 1 else ())
            if (chosen.misses and is_attack and not stopped) or (chosen.stopped and not is_attack and stopped):
                told = ", ".join(f"{f.rule}={f.score} {f.position} [{f.reading}]" for f in verdict.findings)
                about = f"{sample.tier} {sample.attack} {sample.id} {sample.place}"
                listed.append(f"  {about}: {sample.payload!r:.300} {{{told}{refused}}}")
        print(f"{name} at paranoia {chosen.paranoia}")
        for (attack, tier), count in sorted(counts.items()):
            share = 100 * count["stopped"] / count["all"]
            refusals = f", {count['refused']} of them refused" if count["refused"] else ""
            print(f"  {attack or 'ALL':22} {tier:9} {count['stopped']:5} of {count['all']:5}  {share:5.1f} %{refusals}")
        if chosen.rules:
            for rule, times in by_rule.most_common():
                print(f"    {rule:40} {times:5}, alone {alone[rule]}")
        print("\n".join(listed))


if __name__ == "__main__":
    main()

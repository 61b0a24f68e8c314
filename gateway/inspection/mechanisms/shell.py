r"""Command injection: what `sh`, `cmd.exe` or PowerShell would run if the value reached their command line.

CWE-78 and CWE-88, ASVS 5.0 1.2.5. A command counts where a shell looks for one; a homonym of a common word counts only with an
argument that nothing but a command has. Commands that people show each other, in Markdown or after "I ran", are one weak sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import re2

from gateway.inspection.finding import Position
from gateway.inspection.needles import Needles
from gateway.inspection.prose import PROSE_POSITIONS, CodeSpans, is_plain_word, is_running
from gateway.inspection.shell.commands import CMDLETS, HOMONYMS, KNOWN, SUBCOMMANDS, TERSE
from gateway.inspection.shell.lexer import LONGEST_COMMAND, Command, read_command
from gateway.inspection.shell.places import (
    Kind,
    Place,
    is_clean_prefix,
    is_quoted_pipeline,
    is_value_prefix,
    places,
)
from gateway.inspection.shell.weight import Weight, glob_target, says_more, weigh
from gateway.inspection.sign import Sign

CLASS: Final = "command"

SIGNS: Final[Mapping[str, str]] = {
    "shell.command": "A shell would run a command that follows a separator in the value.",
    "shell.substitution": "A shell would run a command that the value substitutes: $(...), backticks or <(...).",
    "shell.command_line": "The whole value is a command line that reads, fetches, runs or hides something.",
    "shell.pattern": "A pattern of file names stands for a program or a secret file.",
    "shell.field_separator": "$IFS separates words, as only somebody does who may not write a space.",
    "shell.shellshock": "A function definition that old bash runs from its environment (CVE-2014-6271).",
    "shell.reverse_shell": "A shell is connected to the network or to a named pipe.",
    "shell.powershell": "PowerShell would fetch or run what the value names.",
    "shell.batch": "Control flow of cmd.exe.",
    "shell.option": "An option makes the called program run another one (argument injection).",
    "shell.fork_bomb": "A function that calls itself twice.",
    "shell.quoted": "A command line that somebody may merely be showing: in Markdown, after other commands, or in a sentence.",
    "shell.bare_word": "After a separator stands one word that is a command as well.",
    "shell.unknown_substitution": "A shell would substitute the output of something that is no known command.",
}

_TRIGGERS: Final = frozenset(";|&\n\r`$<>\\'\"{/^%*?[(=-")
_ANYWHERE: Final = (
    (
        "shell.reverse_shell",
        ("/dev/tcp", "/dev/udp", "mkfifo", ">&", "<&", " -e", "sh -i"),
        re.compile(
            r"(?i)/dev/(?:tcp|udp)/[\w.$-]|\b(?:ba|da|z|k)?sh\s+-i\b\s*[<>0-9&|]|\bmkfifo\s+/|\b(?:nc|ncat|netcat)(?:\.\w+)?\s[^\n|;&]{0,100}-[a-z]*e\s*(?:/bin/|cmd|sh\b|bash|powershell)|\b0<&196|\bexec\s+\d+<>/dev"
        ),
    ),
    (
        "shell.shellshock",
        ("() {", "(){"),
        re.compile(r"^\W{0,3}\(\)\s{0,4}\{|\(\)\s{0,4}\{\s{0,4}(?::|_|\w{1,16})?\s{0,4};\s{0,4}\}\s{0,4};"),
    ),
    (
        "shell.field_separator",
        ("ifs",),
        re.compile(r"(?<=[\w)'\"}/\\.-])\$\{?IFS\b|\$\{?IFS\b\}?(?:\$[0-9@*]|[/\\\w'\"-])|\bIFS=[,_;:+]"),
    ),
    (
        "shell.powershell",
        (
            "powershell",
            "invoke-",
            "downloadstring",
            "downloadfile",
            "webclient",
            "iex",
            "frombase64string",
            "diagnostics.process",
        ),
        re.compile(
            r"(?i)\b(?:powershell|pwsh)(?:\.exe)?\b[^\n]{0,200}?\s-(?:e|en|enc|ec|encodedcommand|nop|noprofile|w|windowstyle|ep|exec|executionpolicy|c|command|noni)\b"
            r"|\bnew-object\s+(?:system\.)?net\.(?:webclient|sockets)|\.download(?:string|file|data)\s*\(|\biex\s*\(|\biex\s+[\"'$]|\[(?:system\.)?(?:diagnostics\.process|convert|reflection\.assembly)\]::(?:start|frombase64string|load)"
            r"|\b(?:invoke-expression|iex|invoke-command)\b\s*(?:-|\(|\$|&|\{|\")"
        ),
    ),
    (
        "shell.batch",
        (
            "for /",
            'if "',
            "if %",
            "if not ",
            "if /i",
            "if defined",
            "if exist",
            "if errorlevel",
            "%comspec%",
            "%systemroot%",
            ":~",
        ),
        re.compile(
            r"(?i)\bfor\s+/[flrd]\b[^\n]{0,200}\bin\s*\([^\n]{0,200}\)\s*do\b|\bif\s+(?:/i\s+|not\s+)*(?:[\"%]\S{1,64}\s*(?:==|\s(?:equ|neq|lss|leq|gtr|geq)\s)|(?:defined|exist|errorlevel)\s+\S+\s*\()|%(?:comspec|systemroot|programfiles|path|os)(?::~-?\d+,-?\d+)?%\s*(?:/[ck]|\\system32)|%\w{1,32}:~-?\d{1,3},-?\d{1,3}%"
        ),
    ),
    (
        "shell.option",
        (
            "-oproxycommand",
            "--upload-pack",
            "--receive-pack",
            "--checkpoint-action",
            "--use-compress-program",
            "--to-command",
            "--exec",
            "-wrapper",
            "--unzip-command",
            "-ooutputfile",
        ),
        re.compile(
            r"(?i)(?:^|[\s'\"=;,&|])-o\s?(?:ProxyCommand|LocalCommand|PermitLocalCommand)\s?=|--(?:upload-pack|receive-pack|checkpoint-action|use-compress-program|to-command|unzip-command|exec)[ =][^\n]{0,128}[`$(/'\";|]|--checkpoint-action=exec|-wrapper\s+\w*sh,"
        ),
    ),
    (
        "shell.command",
        ("=",),
        re.compile(
            r"(?:^|[;&|\n])\s{0,4}([A-Za-z_]\w{0,15})=[^;&|\n\s]{1,64}(?:;|&&|\n)[^\n]{0,256}(?<=[;&|\n\s])\$\{?\1\b"
        ),
    ),
    (
        "shell.fork_bomb",
        ("|",),
        re.compile(
            r"(?:^|[;\s])([\w:.]{1,32})\s?\(\)\s?\{\s?(?:\1\s?(?:\(\))?\s?[|&]\s?\1\s?(?:\(\))?\s?&?)\s?;?\s?\}\s?;?\s?\1"
        ),
    ),
)
_FILE_LIKE: Final = frozenset({Position.PATH, Position.FILE_NAME})
_GLUE: Final = frozenset(";|&=/.,:'\"$@-")
_SEPARATORS: Final = ("\n", ";", "|", "&")
_ARITHMETIC: Final = re.compile(r"\$\(\([\s\d+*/%()<>-]{1,64}\)\)")
_UNKNOWN: Final = re.compile(r"\$\([a-z][\w./-]{1,64}(?:\s[^()\n]{0,200})?\)|(?<!\w)[<>]\([a-z][\w ./-]{1,64}\)")
_CLOSERS: Final = re.compile(r"""[\s;|&'"`)\]}#%\x00]*(?:(?:#|--|//|/\*|::)[^\n]*)?\s*""")
_FLOOR: Final = 64
"""What is read of each command once a text has used up what its length allows."""


_MARKS_ANYWHERE: Final = [needle for _, needles, _ in _ANYWHERE for needle in needles if needle not in ("|", "=")]
_SHY: Final = (HOMONYMS - TERSE - CMDLETS - SUBCOMMANDS.keys() - {"echo", "print", "time", "then", "do", "exec"}) | {
    "if",
    "while",
    "until",
}
"""Common words, which need something behind them that is no word."""


def _gate() -> Any:
    """Compile what a text has that may hold a command: a mark with a known name or with noise behind it, or a substitution."""
    options = re2.Options()
    options.log_errors = False
    bold = "|".join(re2.escape(name) for name in sorted(KNOWN - _SHY))
    shy = "|".join(re2.escape(name) for name in sorted(_SHY))
    return re2.compile(
        r"[;|&\n\r`][\s;|&]*(?:"
        rf"(?:{bold})(?:[^a-z0-9_]|$)"
        rf"|(?:{shy})(?:[^a-z0-9_\s.,:!?]|\s*(?:[;|&'\"`)\]}}#<>]|$)|\s+[a-z]*(?:[^a-z\s,.!?:]|\.[a-z0-9]|:[\\/]))"
        r"|['\"\\$/.{(^@%!~*?\[<>][^\s;|&])|[$<>]\(|\$\(?\{?ifs|\(\)\s?\{|"
        + "|".join(re2.escape(needle) for needle in _MARKS_ANYWHERE),
        options,
    ).search


_GATE: Final = _gate()
_WORDS: Final = Needles(_MARKS_ANYWHERE)
_NOISE: Final = str.maketrans("", "", "'\"\\^")
_PUZZLES: Final = frozenset("${%")
_WILDCARDS: Final = frozenset("?*[")


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether a command may stand behind a mark, or the first word is one."""
    if _begins_with_command(lowered):
        return True
    return not _TRIGGERS.isdisjoint(specials) and _GATE(lowered) is not None


def _begins_with_command(text: str) -> bool:
    """Say whether the first word is a command, once what a shell drops is left out, or may stand for one."""
    first = text.split(None, 1)[:1]
    if not first:
        return False
    word = first[0][:_FLOOR].translate(_NOISE).rstrip(";|&)").lower()
    if "/" in word:
        return (
            word.rpartition("/")[2] in KNOWN or (word[0] in "/[?*" and not _WILDCARDS.isdisjoint(word)) or "$" in word
        )
    return word in KNOWN or not _PUZZLES.isdisjoint(word)


def signs(text: str, position: Position) -> Iterator[Sign]:
    """Find what a shell would run; of weak signs at most one, for they all say the same."""
    lowered = text.lower()
    spans = CodeSpans(text, position)
    weak: Sign | None = None
    for name, needles, pattern in _ANYWHERE if _WORDS.are_in(lowered) or "|" in text or "=" in text else ():
        if any(needle in lowered for needle in needles):
            match = pattern.search(text)
            if match is None:
                continue
            if match.start() in spans:
                weak = Sign("shell.quoted", match.start(), match.end())
            else:
                yield Sign(name, match.start(), match.end())
    allowance = 4 * len(text) + LONGEST_COMMAND
    is_reported = False
    is_chain = False
    for place in places(text):
        if place.kind is Kind.BEGINNING and not _begins_with_command(text):
            continue
        command = read_command(text, place.command, LONGEST_COMMAND if allowance > 0 else _FLOOR)
        allowance -= command.end - place.command
        if not command.words:
            continue
        weight, is_sentence = weigh(command)
        if weight is Weight.NONE:
            continue
        is_clean = is_chain or position not in PROSE_POSITIONS or is_clean_prefix(text, place.start)
        found = _judge(
            text,
            position,
            spans,
            place,
            command=command,
            weight=weight,
            is_sentence=is_sentence,
            is_clean=is_clean,
        )
        # What follows an injected command in a pipeline is injected as well, whatever stands before it.
        is_chain = is_chain or (is_clean and place.kind is Kind.SEPARATOR and weight >= Weight.WORD)
        if found is None:
            continue
        if found in ("shell.quoted", "shell.bare_word"):
            weak = weak or Sign(found, place.start, command.end)
        else:
            is_reported = True
            yield Sign(found, place.start, command.end)
            break  # one command is enough, and an attacker may write thousands
    yield from _substitutions(text, position, spans, is_reported=is_reported)
    yield from _pattern(text, position)
    if weak is not None and not is_reported:
        yield weak


def _judge(
    text: str,
    position: Position,
    spans: CodeSpans,
    place: Place,
    *,
    command: Command,
    weight: Weight,
    is_sentence: bool,
    is_clean: bool,
) -> str | None:
    """Weigh a command by where it stands."""
    end = command.end
    speaks = position in PROSE_POSITIONS
    if place.start in spans or place.command in spans:
        return "shell.quoted" if weight >= Weight.PLAUSIBLE else None
    if place.kind is Kind.BEGINNING:
        return _judge_beginning(text, end, weight, speaks=speaks, is_sentence=is_sentence)
    if place.kind is Kind.SUBSTITUTION:
        return _judge_substitution(text, place, end, weight, is_clean=is_clean)
    if place.kind is Kind.LINE and not is_clean:
        return "shell.quoted" if weight >= Weight.HOSTILE else None
    if weight >= Weight.PLAUSIBLE:
        if is_clean:
            return "shell.command"
        if is_sentence or is_quoted_pipeline(text, place.start) or is_running(text, end):
            return "shell.quoted"
        if weight is Weight.PLAUSIBLE and (says_more(command) or is_running(text, 0, place.start)):
            return "shell.quoted"
        return "shell.command"
    is_last = _CLOSERS.fullmatch(text, end) is not None or (
        position in _FILE_LIKE and text[end : end + 1] in _SEPARATORS
    )
    if not is_last:
        return None
    if weight is Weight.NAME:
        if is_clean or (place.mark.strip() in ("|", "||", "&&") and _is_phrase(text, place.start)):
            return "shell.command"
        return "shell.bare_word" if place.mark.strip() != ";" else None
    return _judge_word(text, place, weight, is_clean=is_clean)


def _is_phrase(text: str, start: int) -> bool:
    """Say whether before the place stand a few words, as of a name or title, and no command."""
    return not is_running(text, 0, start) and not is_quoted_pipeline(text, start)


def _judge_word(text: str, place: Place, weight: Weight, *, is_clean: bool) -> str | None:
    """One common word that ends the value: `;id`, `127.0.0.1|ls`; but not the last column of a list."""
    mark = place.mark.strip()
    if not is_clean or (mark and mark[0] in text[: place.start]):
        return None
    if place.kind is Kind.LINE:
        return "shell.command" if text[: place.start].strip() and is_value_prefix(text, place.start) else None
    if is_value_prefix(text, place.start):
        return "shell.command"
    if mark in ("&&", "||") or weight is Weight.WORD:
        return "shell.command" if mark != "&" else "shell.bare_word"
    return "shell.bare_word" if mark == "|" else None


def _judge_beginning(text: str, end: int, weight: Weight, *, speaks: bool, is_sentence: bool) -> str | None:
    if _PROGRAM.fullmatch(text):
        return "shell.command_line"
    if weight < Weight.PLAUSIBLE:
        return None
    if speaks and (is_sentence or is_running(text, end)):
        return "shell.quoted"
    if weight is Weight.HOSTILE and _is_hostile_line(text):
        return "shell.command_line"
    return "shell.quoted"


_PROGRAM: Final = re.compile(r"\s*/(?:usr/)?(?:local/)?s?bin/[a-z][\w.-]{0,32}\s*")
_SHOWN: Final = re.compile(
    r"(?i)\s*(?:sudo\s+)?(?:curl|wget|ping6?|ssh|scp|rsync|telnet|nslookup|dig|host|http|https|fetch|traceroute|openssl|java|node|sed|awk|python3?|php|ruby|perl|chmod|chown|kill|dd|cd|ls|http|docker|npm|git)\s"
)
_SECRET_FILE: Final = re.compile(
    r"(?i)/etc(?:[/\s]|$)|/proc/|/root/|\.ssh/|\.aws/|win\.ini|boot\.ini|/var/log/\w|/bin/(?:ba|z|da|k)?sh"
)


def _is_hostile_line(text: str) -> bool:
    """Of the commands that customers show each other, only those that touch what is nobody's business."""
    return _SHOWN.match(text) is None or _SECRET_FILE.search(text) is not None


def _judge_substitution(text: str, place: Place, end: int, weight: Weight, *, is_clean: bool) -> str | None:
    closer = "`" if place.mark == "`" else ")"
    if text.find(closer, end, end + LONGEST_COMMAND) < 0 and weight < Weight.PLAUSIBLE:
        return None
    if place.mark == "`":
        if text.count("`", 0, place.start) % 2:  # this one closes; what follows it is outside
            return None
        if _speaks_after(text, end) and weight < Weight.HOSTILE:
            return "shell.quoted"
        glued = place.start > 0 and (text[place.start - 1].isalnum() or text[place.start - 1] in _GLUE)
        return "shell.substitution" if is_clean or glued or weight is Weight.HOSTILE else "shell.quoted"
    if is_clean or weight >= Weight.NAME:
        return "shell.substitution"
    return "shell.bare_word"


def _speaks_after(text: str, end: int) -> bool:
    """Say whether a backtick closes here and a word follows at a distance, as after code in Markdown."""
    if not text.startswith("`", end):
        return False
    following = text[end + 1 : end + 65].split(maxsplit=1)
    return text[end + 1 : end + 2].isspace() and bool(following) and is_plain_word(following[0])


def _substitutions(text: str, position: Position, spans: CodeSpans, *, is_reported: bool) -> Iterator[Sign]:
    """Substitutions without a known command: arithmetic as a probe, and names nobody knows."""
    if is_reported or not ("$(" in text or "<(" in text or ">(" in text):
        return
    arithmetic = _ARITHMETIC.search(text)
    if arithmetic and arithmetic.start() not in spans and (position not in PROSE_POSITIONS or not is_running(text)):
        yield Sign("shell.substitution", arithmetic.start(), arithmetic.end())
        return
    unknown = _UNKNOWN.search(text)
    if (
        unknown
        and unknown.start() not in spans
        and not text.startswith(("$(document", "$(window", "$(this", "$(function"), unknown.start())
    ):
        yield Sign("shell.unknown_substitution", unknown.start(), unknown.end())


def _pattern(text: str, position: Position) -> Iterator[Sign]:
    """Words with wildcards that stand for a program or a secret file, wherever a value begins or is broken out of."""
    if "/" not in text or not ("?" in text or "*" in text or "[" in text):
        return
    if position in PROSE_POSITIONS and is_running(text):
        return
    at = 0
    for word in text.split(maxsplit=32)[:32]:
        at = text.find(word, at)
        bare = word.lstrip(";|&`'\"$(<>").rstrip(";|&`'\")")
        if glob_target(bare):
            yield Sign("shell.pattern", at, at + len(word))
            return

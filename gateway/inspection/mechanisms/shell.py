r"""Command injection: what `sh`, `cmd.exe` or PowerShell would run if the value reached their command line.

CWE-78 and CWE-88, ASVS 5.0 1.2.5. A command counts where a shell looks for one; a homonym of a common word counts only with an
argument that nothing but a command has. Commands that people show each other, in Markdown or after "I ran", are one weak sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import re2

from gateway.inspection.finding import Position
from gateway.inspection.lower_case import lower_case
from gateway.inspection.needles import Needles
from gateway.inspection.prose import is_plain_word
from gateway.inspection.shell.commands import (
    ALONE,
    ALONE_AND_COLUMN,
    CMDLETS,
    FILTERS,
    HOMONYMS,
    KNOWN,
    RECONNAISSANCE,
    SUBCOMMANDS,
    TERSE,
)
from gateway.inspection.shell.lexer import LONGEST_COMMAND, Command, read_command
from gateway.inspection.shell.places import Kind, Place, Surroundings, places
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
        re.compile(r"^[\s\x22\x27;]{0,3}\(\)\s{1,4}\{|\(\)\s{0,4}\{\s{0,4}(?::|_|\w{1,16})?\s{0,4};\s{0,4}\}\s{0,4};"),
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
            r"(?i)\bif\s+/i\s+\S+\s*==|\bfor\s+/[flrd]\b[^\n]{0,200}\bin\s*\([^\n]{0,200}\)\s*do\b|\bif\s+(?:/i\s+|not\s+)*(?:[\"%]\S{1,64}\s*(?:==|\s(?:equ|neq|lss|leq|gtr|geq)\s)|(?:defined|exist|errorlevel)\s+\S+\s*\()|%(?:comspec|systemroot|programfiles|path|os)(?::~-?\d+,-?\d+)?%\s*(?:/[ck]|\\system32)|%\w{1,32}:~-?\d{1,3},-?\d{1,3}%"
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
            "-oqueuedirectory",
            "ext::",
        ),
        re.compile(
            r"(?i)(?:^|[\s'\"=;,&|])-o\s?(?:ProxyCommand|LocalCommand|PermitLocalCommand)\s?=|--(?:upload-pack|receive-pack|checkpoint-action|use-compress-program|to-command|unzip-command|exec)[ =][^\n]{0,128}[`$(/'\";|]|--(?:use-compress-program|to-command|unzip-command|upload-pack|receive-pack)=[\w/]|--checkpoint-action=exec|(?:^|\s)-OQueueDirectory=/|^\s{0,4}ext::\S|-wrapper\s+\w*sh,"
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
            r"(?:^|[;\s])([\w:.]{1,32})\s?\(\)\s?\{\s?(?:\1\s?(?:\(\))?\s?[|&]\s?\1\s?(?:\(\))?\s?&?;?)\s?;?\s?\}\s?;?\s?\1"
        ),
    ),
)
_NEAR: Final = 16
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
        r"|[a-z/]{1,16}(?:['\"\\^][a-z0-9]{0,16}['\"\\^]|[$`])"
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
    around = Surroundings(text, position)
    weak: Sign | None = None
    for name, start, end in _anywhere(text):
        if start in around.spans:
            weak = Sign("shell.quoted", start, end)
        else:
            yield Sign(name, start, end)
    is_reported = False
    for sign in _commands(around):
        if sign.name in ("shell.quoted", "shell.bare_word"):
            weak = weak or sign
        else:
            is_reported = True
            yield sign
            break  # one command is enough, and an attacker may write thousands
    yield from _substitutions(around, is_reported=is_reported)
    yield from _pattern(around)
    if weak is not None and not is_reported:
        yield weak


def _anywhere(text: str) -> Iterator[tuple[str, int, int]]:
    lowered = lower_case(text)
    if not (_WORDS.are_in(lowered) or "|" in text or "=" in text):
        return
    for name, needles, pattern in _ANYWHERE:
        if any(needle in lowered for needle in needles) and (match := pattern.search(text)) is not None:
            yield name, match.start(), match.end()


def _commands(around: Surroundings) -> Iterator[Sign]:
    """Weigh each command where it stands."""
    text = around.text
    allowance = 2 * len(text) + LONGEST_COMMAND
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
        is_clean = is_chain or not around.speaks or around.is_clean(place.start)
        found = _judge(around, Found(place, command, weight, is_sentence, is_clean))
        # What follows an injected command in a pipeline is injected as well, whatever stands before it.
        is_chain = is_chain or (is_clean and place.kind is Kind.SEPARATOR and weight >= Weight.WORD)
        if found is not None:
            yield Sign(found, place.start, command.end)


class Found(NamedTuple):
    """One command, and what is known of it."""

    place: Place
    command: Command
    weight: Weight
    is_sentence: bool
    is_clean: bool

    @property
    def end(self) -> int:
        """Where the command ends."""
        return self.command.end

    @property
    def mark(self) -> str:
        """The separator, without the spaces around it."""
        return self.place.mark.strip()


def _judge(around: Surroundings, found: Found) -> str | None:
    """Weigh a command by where it stands."""
    place, weight = found.place, found.weight
    if (place.start in around.spans or place.command in around.spans) and not _is_piped(around, place):
        return "shell.quoted" if weight >= Weight.PLAUSIBLE else None
    if place.kind is Kind.BEGINNING:
        return _judge_beginning(around, found)
    if place.kind is Kind.SUBSTITUTION:
        return _judge_substitution(around, found)
    if place.kind is Kind.LINE and not found.is_clean:
        return _judge_line(around, found)
    if weight >= Weight.PLAUSIBLE:
        return _judge_command(around, found)
    is_last = _CLOSERS.fullmatch(around.text, found.end) is not None
    goes_on = around.is_file or around.is_break_out(place.start) or (weight is Weight.NAME and found.is_clean)
    if not is_last and not (goes_on and around.text[found.end : found.end + 1] in _SEPARATORS):
        return None
    if weight is Weight.SHELL:
        return _judge_shell(around, found)
    if weight is Weight.NAME:
        if found.is_clean or (
            (found.mark in ("|", "||", "&&") or _name_of(found) in RECONNAISSANCE) and around.is_phrase(place.start)
        ):
            return "shell.command"
        return "shell.bare_word" if found.mark != ";" else None
    return _judge_word(around, found)


def _judge_shell(around: Surroundings, found: Found) -> str | None:
    """A shell at the end of a pipe; behind `;` it is one of somebody's skills."""
    if found.mark not in ("|", "||", "&&") or not found.is_clean:
        return None
    return "shell.command" if around.is_value(found.place.start) or not around.speaks else "shell.bare_word"


def _name_of(found: Found) -> str:
    return found.command.words[0].text.lower()


def _judge_command(around: Surroundings, found: Found) -> str:
    start, end = found.place.start, found.end
    is_asked_about = around.speaks and around.is_tool(start) and says_more(found.command) and found.mark == "|"
    if is_asked_about and found.weight < Weight.HOSTILE:
        return "shell.quoted"
    if found.is_clean:
        return "shell.command"
    if _name_of(found) in FILTERS or found.is_sentence or around.is_quoted_pipeline(start) or around.speech.after(end):
        return "shell.quoted"
    if found.weight is Weight.PLAUSIBLE and (says_more(found.command) or around.speech.before(start)):
        return "shell.quoted"
    return "shell.command"


def _judge_line(around: Surroundings, found: Found) -> str | None:
    """A line of its own in a text of several: people paste those, but nobody has a secret read behind his name."""
    if found.weight < Weight.HOSTILE:
        return None
    before = around.text[: found.place.start]
    if (
        around.is_phrase(found.place.start)
        and "\n" not in before.strip()
        and not before.rstrip().endswith(":")
        and _CLOSERS.fullmatch(around.text, found.end)
        and _SECRET_FILE.search(around.text, found.place.start)
    ):
        return "shell.command"
    return "shell.quoted"


def _judge_word(around: Surroundings, found: Found) -> str | None:
    """One common word that ends the value: `;id`, `127.0.0.1|ls`; but not the last column of a list."""
    mark, start = found.mark, found.place.start
    if not found.is_clean or (mark and around.text.find(mark[0], 0, start) >= 0):
        return None
    if found.place.kind is Kind.LINE:
        return "shell.command" if around.text[:start].strip() and around.is_value(start) else None
    is_cut = around.text[found.end :].lstrip(" ;|&").startswith("#")  # a comment hides what the application adds
    if around.is_value(start) or around.is_options(start) or is_cut:
        return "shell.command"
    if mark in ("&&", "||") or found.weight is Weight.WORD:
        return "shell.command" if mark != "&" else "shell.bare_word"
    return "shell.bare_word" if mark == "|" else None


_PROGRAM: Final = re.compile(r"\s*/(?:usr/)?(?:local/)?s?bin/([a-z][\w.-]{0,32})\s*")
_TELLING: Final = RECONNAISSANCE | ALONE | ALONE_AND_COLUMN
_SHOWN: Final = re.compile(
    r"(?i)\s*(?:sudo\s+)?(?:export|curl|wget|ping6?|ssh|scp|rsync|telnet|nslookup|dig|host|http|https|fetch|traceroute|openssl|java|node|sed|awk|python3?|php|ruby|perl|chmod|chown|kill|dd|cd|ls|http|docker|npm|git)\s"
)
_SECRET_FILE: Final = re.compile(
    r"(?i)/etc(?:[/\s]|$)|/proc/|/root/|\.ssh/|\.aws/|win\.ini|boot\.ini|/var/log/\w|/bin/(?:ba|z|da|k)?sh"
)


def _judge_beginning(around: Surroundings, found: Found) -> str | None:
    """Weigh a value that is a command as a whole: customers show each other some, but none that touch what is nobody's business."""
    text = around.text
    program = _PROGRAM.fullmatch(text)
    if program and program[1] in _TELLING:
        return "shell.command_line"
    if found.weight < Weight.PLAUSIBLE:
        return None
    if around.speaks and (found.is_sentence or around.speech.after(found.end)):
        return "shell.quoted"
    if found.weight is Weight.HOSTILE and (_SHOWN.match(text) is None or _SECRET_FILE.search(text) is not None):
        return "shell.command_line"
    return "shell.quoted"


def _judge_substitution(around: Surroundings, found: Found) -> str | None:
    text, place, end, weight = around.text, found.place, found.end, found.weight
    closer = "`" if place.mark == "`" else ")"
    if text.find(closer, end, end + LONGEST_COMMAND) < 0 and weight < Weight.PLAUSIBLE:
        return None
    if place.mark == "`":
        if around.closes(place.start):  # what follows it is outside
            return None
        if _speaks_after(text, end) and weight < Weight.HOSTILE:
            return "shell.quoted"
        glued = place.start > 0 and (text[place.start - 1].isalnum() or text[place.start - 1] in _GLUE)
        is_injected = found.is_clean or glued or weight is Weight.HOSTILE or _is_piped(around, place)
        return "shell.substitution" if is_injected else "shell.quoted"
    if not found.is_clean and weight < Weight.HOSTILE and around.is_shown_line(place.start):
        return "shell.quoted"
    if found.is_clean or weight >= Weight.NAME or _is_piped(around, place):
        return "shell.substitution"
    is_last = _CLOSERS.fullmatch(text, end) is not None
    if is_last and around.is_phrase(place.start) and "=" not in text[: place.start]:
        return "shell.substitution"
    return "shell.bare_word"


def _is_piped(around: Surroundings, place: Place) -> bool:
    """Say whether a substitution stands right behind a separator, as nobody quotes code."""
    if place.kind is not Kind.SUBSTITUTION:
        return False
    before = around.text[max(0, place.start - _NEAR) : place.start].rstrip(" \t")
    return before.endswith(("|", "&")) or (before.endswith(";") and around.is_phrase(place.start))


def _speaks_after(text: str, end: int) -> bool:
    """Say whether a backtick closes here and a word follows at a distance, as after code in Markdown."""
    if not text.startswith("`", end):
        return False
    following = text[end + 1 : end + 65].split(maxsplit=1)
    return text[end + 1 : end + 2].isspace() and bool(following) and is_plain_word(following[0])


def _substitutions(around: Surroundings, *, is_reported: bool) -> Iterator[Sign]:
    """Substitutions without a known command: arithmetic as a probe, and names nobody knows."""
    text, spans = around.text, around.spans
    if is_reported or not ("$(" in text or "<(" in text or ">(" in text):
        return
    arithmetic = _ARITHMETIC.search(text)
    if arithmetic and arithmetic.start() not in spans and not (around.speaks and around.speech.before(len(text))):
        yield Sign("shell.substitution", arithmetic.start(), arithmetic.end())
        return
    unknown = _UNKNOWN.search(text)
    if (
        unknown
        and unknown.start() not in spans
        and not text.startswith(("$(document", "$(window", "$(this", "$(function"), unknown.start())
    ):
        yield Sign("shell.unknown_substitution", unknown.start(), unknown.end())


def _pattern(around: Surroundings) -> Iterator[Sign]:
    """Words with wildcards that stand for a program or a secret file, wherever a value begins or is broken out of."""
    text = around.text
    if "/" not in text or not ("?" in text or "*" in text or "[" in text):
        return
    if around.speaks and around.speech.before(len(text)):
        return
    at = 0
    for word in text.split(maxsplit=32)[:32]:
        at = text.find(word, at)
        bare = word.lstrip(";|&`'\"$(<>").rstrip(";|&`'\")")
        if glob_target(bare):
            yield Sign("shell.pattern", at, at + len(word))
            return

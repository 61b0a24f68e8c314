"""Weigh one command: whether it is one at all, and whether it does what only an attacker wants.

The weight depends on the words alone; where the command stands is `gateway.inspection.shell.places`' affair.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

from gateway.inspection.prose import is_plain_word
from gateway.inspection.shell.commands import (
    ALONE,
    ALONE_AND_COLUMN,
    CMDLETS,
    DOWNLOADERS,
    EXECUTABLE_FOLDERS,
    HOMONYMS,
    INTERPRETERS,
    KNOWN,
    LIVING_OFF_THE_LAND,
    RECONNAISSANCE,
    SHELLS,
    SUBCOMMANDS,
    TERSE,
    UNMISTAKABLE,
    WRAPPERS,
)
from gateway.inspection.shell.lexer import Command, Word


class Weight(IntEnum):
    """How much a command says on its own."""

    NONE = 0
    COLUMN = 1
    """A word alone that is also the name of a column: `id`, `date`."""
    SHELL = 2
    """A shell alone, which runs what a pipe brings: `| sh`."""
    WORD = 3
    """A word alone that is a command too: `ls`, `cat`."""
    NAME = 4
    """A name alone that tells what somebody is up to: `whoami`."""
    PLAUSIBLE = 5
    """A common word with an argument as commands have it: `find /x`, `sort -n`."""
    COMMAND = 6
    """An unmistakable name with such an argument."""
    HOSTILE = 7
    """A command that reads what is secret, runs what it is given, fetches, or hides what it is."""


_SECRET: Final = re.compile(
    r"(?i)(?:^|[=:@'\"\s(,])(?:/+(?:etc|proc|root|boot|sys)(?:/|$)|/+var/(?:log|lib|run|spool|mail|www|backups)|/+dev/(?:tcp|udp|sd|mem|kmem)"
    r"|/+tmp/|/+home/|/+usr/(?:bin|sbin|local|lib)|/+opt/|~/?\.|\$HOME|/(?:bin|sbin)/"
    r"|[a-z]:[\\/]+(?:windows|winnt|users|programdata|inetpub|boot\.ini|\$|$)|%(?:systemroot|windir|appdata|temp|userprofile|comspec)%|\\\\)"
    r"|/(?:\.ssh|\.aws|\.bash_history|passwd|shadow)\b|\bwin\.ini\b|\bid_rsa\b|\.\./\.\./|\bpasswd$|HKEY_|HKLM|HKCU"
)
_URL: Final = re.compile(
    r"(?i)(?:https?|ftps?|tftp|smb|ldap|dict|gopher)://|^(?:tcp|udp|openssl)[46]?(?:-(?:listen|connect))?:[\w.\[]|^//[\w.]+|\\\\[\w.$-]+\\"
)
_HOST: Final = re.compile(
    r"(?i)(?:[\w.+-]{1,64}@)?(?:\d{1,3}(?:\.\d{1,3}){3}|0x[0-9a-f]{8}|(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}\.?|localhost)(?:[:/].*)?"
)
_OPTION: Final = re.compile(r"-{1,2}[A-Za-z?][\w\-=,./:%@+]*|-\d{1,4}|/[a-zA-Z?](?::.*)?|\+[a-z%][\w%]*")
_EVALUATES: Final = re.compile(
    r"-[a-zA-Z]*[cerRpn]|--(?:eval|execute|command|exec)(?:=.*)?|/[ckCK]|-(?:enc|e|ec|encodedcommand|command|file|nop|w|exec|ep|noni)\w*|-i|-m|-S",
    re.IGNORECASE,
)
_FILE: Final = re.compile(
    r"(?:\.{1,2}|~)?/[\w.*?\[\]{}@%+/-]*|[a-zA-Z]:[\\/].*|\.[\w.]{1,64}[A-Za-z]|[\w-]{1,64}\.(?:txt|php|sh|py|pl|rb|js|html?|jsp|aspx?|log|conf|cfg|ini|xml|json|ya?ml|sql|csv|bak|zip|tar|gz|tgz|exe|bat|ps1|dll|key|pem|env|db|c|jpg|png)|\*(?:\.\w+)?|\.{1,2}|~|[\w*?-]+/[\w./*?-]*[A-Za-z*?][\w./*?-]*\.\w{1,8}|\d?&\d"
)
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?[sm]?")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w{0,63}=.*", re.DOTALL)
_GLOB_NAME: Final = re.compile(r"/?(?:[\w?*\[\]!-]{1,32}/){1,6}[\w?*\[\]!-]{1,32}")


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_GLOB_PROGRAMS: Final = sorted(
    _listed(
        "cat sh bash dash nc ncat ls id head tail more less tac nl od curl wget whoami uname ping sleep env python python3 perl php ruby awk sed base64 xxd strings cp mv chmod find grep telnet touch nslookup ps ifconfig rev sort"
    )
)
_GLOB_TARGETS: Final = tuple(
    [
        folder + name
        for folder in ("/bin/", "/usr/bin/", "/usr/local/bin/", "/sbin/", "/usr/sbin/")
        for name in _GLOB_PROGRAMS
    ]
    + [
        "/etc/passwd",
        "/etc/shadow",
        "/etc/hosts",
        "/etc/group",
        "/etc/issue",
        "/etc/hostname",
        "/etc/fstab",
        "/proc/self/environ",
        "/proc/version",
    ]
)
_RANGE: Final = re.compile(r"(?<=[a-z0-9])\\-(?=[a-z0-9])")
"""Of an escaped class: the hyphens that make a range."""
_LONGEST_GLOB: Final = 64
_MUTATING: Final = _listed(
    "rm chmod chown mkfifo mknod useradd adduser usermod dd mkfs shutdown reboot halt poweroff kill killall pkill crontab visudo chattr mshta certutil bitsadmin regsvr32 rundll32 bcdedit bcdboot vssadmin wmic schtasks regedit iex iwmi nc ncat netcat socat"
)
_SPEAKING: Final = frozenset({"echo", "printf", "write-output", "write-host"})
_WRITTEN_TO: Final = frozenset({"mail", "service", "jobs", "help", "write", "users", "host", "login", "ping", "look"})
_GRAMMAR: Final = frozenset({"if", "while", "until", "then", "else", "do", "call", "source", "!"})
_COUNTED: Final = frozenset({"sleep", "timeout", "usleep"})
_MOST_PROSE: Final = 3
_SHORTEST_NOISY_NAME: Final = 2


def weigh(command: Command) -> tuple[Weight, bool]:
    """Weigh a command; the second value says whether plain words follow it as in a sentence."""
    words = list(command.words)
    name, rest, is_wrapped, is_assigned = _unwrap(words)
    if name is None:
        return Weight.NONE, False
    if _is_glob(name.text) and (glob_target(name.text) or any(glob_target(word.text) for word in rest)):
        return Weight.HOSTILE, False
    plain = name.text.lower()
    base, is_pathed = _base_name(plain)
    if base not in KNOWN:
        shaped = bool(rest) and name.has_expansion and is_assigned
        return (Weight.COMMAND if shaped else Weight.NONE), False
    if name.is_noisy and len(base) >= _SHORTEST_NOISY_NAME:
        return Weight.HOSTILE, False
    if command.has_field_separator:
        return Weight.HOSTILE, False
    is_sentence = _trails_off(rest)
    if not rest and base in HOMONYMS and name.text != plain and base != "dir":  # the shells of Unix care for case
        return Weight.NONE, False
    weight = _weigh_known(base, rest, has_here_string=command.has_here_string)
    if is_pathed:
        weight = Weight.HOSTILE if rest and weight >= Weight.PLAUSIBLE else max(weight, Weight.NAME)
    if is_wrapped and weight == Weight.NAME:
        weight = Weight.HOSTILE
    return weight, is_sentence


def _unwrap(words: list[Word]) -> tuple[Word | None, list[Word], bool, bool]:
    """Drop assignments, redirections before the name, and commands that only run another one."""
    is_wrapped = is_assigned = False
    while words:
        word = words[0]
        text = word.text.lower()
        if word.is_target or text in ("{", "}", "!", "@"):
            words = words[1:]
        elif _ASSIGNMENT.fullmatch(text) and not word.is_quoted:
            is_assigned = True
            words = words[1:]
        elif text in WRAPPERS and len(words) > 1:
            after = 1
            while after < len(words) - 1 and (
                words[after].text.startswith("-") or _NUMBER.fullmatch(words[after].text)
            ):
                after += 1
            inner = _base_name(words[after].text.lower())[0]
            if (
                inner not in UNMISTAKABLE
                and inner not in INTERPRETERS
                and (inner not in HOMONYMS or len(words) <= after + 1)
                and not word.is_noisy
            ):
                if text in _GRAMMAR:  # `if x.y:` of a programming language
                    return None, [], is_wrapped, is_assigned
                return word, words[1:], is_wrapped, is_assigned
            is_wrapped = True
            words = words[after:]
        else:
            return word, words[1:], is_wrapped, is_assigned
    return None, [], is_wrapped, is_assigned


def _base_name(name: str) -> tuple[str, bool]:
    name = name.lstrip("@") if name.startswith("@") else name
    for folder in EXECUTABLE_FOLDERS:
        if name.startswith(folder) and "/" not in name[len(folder) :]:
            return name[len(folder) :], True
    if name.startswith("\\") and name[1:].isalpha():
        return name[1:], False
    if name.endswith((".exe", ".com")) or "\\" in name:
        base = name.rsplit("\\", 1)[-1].removesuffix(".exe").removesuffix(".com")
        return base, "\\" in name
    return name, False


def _weigh_known(base: str, rest: list[Word], *, has_here_string: bool) -> Weight:
    if not rest:
        return _weigh_alone(base)
    texts = [word.text for word in rest]
    if base == "alias" and any("=" in text.strip("=") for text in texts):
        return Weight.PLAUSIBLE
    is_sure = base in UNMISTAKABLE or base in TERSE
    if not is_sure and not has_here_string and _is_sentence(base, rest):
        return Weight.WORD if base in _SPEAKING else Weight.NONE
    if (is_sure or _is_shaped(rest[0])) and any(_SECRET.search(text) for text in texts):
        return Weight.HOSTILE
    if any(_is_glob(text) and glob_target(text) for text in texts):
        return Weight.HOSTILE
    if base in CMDLETS:
        return Weight.HOSTILE if any(_is_shaped(word) for word in rest) else Weight.COMMAND
    if base in INTERPRETERS and any(_EVALUATES.fullmatch(text) for text in texts[:4]) and len(texts) > 1:
        return Weight.HOSTILE
    if base in DOWNLOADERS and any(_URL.search(text) or _HOST.fullmatch(text) for text in texts):
        return Weight.HOSTILE
    if base in SUBCOMMANDS and texts[0].lower() in SUBCOMMANDS[base]:
        return Weight.COMMAND
    if base in LIVING_OFF_THE_LAND or (base in INTERPRETERS and texts[0].lower() in RECONNAISSANCE):
        return Weight.HOSTILE
    if base == "set" and texts[0].lower() in ("/a", "/p"):
        return Weight.HOSTILE
    is_shaped = has_here_string or any(_is_shaped(word) for word in rest)
    if (
        base in _MUTATING
        and is_sure
        and any(_is_shaped(word) and not word.text.startswith(("-", "+")) for word in rest)
    ):
        return Weight.HOSTILE
    if is_sure and is_shaped:
        return Weight.COMMAND
    if has_here_string:
        return Weight.HOSTILE
    if is_shaped and base in _WRITTEN_TO and "@" in texts[0]:
        return Weight.NONE
    if base == "ip" and not texts[0].startswith("-"):
        return Weight.NONE
    if is_shaped and (_is_shaped(rest[0]) or any(word.is_target for word in rest)):
        return Weight.PLAUSIBLE
    if base in _COUNTED and len(texts) == 1 and _NUMBER.fullmatch(texts[0]):
        return Weight.PLAUSIBLE
    if base in _SPEAKING:
        return Weight.WORD
    if base in RECONNAISSANCE and len(texts) <= _MOST_PROSE:
        return Weight.NAME
    return Weight.NONE


def _weigh_alone(base: str) -> Weight:
    if base in RECONNAISSANCE or base in CMDLETS:
        return Weight.NAME
    if base in SHELLS:
        return Weight.SHELL
    if base in ALONE:
        return Weight.WORD
    return Weight.COLUMN if base in ALONE_AND_COLUMN else Weight.NONE


def _is_sentence(base: str, rest: list[Word]) -> bool:
    """Say whether a common word is followed by another, as no command that has its name would have it."""
    first = rest[0]
    if first.is_target or first.is_quoted or not is_plain_word(first.text) or any(word.is_target for word in rest[1:]):
        return False
    if base in CMDLETS or first.text.lower() in SUBCOMMANDS.get(base, ()):
        return False
    return base not in INTERPRETERS or len(rest) > _MOST_PROSE


def _is_shaped(word: Word) -> bool:
    """Say whether only a command has an argument like this."""
    text = word.text
    return (
        word.has_expansion
        or _OPTION.fullmatch(text) is not None
        or _FILE.fullmatch(text) is not None
        or _HOST.fullmatch(text) is not None
        or _URL.search(text) is not None
    )


def _trails_off(rest: list[Word]) -> bool:
    """Say whether the arguments end in three plain words, as sentences do and command lines seldom."""
    run = 0
    for word in rest:
        run = run + 1 if not word.is_quoted and is_plain_word(word.text) else 0
    return run >= _MOST_PROSE


def says_more(command: Command) -> bool:
    """Say whether any argument is a plain word."""
    return any(not word.is_quoted and is_plain_word(word.text) for word in command.words[1:])


def _is_glob(text: str) -> bool:
    return ("?" in text or "*" in text or "[" in text) and "/" in text


def glob_target(text: str) -> str | None:
    """Name a program or a secret file that a pattern of file names stands for, `/???/c?t` or `/etc/pass*`."""
    if len(text) > _LONGEST_GLOB or _GLOB_NAME.fullmatch(text) is None or not any(char in text for char in "?*["):
        return None
    if sum(char.isalnum() for char in text) == 0 and text.count("?") < _MOST_PROSE:
        return None
    pattern = re.compile(_translate(text if text.startswith("/") else f"/{text}"))
    return next((target for target in _GLOB_TARGETS if pattern.fullmatch(target)), None)


def _translate(glob: str) -> str:
    """As in POSIX.1-2017, 2.13: no pattern crosses a slash."""
    pieces: list[str] = []
    at = 0
    while at < len(glob):
        char = glob[at]
        close = glob.find("]", at + 2) if char == "[" else -1
        if char == "?":
            pieces.append("[^/]")
        elif char == "*":
            if not pieces or pieces[-1] != "[^/]*":
                pieces.append("[^/]*")
        elif close > 0:
            inside = glob[at + 1 : close].replace("\\", "")
            negation = "^" if inside[0] in "!^" else ""
            members = _RANGE.sub("-", re.escape(inside[1:] if negation else inside))
            pieces.append(f"[{negation}{members}]" if _is_class(members) else "[^/]")
            at = close
        else:
            pieces.append(re.escape(char))
        at += 1
    return "".join(pieces)


def _is_class(members: str) -> bool:
    try:
        re.compile(f"[{members}]")
    except re.error:
        return False
    return bool(members)

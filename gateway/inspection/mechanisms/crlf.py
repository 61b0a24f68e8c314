"""Line ends that become the ends of header fields, of a response, or of a mail's commands.

A text area sends line ends; a path, a cookie, a header and most parameters of an address do not. Where people
write lines only what a protocol would obey after one counts: fields of HTTP that act, a recipient right after an
address, a command of SMTP or IMAP.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.needles import Needles, follows_backslash
from gateway.inspection.prose import CodeSpans
from gateway.inspection.sign import Sign

CLASS: Final = "crlf"

SIGNS: Final[Mapping[str, str]] = {
    "crlf.header": "A line end, then a header field of HTTP that acts: Set-Cookie, Location, Content-Length.",
    "crlf.any_header": "A line end, then what is shaped like a header field, where no lines are written.",
    "crlf.response": "A line end, then a status line or an empty line and markup: a response of the value's own.",
    "crlf.request": "A line end, then a request line of HTTP: a second request.",
    "crlf.line_end": "A line end where a value never has one: a path, a cookie, a header, a name.",
    "crlf.mail_header": "An address or a subject, a line end, then a recipient or a type of a mail.",
    "crlf.mail_command": "A line end, then a command of SMTP, IMAP or POP3 with its operands.",
    "crlf.bare_mail_command": "A line that is a command of SMTP, IMAP or POP3 without operands.",
    "crlf.narrowed": "A character whose low byte is CR or LF, then a header field: a server that narrows it splits.",
    "crlf.log_entry": "A line end, then the beginning of a log's line: a date and a level.",
}

_LINES_ARE_WRITTEN: Final = frozenset({Position.FORM, Position.JSON, Position.XML, Position.PART, Position.BODY})
_NEVER: Final = frozenset(
    {
        Position.PATH,
        Position.COOKIE,
        Position.COOKIE_NAME,
        Position.HEADER,
        Position.QUERY_NAME,
        Position.FORM_NAME,
        Position.FILE_NAME,
        Position.PART_NAME,
    }
)
# One character of look-behind: where line ends stand in rows, none is read twice.
_END: Final = r"(?<=[\r\n\x85\u2028\u2029])"
_FIELDS: Final = (
    r"set-cookie2?|location|content-length|content-type|content-disposition|content-encoding|transfer-encoding|refresh|"
    r"x-xss-protection|access-control-allow-[a-z]+|x-forwarded-(?:for|host|proto)|host|connection|clear-site-data|"
    r"link|content-security-policy|strict-transport-security|proxy-authenticate|www-authenticate|status|x-accel-redirect|x-sendfile"
)
_HEADER: Final = re.compile(rf"{_END}[ \t]*(?:{_FIELDS})[ \t]*:", re.IGNORECASE)
_WRITTEN_HEADER: Final = re.compile(rf"(?:\\r\\n|\\[rn]|\\x0[ad])(?:{_FIELDS})[ \t]*:", re.IGNORECASE)
"""With the escapes of a string of a program, which the upstream resolves."""
_ANY_HEADER: Final = re.compile(rf"{_END}[ \t]*[a-z][a-z0-9-]*+[ \t]*+\r{{0,4}}:(?!//)", re.IGNORECASE)
_RESPONSE: Final = re.compile(
    r"[\r\n]HTTP/\d(?:\.\d)?[ \t]+\d{3}\b|(?:\r\n\r\n|\n\n|\r\r)[ \t]*<(?:html|script|svg|body|!doctype|iframe|img)\b",
    re.IGNORECASE,
)
_REQUEST: Final = re.compile(
    r"(?:[\r\n][ \t]*(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|TRACE|CONNECT)[ \t]+(?:/|\*|https?://)[^\s]{0,2048}[ \t]+HTTP/\d"
    r"|\A(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|PATCH|TRACE|CONNECT)[ \t]+\S{1,2048}[ \t]+HTTP/\d(?:\.\d)?\r?\n[\w-]{1,64}:)"
)
"""A request line behind a line end, or one that begins the value and goes on with a field; alone it is a mention."""
_MAIL_FIELDS: Final = (
    r"bcc|cc|to|from|reply-to|subject|content-type|content-transfer-encoding|mime-version|x-mailer|sender|return-path"
)
# A blank line ends the head of a mail: only the next line is a field of it.
_MAIL_HEADER: Final = re.compile(rf"(?:\r\n|[\r\n])[ \t]*(?:{_MAIL_FIELDS})[ \t]*:[ \t]*\S", re.IGNORECASE)
_MAIL_RECIPIENT: Final = re.compile(
    r"(?:\r\n|[\r\n])[ \t]*(?:(?:bcc|cc|to)[ \t]*:[^\r\n@]{0,128}@|(?:content-type|mime-version)[ \t]*:)",
    re.IGNORECASE,
)
_HIDDEN_RECIPIENT: Final = re.compile(r"[^\r\n:]{0,256}(?:\r\n|[\r\n])[ \t]*bcc[ \t]*:[^\r\n@]{0,128}@", re.IGNORECASE)
_WRITTEN_RECIPIENT: Final = re.compile(r"(?:\\r\\n|\\[rn])[ \t]*bcc[ \t]*:[^\r\n@]{0,128}@", re.IGNORECASE)
_ADDRESSED: Final = re.compile(r"[ \t]*(?:[^\r\n<>:]{0,128}<)?[\w.+%-]{1,64}@[\w.-]{1,255}>?[ \t]*")
_MAIL_COMMAND: Final = re.compile(
    rf"{_END}[ \t]*(?:(?:RCPT[ \t]+TO|MAIL[ \t]+FROM)[ \t]*:[ \t]*<?[^\s<>@]{{1,64}}@"
    r"|(?:EHLO|HELO)[ \t]+[\w.-]{1,255}[ \t]*(?:[\r\n]|\Z)|DATA[ \t]*\r?\n(?:From|To|Subject|Date|\.)\b"
    r"|[A-Z]{1,4}\d{1,6}[ \t]+(?:CAPABILITY|FETCH|LOGIN|LOGOUT|SELECT|EXAMINE|CREATE|DELETE|RENAME|LIST|LSUB|STATUS|APPEND|STORE|COPY|SEARCH|UID|NOOP|AUTHENTICATE|STARTTLS|EXPUNGE)\b"
    r"|(?:RETR|DELE|TOP|UIDL|STAT)[ \t]+\d{1,9}[ \t]*(?:[\r\n]|\Z)|(?:USER|PASS|APOP)[ \t]+[^\s]{1,64}[ \t]*\r?\n(?:PASS|STAT|LIST|RETR)\b"
    r"|AUTH[ \t]+(?:LOGIN|PLAIN|CRAM-MD5)\b|STARTTLS[ \t]*(?:[\r\n]|\Z))"
)
_BARE_COMMAND: Final = re.compile(
    rf"{_END}(?:QUIT|DATA|RSET|NOOP|VRFY|EXPN|CAPABILITY|STARTTLS|LOGOUT|STAT)[ \t]*(?:[\r\n]|\Z)"
)
_NARROWED: Final = re.compile(
    rf"[\u560a\u560d\u010a\u010d\u020a\u020d]{{1,4}}[ \t]*(?:{_FIELDS}|http/1)[ \t]*:", re.IGNORECASE
)
_LOG_ENTRY: Final = re.compile(
    rf"{_END}[ \t]*\[?\d{{4}}-\d{{2}}-\d{{2}}[T ]\d{{2}}:\d{{2}}:\d{{2}}[^\r\n]{{0,40}}\b(?:INFO|WARN|WARNING|ERROR|DEBUG|CRITICAL|FATAL|NOTICE)\b"
)
_WORD: Final = 4_096
"""Longer than this no word stands before a line end."""
_CANDIDATE: Final = re.compile(
    r"[ \t]*(?:[A-Za-z][A-Za-z0-9 -]{0,40}[ \t]*\r{0,4}:|HTTP/|<|[A-Z]{1,10}\d{0,6}(?:[ \t][^ ]|[ \t]*\Z)|(?:GET|POST|PUT)\b|\[?\d{4}-\d\d-)"
)
_NARROW: Final = frozenset("\u560a\u560d\u010a\u010d\u020a\u020d")
_CONTROLS: Final = frozenset("\r\n\x85\u2028\u2029") | _NARROW
_FIRST_FIELD: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,40}: ")
_LINE_END: Final = re.compile(r"[\r\n]")


_ESCAPED: Final = ("\\r", "\\n", "\\x0", "\\u0", "\\0")
_SPLITTING: Final = Needles(("set-cookie", "location", "content-", "http/1"))
"""What is worth hiding a line end in another character for."""


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether a line end or something that becomes one is here, or a request line."""
    return (
        not _CONTROLS.isdisjoint(specials)
        or ("\\" in specials and ":" in specials and follows_backslash(lowered, _ESCAPED))
        or ("/" in specials and " http/" in lowered)
        or ("\x80" in specials and _SPLITTING.are_in(lowered))
    )


def signs(text: str, position: Position) -> Iterator[Sign]:
    """Yield what the line ends of `text` would end."""
    if position in _NEVER and (end := _LINE_END.search(text)) is not None and len(text) > end.end() - end.start():
        yield Sign("crlf.line_end", end.start(), end.end())
    if not _has_candidate(text):
        return
    writes_lines = position in _LINES_ARE_WRITTEN
    spans = CodeSpans(text, position)
    for pattern, name in (
        (_RESPONSE, "crlf.response"),
        (_NARROWED, "crlf.narrowed"),
        (_MAIL_COMMAND, "crlf.mail_command"),
    ):
        match = pattern.search(text)
        if match is None or match.start() in spans:
            continue
        if name != "crlf.response" or not writes_lines or _is_bare(text, match.start()):
            yield Sign(name, match.start(), match.end())
    yield from _requests(text, writes_lines=writes_lines)
    yield from _headers(text, position)
    yield from _mail(text)
    if not writes_lines and (match := _LOG_ENTRY.search(text)) is not None:
        yield Sign("crlf.log_entry", match.start(), match.end())


def _has_candidate(text: str) -> bool:
    """Tell whether some line begins as a field, a command or markup does; most lines of people do not."""
    if "\\" in text or " HTTP/" in text or not (text.isascii() or _NARROW.isdisjoint(text)):
        return True
    return any(line and _CANDIDATE.match(line) is not None for line in text.splitlines()[1:])


def _requests(text: str, *, writes_lines: bool) -> Iterator[Sign]:
    match = _REQUEST.search(text)
    if match is not None and (not writes_lines or (match.start() == 0 and text.count("\n") < 3)):
        yield Sign("crlf.request", match.start(), match.end())


def _headers(text: str, position: Position) -> Iterator[Sign]:
    """Header fields after a line end; where lines are written, only right after a first line that is no sentence."""
    match = _HEADER.search(text)
    if match is None and position not in _LINES_ARE_WRITTEN:
        match = _WRITTEN_HEADER.search(text)
    if match is not None:
        if _begins_as_field(text) and "set-cookie" not in match[0].lower():
            yield Sign("crlf.any_header", match.start(), match.end())  # lines of a head, quoted from its first on
        elif position not in _LINES_ARE_WRITTEN or _is_bare(text, match.start()):
            yield Sign("crlf.header", match.start(), match.end())
        return
    if position in _LINES_ARE_WRITTEN:
        return
    match = _ANY_HEADER.search(text)
    if match is not None:
        # Nobody begins with a line end: what stands before it is the page's. Nor does a list have names as `X-Name` in it.
        is_field = not text[: match.start()].strip() or ("-" in match[0] and _is_bare(text, match.start()))
        yield Sign("crlf.header" if is_field else "crlf.any_header", match.start(), match.end())


def _begins_as_field(text: str) -> bool:
    return _FIRST_FIELD.match(text) is not None


def _is_bare(text: str, end: int) -> bool:
    """Tell whether up to `end` stands a single word or nothing: the value of a field, no sentence."""
    before = text[: min(end, _WORD)]
    return end <= _WORD and len(before.split(None, 2)) <= 1 and not before.rstrip().endswith(":")


def _mail(text: str) -> Iterator[Sign]:
    match = _MAIL_HEADER.search(text)
    if (
        (match is not None and _ADDRESSED.fullmatch(text, 0, match.start()))
        or ((match := _MAIL_RECIPIENT.search(text)) is not None and match.start() and _is_bare(text, match.start()))
        or (match := _HIDDEN_RECIPIENT.match(text)) is not None
        or ("\\" in text and (match := _WRITTEN_RECIPIENT.search(text)) is not None)
    ):
        yield Sign("crlf.mail_header", match.start(), match.end())
    match = _BARE_COMMAND.search(text)
    if match is not None:
        is_all = not text[: match.start()].strip() and not text[match.end() :].strip()
        yield Sign("crlf.mail_command" if is_all else "crlf.bare_mail_command", match.start(), match.end())

"""Expressions that a template engine would compute: on the server (SSTI), or in the browser (AngularJS, Vue).

A placeholder names something (`{{name}}`, `${amount}`, `{{ price | currency }}`): people write them into the
templates of their letters. An injection computes without any name (`{{7*7}}`), or reaches for what no letter
names: classes, modules, the engine's own objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.prose import CodeSpans
from gateway.inspection.script.program import program
from gateway.inspection.sign import Sign

CLASS: Final = "template"

SIGNS: Final[Mapping[str, str]] = {
    "template.arithmetic": "An expression computes with literals alone: nobody's letter does, a probe does.",
    "template.reach": "An expression reaches for classes, modules, files, processes or the engine's own objects.",
    "template.script": "An expression calls a function of the browser: client-side templates run it.",
    "template.literal": "An expression works on a literal or calls a function with one.",
    "template.statement": "A statement of a template language: if, for, set, include.",
    "template.loading_statement": "A statement that loads a file or a module, or that shows the engine's inside.",
    "template.code_sample": "One of the strong signs stands in code that a text quotes as Markdown.",
    "template.code_sample_live": "The same, for those who do not render Markdown.",
}

_WEAK: Final = frozenset({"template.literal", "template.statement"})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Two characters begin each opening; most texts hold none, and a search for them alone is quick.
_BEGINS: Final = re.compile(r"[{$#*@%~<\[][{(%#$@\[=/\w\"'<]")
_OPENING: Final = re.compile(
    r"\{\{+[=#^&!>@~-]?|\{%-?|\{#(?=\w)|[$#*@%~]\{+|<%[=\-#!@]?|</?[#@](?=[a-z])|\[#(?=[a-z])|\[=|\[\[|\[\(|@\("
    r"|#(?:set|foreach|if|evaluate|include|parse|macro)\s{0,4}\("
    r"|\{(?=[$/]?(?:php|system|passthru|exec|shell_exec|popen|eval|include|fetch|literal|if|math|self::|smarty|Smarty_|\d{1,12}\s{0,4}\*))"
    r"|@(?=(?:System|Convert|Environment)\.[A-Z]|Html\.(?:Raw|Action|RenderAction)\b)|\$\w{1,32}\.(?=getClass|class\s*[.\[(]|inspect\b|forName)"
)
_CLOSING: Final[Mapping[str, str]] = {"{{": "}}", "{%": "%}", "<%": "%>", "[[": "]]", "</": ">", "<#": ">", "<@": ">"}
_NESTED: Final = re.compile(
    r"\{\{|[$#*@%~]\{|\{%|<%|\[\[|\[\(|@\(|<#|#(?:set|foreach|if|evaluate|include|parse|macro)\s{0,4}\("
)
_JUDGED: Final = 1_024
_SHORT: Final = 64
"""An expression so short is judged whole, even when it holds another."""
_EXPRESSION: Final = 2_048
"""How far an expression may reach."""
# Names, filters and what stands around them in letters: no digit computes, no bracket calls, no name is reserved.
_PLACEHOLDER: Final = re.compile(
    r"[\s#/^&>!|:-]*+(?:else|each|if|unless|with)?[\s]*+[A-Za-z][A-Za-z0-9-]*+(?:[._][A-Za-z0-9]++)*+\s*+(?:\|\s*+[a-z_]++\s*+)*+[/-]?"
)
_RESERVED: Final = _words(
    """
    config self settings lipsum cycler joiner debug this globals dir g class env constructor prototype attr request app
    handler process os sys system environ mro global session template context application import include extends php
    applicationScope sessionScope requestScope pageScope pageContext initParam facesContext
    """
)

_LITERAL: Final = r"(?:[\"']?\d{1,12}(?:\.\d{1,8})?[\"']?|\"[^\"{}\n]{0,32}\"|'[^'{}\n]{0,32}')"
_ARITHMETIC: Final = re.compile(
    rf"[\s(+~!-]{{0,8}}(?:(?:print|echo|puts|return|out\.print(?:ln)?)[\s(]{{1,4}})?{_LITERAL}\s*(?:\*\*|\*|/|\+|-|%|==|!=|<|>|~|\^|\|\|)\s*[(+-]{{0,4}}{_LITERAL}"
    rf"(?:[\s()]{{0,4}}(?:[*/+%^-])[\s()]{{0,4}}{_LITERAL}){{0,8}}[\s)]{{0,8}}(?:\|[\w\s]{{0,32}})?-?\s*\Z"
)
_REACH: Final = re.compile(
    r"__[a-z]\w{2,32}|\\x5f|\\u005f|\|\s*attr\b|\.\s*mro\b|\bconstructor\b|\bprototype\b"
    r"|\bget(?:Class|ClassLoader|Resource|Method|DeclaredM\w+|DeclaredField|Runtime)\b|\bnewInstance\b|\bsetAccessible\b|\.\s*execute\s*\(\s*\)|\bcurrent_app\b|\bforName\b|\bgetRuntime\b|\bRuntime\b\s*[.\])@]|\bProcessBuilder\b|\bT\s*\(\s*[a-z][\w.]*\s*\)|\bT\s*\(\s*\w+\s*\)\s*\."
    r"|\?\s*(?:new|api|eval|interpret|lower_abc)\b|\.\s*class\b\s*[.\[(]|\bjava(?:x)?\.(?:lang|util|io|nio|net|script)\b|\bfreemarker\.|\borg\.apache\.|\borg\.springframework\."
    r"|\b(?:constant|get_env|file_excerpt|system|popen|passthru|shell_exec|proc_open|phpinfo|exec|execSync|spawn|eval|assert|call_user_func|file_get_contents|readfile|file_put_contents|fopen|getenv|dump|var_dump|globals|locals|vars|dir|getattr|compile)\s*\("
    r"|\b(?:include|require|source|read|open)\s*\(\s*[\"'`/]"
    r"|\bprocess\s*\.\s*(?:env|mainModule|binding|cwd|exit|version)|\bchild_process\b|\bglobal\.process|\bmainModule\b"
    r"|\b(?:os|subprocess|sys|builtins|importlib|platform)\s*\.\s*(?:system|popen|environ|path|modules|listdir|getcwd|check_output|run|call|Popen|argv|exit|uname)\b"
    r"|(?:^|[\s(|,!=>-])_(?:self|context|charset|globals|request|response)\b|\b(?:lipsum|cycler|joiner|get_flashed_messages|url_for\.|namespace\s*\()"
    r"|\bin\s+config\b|\bconfig\s*(?:\||\.\s*(?:items|from_|root_path|[A-Z_]{4,}|__)|\[)|\bSECRET_KEY\b|\b(?:handler|app|self)\s*\.\s*(?:settings|application|request\.(?:server|query|cookies|headers|environ)|environ|module|template|__|_|jinja)|\bself\s*\.\s*[_a-z]"
    r"|\brequest\s*(?:\|\s*attr|\[|\.\s*(?:application|environ|args|cookies|headers|form|values|__|getClass|getServletContext|server))"
    r"|\bregister(?:Undefined)?FilterCallback\b|\bgetFilter\s*\(|\|\s*(?:filter|map|sort|reduce)\s*\(\s*[\"'\[(]"
    r"|\b(?:File|IO|Dir|Kernel|Process|Open3|ENV|ObjectSpace|Marshal|YAML|ERB)\s*(?:\.|::|\[)\s*[\"'a-z]|%x\s*[({\[|]|`[^`]{1,256}`"
    r"|@[a-z]\w*(?:\.\w+)+@\w+|#_memberAccess|#context\b|#(?:request|session|application|attr|parameters)\s*[.\[]|\(#\w+\s*="
    r"|\b(?:ScriptEngineManager|JythonRuntime|ObjectConstructor|springMacroRequestContext|applicationContext|pageContext|applicationScope|sessionScope|initParam|servletContext)\b"
    r"|\bSmarty_\w+|\bself::|\$smarty\b|\bsmarty\.(?:version|template|server|env|get|post|cookies|session|const|now)"
    r"|\bSystem\s*\.\s*(?:Diagnostics|IO|Reflection|Environment|Net|getenv|getProperty|exit)\b|\.data_model\b|(?:^|\s)\.(?:globals|main|template_name|version)\b"
    r"|\$(?:eval|on|parse|root|watch)\s*\.\s*\w|\|\s*orderBy\s*:\s*[\"'\[]|\b(?:charAt|fromCharCode|sub)\s*[.=]\s*(?:\[|call|constructor)"
)
_ENGINE_OBJECT: Final = re.compile(
    r"\s*(?:config|self|_self|_context|lipsum|cycler|joiner|settings|app\.request|app\.debug|g|dir|debug|globals|\.System|\[\]|\(\)|\{\}|''|\"\")\s*(?:\|\s*\w{1,16}\s*)?-?\s*"
)
_ROOTLESS: Final = re.compile(
    r"\s*[(!]{0,4}(?:\[\s*\]|\(\s*\)|\{\s*\}|''|\"\"|\[\s*[\"'\d][^\]\n]{0,64}\])\s*(?:\.|\[|\||~)\s*\w?"
)
_WORKS_ON_LITERAL: Final = re.compile(
    r"\s*[(!]{0,4}(?:[\"'][^\"'\n]{0,64}[\"']|\d{1,12})\s*(?:[*+/~%.\[]|\|(?!\|)|-)\s*[\w\"'(]"
)
_CALLS_WITH_LITERAL: Final = re.compile(r"\b\w{2,32}\s*\(\s*(?:[\"']|\d|\))")
_STATEMENT: Final = re.compile(
    r"[\s\-=#@!]{0,4}(?:if|for|set|block|macro|foreach|elseif|while|assign|list|function|var|def|do|puts|print|raw|with|filter|call|apply|autoescape|end\w*|case|unless|capture)\b",
    re.IGNORECASE,
)
_LOADING: Final = re.compile(
    r"[\s\-=#@!]{0,4}(?:debug\s*-?\Z|(?:include|import|extends|from|load|use|embed|render)\s+[\"']?\s*(?:/|\.\.|[a-z]+://|\w+\s*(?:-?\s*\Z|,|import\b))|require\s{0,4}\(?\s{0,4}[\"']|php\b|get_admin_log|\s*page\s+import|ssi\s)",
    re.IGNORECASE,
)
_VELOCITY: Final = re.compile(r"\s*\$\w+\s*=")


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether an expression's opening may stand here."""
    if "{" in specials or "%" in specials or "@" in specials or "#" in specials or "[" in specials or "$" in specials:
        return _BEGINS.search(lowered) is not None
    return False


def signs(text: str, position: Position) -> Iterator[Sign]:
    """Yield what template engines would compute of `text`, each sign once."""
    spans = CodeSpans(text, position)
    seen: set[str] = set()
    for sign in _signs(text):
        shown = sign
        if spans and sign.start in spans:
            if sign.name in _WEAK:
                continue
            shown = Sign("template.code_sample", sign.start, sign.end)
            if "template.code_sample" not in seen:
                yield Sign("template.code_sample_live", sign.start, sign.end)
        if shown.name not in seen:
            seen.add(shown.name)
            yield shown
            if shown.name == "template.reach":
                return  # an engine that computes this computes anything


def _signs(text: str) -> Iterator[Sign]:
    at = judged = 0
    while (begin := _BEGINS.search(text, at)) is not None:
        match = _OPENING.match(text, begin.start())
        if match is None or _is_typesetting(text, match):
            at = begin.start() + 1
            continue
        end, is_closed = _end(text, match.end(), match[0])
        expression = text[match.end() : end]
        if expression and not _is_placeholder(match[0], expression):
            judged += 1
            # So many expressions that are no names are no letter: the rest counts unread.
            name = _judge(match[0], expression, is_closed=is_closed) if judged <= _JUDGED else "template.reach"
            if name:
                yield Sign(name, match.start(), end)
        # What an expression holds may be one itself (`__${...}__`): go on right behind the opening.
        at = match.end()


def _is_typesetting(text: str, match: re.Match[str]) -> bool:
    """`x^{2*3}`, `_{1*2}`: a single brace that follows a formula's sign or a command."""
    before = text[match.start() - 1 : match.start()]
    return match[0] == "{" and (before in {"^", "_", "}"} or before.isalnum())


def _is_placeholder(opening: str, expression: str) -> bool:
    """Tell a name with filters, none of them reserved: most expressions of letters are that."""
    if opening == "{" or _PLACEHOLDER.fullmatch(expression) is None:
        return False
    return _RESERVED.isdisjoint(expression.replace(".", " ").replace("|", " ").split())


def _end(text: str, start: int, opening: str) -> tuple[int, bool]:
    """Return where the expression ends, and whether a bracket closed it.

    One that another opening interrupts before it is closed ends there: so no text is judged twice.
    """
    limit = min(len(text), start + _EXPRESSION)
    end = text.find(_closing(opening), start, limit)
    if end >= 0 and end - start < _SHORT:
        return end, True
    nested = _NESTED.search(text, start + 1, limit if end < 0 else end)
    if nested is not None:
        return nested.start(), False
    return (limit, False) if end < 0 else (end, True)


def _closing(opening: str) -> str:
    pair = _CLOSING.get(opening[:2])
    if pair is not None:
        return pair
    if opening.endswith("{"):
        return "}"
    if opening[0] == "[":
        return "]"
    return ")" if opening == "@(" else "\n"


def _judge(opening: str, expression: str, *, is_closed: bool) -> str:
    """Name what the engine would compute, empty for a placeholder."""
    if opening == "@" or (opening[0] == "$" and opening[-1] == "."):
        return "template.reach"
    if opening in {"[[", "[(", "@(", "{", "[=", "[#"}:
        return _judge_rare(opening, expression, is_closed=is_closed)
    # `#{12-34}` and `#{7/2026}` are numbers of tickets.
    if is_closed and _ARITHMETIC.fullmatch(expression) and (opening != "#{" or "*" in expression or "+" in expression):
        return "template.arithmetic"
    if opening.startswith("#set") and _VELOCITY.match(expression):
        return "template.reach"
    is_statement = opening.startswith(("{%", "<%", "<#", "<@", "</", "{#")) and not opening.startswith("<%=")
    if is_statement and _LOADING.match(expression):
        return "template.loading_statement"
    if _REACH.search(expression) or _ROOTLESS.match(expression):
        return "template.reach"
    if opening.startswith("{{") and _ENGINE_OBJECT.fullmatch(expression):
        return "template.reach"
    if opening.startswith(("{{", "${", "#{", "<%")) and "(" in expression and program(expression).shows:
        return "template.script"
    if _WORKS_ON_LITERAL.match(expression) or _CALLS_WITH_LITERAL.search(expression):
        return "template.literal"
    if is_statement and _STATEMENT.match(expression):
        return "template.statement"
    return ""


def _judge_rare(opening: str, expression: str, *, is_closed: bool) -> str:
    """Brackets that people write as well: only what is plain counts."""
    if _ARITHMETIC.fullmatch(expression):
        return "template.arithmetic" if is_closed and "*" in expression else ""
    if opening == "[#" and _REACH.search(expression):
        return "template.reach"
    if opening == "{" and re.match(r"/?(?:php\s*\Z|(?:system|passthru|exec|shell_exec|popen|eval)\s*\()", expression):
        return "template.reach"
    if opening == "{" and re.match(
        r"(?:include|fetch)\s+file\s*=|math\s+equation\s*=|\$smarty\.|smarty\.|self::|Smarty_|if\s+\w+\s*\(", expression
    ):
        return (
            "template.reach"
            if _REACH.search(expression) or expression.startswith(("include", "fetch", "math"))
            else "template.statement"
        )
    if (
        opening in {"[[", "[(", "@("}
        and re.match(r"\s*(?:[$*#]\{|T\s*\(|System\.)", expression)
        and _REACH.search(expression)
    ):
        return "template.reach"
    return ""

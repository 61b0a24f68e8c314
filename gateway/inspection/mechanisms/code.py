"""Code injection: PHP, Node, Python, Perl, Ruby, Java and VBScript that an interpreter behind the gateway would run.

CWE-94, CWE-95, CWE-98; ASVS 5.0 1.3.2. What is evaluated must parse: code counts alone in a value or behind what breaks out of
a string, much less in a sentence, and least in the code that people show in Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.prose import PROSE_POSITIONS, CodeSpans, is_running
from gateway.inspection.sign import Sign

CLASS: Final = "code"

SIGNS: Final[Mapping[str, str]] = {
    "code.php_tag": "The value opens PHP.",
    "code.php_call": "PHP would call a function that runs, reads or decodes.",
    "code.php_function": "PHP would call one of its functions.",
    "code.php_variable": "The value names what PHP gets from the request, or a variable of variables.",
    "code.php_dynamic_call": "A name that is put together is called: ('sys'.'tem')('id').",
    "code.php_setting": "The value is a setting of PHP, as auto_prepend_file=php://input.",
    "code.node": "Node would load a module that starts processes, or reach the process.",
    "code.javascript_call": "The value is a statement of JavaScript that calls.",
    "code.endless_loop": "The value is a loop that never ends.",
    "code.python": "Python would import, run, or climb to its builtins.",
    "code.perl": "Perl would run what stands in a string or a call.",
    "code.ruby": "Ruby would start a process or evaluate a text.",
    "code.java": "Java would start a process, load a class or evaluate an expression.",
    "code.java_binding": "A name reaches the class loader through the properties of a bean (CVE-2022-22965).",
    "code.vbscript": "Classic ASP would evaluate the value or make an object.",
    "code.orm": "A name reaches through relations of an object-relational mapper to a secret.",
    "code.orm_lookup": "A name is a look-up of an object-relational mapper.",
    "code.quoted": "Code that runs something stands in text that speaks of it or shows it.",
}

_RUNS: Final = (
    "system|exec|shell_exec|passthru|popen|proc_open|pcntl_exec|eval|assert|create_function|call_user_func(?:_array)?|preg_replace(?:_callback)?|array_map|array_filter|usort|uasort|register_shutdown_function|ob_start"
    "|base64_decode|str_rot13|gzinflate|gzuncompress|gzdecode|bzdecompress|convert_uudecode|hex2bin|rawurldecode|urldecode|chr|pack|unpack|strrev|unserialize|phpinfo|phpversion|php_uname|php_sapi_name|get_defined_vars|get_cfg_var|getenv|putenv|ini_set|ini_get|dl|mail"
    "|file_get_contents|file_put_contents|fopen|fsockopen|pfsockopen|readfile|show_source|highlight_file|php_strip_whitespace|parse_ini_file|fread|fwrite|fputs|fpassthru|tmpfile|move_uploaded_file|copy|rename|unlink|rmdir|mkdir|chmod|symlink|scandir|opendir|glob|dir|simplexml_load_(?:file|string)|include(?:_once)?|require(?:_once)?|print_r|var_dump|var_export|printf|curl_(?:init|exec|setopt)|file|is_file|is_array|file_exists|md5|print|die|sleep|usleep|echo"
)
_PHP_TAG: Final = re.compile(
    r"(?i)<\?(?:php\b|=|\s*$|\s|hh\b)|<\?(?!xml[\s-])\w{0,3}[\s:]*[\w$@\"'(]|<%\s*(?:eval|execute|response|request)|<script\s+language\s*=\s*[\"']?php|\[/?php\]|\{/?php\}|\[\\php\]"
)
_PHP_CALL: Final = re.compile(
    r"(?i)(?<![\w>.$-])@?(?:"
    + _RUNS
    + r")\s{0,4}(?:/\*[^*]{0,64}\*/|#[^\n]{0,64}\n)?\s{0,4}\(\s{0,8}(?:[\"'$@`\\]|(?:"
    + _RUNS
    + r"|array|\w{1,32}\(|\[|__|\d{1,5}\s*\)|ls|id|cat|whoami|uname|pwd)|\)\s*;)"
    r"|\b(?:phpinfo|get_defined_vars|php_uname|posix_\w{2,16}|getcwd|phpversion|get_current_user)\s{0,4}\(\s{0,4}-?\d{0,3}\s{0,4}\)|\b(?:system|exec|passthru|shell_exec|popen|eval|assert|unserialize|fopen)\s{0,2}\(\s{0,4}[^\s()]{1,64}\s{0,4}\)\s{0,4};"
)
_PHP_FUNCTION: Final = re.compile(
    r"(?i)(?<![\w.$>-])(?:[a-z]{2,24}_(?:[a-z0-9]{1,32}_){0,6}[a-z0-9]{1,32}|gethostbyname|fopen|unserialize|filegroup|chr|gz\w{4,12}|bz\w{4,12}|foogzdecode)\s{0,4}\("
)
_SUPERGLOBAL: Final = re.compile(
    r"\$\s{0,2}(?:_(?:GET|POST|COOKIE|REQUEST|SERVER|FILES|ENV|SESSION)|GLOBALS|HTTP_(?:RAW_POST_DATA|POST_VARS|GET_VARS|COOKIE_VARS))(?:\b|_)|\$\{[\"'@]_?\w{0,32}[\"']|\$\s*\{\s*(?:[\"']|@|\$\w)|\$\$+[a-z_]\w{0,32}\s*[(=\[]|\$\{@?(?:print|eval|system|phpinfo)\b"
)
_DYNAMIC: Final = re.compile(
    r"(?:\(\s{0,4}|(?<![\w)\]]))(?:[\"'](?:\\x[0-9a-fA-F]{2}|\\[0-7]{1,3}|\w){2,64}[\"']|\[\s{0,4}[\"']?\w{2,32}[\"']?\s{0,4}\]\s{0,4}\)?\s{0,4}\[\s{0,4}\d\s{0,4}\])\s{0,4}\)?\s{0,4}(?:\[\d\]\s{0,4}|\{[^}]{0,32}\}\s{0,4}|/\*[^*]{0,64}\*/)?\(\s{0,4}(?:[\"'$]|\w{1,32}\s{0,4}\)\s{0,4}[;.])"
    r"|\(\s*\w{1,16}\s*\.\s*\(?\s*\w{1,16}.{0,32}?\)\s*\(\s*[\"']|\(/\*[^*]{0,64}\*/\s*\w+\)\s*\(|\)\s*(?:/\*[^*]{0,32}\*/)?\s*(?:\[\d\]){0,3}\s*\(\s*[\"'](?:id|ls|whoami|uname|cat|pwd|dir|phpinfo)\b|\(\s{0,4}(?:system|exec|passthru|shell_exec|phpinfo)\s{0,4}(?:/\*[^*]{0,64}\*/)?\s{0,4}\)\s{0,4}\("
    r"|(?<![\w.])\$+\s{0,4}(?:[a-zA-Z_]\w{0,32}|\{\s?[@\w.]{1,32}\s?\})\s{0,16}(?:(?:\[[^\]]{0,32}\]|\{[^}]{1,16}\}|/\*[^*]{0,64}\*/|(?:#|//)[^\n]{0,64}\n)\s{0,16}){0,6}\((?:[\"'$@]|\s{0,2}\d{0,3}\s{0,2}\)\s{0,4};?$)|[\"']\s?\.\s?[\"']\w{1,16}[\"']\s?\)\s?\("
)
_SETTING: Final = re.compile(
    r"(?i)(?:^|[\s&?+-])(?:d[\s+]+)?(?:auto_(?:prepend|append)_file|allow_url_(?:include|fopen)|open_basedir|disable_functions|safe_mode|suhosin\.\w{1,32}|cgi\.(?:force_redirect|redirect_status_env)|extension(?:_dir)?|zend_extension|opcache\.\w{1,48}|mbstring\.\w{1,48}|session\.\w{1,48}|memory_limit|error_log|include_path|assert\.\w{1,32}|sendmail_path|pcre\.\w{1,32}|engine|display_errors|log_errors|short_open_tag|user_ini\.\w{1,16}|smtp|precision)\s{0,4}=\s{0,4}(?:[\w\"'/:.%-]{1,256})$"
)
_SETTING_HOSTILE: Final = re.compile(
    r"(?i)(?:auto_(?:prepend|append)_file|allow_url_(?:include|fopen)|disable_functions|open_basedir|safe_mode|suhosin\.\w{1,32}|cgi\.force_redirect|zend_extension|extension_dir|sendmail_path|include_path)\s{0,4}="
)
_NODE: Final = re.compile(
    r"(?i)\brequire\s{0,4}\(\s{0,4}[\"'`](?:node:)?(?:child_process|fs|vm|os|net|http|https|cluster|module|process|repl|worker_threads)(?:/promises)?[\"'`]\s{0,4}\)|\bchild_process\b\W{0,4}\.?\W{0,2}(?:exec|spawn|fork|\))|(?:global|this|globalthis|root|self)?\.?process\s{0,4}(?:\.|\[[\"'])\s{0,4}(?:mainmodule|binding|env\b(?!\s*\.\s*NODE_ENV)|exit\s*\(|kill\s*\(|dlopen|argv|cwd\s*\(|version|_load|getbuiltinmodule)|\brequire\.(?:main|cache|resolve|extensions)\b|\bmodule\.(?:constructor|_load|_compile)\b|\.constructor\._load\b|\b(?:exec|spawn|execfile)sync\s*\(|\bimport\s{0,4}\(\s{0,4}[\"'](?:node:)?(?:child_process|fs|vm)[\"']|\bnew\s+function\s*\(\s*[\"'`]|\bfunction\s*\(\s*[\"'`]\s*return\s+(?:this|process|global)|\.constructor\s*(?:\.|\[[\"'])\s*constructor\b.{0,8}?\(|\bglobal\.process\b|\bfs\.(?:readfile|writefile|readdir|unlink)(?:sync)?\s*\(|\b(?:readdir|readfile|writefile)sync\s*\(|\bc\\u006fnsole"
)
_JS_CALL: Final = re.compile(
    r"(?i)\s*(?:console|process)\s{0,4}(?:\.\s{0,4}\w{2,24}|\[[\"'`]\w{2,24}[\"'`]\])\s{0,4}\([^\n]{0,256}\)\s{0,4};?\s*|\s*(?:setTimeout|setInterval|eval|Function)\s{0,4}\([^\n]{1,256}\)(?:\(\))?\s{0,4};?\s*"
)
_LOOP: Final = re.compile(
    r"(?i)\s*[;'\")]{0,4}\s*(?:while\s{0,4}\(\s{0,4}(?:true|1|infinity|this|!{0,2}[-+]?(?:0|1|nan|''|\"\"|``|null|\[\]|\{\}|undefined|false)|new\s+\w{1,16}(?:\(\))?|\[\]|\{\}|!+\S{0,8}|''\s?==\s?''|1\s?==?\s?1)\s{0,4}\)\s{0,4}(?:;|\{\s{0,4}\}|$)|for\s{0,4}\(\s{0,4};\s{0,4};\s{0,4}\)\s{0,4}(?:;|\{))[;}\s'\"/]*"
)
_PYTHON: Final = re.compile(
    r"__import__\s{0,4}\(|\b(?:os|posix|commands|popen2|pty|subprocess|importlib|builtins|platform|shutil|socket)\.(?:system|popen\d?|exec[lv]p?e?|spawn\w{0,4}|getoutput|getstatusoutput|run|call|check_output|check_call|Popen|import_module|__import__|environ\b|listdir|remove|unlink|rmtree|fork|kill)\s{0,4}[(\[]|\.__(?:class|mro|bases?|subclasses|globals|builtins|init|dict|getattribute|reduce|code|import|loader)__\b|\b__(?:subclasses|globals|builtins|mro|base|bases|class|reduce)__\b|\bexec\s{0,4}\(\s{0,4}[\"'](?:import|__)|\beval\s{0,4}\(\s{0,4}(?:compile|__import__|input)\s{0,4}\(|\bcompile\s{0,4}\(\s{0,4}[\"'][^\"']{1,256}[\"'],\s{0,4}[\"']|\bopen\s{0,4}\(\s{0,4}[\"']/(?:etc|proc|root|var)/|\blambda\b[^\n:]{0,64}:\s{0,4}__|\b(?:getattr|setattr)\s{0,4}\(\s{0,4}(?:__|os|sys|self|builtins)|\bimport\s+(?:os|subprocess|socket|pty)\s*[;,\n]\s*\S|\bpickle\.loads\s*\(|\bsys\.modules\b"
)
_PERL: Final = re.compile(
    r"@\{\s{0,4}\[\s{0,4}(?:system|exec|eval|qx|uc|print|`|sub|open|do|require)?|\bqx\s{0,4}[{(/|!]\s{0,4}\w|\b(?:system|exec)\s{0,2}[\"']\w|\bopen\s{0,4}\(?\s{0,4}\$?\w{1,16}\s{0,4},\s{0,4}[\"'][^\"']{0,128}\|\s{0,4}[\"']|\buse\s+(?:Socket|IO::Socket\S{0,16}|POSIX)\s*;|\$\{\\\s{0,4}(?:system|`)|\bprint\s{0,4}`[^`]{1,128}`"
)
_RUBY: Final = re.compile(
    r"\b(?:Process\.(?:spawn|exec|fork|daemon|kill)|IO\.(?:popen|read|binread|readlines|sysopen)|Kernel\.(?:exec|system|spawn|open|eval|fork|`)|Open3\.(?:capture\w{1,8}|popen\w{1,8}|pipeline\w{0,8})|PTY\.spawn|File\.(?:read|open|write|binread|readlines|delete)|Dir\.(?:entries|glob|foreach)|ObjectSpace\.\w{1,32}|Marshal\.load|YAML\.load|ERB\.new|Net::HTTP\.\w{1,16}|Gem::\w{1,32}\.\w{1,16})\s{0,4}[(\s]\s{0,4}[\"'`|%:/\w]|%x[({\[<|/]\s{0,4}\w|\b(?:instance|class|module)_eval\b|\bKernel\.open\s{0,4}\(?\s{0,4}[\"']\||\bopen\s{0,4}\(\s{0,4}[\"']\|\s{0,4}\w|\bconst_get\s{0,4}\(|\.(?:public_)?send\s{0,4}\(\s{0,4}:?[\"']?(?:system|eval|exec|instance_eval|open|`)|\b(?:eval|exec|system)\s{0,4}\(?\s{0,4}%[qQwx]?[({\[]"
)
_JAVA: Final = re.compile(
    r"(?i)\bruntime\s{0,4}(?:\.|\(\))\s{0,4}getruntime\s{0,4}\(|\.getruntime\s{0,4}\(\s{0,4}\)|\bgetruntime\(\)\.exec\b|\bruntime\.exec\s{0,4}\(|\bnew\s+(?:java\.lang\.)?processbuilder\b|\bT\s{0,4}\(\s{0,4}(?:java|org|javax|com)\.[\w.$]{2,128}\s{0,4}\)|\.getclass\s{0,4}\(\s{0,4}\)\s{0,4}\.\s{0,4}(?:forname|getclassloader|getmethods?|getdeclared\w{3,24}|getprotectiondomain|getsuperclass|newinstance|getconstructor\w?)|\bclass\.forname\s{0,4}\(\s{0,4}[\"']|\bscriptenginemanager\b.{0,64}?\bgetenginebyname\b|\bnew\s+(?:java\.net\.)?urlclassloader\b|\bnew\s+javax\.script\.|\b(?:ognl|webwork|xwork|struts)\.(?:\w{1,32}\.)?(?:methodaccessor|memberaccess|deny\w+|excluded\w+|ognlcontext|valuestack|dispatcher)|#_?memberaccess\b|@ognl\.|\bfreemarker\.template\.utility\.(?:execute|objectconstructor|jythonruntime)\b|#context\[|\bdenymethodexecution\b|\ballowstaticmethodaccess\b|@java\.lang\.|\bcom\.opensymphony\.xwork2\.(?:actioncontext|dispatcher)\b|\.defineclass\s{0,4}\(|\bgroovyshell\b|\bjava\.lang\.(?:runtime|system)[@#.]\w{2,32}\s*\(|\bmethodclosure\b|\brequest\.getparameter\s*\("
)
_BINDING: Final = re.compile(
    r"(?i)^(?:class|\w{1,64}\.class)(?:\.|%2e|\[['\"]?)(?:module(?:\.|\[['\"]?))?(?:classloader|protectiondomain)\b|\bclass\.module\.classloader\b|\bclass\[['\"]?classloader"
)
_VB: Final = re.compile(
    r"(?i)\bcreateobject\s{0,4}\(\s{0,4}[\"']{1,2}(?:wscript\.shell|shell\.application|scripting\.filesystemobject|adodb\.stream|msxml2\.\S{1,24}|microsoft\.xmlhttp)|\bon\s+error\s+resume\s+next\b|\b(?:execute|eval|executeglobal)\s{0,4}\(?\s{0,4}(?:request|session|chr|replace|strreverse)\s{0,4}(?:\(|\.)|\bresponse\.(?:write|binarywrite)\s{0,4}\(|\bserver\.(?:createobject|scripttimeout|mappath|execute|transfer)\b|\b(?:getobject|shell)\s{0,4}\(\s{0,4}[\"']|\"[a-z]{1,8}\"\s{0,4}&\s{0,4}\"[a-z]{1,8}\"\s{0,4}&|\bprocess\.start\s{0,4}\(\s{0,4}\"|\bwscript\.shell\b"
)
_ORM_SECRET: Final = re.compile(
    r"(?i)^(?:\w{1,64}?__)*(?:\w{0,32}(?:password|passwd|secret|token|api_?key|hash|salt|otp|is_superuser|is_staff|permissions|username|metadata)\w{0,16})__(?:i?startswith|i?contains|i?regex|i?endswith|gte?|lte?|in|has_keys?|has_any_keys|isnull|i?exact|range)$|^(?:\w{1,64}?__){3,8}(?:i?startswith|i?endswith|i?regex|i?contains)$"
)
_ORM: Final = re.compile(
    r"(?i)^\w{1,64}?__(?:\w{1,64}?__){0,6}(?:i?startswith|i?endswith|i?regex|has_keys?|has_any_keys|contained_by)$"
)
_TRIGGERS: Final = frozenset("(<$@.%[{=_`\\")
_NAMES: Final = frozenset({Position.QUERY_NAME, Position.FORM_NAME, Position.JSON_NAME, Position.PART_NAME})
_MARKS_OF_CALLS: Final = ("(", "`", "{", "[")
_HEAD_OF_SENTENCE: Final = 48
_BREAKS_OUT: Final = re.compile(r"['\"`]\s{0,4}[);,.+\]}&|]{1,4}\s{0,4}$|[;}]\s{0,4}$|^\s{0,8}$|[=:,(]\s{0,4}$")


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether there is a call, a tag, a variable, or a name that reaches far."""
    if "(" in specials or "<" in specials or "$" in specials or ("@" in specials and "{" in specials):
        return True
    if "." in specials and (
        "process." in lowered
        or "class." in lowered
        or "require." in lowered
        or "module." in lowered
        or "createobject" in lowered
        or "wscript" in lowered
        or "__" in lowered
    ):
        return True
    if "%" in specials and "%x" in lowered:
        return True
    if ("=" in specials and len(lowered) < 512) or ("_" in specials and "__" in lowered):
        return True
    return (
        ("php" in lowered and ("[" in specials or "{" in specials))
        or " on error resume" in lowered
        or "child_process" in lowered
        or ("`" in specials and "print" in lowered)
        or (('"' in specials or "'" in specials) and ("system" in lowered or "exec" in lowered))
    )


def signs(text: str, position: Position) -> Iterator[Sign]:
    """Find code, and weigh it by what stands around it; of what is merely shown, one sign."""
    if position in _NAMES or (position in (Position.QUERY, Position.FORM) and text.isidentifier()):
        yield from _names(text)
    lowered = text.lower()
    found = [
        Sign(name, match.start(), match.end())
        for name, is_there, pattern in _candidates(text, lowered)
        if is_there and (match := pattern.search(text)) is not None
    ]
    if "while" in lowered or "for" in lowered:
        loop = _LOOP.fullmatch(text)
        if loop:
            found.append(Sign("code.endless_loop", 0, len(text)))
    if "(" in text and (call := _JS_CALL.fullmatch(text)) is not None:
        found.append(Sign("code.javascript_call", 0, call.end()))
    if not found:
        return
    if position not in PROSE_POSITIONS:
        yield from found
        return
    yield from _weighed(text, position, found)


def _weighed(text: str, position: Position, found: list[Sign]) -> Iterator[Sign]:
    spans = CodeSpans(text, position)
    is_speech = is_running(text)
    shown: Sign | None = None
    for sign in found:
        if sign.start in spans or (is_speech and not _breaks_out(text, sign.start)):
            shown = shown or Sign("code.quoted", sign.start, sign.end)
        else:
            yield sign
    if shown is not None:
        yield shown


def _breaks_out(text: str, start: int) -> bool:
    """Say whether right before the code a string or statement ends, and no words of a sentence do."""
    before = text[max(0, start - _HEAD_OF_SENTENCE) : start]
    return _BREAKS_OUT.search(before) is not None and not is_running(text, 0, start)


def _candidates(text: str, lowered: str) -> Iterator[tuple[str, bool, re.Pattern[str]]]:
    has_call = "(" in text
    yield (
        "code.php_tag",
        "<?" in text or "<%" in text or "php]" in lowered or "php}" in lowered or "<script" in lowered,
        _PHP_TAG,
    )
    yield "code.php_call", has_call, _PHP_CALL
    yield (
        "code.php_function",
        has_call
        and (
            "_" in text
            or "fopen" in lowered
            or "unserialize" in lowered
            or "chr" in lowered
            or "filegroup" in lowered
            or "gethost" in lowered
            or "gz" in lowered
            or "bz" in lowered
        ),
        _PHP_FUNCTION,
    )
    yield "code.php_variable", "$" in text, _SUPERGLOBAL
    yield "code.php_dynamic_call", has_call, _DYNAMIC
    yield (
        "code.node",
        has_call or "process" in lowered or "child_process" in lowered or "require." in lowered or "_load" in lowered,
        _NODE,
    )
    yield "code.python", has_call or "__" in text or "sys.modules" in lowered, _PYTHON
    yield (
        "code.perl",
        "@{" in text
        or "qx" in text
        or has_call
        or "`" in text
        or "system" in lowered
        or "exec" in lowered
        or "use " in lowered,
        _PERL,
    )
    yield (
        "code.ruby",
        has_call
        or "%x" in lowered
        or "::" in text
        or "_eval" in lowered
        or "Process." in text
        or "IO." in text
        or "Kernel." in text,
        _RUBY,
    )
    yield (
        "code.java",
        has_call or "#" in text or "@" in text or "opensymphony" in lowered or "freemarker" in lowered,
        _JAVA,
    )
    yield "code.java_binding", "class" in lowered, _BINDING
    yield "code.vbscript", has_call or "on error" in lowered or "wscript" in lowered or "server." in lowered, _VB
    if "=" in text:
        setting = _SETTING_HOSTILE.search(text)
        yield "code.php_setting", setting is not None, _SETTING


def _names(text: str) -> Iterator[Sign]:
    if "__" not in text:
        return
    secret = _ORM_SECRET.match(text)
    if secret:
        yield Sign("code.orm", 0, secret.end())
    elif lookup := _ORM.match(text):
        yield Sign("code.orm_lookup", 0, lookup.end())

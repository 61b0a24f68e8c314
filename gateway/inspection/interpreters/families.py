"""Families of code: for each language the calls and words that make a closer look worth it, and what it looks for.

A pattern is searched only around a call or word of its family.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gateway.inspection.interpreters.calls import DYNAMIC

_RUNS: Final = (
    "system|exec|shell_exec|passthru|popen|proc_open|pcntl_exec|eval|assert|create_function|call_user_func(?:_array)?|preg_replace(?:_callback)?"
    "|register_shutdown_function|base64_decode|str_rot13|gzinflate|gzuncompress|gzdecode|bzdecompress|convert_uudecode|hex2bin|rawurldecode"
    "|unserialize|phpinfo|php_uname|php_sapi_name|get_defined_vars|get_cfg_var|getenv|putenv|ini_set|ini_get"
    "|file_get_contents|file_put_contents|fopen|fsockopen|pfsockopen|readfile|show_source|highlight_file|php_strip_whitespace|parse_ini_file"
    "|fpassthru|tmpfile|move_uploaded_file|scandir|opendir|simplexml_load_(?:file|string)|include(?:_once)?|require_once|curl_(?:init|exec|setopt)"
)
_MERELY: Final = (
    "print|printf|print_r|var_dump|var_export|echo|die|exit|md5|sha1|crc32|strlen|strrev|chr|ord|pack|unpack|copy|rename|unlink|mkdir|rmdir|chmod|symlink"
    "|file|file_exists|is_file|is_array|glob|dir|mail|sleep|usleep|phpversion|urldecode|array_map|array_filter|usort|fread|fwrite|fputs|implode|ob_start|dl"
)
"""Names that other languages and sentences have too."""
_PHP_TAG: Final = re.compile(
    r"(?i)<\?(?:php\s+\S|=|\s*(?:\w+\s*[(\"\'`$;]|[$@`]|echo\b|print\b)|hh\b)|<%\s*(?:eval|execute|response|request)|<script\s+language\s*=\s*[\"']?php|\[/?php\]|\{/?php\}|\[\\php\]"
)
_PHP_CALL: Final = re.compile(
    r"(?i)(?:(?<![\w>.$-])|(?<=[\"\x27]\.))(?:(?:"
    + _RUNS
    + r")\s{0,4}(?:/\*[^*]{0,64}\*/|#[^\n]{0,64}\n)?\s{0,4}\(\s{0,8}(?:[\"'$@`\\]|(?:"
    + _RUNS
    + "|"
    + _MERELY
    + r")\s{0,4}\(|array\b|\[|__|\)\s*;)|(?:array_(?:map|walk|filter)|u[ak]?sort|ob_start)\s{0,4}\([^\n;]{0,64}?[\"'](?:"
    + _RUNS
    + r")[\"']|(?:"
    + _MERELY
    + r")\s{0,4}\(\s{0,4}(?:(?:"
    + _RUNS
    + r"|md5|sha1|crc32|chr|ord|strrev|strlen)\s{0,4}\(|\$_(?:GET|POST|REQUEST|COOKIE|SERVER|FILES)\b)"
    r"|(?:phpinfo|get_defined_vars|php_uname|posix_\w{2,16}|getcwd|phpversion|get_current_user)\s{0,4}\(\s{0,4}-?\d{0,3}\s{0,4}\)"
    r"|(?:system|exec|passthru|shell_exec|popen|eval|assert|unserialize|fopen)\s{0,2}\(\s{0,4}[^\s()]{1,64}\s{0,4}\)\s{0,4};"
    r"|(?<=echo )(?:md5|sha1)\s{0,4}\(|(?<=print )(?:md5|sha1)\s{0,4}\()"
)
"""Matched where a name begins that is called."""
_PHP_ALONE: Final = re.compile(
    r"(?i)\W{0,3}(?:"
    + _MERELY
    + r")\s{0,4}\(\s{0,4}\$[^()]{0,64}\)\W{0,3}|\W{0,3}(?:md5|sha1|crc32|strrev|var_dump|var_export|print_r|chr|ord)\s{0,4}\(\s{0,4}[\"'][^()]{0,64}\)\W{0,3}|[^'\"\s]{0,32}['\"]\s{0,4}[;.+,)\]}|&]{1,4}\s{0,4}(?:"
    + _RUNS
    + "|"
    + _MERELY
    + r")\s{0,4}\([^()]{0,64}\)\s{0,4}[;.+|&,].{0,16}"
)
_PHP_FUNCTION: Final = re.compile(
    r"(?i)(?<![\w.$>-])(?:[a-z]{2,24}_(?:[a-z0-9]{1,32}_){0,6}[a-z0-9]{1,32}|gethostbyname|fopen|unserialize|filegroup|gz\w{4,12}|bz\w{4,12}|foogzdecode)\s{0,4}\(|^\W{0,3}(?:"
    + _RUNS
    + "|"
    + _MERELY
    + r")\s{0,4}\([^()]{0,64}\)\s{0,4};?\W{0,3}$"
)
_SUPERGLOBAL: Final = re.compile(
    r"\$\s{0,2}(?:_(?:GET|POST|COOKIE|REQUEST|SERVER|FILES|ENV|SESSION)|GLOBALS|HTTP_(?:RAW_POST_DATA|POST_VARS|GET_VARS|COOKIE_VARS))(?:\b|_)|\$\{[\"'@]_?\w{0,32}[\"']|\$\s*\{\s*(?:[\"']|@|\$\w)|\$\$+[a-z_]\w{0,32}\s*[(=\[]|\$\{@?(?:print|eval|system|phpinfo)\b"
)
_DYNAMIC: Final = re.compile(
    r"(?:\(\s{0,4}|(?<![\w)\]]))(?:[\"'](?:\\x[0-9a-fA-F]{2}|\\[0-7]{1,3}|\w){2,64}[\"']|\[\s{0,4}[\"']?\w{2,32}[\"']?\s{0,4}\]\s{0,4}\)?\s{0,4}\[\s{0,4}\d\s{0,4}\])\s{0,4}\)?\s{0,4}(?:\[\d\]\s{0,4}|\{[^}]{0,32}\}\s{0,4}|/\*[^*]{0,64}\*/)?\(\s{0,4}(?:[\"'$]|\w{1,32}\s{0,4}\)\s{0,4}[;.])"
    r"|\(\s*\w{1,16}\s*\.\s*\(?\s*\w{1,16}.{0,32}?\)\s*\(\s*[\"']|\(/\*[^*]{0,64}\*/\s*\w+\)\s*\(|\)\s*(?:/\*[^*]{0,32}\*/)?\s*(?:\[\d\]){0,3}\s*\(\s*[\"'](?:id|ls|whoami|uname|cat|pwd|dir|phpinfo)\b|\(\s{0,4}(?:system|exec|passthru|shell_exec|phpinfo)\s{0,4}(?:/\*[^*]{0,64}\*/)?\s{0,4}\)\s{0,4}\("
    r"|(?<![\w.])\$+\s{0,4}(?:[a-zA-Z_]\w{0,32}|\{\s?[@\w.]{1,32}\s?\})(?:\s{0,16}(?:\[[^\]]{0,32}\]|\{[^}]{1,16}\}|/\*[^*]{0,64}\*/|(?:#|//)[^\n]{0,64}\n)){0,6}\s{0,2}\((?:[\"'$]|\s{0,2}\d{0,3}\s{0,2}\)\s{0,4};?$)|[\"']\s?\.\s?[\"']\w{1,16}[\"']\s?\)\s?\("
)
_SETTING: Final = re.compile(
    r"(?i)(?:^|[\s&?+-])(?:d[\s+]+)?(?:auto_(?:prepend|append)_file|allow_url_(?:include|fopen)|open_basedir|disable_functions|safe_mode|suhosin\.\w{1,32}|cgi\.(?:force_redirect|redirect_status_env)|extension(?:_dir)?|zend_extension|opcache\.\w{1,48}|mbstring\.\w{1,48}|session\.\w{1,48}|memory_limit|error_log|include_path|assert\.\w{1,32}|sendmail_path|pcre\.\w{1,32}|engine|display_errors|log_errors|short_open_tag|user_ini\.\w{1,16}|smtp|precision)\s{0,4}=\s{0,4}(?:[\w\"'/:.%-]{1,256})$"
)
_HOSTILE_SETTING: Final = re.compile(
    r"(?i)(?:auto_(?:prepend|append)_file|allow_url_(?:include|fopen)|disable_functions|open_basedir|safe_mode|suhosin\.\w{1,32}|cgi\.force_redirect|zend_extension|extension_dir|sendmail_path|include_path)\s{0,4}="
)
_NODE: Final = re.compile(
    r"(?i)\brequire\s{0,4}\(\s{0,4}[\"'`](?:node:)?(?:child_process|fs|vm|os|net|http|https|cluster|module|process|repl|worker_threads)(?:/promises)?[\"'`]\s{0,4}\)|\bchild_process\b\W{0,4}\.?\W{0,2}(?:exec|spawn|fork|\))|(?:global|this|globalthis|root|self)?\.?process\s{0,4}(?:\.|\[[\"'])\s{0,4}(?:mainmodule|binding|env\b(?!\s*\.\s*NODE_ENV)|exit\s*\(|kill\s*\(|dlopen|argv|cwd\s*\(|version|_load|getbuiltinmodule)|\brequire\.(?:main|cache|resolve|extensions)\b|\bmodule\.(?:constructor\b|_load\(|_compile\()|\.constructor\._load\b|\b(?:exec|spawn|execfile)sync\s*\(|\bimport\s{0,4}\(\s{0,4}[\"'](?:node:)?(?:child_process|fs|vm)[\"']|\bnew\s+function\s*\(\s*[\"'`]|\bfunction\s*\(\s*[\"'`]\s*return\s+(?:this|process|global)|\.constructor\s*(?:\.|\[[\"'])\s*constructor\b.{0,8}?\(|\bglobal\.process\b|\bfs\.(?:readfile|writefile|readdir|unlink)(?:sync)?\s*\(|\b(?:readdir|readfile|writefile)sync\s*\(|\bc\\u006fnsole"
)
_JS_CALL: Final = re.compile(
    r"(?i)\s*(?:console|process)\s{0,4}(?:\.\s{0,4}\w{2,24}|\[[\"'`]\w{2,24}[\"'`]\])\s{0,4}\([^\n]{0,256}\)\s{0,4};?\s*|\s*(?:setTimeout|setInterval|eval|Function)\s{0,4}\([^\n]{1,256}\)(?:\(\))?\s{0,4};?\s*"
)
_LOOP: Final = re.compile(
    r"(?i)\s*[;'\")]{0,4}\s*(?:while\s{0,4}\(\s{0,4}(?:true|1|infinity|this|!{0,2}[-+]?(?:0|1|nan|''|\"\"|``|null|\[\]|\{\}|undefined|false)|new\s+\w{1,16}(?:\(\))?|\[\]|\{\}|!+\S{0,8}|''\s?==\s?''|1\s?==?\s?1)\s{0,4}\)\s{0,4}(?:;|\{\s{0,4}\}|$)|for\s{0,4}\(\s{0,4};\s{0,4};\s{0,4}\)\s{0,4}(?:;|\{))[;}\s'\"/]*"
)
_PYTHON: Final = re.compile(
    r"__import__\s{0,4}\(|\b(?:os|posix|commands|popen2|pty|subprocess|importlib|builtins|platform|shutil|socket)\.(?:system|popen\d?|exec[lv]p?e?|spawn\w{0,4}|getoutput|getstatusoutput|run|call|check_output|check_call|Popen|import_module|__import__|remove|unlink|rmtree|fork|kill)\s{0,4}[(\[]|(?:[)\]}\x22\x27]\s{0,4})\.__class__\b(?!\.__(?:name|doc|module|qualname)__)|\.__class__\s{0,4}(?:\.__(?!name__|doc__|module__|qualname__)|\[)|\.__(?:mro|bases?|subclasses|globals|builtins|getattribute|reduce_ex|loader)__\b|\.__init__\.__globals__|\b__(?:subclasses|globals|builtins|mro|bases)__\b|\bexec\s{0,4}\(\s{0,4}[\"'](?:import|__)|\beval\s{0,4}\(\s{0,4}(?:compile|__import__|input)\s{0,4}\(|\bcompile\s{0,4}\(\s{0,4}[\"'][^\"']{1,256}[\"'],\s{0,4}[\"']|\bopen\s{0,4}\(\s{0,4}[\"']/(?:etc|proc|root|var)/|\blambda\b[^\n:]{0,64}:\s{0,4}__|\b(?:getattr|setattr)\s{0,4}\(\s{0,4}(?:__|os|sys|self|builtins)|\bimport\s+(?:os|subprocess|socket|pty)\s*[;,\n]\s*(?:os|subprocess|socket|pty|[a-z]\w*\s*=\s*(?:os|socket|subprocess))\.(?!path\b|sep\b|name\b|getcwd\b|listdir\b|makedirs\b)|\bpickle\.loads\s*\(|\bsys\.modules\["
)
_PERL: Final = re.compile(
    r"@\{\s{0,4}\[\s{0,4}(?:system|exec|eval|qx|uc|print|`|sub|open|do|require)?|\bqx\s{0,4}[{(/|!]\s{0,4}\w|\b(?:system|exec)\s{0,2}[\"']\w|\bopen\s{0,4}\(?\s{0,4}\$?\w{1,16}\s{0,4},\s{0,4}[\"'][^\"']{0,128}\|\s{0,4}[\"']|\buse\s+(?:Socket|IO::Socket\S{0,16}|POSIX)\s*;[^\n]{0,64}(?:[$@]\w|socket\s*\(|exec)|\$\{\\\s{0,4}(?:system|`)|\bprint\s{0,4}`[^`]{1,128}`"
)
_RUBY: Final = re.compile(
    r"\b(?:Process\.(?:spawn|exec|fork|daemon|kill)|IO\.(?:popen|read|binread|readlines|sysopen)|Kernel\.(?:exec|system|spawn|open|eval|fork|`)|Open3\.(?:capture\w{1,8}|popen\w{1,8}|pipeline\w{0,8})|PTY\.spawn|File\.(?:read|open|write|binread|readlines|delete)|Dir\.(?:entries|glob|foreach)|ObjectSpace\.\w{1,32}|Marshal\.load|YAML\.load|ERB\.new|Net::HTTP\.\w{1,16}|Gem::\w{1,32}\.\w{1,16})\s{0,4}[(\s]\s{0,4}[\"'`|%:/\w]|%x[({\[<|/]\s{0,4}[a-z/]|\b(?:instance|class|module)_eval\b|\bKernel\.open\s{0,4}\(?\s{0,4}[\"']\||\bopen\s{0,4}\(\s{0,4}[\"']\|\s{0,4}\w|\bconst_get\s{0,4}\(|\.(?:public_)?send\s{0,4}\(\s{0,4}:?[\"']?(?:system|eval|exec|instance_eval|open|`)|\b(?:eval|exec|system)\s{0,4}\(?\s{0,4}%[qQwx]?[({\[]"
)
_JAVA: Final = re.compile(
    r"(?i)\bruntime\s{0,4}(?:\.|\(\))\s{0,4}getruntime\s{0,4}\(|\.getruntime\s{0,4}\(\s{0,4}\)|\bgetruntime\(\)\.exec\b|\bruntime\.exec\s{0,4}\(|\bnew\s+(?:java\.lang\.)?processbuilder\b|\bT\s{0,4}\(\s{0,4}(?:java|org|javax|com)\.[\w.$]{2,128}\s{0,4}\)|\.getclass\s{0,4}\(\s{0,4}\)\s{0,4}\.\s{0,4}(?:forname|getclassloader|getmethods?|getdeclared\w{3,24}|getprotectiondomain|getsuperclass|newinstance|getconstructor\w?)|\bclass\.forname\s{0,4}\(\s{0,4}[\"']|\bscriptenginemanager\b.{0,64}?\bgetenginebyname\b|\bnew\s+(?:java\.net\.)?urlclassloader\b|\bnew\s+javax\.script\.|\b(?:ognl|webwork|xwork|struts)\.(?:\w{1,32}\.)?(?:methodaccessor|memberaccess|deny\w+|excluded\w+|ognlcontext|valuestack|dispatcher)|#_?memberaccess\b|@ognl\.|\bfreemarker\.template\.utility\.(?:execute|objectconstructor|jythonruntime)\b|#context\[|\bdenymethodexecution\b|\ballowstaticmethodaccess\b|@java\.lang\.|\bcom\.opensymphony\.xwork2\.(?:actioncontext|dispatcher)\b|\.defineclass\s{0,4}\(|\bgroovyshell\b|\bjava\.lang\.(?:runtime|system)[@#.]\w{2,32}\s*\(|\bmethodclosure\b|\bxml\.apache\.org/(?:xalan|xslt)/java\b|\brequest\.getparameter\s*\("
)
_BINDING: Final = re.compile(
    r"(?i)^(?:class|\w{1,64}\.class)(?:\.|%2e|\[['\"]?)(?:module(?:\.|\[['\"]?))?(?:classloader|protectiondomain)\b|\bclass\.module\.classloader\b|\bclass\[['\"]?classloader"
)
_VB: Final = re.compile(
    r"(?i)\bcreateobject\s{0,4}\(\s{0,4}[\"']{1,2}(?:wscript\.shell|shell\.application|scripting\.filesystemobject|adodb\.stream|msxml2\.\S{1,24}|microsoft\.xmlhttp)|\bon\s+error\s+resume\s+next\b|\b(?:execute|eval|executeglobal)\s{0,4}\(?\s{0,4}(?:request|session|chr|replace|strreverse)\s{0,4}(?:\(|\.)|\bresponse\.(?:write|binarywrite)\s{0,4}\(|\bserver\.(?:createobject|scripttimeout|mappath|execute|transfer)\b|\b(?:getobject|shell)\s{0,4}\(\s{0,4}[\"']|\"[a-z]{1,8}\"\s{0,4}&\s{0,4}\"[a-z]{1,8}\"\s{0,4}&|\bprocess\.start\s{0,4}\(\s{0,4}\"|\bwscript\.shell\b"
)


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


class Family(NamedTuple):
    """One sign, and where to look for it."""

    sign: str
    names: frozenset[str]
    """Calls of these, in lower case."""
    needles: tuple[str, ...]
    """Texts, in lower case."""
    pattern: re.Pattern[str]
    is_anchored: bool = False
    """The pattern begins where the name of a call begins."""


RUN_BY_PHP: Final = _listed(
    """system exec shell_exec passthru popen proc_open pcntl_exec eval assert create_function call_user_func call_user_func_array preg_replace
    preg_replace_callback register_shutdown_function base64_decode str_rot13 gzinflate gzuncompress gzdecode bzdecompress convert_uudecode hex2bin
    rawurldecode unserialize phpinfo php_uname php_sapi_name get_defined_vars get_cfg_var getenv putenv ini_set ini_get file_get_contents
    file_put_contents fopen fsockopen pfsockopen readfile show_source highlight_file php_strip_whitespace parse_ini_file fpassthru tmpfile
    move_uploaded_file scandir opendir simplexml_load_file simplexml_load_string include include_once require require_once curl_init curl_exec
    curl_setopt phpversion getcwd get_current_user posix_getpwuid posix_geteuid posix_getegid posix_getuid posix_uname"""
)
_MERELY_CALLED: Final = _listed(
    """print printf print_r var_dump var_export echo die exit md5 sha1 crc32 strlen strrev chr ord pack unpack copy rename unlink mkdir rmdir chmod
    symlink file file_exists is_file is_array glob dir mail sleep usleep urldecode array_map array_filter array_walk usort uasort uksort fread fwrite fputs implode ob_start dl"""
)

FAMILIES: Final = (
    Family("code.php_tag", frozenset(), ("<?", "<%", "php]", "php}", "<script"), _PHP_TAG),
    Family("code.php_call", RUN_BY_PHP | _MERELY_CALLED, (), _PHP_CALL, is_anchored=True),
    Family("code.php_variable", frozenset(), ("$",), _SUPERGLOBAL),
    Family("code.php_dynamic_call", frozenset({DYNAMIC, "system", "exec"}), ("$",), _DYNAMIC),
    Family(
        "code.node",
        _listed(
            """require execsync spawnsync execfilesync import function exec spawn fork exit kill binding cwd dlopen constructor readfile readfilesync
            writefile writefilesync readdir readdirsync unlink unlinksync _load _compile getbuiltinmodule"""
        ),
        (
            "process.",
            "process[",
            "child_process",
            "require.",
            "_load(",
            "module.constructor",
            "constructor.constructor",
            "u006fnsole",
        ),
        _NODE,
    ),
    Family(
        "code.python",
        _listed(
            """__import__ system popen popen2 popen3 execl execv execvp execvpe spawn spawnl spawnlp spawnv getoutput getstatusoutput run call
            check_output check_call import_module remove unlink rmtree fork kill getattr setattr eval exec compile open loads lambda"""
        ),
        ("__", "import os", "import subprocess", "import socket", "import pty", "sys.modules["),
        _PYTHON,
    ),
    Family(
        "code.perl",
        _listed("system exec open print eval"),
        (
            "@{",
            "qx(",
            "qx{",
            "qx/",
            "qx|",
            "qx!",
            "qx ",
            "print `",
            "use socket",
            "use io::",
            "use posix",
            "${\\",
            'system "',
            "system '",
            'exec "',
            "exec '",
            'system"',
            'exec"',
        ),
        _PERL,
    ),
    Family(
        "code.ruby",
        _listed(
            """spawn exec fork daemon kill popen read binread readlines sysopen system open eval capture2 capture2e capture3 popen2 popen3 pipeline
            write delete entries glob foreach load new get post const_get send public_send"""
        ),
        (
            "io.popen",
            "process.spawn",
            "kernel.",
            "open3.",
            "pty.spawn",
            "file.read",
            "file.open",
            "marshal.load",
            "yaml.load",
            "%x(",
            "%x{",
            "%x[",
            "%x/",
            "%x|",
            "%x<",
            "_eval",
            "objectspace.",
        ),
        _RUBY,
    ),
    Family(
        "code.java",
        _listed(
            """getruntime exec t forname getclassloader getclass getmethod getmethods getdeclaredmethod getdeclaredmethods getdeclaredfield getdeclaredfields
            getdeclaredconstructor getdeclaredconstructors getprotectiondomain getsuperclass newinstance getconstructor getconstructors processbuilder
            urlclassloader scriptenginemanager defineclass groovyshell getparameter getenginebyname"""
        ),
        (
            "getruntime",
            "memberaccess",
            "@ognl",
            "#context[",
            "denymethod",
            "allowstatic",
            "@java.lang",
            "opensymphony.xwork",
            "freemarker.template",
            "new javax.script",
            "ognl.",
            "java.lang.runtime",
            "java.lang.system",
            "processbuilder",
            "methodclosure",
            "apache.org/xalan/java",
            "apache.org/xslt/java",
            "groovyshell",
        ),
        _JAVA,
    ),
    Family("code.java_binding", frozenset(), ("classloader", "protectiondomain"), _BINDING),
    Family(
        "code.vbscript",
        _listed("createobject execute eval executeglobal write binarywrite getobject shell start"),
        (
            "on error resume",
            "wscript.",
            "server.createobject",
            "server.scripttimeout",
            "server.mappath",
            "server.execute",
            "server.transfer",
            '"&"',
            '" & "',
            "execute request",
            "eval request",
        ),
        _VB,
    ),
    Family(
        "code.php_setting",
        frozenset(),
        (
            "auto_prepend",
            "auto_append",
            "allow_url_",
            "disable_functions",
            "open_basedir",
            "safe_mode",
            "suhosin.",
            "cgi.force",
            "zend_extension",
            "extension_dir",
            "sendmail_path",
            "include_path",
        ),
        _SETTING,
    ),
)
FUNCTIONS: Final = _PHP_FUNCTION
"""Calls of PHP's functions whose names no other language has; or of any of the above, when nothing else stands in the value."""
CALL_ALONE: Final = _PHP_ALONE
"""A call that is the whole value."""
STATEMENT: Final = _JS_CALL
LOOP: Final = _LOOP
ALL_NAMES: Final = frozenset(name for family in FAMILIES for name in family.names) - {DYNAMIC} | {
    "while",
    "for",
    "settimeout",
    "setinterval",
    "gethostbyname",
    "qx",
    "filegroup",
}
SPACED: Final = RUN_BY_PHP - {"include", "require", "assert", "exec", "eval", "system"} | {"while"}
"""Calls that count with a space before the parenthesis too; the others may be words of a sentence."""
NEEDLES: Final = tuple(
    sorted({needle for family in FAMILIES for needle in family.needles} - {"$", "__", "@{", "<?", "<%"})
)

r"""Path traversal, local and remote file inclusion, and files that nobody but the server reads.

CWE-22, CWE-98, CWE-538; ASVS 5.0 5.3.2 and 13.4. A value that as a whole is a path counts; the same words in a sentence are weak.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.lower_case import lower_case
from gateway.inspection.needles import Needles
from gateway.inspection.prose import PROSE_POSITIONS, CodeSpans, is_plain_word, is_running
from gateway.inspection.sign import Sign

CLASS: Final = "path_traversal"

SIGNS: Final[Mapping[str, str]] = {
    "path.traversal": "The value is a path that leaves its folder.",
    "path.traversal_to_secret": "Steps upwards lead to a file of the operating system or of the application.",
    "path.traversal_mentioned": "Steps upwards stand in running text or in a URL.",
    "path.secret_file": "The value names a file that holds secrets of the host or of the application.",
    "path.secret_file_mentioned": "Running text names a file that holds secrets.",
    "path.restricted": "The path of the request asks for a file that no site publishes: versions, settings, keys, backups.",
    "path.hidden": "The path of the request asks for a file or folder whose name begins with a dot.",
    "path.wrapper": "The value is a stream that PHP, Java or a library would open: php://, phar://, expect://, data:, jar:.",
    "path.remote_script": "The value is the address of a script on a host that has no name (remote file inclusion).",
    "path.network_share": "The value is a path to a share of another machine (UNC), which a Windows server would open.",
    "path.executable_name": "The name of the file makes a server run it.",
    "path.null_byte": "A NUL cuts the name before its ending.",
}

_TRIGGERS: Final = frozenset("./\\:~\0")

_UP: Final = re.compile(
    r"(?:^|[/\\=:,;'\"(]|%2f|%5c)\s?\.{2,3}(?:;[^/\\]{0,16})?\s?(?:[/\\]|%2f|%5c)"
    r"|[/\\]\.{2,4}(?:;[^/\\]{0,16})?$|\.{4,}[/\\]{2,}|(?:\.\.[/\\]){2}|\.\.(?:0x2f|0x5c|\u2215|\u2216|\uff0f|%c0%af|%252f)|0x2e(?:0x2e|\.)\W{0,2}(?:0x2f|0x5c|/)|0x5c(?:0x2e|\.){1,2}"
    r"|\.\.;?[\\/.;]{2,}\\?\.{0,2}|/\?\?/\?\?/|\.\.\./\.\.",
    re.IGNORECASE,
)
_UP_TWICE: Final = re.compile(r"(?:\.{2,4}(?:;[^/\\\s]{0,16})?[/\\]+(?:\./)*){2}", re.IGNORECASE)
_DOUBLED: Final = re.compile(r"\.{2,4}[/\\]{1,4}\.{2,4}[/\\]{1,4}")
_SECRET: Final = re.compile(
    r"(?i)(?:^|[/\\\s=:'\"(])(?:etc[/\\]+(?:\.?/)*(?:passwd|shadow|gshadow|group|hosts|master\.passwd|security/passwd|sudoers|sub[ug]id|crontab|cron\.d|fstab|issue|motd|my\.cnf|mysql|httpd|apache2|nginx|php|ssh|ssl|pki|vsftpd|proftpd|samba|ldap|kubernetes|redis|resolv\.conf|hostname|os-release|network|environment|profile|bashrc)\b"
    r"|proc[/\\]+(?:self|version|cmdline|mounts|net|cpuinfo|environ|interrupts|sched_debug|\d{1,7}|\*)\b|sys[/\\]+(?:class|kernel|devices|fs)\b|var[/\\]+(?:log|lib|run|spool|mail|backups)[/\\]+[\w.-]|root[/\\]+\.?\w|dev[/\\]+(?:fd|shm|tcp|random|zero|stdin|mem)\b"
    r"|(?:windows|winnt)[/\\]+(?:win\.ini|system\.ini|repair|debug|panther|php\.ini|my\.ini|temp\b|explorer)|boot\.ini\b|win\.ini\b|system32[/\\]+(?:config|drivers|inetsrv|cmd|winevt|logfiles|license|eula)\b|ntuser\.dat|autoexec\.bat|inetpub[/\\]|ntds\.dit|sam$"
    r"|\.ssh[/\\]|\.aws[/\\]|\.kube[/\\]|\.docker[/\\]|\.gnupg[/\\]|\.azure[/\\]|\.gcloud|\.config[/\\]+(?:gcloud|gh|git|hub|rclone)\b|id_(?:rsa|dsa|ecdsa|ed25519)\b|authorized_keys|known_hosts|\.bash_history|\.(?:zsh|mysql|psql|python|sh|node_repl|redis|sqlite)?_?history\b|\.(?:bashrc|profile|netrc|npmrc|pypirc|pgpass|my\.cnf|git-credentials|dockercfg|boto|s3cfg|vault-token)\b"
    r"|web-inf(?:[/\\]|$)|meta-inf[/\\]|\.htpasswd|\.htaccess|web\.config\b|wp-config(?:[._-]|$)|applicationhost\.config|\.git[/\\]|\.svn[/\\]|\.hg[/\\]|\.env(?:\.(?!example|sample|template|dist)\w{1,16})?$|(?:httpd|apache2|nginx|sshd?|smb|php|redis|mongod|pg_hba|postgresql|catalina|tomcat-users)(?:_config|\.conf|\.ini|\.xml|\.cnf)\b|docker-compose\.ya?ml$|run[/\\]secrets[/\\]|serviceaccount[/\\])"
)
_SETTINGS: Final = re.compile(r"(?i)[\w.-]{0,64}(?:\.(?:conf|ini|xml|cnf|ya?ml)|_config|rc|\.profile|\.htaccess)")
"""The name alone of a file that customers send, and of which every program has one."""
_DOT_FOLDERS: Final = (
    "git|svn|hg|bzr|cvs|ssh|aws|azure|gcloud|kube|docker|gnupg|vscode|idea|fleet|terraform|ansible|vagrant|circleci|github|gitlab|jenkins|travis|claude|cursor|roo|rovodev|opencode"
    "|plandex|fabric|n8n|junie|windsurf|aider|continue|codeium|codex|gemini|copilot|qwen|kiro|amazonq|augment|cline|goose|zed|ollama|openai|anthropic|mcp|sourcery|tabnine|npm|yarn|pnpm|nuget|m2|gradle|cargo|composer|config|cache|local|history"
)
_RESTRICTED: Final = re.compile(
    r"(?i)/(?:\.(?:"
    + _DOT_FOLDERS
    + r")(?:/|$)|\.(?:env|envrc|ht\w{1,16}|ds_store|gitignore|gitmodules|gitattributes|gitconfig|git-credentials|gitlab-ci\.yml|travis\.yml|dockerignore|dockercfg|npmrc|yarnrc|pypirc|netrc|pgpass|boto|s3cfg|bash\w{0,16}|zsh\w{0,16}|profile|cshrc|viminfo|vimrc|mysql_history|psql_history|history|sh_history|user\.ini|cursorignore|cursorrules|clinerules|windsurfrules|aider\S{0,32}|ftpconfig|remote-sync\.json|editorconfig|babelrc|eslintrc\S{0,8}|prettierrc|php_cs\S{0,8}|svnignore|hgignore|wgetrc|curlrc|my\.cnf|k5login|rhosts|forward|token|secret\w{0,3}|credentials|passwd|idea)(?:[._~-][^/]{0,32})?(?:/|$)"
    r"|wp-config(?:[._-][^/]{0,32})?(?:/|$)|wp-content/(?:debug|error|errors)\.log|web-inf(?:/|$)|meta-inf(?:/|$)|web\.config$|appsettings(?:\.\w{1,32})?\.json$|application(?:-\w{1,16})?\.(?:ya?ml|properties)$|bootstrap\.(?:ya?ml|properties)$|local\.xml$|localsettings\.php$|config(?:uration)?\.(?:php|inc|ini|ya?ml|bak|old)(?:[.~-]\w{0,8})?$|settings\.(?:php|py|ini)(?:[.~-]\w{0,8})?$|parameters\.ya?ml$|database\.ya?ml$|secrets?\.(?:ya?ml|json|env)$|credentials(?:\.(?:json|csv|xml|ya?ml))?$|id_(?:rsa|dsa|ecdsa|ed25519)(?:\.pub)?$|server\.key$|private\.key$|privatekey\.\w{1,8}$|\w{0,32}\.(?:kdbx|pfx|jks|keystore|ppk)$|htpasswd(?:\.\w{1,8})?$|phpinfo\.php$|info\.php$|test\.php$|php\.ini$|phpunit(?:\.xml\S{0,8}|/src/util/php/eval-stdin\.php)|composer\.(?:lock|phar)$|auth\.json$|dockerfile$|docker-compose(?:[.\w-]{0,32})?\.ya?ml$|jenkinsfile$|vagrantfile$|makefile$|procfile$|sftp-config\.json$|deployment-config\.json$|nohup\.out$|error_log$|(?:debug|access|error|errors|laravel|development|production)\.log$|dump\.rdb$|core\.\d{1,6}$|server-(?:status|info)$|actuator/(?:env|heapdump|dump|trace|jolokia|gateway|logfile|configprops|shutdown|mappings|threaddump|beans)\b|jolokia(?:/|$)|cgi-bin/(?:\.|php|bash|sh|test-cgi|printenv)|etc/(?:passwd|shadow|group|hosts|issue)\b|proc/(?:self|version|cmdline|mounts|net|cpuinfo|environ|interrupts|\d{1,7})\b|sys/(?:class|kernel|devices)\b|@fs/|boot\.ini$|win\.ini$|windows/system32/"
    r"|[^/]{1,64}\.(?:sql|sqlite3?|mdb|bak|swp|swo|orig|dump|rdb)(?:\.(?:zip|gz|bz2|xz|7z|tgz|tar|rar|zst))?$|[^/]{1,64}\.(?:php\d?|asp|aspx|jsp|py|rb|pl|cgi|cs|java|ya?ml|xml|ini|conf|config|env|inc|json)(?:\.(?:bak|old|save|orig|txt|swp|tmp|copy|\d{1,2})|~|_bak|-bak)$|(?:backup|dump|database|db|site|www|wwwroot|htdocs|public_html|web|old)[\w.-]{0,16}\.(?:zip|tar|tar\.gz|tgz|gz|rar|7z|sql\S{0,8})$)"
)
_HIDDEN: Final = re.compile(r"/\.(?!well-known(?:/|$)|/|\.)[A-Za-z0-9_]")
_WRAPPER: Final = re.compile(
    r"(?i)(?:^|[=\s'\"(,;])(?:php://(?:filter|input|stdin|stdout|stderr|output|memory|temp|fd)\b|phar://|expect://|zip://\S|rar://|glob://|ogg://|zlib:|compress\.(?:zlib|bzip2)://|ssh2(?:\.\w{1,8})?://|data://|jar:(?:https?|file|ftp):|netdoc:|local_file:|view-source:file|vbscript:file|file:(?:/{1,3}|[a-z]:[\\/]|\.{2}|etc)|classpath:\S{1,64}[!.]|gopher://|dict://|ldaps?://|tftp://)"
)
_DATA: Final = re.compile(
    r"(?i)\s*data:(?:text/(?:plain|html|xml|php|x-php)|application/(?:x-php|x-httpd-php|octet-stream|xml)|;base64)(?:;[\w=-]{1,32}){0,3},"
)
_REMOTE_SCRIPT: Final = re.compile(
    r"(?i)\s*(?:https?|ftps?)://(?:[^/\s@]{0,64}@)?(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]{2,45}\]|[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){2,7}|0x[0-9a-f]{8}|\d{8,10})(?::\d{1,5})?/\S{0,256}?\.(?:php\d?|phtml|txt|jspx?|aspx?|cgi|pl|py|sh|exe|ps1|inc|dtd|hta|bat|class|jar|xml)\b\S{0,256}\s*\??"
    r"|\s*(?:https?|ftps?)://\S{1,256}\.(?:txt|php|phtml|inc|gif|jpg|png)\?\s*$|\s*(?:https?|ftps?)://\S{1,256}[?#](?:cmd|exec)=\S{0,256}|\s*(?:https?|ftps?)://\S{1,200}/(?:(?:r57|c99|b374k|wso|shell|webshell|cmd|backdoor|evil)\d{0,3}(?:\.\w{1,5}))\b\S{0,64}"
)
_SHARE: Final = re.compile(
    r"(?i)\s*(?:\\\\|//)(?:(?:\d{1,3}\.){3}\d{1,3}|\[?[0-9a-f]{0,4}(?:::?[0-9a-f]{0,4}){1,8}\]?|[\w.-]{1,253}@(?:ssl|\d{1,5})(?:@\d{1,5})?)\\+\S|\s*\\\\[\w.-]{1,253}\\+(?:[a-z]\$|admin\$|ipc\$|c\$)|\s*\\\\[?.]\\"
)
_EXECUTABLE_NAME: Final = re.compile(
    r"(?i)\.\s?(?:ph(?:p\d?|tml?|ps|t|ar|pt)|pht|shtml?|jspx?|jspf|jsw|jsv|jhtml|war|aspx?|ashx|asmx|ascx|asa|asax|cer|cdx|cshtml|vbhtml|cfml?|cfc|cgi|pl|fcgi|htaccess|htpasswd|user\.ini)(?:[\s.:;%\x00_-]{0,32}(?:\.(?:jpe?g|png|gif|pdf|txt|docx?|webp|bmp|svg))?|::\$data)\s*$|(?i:\.(?:php\d?|phtml|jspx?|aspx?)[\s\x00;%:/\\])"
)
_NULL_CUT: Final = re.compile(r"(?i)[\w/\\.]\x00|%00(?:\.|$)|\\0(?:\.\w{2,4})$|\\(?:x00|u0000)(?:\.\w{1,8})?$")
_SPACE: Final = re.compile(r"\S\s+\S")
_WORD: Final = re.compile(r"\S+")
_MOST_WORDS: Final = 3
_SHORTEST_WORD: Final = 4
"""Letters: of a word that is no ending of a file."""
_DRIVE: Final = re.compile(r"[A-Za-z]:[\\/]")
_ASSET: Final = re.compile(r"(?i)\.(?:png|jpe?g|gif|svg|webp|ico|css|s[ac]ss|less|m?js|jsx|tsx?|woff2?|html?|md)$")
"""What pages and style sheets refer to, one folder up."""
_PAGE_BESIDE: Final = re.compile(
    r"(?i)(?!.{0,300}(?:config|setting|passw|secret|admin|database|connect|backup|install))\.\./[\w-]{1,64}(?:/[\w-]{1,64}){0,4}(?:\.(?:php[3-8]?|html?|aspx?|jsp|jsf|do|action|cgi|pl|cfm))?/?(?:\?[\w.,:;@%&=+/-]{0,200})?(?:#[\w-]{0,64})?"
)
"""One step up to a page, as old portals say where to go back to: `../invoices/list.php?page=2`."""
_URL: Final = re.compile(r"(?i)\s*[a-z][a-z0-9+.-]{1,16}://[^/?#\s\\]+")
_NAMES: Final = frozenset({Position.FILE_NAME})


_LONGEST_PATH: Final = 512
_SECRET_WORDS: Final = (
    "etc/", "etc\\", "proc/", "/sys/", "sys/class", "var/", "root/", "dev/", "windows", "winnt", ".ini", "system32", "ntuser", "autoexec", "inetpub", "ntds",
    ".ssh", ".aws", ".kube", ".docker", "docker-compose", ".gnupg", ".azure", ".gcloud", ".config", "id_", "authorized_keys", "known_hosts", "history", "rc",
    "profile", "pgpass", "my.cnf", "credential", ".boto", "s3cfg", "vault-token", "-inf", ".ht", "web.config", "wp-config", "applicationhost", ".git", ".svn", ".hg",
    ".env", ".conf", ".xml", ".cnf", "ssh", "secrets", "serviceaccount", "\\sam", "/sam", "sam",
)  # fmt: skip
"""What the names of secret files have in them."""
_SCHEMES: Final = (
    "php:", "phar:", "expect:", "zip:", "rar:", "glob:", "ogg:", "zlib:", "bzip2:", "ssh2", "data:", "jar:", "netdoc:", "local_file:", "view-source:",
    "vbscript:", "file:", "classpath:", "gopher:", "dict:", "ldap:", "ldaps:", "tftp:", "imap:", "imaps:", "pop3:", "pop3s:", "smb:",
)  # fmt: skip
_EXECUTABLE: Final = (
    ".php", ".jsp", ".asp", ".phtml", ".pht", ".phar", ".phps", ".shtm", ".war", ".ashx", ".asmx", ".ascx", ".asa", ".cer", ".cdx", ".cshtml", ".vbhtml",
    ".cfm", ".cfc", ".cgi", ".pl", ".fcgi", ".jhtml", "::$data", ".jsw", ".jsv",
)  # fmt: skip
_SECRETS: Final = Needles(_SECRET_WORDS)
_WRAPPERS: Final = Needles(_SCHEMES)
_WORDS: Final = Needles((*_SECRET_WORDS, *_SCHEMES, *_EXECUTABLE, "..", "0x2", "://", "%00", "\\\\"))


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether a text may be a path, or mentions steps upwards or a file of interest; long texts are no paths."""
    if _TRIGGERS.isdisjoint(specials):
        return "\0" in specials
    if len(lowered) > _LONGEST_PATH and " " in lowered:
        return "../.." in lowered or "..\\.." in lowered
    return _WORDS.are_in(lowered) or lowered.startswith("/")


def signs(text: str, position: Position) -> Iterator[Sign]:
    """Find paths that lead where nobody may go."""
    if position is Position.PATH:
        yield from _of_request(text)
        yield from _traversal(text, position, is_speech=False)
        yield from _wrappers(text, is_speech=False)
        return
    is_speech = position in PROSE_POSITIONS and (is_running(text) or bool(CodeSpans(text, position)))
    if not is_speech and " " not in text and ("+" in text or "%20" in text):  # a sentence whose spaces are encoded
        is_speech = is_running(text.replace("+", " ").replace("%20", " "))
    if position in _NAMES:
        executable = _EXECUTABLE_NAME.search(text)
        if executable:
            yield Sign("path.executable_name", executable.start(), executable.end())
    if "\0" in text or "%00" in text or "\\0" in text or "\\x00" in text:
        cut = _NULL_CUT.search(text)
        if cut and not is_speech and _SPACE.search(text) is None:
            yield Sign("path.null_byte", cut.start(), cut.end())
    yield from _traversal(text, position, is_speech=is_speech)
    yield from _wrappers(text, is_speech=is_speech)


def _of_request(text: str) -> Iterator[Sign]:
    path = text.split("?", 1)[0]
    restricted = _RESTRICTED.search(path if path.startswith("/") else f"/{path}")
    if restricted:
        yield Sign("path.restricted", max(0, restricted.start()), min(len(text), restricted.end()))
    elif hidden := _HIDDEN.search(path):
        yield Sign("path.hidden", hidden.start(), hidden.end())


def _traversal(text: str, position: Position, *, is_speech: bool) -> Iterator[Sign]:
    up = _UP.search(text) if ".." in text or "0x" in text or "??/" in text else None
    lowered = lower_case(text)
    secret = _SECRET.search(text) if _SECRETS.are_in(lowered) else None
    is_whole = _is_one_path(text)
    if up:
        if secret and (is_whole or not is_speech):
            yield Sign("path.traversal_to_secret", min(up.start(), secret.start()), max(up.end(), secret.end()))
        elif is_whole and not is_speech and not _is_ordinary(text, position):
            yield Sign("path.traversal", up.start(), up.end())
        elif secret and (reached := _reached(text, position)) is not None:
            yield Sign("path.traversal_to_secret", *reached)
        else:
            yield Sign("path.traversal_mentioned", up.start(), up.end())
    elif secret:
        if (
            not is_speech
            and _SETTINGS.fullmatch(text.strip()) is None
            and (is_whole or _is_short(text))
            and not _is_published(text)
            and not _is_spoken_of(text, secret.end())
            and position is not Position.PATH
        ):
            yield Sign("path.secret_file", secret.start(), secret.end())
        elif position is not Position.PATH:
            yield Sign("path.secret_file_mentioned", secret.start(), secret.end())


def _reached(text: str, position: Position) -> tuple[int, int] | None:
    """Say where a word of running text climbs to a secret file: not where code is quoted, nor where both are only spoken of."""
    code = CodeSpans(text, position)
    for word in _WORD.finditer(text):
        start, end = word.span()
        up = _UP_TWICE.search(text, start, end)
        if (
            up is not None
            and up.start() not in code
            and (secret := _SECRET.search(text, up.end() - 1, end)) is not None
        ):
            return up.start(), secret.end()
    return None


def _is_one_path(text: str) -> bool:
    return _SPACE.search(text) is None


def _is_short(text: str) -> bool:
    return len(text.split(maxsplit=_MOST_WORDS)) <= _MOST_WORDS


def _is_spoken_of(text: str, end: int) -> bool:
    """Say whether a path is followed by words: no program opens that, but people search for it."""
    words = text[end:].split()
    return bool(words) and text[end].isspace() and len(words[0]) >= _SHORTEST_WORD and all(map(is_plain_word, words))


def _is_ordinary(text: str, position: Position) -> bool:
    """A URL that goes up once within itself, a folder of Windows that ends in `..`, or the way back to a page is merely untidy."""
    if position is Position.PATH:
        return False
    if _UP_TWICE.search(text):
        return False
    if _URL.match(text) or _DRIVE.match(text) or _PAGE_BESIDE.fullmatch(text):
        return True
    return position in PROSE_POSITIONS and _ASSET.search(text) is not None


def _is_published(text: str) -> bool:
    """An address of a site may have any path; what it says is that site's affair."""
    return text.lower().startswith(("http://", "https://"))


def _wrappers(text: str, *, is_speech: bool) -> Iterator[Sign]:
    if ":" in text:
        wrapper = _WRAPPER.search(text) if _WRAPPERS.are_in(lower_case(text)) else None
        if wrapper:
            if not is_speech and _is_short(text):
                yield Sign("path.wrapper", wrapper.start(), wrapper.end())
            else:
                yield Sign("path.secret_file_mentioned", wrapper.start(), wrapper.end())
        elif (data := _DATA.match(text)) is not None and not is_speech:
            yield Sign("path.wrapper", data.start(), data.end())
        if not is_speech and (script := _REMOTE_SCRIPT.fullmatch(text)) is not None:
            yield Sign("path.remote_script", script.start(), script.end())
    if (
        (text.startswith(("\\\\", "//", " ")) or "\\\\" in text[:64])
        and (share := _SHARE.match(text)) is not None
        and not is_speech
    ):
        yield Sign("path.network_share", share.start(), share.end())

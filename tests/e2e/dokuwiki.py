"""DokuWiki from Debian, under an apache2 of its own: a portal that nobody here wrote.

The program is Debian's, read where the package put it; configuration, pages, media and logs are copies in a directory
of the test's. It has a sign-in of its own, cookies, redirects and forms, and boasts of its versions in its headers.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import NamedTuple

from tests.machine import free_port

PROGRAM = Path("/usr/share/dokuwiki")
CONFIGURATION = Path("/etc/dokuwiki")
MODULES = Path("/usr/lib/apache2/modules")
OF_ITS_OWN = {"local.php", "acl.auth.php", "users.auth.php", "apache.conf", "lighttpd.conf", "htaccess"}
SERVER_USER = "www-data"
OURSELVES = "not through the gateway"
READY_S = 30
STOPPED_S = 10

APACHE = """\
ServerName wiki.invalid
ServerRoot {home}
PidFile {home}/apache.pid
Mutex file:{home}
DefaultRuntimeDir {home}
Listen 127.0.0.1:{port}
ErrorLog {home}/error.log
LogFormat "%m\\t%U\\t%>s\\t%{{Host}}i\\t%{{X-Gateway-User}}i\\t%{{X-Gateway-Tenant}}i\\t%{{X-Gateway-Roles}}i\\t%{{X-Forwarded-For}}i\\t%{{X-Request-Id}}i\\t%{{Cookie}}i\\t%{{User-Agent}}i" seen
CustomLog {home}/access.log seen
{user}
StartServers 4
MinSpareServers 2
MaxSpareServers 6
MaxRequestWorkers 8
LoadModule mpm_prefork_module {modules}/mod_mpm_prefork.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule dir_module {modules}/mod_dir.so
LoadModule mime_module {modules}/mod_mime.so
LoadModule rewrite_module {modules}/mod_rewrite.so
LoadModule php_module {php}
TypesConfig /etc/mime.types
PHPINIDir {home}
DocumentRoot {program}
DirectoryIndex doku.php
<Directory {program}>
  Options +FollowSymLinks
  AllowOverride None
  Require all granted
  <FilesMatch "\\.php$">
    SetHandler application/x-httpd-php
  </FilesMatch>
  RewriteEngine on
  RewriteBase /
  RewriteRule ^_media/(.*)   lib/exe/fetch.php?media=$1  [QSA,L]
  RewriteRule ^_detail/(.*)  lib/exe/detail.php?media=$1 [QSA,L]
  RewriteRule ^$             doku.php [L]
  RewriteCond %{{REQUEST_FILENAME}} !-f
  RewriteCond %{{REQUEST_FILENAME}} !-d
  RewriteRule (.*)           doku.php?id=$1 [QSA,L]
</Directory>
"""

PHP = """\
expose_php = On
auto_prepend_file = {home}/prepend.php
session.save_path = {home}/sessions
upload_tmp_dir = {home}/uploads
upload_max_filesize = 8M
post_max_size = 9M
date.timezone = UTC
error_log = {home}/php.log
display_errors = Off
log_errors = On
"""

PREPEND = """\
<?php
define('DOKU_MAIN_CONF', '{home}/conf/');
define('DOKU_CONF', '{home}/conf/');
"""

LOCAL = """\
<?php
$conf['title'] = 'The library';
$conf['savedir'] = '{home}/data';
$conf['useacl'] = 1;
$conf['superuser'] = '@admin';
$conf['passcrypt'] = 'sha1';
$conf['userewrite'] = 1;
$conf['basedir'] = '/';
$conf['disableactions'] = 'register,resendpwd';
$conf['dnslookups'] = 0;
"""

ACL = """\
# <?php exit()?>
*  @ALL   1
*  @user  16
"""


class Seen(NamedTuple):
    """One request as the wiki's own server saw it."""

    method: str
    path: str
    status: str
    host: str
    user: str
    tenant: str
    roles: str
    forwarded_for: str
    request_id: str
    cookie: str
    user_agent: str


def missing() -> list[str]:
    """Debian packages that are needed and not installed."""
    needed = {
        "apache2": shutil.which("apache2", path=os.environ.get("PATH", "") + ":/usr/sbin") is not None,
        "dokuwiki": (PROGRAM / "doku.php").exists(),
        "libapache2-mod-php": any(MODULES.glob("libphp*.so")),
    }
    return [package for package, there in needed.items() if not there]


class DokuWiki:
    """The wiki in `home`, a directory that is its alone. It runs from `start` to `stop`."""

    PERSON = "librarian"
    PASSWORD = "the wiki has passwords of its own"

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._lay_out()

    @property
    def url(self) -> str:
        """Where the wiki is without the gateway."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server and wait until it serves a page."""
        program = shutil.which("apache2", path=os.environ.get("PATH", "") + ":/usr/sbin")
        assert program is not None
        with (self.home / "stdout.log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, "-f", str(self.home / "apache.conf"), "-DFOREGROUND"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_S
        while not self._serves():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"apache2 does not serve DokuWiki: {self.said()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server and every process it made."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOPPED_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOPPED_S)

    def said(self) -> str:
        """What the server and PHP complained of."""
        logs = [self.home / name for name in ("stdout.log", "error.log", "php.log")]
        return "\n".join(path.read_text(errors="replace") for path in logs if path.exists())

    def seen(self) -> list[Seen]:
        """All requests that reached the server, oldest first, but for our own."""
        lines = (self.home / "access.log").read_text(errors="replace").splitlines()
        everything = [Seen(*line.split("\t")) for line in lines]
        return [
            seen for seen in everything if seen.user_agent != OURSELVES and seen.path != "*"
        ]  # "*": to its children

    def bare_fields(self) -> set[str]:
        """Names of the header fields of its answers, without the gateway."""
        return {name.lower() for name, _ in self._get("/start").getheaders()}

    def page(self, name: str) -> str:
        """Source of a page as it lies on the disk."""
        return (self.home / "data" / "pages" / f"{name}.txt").read_text()

    def media(self, name: str) -> bytes:
        """A media file as it lies on the disk."""
        return (self.home / "data" / "media" / name).read_bytes()

    def _serves(self) -> bool:
        try:
            return self._get("/start").status == 200
        except OSError:
            return False

    def _get(self, path: str) -> HTTPResponse:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=READY_S)
        try:
            connection.request("GET", path, headers={"User-Agent": OURSELVES})
            answer = connection.getresponse()
            answer.read()
            return answer
        finally:
            connection.close()

    def _lay_out(self) -> None:
        conf = self.home / "conf"
        conf.mkdir()
        for path in CONFIGURATION.iterdir():
            if path.name not in OF_ITS_OWN and path.is_file():
                shutil.copyfile(path, conf / path.name)
        hashed = hashlib.sha1(self.PASSWORD.encode()).hexdigest()
        names = {"home": self.home, "program": PROGRAM, "modules": MODULES, "port": self.port}
        names["php"] = next(MODULES.glob("libphp*.so"))
        names["user"] = f"User {SERVER_USER}\nGroup {SERVER_USER}" if os.geteuid() == 0 else ""
        for place, text in {
            self.home / "apache.conf": APACHE.format(**names),
            self.home / "php.ini": PHP.format(**names),
            self.home / "prepend.php": PREPEND.format(**names),
            conf / "local.php": LOCAL.format(**names),
            conf / "acl.auth.php": ACL,
            conf / "users.auth.php": f"{self.PERSON}:{hashed}:The Librarian:librarian@wiki.invalid:user\n",
        }.items():
            place.write_text(text)
        for name in ("sessions", "uploads"):
            (self.home / name).mkdir()
        for name in (
            "attic",
            "cache",
            "index",
            "locks",
            "log",
            "media",
            "media_attic",
            "media_meta",
            "meta",
            "pages",
            "tmp",
        ):
            (self.home / "data" / name).mkdir(parents=True)
        (self.home / "data" / "pages" / "start.txt").write_text("====== The library ======\nOpen from nine to five.\n")
        if os.geteuid() == 0:
            owner = pwd.getpwnam(SERVER_USER)
            for path in (self.home, *self.home.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)

"""Apache with mod_auth_openidc: a session from a real code flow, a role required, headers, a JSON log.

The provider is npm `oidc-provider` on the load cores; it is asked once, at sign-in. Sessions live in Apache's shared memory and
end with it, so each start of Apache asks for a new sign-in, and its first good answer is the redirect to the provider.
"""

from __future__ import annotations

import contextlib
import http
import http.client
import json
import secrets
import shutil
import subprocess
from pathlib import Path

from tests.bench.browser import Browser
from tests.bench.candidates.candidate import Candidate, MissingError, executable, first_line
from tests.bench.process import Program, StartError, wait_until
from tests.bench.site import HOST, free_port, user, write
from tests.bench.upstream import CHAT, PAGE, listens

MODULES = Path("/usr/lib/apache2/modules")
LOADED = (
    "mpm_event", "authn_core", "authz_core", "authz_user", "headers", "proxy", "proxy_http", "proxy_wstunnel", "ssl",
    "socache_shmcb", "setenvif", "auth_openidc",
)  # fmt: skip
IDENTITY = Path(__file__).resolve().parents[1] / "oidc"
INSTALL_S = 180
CALLBACK = "/oidc/callback"

CONFIGURATION = """\
ServerRoot {room}
ServerName {host}
PidFile {room}/apache.pid
DefaultRuntimeDir {room}
Mutex posixsem
ErrorLog {room}/error.log
LogLevel warn
User {user}
Group {group}
Listen {host}:{port}
Listen {host}:{tls_port}
{modules}
ServerLimit 24
StartServers 2
ThreadsPerChild 64
ThreadLimit 64
MinSpareThreads 64
MaxSpareThreads 1536
MaxRequestWorkers 1536
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 3600
Timeout 3600
SSLSessionCache shmcb:{room}/ssl(512000)
LogFormat "{{\\"t\\":\\"%{{%Y-%m-%dT%H:%M:%S}}t\\",\\"m\\":\\"%m\\",\\"u\\":\\"%U%q\\",\\"s\\":%>s,\\"b\\":%B,\\"d\\":%D,\\"ip\\":\\"%a\\",\\"who\\":\\"%u\\",\\"ua\\":\\"%{{User-Agent}}i\\"}}" json
CustomLog {room}/access.log json
OIDCProviderMetadataURL http://{host}:{provider}/.well-known/openid-configuration
OIDCClientID bench
OIDCClientSecret {secret}
OIDCRedirectURI {callback}
OIDCCryptoPassphrase {passphrase}
OIDCSessionInactivityTimeout 3600
OIDCScope openid
OIDCRemoteUserClaim sub
Header always set Strict-Transport-Security "max-age=63072000"
Header always set X-Frame-Options SAMEORIGIN
Header always set X-Content-Type-Options nosniff
Header always set Referrer-Policy same-origin
Header always set Content-Security-Policy "object-src 'none'; base-uri 'self'; frame-ancestors 'self'"
<Location />
  AuthType openid-connect
  Require claim roles:client
</Location>
ProxyPass {callback} !
ProxyPass {chat} http://{host}:{echo}{chat} upgrade=websocket
ProxyPass / http://{host}:{upstream}/ keepalive=On
<VirtualHost {host}:{port}>
</VirtualHost>
<VirtualHost {host}:{tls_port}>
  SSLEngine on
  SSLCertificateFile {certificate}
  SSLCertificateKeyFile {key}
  SSLProtocol -all +TLSv1.2 +TLSv1.3
</VirtualHost>
"""


class Apache(Candidate):
    """mpm_event, one core."""

    name = "apache-oidc"
    work = "proxy, session, claim, headers, JSON log"

    def binary(self) -> str:
        binary = executable("apache2", hint="Debian: apache2")
        if not (MODULES / "mod_auth_openidc.so").is_file():
            raise MissingError("no mod_auth_openidc on this machine (Debian: libapache2-mod-auth-openidc)")
        executable("node", hint="Debian: nodejs, for the identity provider")
        return binary

    def version(self) -> str:
        module = first_line(["dpkg-query", "-W", "-f", "${Version}", "libapache2-mod-auth-openidc"])
        return f"{first_line([self.binary(), '-v']).removeprefix('Server version: ')}, mod_auth_openidc {module}"

    def configure(self, room: Path) -> None:
        import grp
        import os

        self._require_provider()
        self._secret = secrets.token_urlsafe(24)
        self._password = secrets.token_urlsafe(12)
        self._provider_port = free_port()
        self._provider: Program | None = None
        modules = [f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in LOADED]
        if user() == "root":  # Apache serves as root only when it was built for it: it drops to Debian's user
            room.chmod(0o777)
        write(
            room / "apache.conf",
            CONFIGURATION.format(
                room=room,
                host=HOST,
                user="www-data" if user() == "root" else user(),
                group="www-data" if user() == "root" else grp.getgrgid(os.getgid()).gr_name,
                port=self.port,
                tls_port=self.tls_port,
                modules="\n".join(modules),
                provider=self._provider_port,
                secret=self._secret,
                passphrase=secrets.token_urlsafe(24),
                callback=CALLBACK,
                chat=CHAT,
                upstream=self.site.upstream_port,
                echo=self.site.echo_port,
                certificate=self.site.certificate,
                key=self.site.key,
            ),
        )

    def command(self, room: Path) -> list[str]:
        return [self.binary(), "-f", str(room / "apache.conf"), "-DFOREGROUND"]

    def answers(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask(self.url)[0] in {http.HTTPStatus.OK, http.HTTPStatus.FOUND}
        return False

    def start(self) -> float:
        if self._provider is None:
            self._provider = self._start_provider()
        return super().start()

    def close(self) -> None:
        if self._provider is not None:
            self._provider.stop()
            self._provider = None

    def sign_in(self) -> None:
        browser = Browser()
        form = browser.follow(browser.request("GET", self.url + PAGE))
        page = browser.submit(form, {"username": "alice", "password": self._password})
        if page.status != http.HTTPStatus.OK or not page.url.startswith(self.url):
            raise StartError(f"{self.name}: the sign-in ended at {page.url} with {page.status}: {page.body[:200]!r}")
        self.cookie = browser.cookies(self.url)

    def _start_provider(self) -> Program:
        node = executable("node", hint="Debian: nodejs")
        redirects = [f"{origin}{CALLBACK}" for origin in (self.url, self.tls_url)]
        provider = Program(
            [node, "server.mjs", str(self._provider_port), "bench", self._secret, self._password, *redirects],
            cores=self.site.cores.load,
            output=self.site.room(self.name) / "provider.output",
            directory=IDENTITY,
        )
        wait_until(lambda: listens(self._provider_port), provider, seconds=20)
        return provider

    def _require_provider(self) -> None:
        """Install the provider from its lock file where it is not installed yet. Raises MissingError."""
        wanted = json.loads((IDENTITY / "package.json").read_text())["dependencies"]["oidc-provider"]
        installed = IDENTITY / "node_modules" / "oidc-provider" / "package.json"
        if installed.is_file() and json.loads(installed.read_text())["version"] == wanted:
            return
        npm = shutil.which("npm")
        if npm is None:
            raise MissingError("no `npm` on this machine (Debian: npm), which installs the identity provider")
        done = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=IDENTITY, capture_output=True, text=True, timeout=INSTALL_S, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise MissingError(f"npm could not install the identity provider: {done.stderr.strip()[-300:]}")

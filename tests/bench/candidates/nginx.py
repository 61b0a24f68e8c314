"""nginx: proxy_pass with keep-alive, limit_req and a JSON access log."""

from __future__ import annotations

from pathlib import Path

from tests.bench.candidates.candidate import Candidate, MissingError, executable, first_line
from tests.bench.site import HOST, user, write
from tests.bench.upstream import CHAT

CONFIGURATION = """\
user {user};
daemon off;
worker_processes {workers};
pid {room}/nginx.pid;
error_log {room}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  limit_req_zone $binary_remote_addr zone=ip:10m rate=1000000r/s;
  log_format json escape=json '{{"t":"$time_iso8601","m":"$request_method","u":"$request_uri","s":$status,'
    '"b":$bytes_sent,"d":$request_time,"ip":"$remote_addr","ua":"$http_user_agent"}}';
  access_log {room}/access.log json;
  keepalive_requests 1000000000;
  http2_max_concurrent_streams 128;
  keepalive_timeout 1h;
  client_body_temp_path {room}/body; proxy_temp_path {room}/proxy; fastcgi_temp_path {room}/fastcgi;
  uwsgi_temp_path {room}/uwsgi; scgi_temp_path {room}/scgi;
  upstream portal {{ server {host}:{upstream}; keepalive 128; keepalive_requests 1000000000; keepalive_timeout 1h; }}
  ssl_certificate {certificate};
  ssl_certificate_key {key};
  ssl_protocols TLSv1.2 TLSv1.3;
  server {{
    listen {host}:{port} reuseport backlog=4096;
    listen {host}:{tls_port} ssl http2 backlog=4096;
    limit_req zone=ip burst=100000 nodelay;
    location / {{
      proxy_pass http://portal;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
    location {chat} {{
      proxy_pass http://{host}:{echo};
      proxy_http_version 1.1;
      proxy_set_header Connection "upgrade";
      proxy_set_header Upgrade $http_upgrade;
      proxy_read_timeout 1h;
    }}
  }}
}}
"""


class Nginx(Candidate):
    """The yardstick: every ratio of the report is to this one."""

    name = "nginx"
    work = "proxy, 1 limit, JSON log"
    speaks_http2 = True
    scales = True

    def binary(self) -> str:
        return executable("nginx", hint="Debian: nginx")

    def version(self) -> str:
        return first_line([self.binary(), "-v"]).removeprefix("nginx version: ")

    def configure(self, room: Path) -> None:
        write(
            room / "nginx.conf",
            CONFIGURATION.format(
                user=user(),
                workers=self.workers,
                room=room,
                host=HOST,
                port=self.port,
                tls_port=self.tls_port,
                upstream=self.site.upstream_port,
                echo=self.site.echo_port,
                chat=CHAT,
                certificate=self.site.certificate,
                key=self.site.key,
            ),
        )

    def command(self, room: Path) -> list[str]:
        return [self.binary(), "-c", str(room / "nginx.conf"), "-e", str(room / "error.log")]


RULES = """\
SecRuleEngine On
SecRequestBodyAccess On
SecResponseBodyAccess Off
SecRule REQUEST_HEADERS:Content-Type "^application/(?:[a-z0-9.-]+[+])?json" "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecAuditEngine RelevantOnly
SecAuditLogRelevantStatus "^(?:5|4(?!04))"
SecAuditLogFormat JSON
SecAuditLog {room}/modsec_audit.log
Include /etc/modsecurity/crs/crs-setup.conf
Include {crs}/rules/*.conf
"""
CRS = Path("/usr/share/modsecurity-crs")
MODULE = Path("/usr/lib/nginx/modules/ngx_http_modsecurity_module.so")


class NginxModSecurity(Nginx):
    """nginx with ModSecurity and the Core Rule Set of Debian, at its own paranoia level 1: what inspection is compared with."""

    name = "nginx-crs"
    work = "the same as nginx, and ModSecurity 3 with the OWASP Core Rule Set"
    scales = False

    def binary(self) -> str:
        for path, package in ((MODULE, "libnginx-mod-http-modsecurity"), (CRS / "rules", "modsecurity-crs")):
            if not path.exists():
                raise MissingError(f"no {path} (Debian: {package})")
        return super().binary()

    def configure(self, room: Path) -> None:
        super().configure(room)
        write(room / "modsecurity.conf", RULES.format(room=room, crs=CRS))
        text = (room / "nginx.conf").read_text(encoding="utf-8")
        loads = f"load_module {MODULE};\n"
        judges = f"    modsecurity on;\n    modsecurity_rules_file {room}/modsecurity.conf;\n"
        text = text.replace("  server {\n", "  server {\n" + judges)
        write(room / "nginx.conf", loads + text)

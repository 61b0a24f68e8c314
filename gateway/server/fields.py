"""The kinds of value that stand in gateway.yaml: lengths of time, sizes, addresses, hosts, places.

Each is a pydantic type that turns the text of the file into the value the gateway works with and
refuses everything else with a sentence. What a key means is `settings`' to say.
"""

from __future__ import annotations

import os
import re
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID
from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, StrictStr, ValidationInfo

from gateway.authn.name import InvalidNameError, canonical_name
from gateway.document.quantity import duration, rate, size
from gateway.exchange.built_in import RESERVED_SENTENCE, is_reserved
from gateway.wire.authority import parse_authority
from gateway.wire.target import remove_dot_segments

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_ROLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_FIELD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_FIELD_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,4094}[\x21-\x7e])?")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]{1,64}){1,16}")
_CHECK_PATH = re.compile(r"/[!\"$-~]{0,1023}")
_SHARE = re.compile(r"[0-9]{1,3}%")
_STATUSES = re.compile(r"([2-5][0-9]{2})(?:-([2-5][0-9]{2}))?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST_HOST = 253  # RFC 1035 section 2.3.4
_LAST_PORT = 65535
_SHORTEST_KEEPING_S = 86_400.0
_LONGEST_SOCKET_PATH = 107  # unix(7): sun_path, without the NUL
_WHOLE = 100


class Address(NamedTuple):
    """Where a listener is bound. `host` is an IP address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Origin(NamedTuple):
    """Scheme, host and port of the gateway or of a portal. `host` is a name or an IP address, without brackets."""

    scheme: Literal["http", "https"]
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and, unless it is the scheme's own, port: what `Host` says (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class UnixSocket(NamedTuple):
    """A server on this machine, behind the path of a Unix socket."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def scheme(self) -> Literal["http"]:
        """What is spoken."""
        return "http"

    @property
    def authority(self) -> str:
        """What `Host` says where the browser's is not preserved: the socket has no name of its own."""
        return "localhost"


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"write {what}")
    return value


def _seconds(value: Any) -> float:
    return duration(_text(value, "a length of time with its unit, such as 30s, 15m, 8h or 2y"))


def _keeping(value: Any) -> float | None:
    if value is None or value == "none":
        return None
    seconds = _seconds(value)
    if seconds < _SHORTEST_KEEPING_S:
        raise ValueError("at least 1d, or none to keep everything")
    return seconds


def _bytes(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError("write a size such as 64KiB or 25MiB")  # noqa: TRY004 - pydantic collects ValueError only
    return size(value)


def _per_second(value: Any) -> float:
    return rate(_text(value, "a rate such as 50/s, 10/m or 60/h"))


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be more than 0")
    return value


def parse_port(text: str) -> int:
    """Read a TCP port from 1 to 65535. Raises ValueError."""
    if not _PORT.fullmatch(text) or int(text) > _LAST_PORT:
        raise ValueError(f"{text!r} is not a port from 1 to {_LAST_PORT}")
    return int(text)


def parse_address(value: Any) -> Address:
    """Read an IP address and a port: `0.0.0.0:8443`, `[::1]:8443`. Raises ValueError."""
    text = _text(value, "an IP address and a port, such as 0.0.0.0:8443 or [::1]:8443")
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    try:
        ip = ip_address(bare)
    except ValueError:
        colon = ""
    else:
        if (ip.version == 6) is not bracketed:  # noqa: PLR2004 - IPv6, RFC 3986 section 3.2.2
            colon = ""
    if not colon:
        raise ValueError(f"{text!r} is not an IP address and a port, such as 0.0.0.0:8443 or [::1]:8443")
    return Address(bare, parse_port(port))


def parse_host(value: Any) -> str:
    """Read one host name or IP address, lower case; IPv6 is written in brackets and returned without. Raises ValueError.

    Wildcards and ports are refused: a host belongs to exactly one tenant, whatever its port.
    """
    text = _text(value, "a host name").lower()
    if text.startswith("[") and text.endswith("]"):
        return IPv6Address(text[1:-1]).compressed
    if "*" in text:
        raise ValueError(f"{text!r}: wildcards are not supported; list each host")
    labels = text.split(".")
    if len(text) > _LONGEST_HOST or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{text!r} is not a host name (without scheme, port and path)")
    return text


def _distinguished_name(value: Any) -> str:
    text = _text(value, "a subject such as CN=alice,O=Example")
    try:
        return x509.Name.from_rfc4514_string(text, {"emailAddress": NameOID.EMAIL_ADDRESS}).rfc4514_string()
    except ValueError:
        raise ValueError(f"{text!r} is not a subject as RFC 4514 writes it, such as CN=alice,O=Example") from None


def _principal(value: Any) -> str:
    try:
        return canonical_name(_text(value, "the name of a user"))
    except InvalidNameError as error:
        raise ValueError(str(error)) from None


def _fingerprint(value: Any) -> str:
    text = _text(value, "the SHA-256 of a certificate").replace(":", "").lower()
    if not _FINGERPRINT.fullmatch(text):
        raise ValueError("write the SHA-256 of a certificate: 64 hexadecimal digits, with or without colons; quote it")
    return text


def parse_origin(value: Any, what: str) -> Origin:
    """Read scheme, host and port; a path, a query or credentials are refused. Raises ValueError with a sentence that ends in `what`."""
    text = _text(value, what)
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"write {what}")
    parts = urlsplit(text)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{text!r}: write {what}")
    if "@" in parts.netloc:
        raise ValueError("credentials do not belong in an address")
    if parts.path not in {"", "/"} or "?" in text or "#" in text:
        raise ValueError(f"{text!r} has a path, a query or a fragment; write {what}")
    after_host = parts.netloc.rpartition("]")[2]
    port = parse_port(after_host.rpartition(":")[2]) if ":" in after_host else _DEFAULT_PORTS[parts.scheme]
    host = parse_host(f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname)
    return Origin("https" if parts.scheme == "https" else "http", host, port)


def _public_url(value: Any) -> Origin:
    return parse_origin(value, "scheme and host, such as https://portal.example.com")


def parse_server(value: Any, info: ValidationInfo) -> Origin | UnixSocket:
    """Read `http://host:port`, `https://host:port` or `unix:path`. Raises ValueError."""
    if not isinstance(value, str) or not value.startswith("unix:"):
        return parse_origin(value, "scheme, host and port, such as http://127.0.0.1:3000")
    path = _location(value.removeprefix("unix:"), info)
    if value[5:6] == "@":
        raise ValueError("abstract sockets have no owner and no permissions; use a path, such as unix:/run/portal.sock")
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ValueError(f"{path} is longer than the {_LONGEST_SOCKET_PATH} bytes that a Unix socket may have")
    return UnixSocket(path)


def _prefix(value: Any) -> str:
    text = _text(value, "a path such as /app")
    if not _PREFIX.fullmatch(text) or remove_dot_segments(text) != text:
        raise ValueError(f"{text!r} is not a path such as /app: letters, digits, - . _ ~ and no slash at the end")
    return text


def _check_path(value: Any) -> str:
    text = _text(value, "a path such as /healthz")
    if not _CHECK_PATH.fullmatch(text):
        raise ValueError(f"{text!r} is not a path such as /healthz, with or without a query")
    return text


def _share(value: Any) -> float:
    text = _text(value, "a share such as 50%")
    if not _SHARE.fullmatch(text) or int(text[:-1]) > _WHOLE:
        raise ValueError(f"{text!r} is not a share from 0% to 100%")
    return int(text[:-1]) / _WHOLE


def _statuses(value: Any) -> frozenset[int]:
    found: set[int] = set()
    for item in value if isinstance(value, list) else [value]:
        ends = _STATUSES.fullmatch(str(item)) if not isinstance(item, bool) else None
        if ends is None or int(ends[1]) > int(ends[2] or ends[1]):
            raise ValueError("write statuses such as 200, 200-399 or [200, 204]")
        found.update(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
    if not found:
        raise ValueError("write statuses such as 200, 200-399 or [200, 204]")
    return frozenset(found)


def _upstream_host(value: Any) -> str:
    text = _text(value, "preserve, rewrite or a host name")
    authority = parse_authority(text.encode("ascii", "replace"))
    if authority is None:
        raise ValueError(f"{text!r}: write preserve, rewrite or a host name, with a port where it needs one")
    return authority.text


def _balance(value: Any) -> str:
    if value in ("round_robin", "least_connections"):
        return str(value)
    if isinstance(value, dict) and set(value) == {"hash"} and value["hash"] in ("user", "ip"):
        return str(value["hash"])
    raise ValueError("write round_robin, least_connections, {hash: user} or {hash: ip}")


def _network(value: Any) -> IPv4Network | IPv6Network:
    text = _text(value, "an IP address or a network such as 10.0.0.0/8")
    try:
        return ip_network(text, strict=True)
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address or a network such as 10.0.0.0/8") from None


def _location(value: Any, info: ValidationInfo) -> Path:
    text = str(value) if isinstance(value, Path) else _text(value, "a path")  # a default is a Path already
    if "\0" in text:
        raise ValueError("a path holds no NUL")
    base = info.context["base"] if info.context else Path()
    return Path(base, text)


def _matching(pattern: re.Pattern[str], sentence: str) -> BeforeValidator:
    def validate(value: Any) -> Any:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(sentence)
        return value

    return BeforeValidator(validate)


def _not_reserved(role: str) -> str:
    if is_reserved(role):
        raise ValueError(f"{role}: {RESERVED_SENTENCE}")
    return role


Duration = Annotated[float, PlainValidator(_seconds)]
"""Seconds, from `15m`; zero is allowed."""
Period = Annotated[float, PlainValidator(lambda value: _positive(_seconds(value)))]
"""Seconds, from `15m`; more than zero."""
Keeping = Annotated[float | None, PlainValidator(_keeping)]
"""Seconds, from `365d`; None, from `none`, is for ever."""
Allowance = Annotated[int, PlainValidator(_bytes)]
"""Bytes, as `Size`; zero allows nothing."""
Size = Annotated[int, PlainValidator(lambda value: int(_positive(_bytes(value))))]
"""Bytes, from `25MiB`; more than zero."""
Rate = Annotated[float, PlainValidator(lambda value: _positive(_per_second(value)))]
"""Events per second, from `60/m`; more than zero."""
Count = Annotated[int, Field(strict=True, ge=1)]
Bind = Annotated[Address, PlainValidator(parse_address)]
Host = Annotated[str, PlainValidator(parse_host)]
PublicURL = Annotated[Origin, PlainValidator(_public_url)]
ServerURL = Annotated[Origin | UnixSocket, PlainValidator(parse_server)]
Prefix = Annotated[str, PlainValidator(_prefix)]
"""A canonical path without a slash at the end."""
CheckPath = Annotated[str, PlainValidator(_check_path)]
Share = Annotated[float, PlainValidator(_share)]
"""0 to 1, from `50%`."""
Statuses = Annotated[frozenset[int], PlainValidator(_statuses)]
"""HTTP statuses, from `200-399` or a list."""
UpstreamHost = Annotated[str, PlainValidator(_upstream_host)]
"""`preserve`, `rewrite`, or the authority that `Host` always says."""
Balance = Annotated[str, PlainValidator(_balance)]
"""`round_robin`, `least_connections`, or what is hashed: `user`, `ip`."""
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_network)]
Location = Annotated[Path, PlainValidator(_location)]
"""A path; relative ones start at the directory of gateway.yaml."""
Name = Annotated[
    StrictStr, _matching(_NAME, "a name is a lower-case letter or digit, then letters, digits, - or _ (64 at most)")
]
RoleName = Annotated[
    StrictStr,
    _matching(_ROLE_NAME, "a role is letters, digits, '.', '_' and '-' (64 at most)"),
    AfterValidator(_not_reserved),
]
"""A role of the policies; the gateway's own are given by hand alone."""
Principal = Annotated[str, PlainValidator(_principal)]
"""Name of a person in canonical form."""
DistinguishedName = Annotated[str, PlainValidator(_distinguished_name)]
"""A subject in the one spelling in which subjects are compared (RFC 4514)."""
Fingerprint = Annotated[str, PlainValidator(_fingerprint)]
"""SHA-256, 64 lower-case hexadecimal digits."""
FieldName = Annotated[StrictStr, _matching(_FIELD_NAME, "a header name is made of letters, digits and -")]
FieldValue = Annotated[StrictStr, _matching(_FIELD_VALUE, "a header value is one line of printable ASCII")]

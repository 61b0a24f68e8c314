r"""Server-side request forgery: an address that only the server can reach, as the parsers of URLs disagree about it.

CWE-918, ASVS 5.0 1.3.6. A value that as a whole is an address counts; one in running text is weak. Every host that some
parser sees in an address is judged: RFC 3986, the WHATWG URL standard, and those that stop at `#`, `\` or the first `@`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, NetmaskValueError
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.lower_case import lower_case
from gateway.inspection.needles import Needles
from gateway.inspection.prose import PROSE_POSITIONS, CodeSpans, is_running
from gateway.inspection.sign import Sign

CLASS: Final = "ssrf"

SIGNS: Final[Mapping[str, str]] = {
    "ssrf.metadata": "The value is an address of a cloud's metadata service.",
    "ssrf.loopback": "The value is a URL of the server itself.",
    "ssrf.private": "The value is a URL within a private network or a cluster.",
    "ssrf.disguised": "The value is a URL whose host is written so that parsers disagree about it.",
    "ssrf.scheme": "The value is a URL of a scheme that a fetching server would speak to an internal service.",
    "ssrf.single_label": "The value is a URL of a host without a domain.",
    "ssrf.host_alone": "The value is the name of an internal host without a scheme.",
    "ssrf.callback": "The value is an address at a service that reports who asked for it.",
    "ssrf.mentioned": "Running text mentions an address of a metadata service.",
}

_URL: Final = re.compile(
    r"\s*(?:url:|redirect=|uri=|url=|src=|u=)?\s*([A-Za-z][A-Za-z0-9+.-]{1,16}):([/\\]{0,4})([^\s]{1,2048}(?:\s[^\s]{0,256}){0,2})\s*"
)
_PORT: Final = re.compile(r"[^/?#@]{1,253}:\d{1,5}(?:[/?#]|$)")
"""A host without a domain, and a port: nothing that the internet has."""
_PROTOCOL_RELATIVE: Final = re.compile(r"\s*[/\\]{2}([^/\\\s]\S{0,1024})\s*")
_SCHEMELESS: Final = re.compile(r"\s*(?:[/\\]{2,3})?([\[\]\w.:%-]{2,253}?)(:\d{1,5})?(/\S{0,1024})?\s*")
_WEB: Final = frozenset({"http", "https", "ftp", "ws", "wss", "ftps", "feed"})
_INTERNAL_SCHEMES: Final = frozenset({"gopher", "dict", "ldap", "ldaps", "tftp", "netdoc", "jar", "local_file"})
"""Nobody publishes anything under these; of others, such as `postgres:`, the host tells."""
_OPAQUE: Final = frozenset(
    {"mailto", "tel", "data", "javascript", "urn", "blob", "about", "magnet", "sip", "file", "php"}
)


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_METADATA_NAMES: Final = _listed(
    "metadata.google.internal metadata.goog metadata instance-data metadata.packet.net metadata.azure.internal metadata.platformequinix.com rancher-metadata metadata.tencentyun.com metadata.oraclecloud.com metadata.nicq.internal instance-data.ec2.internal"
)
_METADATA_ADDRESSES: Final = frozenset(
    {
        IPv4Address("169.254.169.254"),
        IPv4Address("169.254.170.2"),
        IPv4Address("169.254.169.253"),
        IPv4Address("169.254.0.23"),
        IPv4Address("100.100.100.200"),
        IPv4Address("192.0.0.192"),
        IPv4Address("168.63.129.16"),
        IPv6Address("fd00:ec2::254"),
        IPv6Address("fd20:ce::254"),
    }
)
_LOOPBACK_NAMES: Final = _listed(
    "localhost localhost.localdomain localhost4 localhost6 localhost4.localdomain4 localhost6.localdomain6 ip6-localhost ip6-loopback ipv6-localhost loopback localtest.me lvh.me vcap.me lacolhost.com yoogle.com bugbounty.dod.network spoofed.burpcollaborator.net 0 me.localtest.me"
)
_LOOPBACK_DOMAINS: Final = (".localhost", ".localtest.me", ".lvh.me", ".vcap.me", ".lacolhost.com", ".localdomain")
_INTERNAL_DOMAINS: Final = (
    ".internal",
    ".intranet",
    ".corp",
    ".lan",
    ".svc",
    ".cluster.local",
    ".consul",
    ".docker.internal",
    ".home.arpa",
    ".private",
    ".nip.internal",
)
_INTERNAL_NAMES: Final = _listed(
    "host.docker.internal gateway.docker.internal kubernetes.docker.internal host.containers.internal kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local kubernetes host.minikube.internal docker.for.mac.localhost"
)
_REBINDING: Final = re.compile(
    r"(?:^|\.|-)((?:\d{1,3}[.-]){3}\d{1,3}|[0-9a-f]{8})(?:\.[\w-]{1,32}){0,2}\.(?:nip\.io|sslip\.io|xip\.io|1u\.ms|rbndr\.us|traefik\.me|ip\.alidns\.com)$|\.(?:rbndr\.us|1u\.ms|rebind\.network)$"
)
_CALLBACK: Final = re.compile(
    r"(?i)(?:^|[\w.-]{1,64}\.)(?:burpcollaborator\.net|oastify\.com|interact\.sh|oast\.(?:pro|live|site|online|fun|me)|dnslog\.(?:cn|link)|ceye\.io|canarytokens\.com|bxss\.me|xss\.ht|pingb\.in|requestrepo\.com|webhook\.site|pipedream\.net|requestbin\.(?:com|net)|beeceptor\.com|ssrf\.cvssadvisor\.com|interactsh\.com|dnsbin\.zhack\.ca|tukaani\.cn|eyes\.sh|log4j-tester\.\w+)$"
)
_CALLBACK_NAMES: Final = (
    "burpcollaborator.net",
    "oastify.com",
    "interact.sh",
    "oast.",
    "dnslog.cn",
    "ceye.io",
    "bxss.me",
    "interactsh.com",
)
_CALLBACK_ANYWHERE: Final = re.compile(
    r"(?i)\b[\w-]{4,64}(?:\.[\w-]{1,64}){0,3}\.(?:burpcollaborator\.net|oastify\.com|interact\.sh|oast\.(?:pro|live|site|online|fun|me)|dnslog\.cn|ceye\.io|bxss\.me|interactsh\.com)\b"
)
_MENTION: Final = re.compile(r"169\.254\.169\.254/|metadata\.google\.internal")
_PRIVATE: Final = tuple(
    IPv4Network(net)
    for net in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "198.18.0.0/15",
    )
)
_LOOPBACK: Final = tuple(IPv4Network(net) for net in ("127.0.0.0/8", "0.0.0.0/8"))
_PRIVATE_6: Final = tuple(IPv6Network(net) for net in ("fc00::/7", "fe80::/10", "64:ff9b:1::/48"))
_TRANSLATED_PREFIX: Final = 0x64FF9B << 64
"""64:ff9b::/96 of RFC 6052."""
_NUMBER: Final = re.compile(r"(?i)0x[0-9a-f]{0,16}|\d{1,16}")
_DOTTED: Final = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_MOST_PARTS: Final = 4
_DOT_LIKE: Final = str.maketrans({"\u3002": ".", "\uff0e": ".", "\uff61": "."})


_LONGEST: Final = 512
_ADDRESSES: Final = Needles(("169.254.169.254", "metadata.google", *_CALLBACK_NAMES))
_ABSOLUTE: Final = Needles(("://", ":/", ":\\", "http:", "https:", "ftp:", "jar:", "netdoc:"))
_BEGINNINGS: Final = (
    *"0123456789[/\\",
    "localhost",
    "ip6-",
    "ipv6-",
    "metadata",
    "instance-data",
    "host.",
    "gateway.docker",
    "kubernetes",
    "lvh.me",
    "localtest.me",
    "loopback",
)


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether a text may be an address as a whole, or mentions one that is nobody's business."""
    if len(lowered) > _LONGEST and " " in lowered:
        return "." in specials and _ADDRESSES.are_in(lowered)
    if ":" in specials and _ABSOLUTE.are_in(lowered):
        return True
    if "/" in specials and ("." in specials or "localhost" in lowered or lowered.startswith("//")):
        return lowered.lstrip().startswith(_BEGINNINGS) or _ADDRESSES.are_in(lowered)
    return "." in specials and ("oast" in lowered or "interact" in lowered or "collaborator" in lowered)


def signs(text: str, position: Position) -> Iterator[Sign]:
    """Find addresses that a server would fetch and nobody outside could."""
    is_speech = position in PROSE_POSITIONS and (is_running(text) or bool(CodeSpans(text, position)))
    lowered = lower_case(text)
    if any(name in lowered for name in _CALLBACK_NAMES) and not is_speech:
        callback = _CALLBACK_ANYWHERE.search(text)
        if callback:
            yield Sign("ssrf.callback", callback.start(), callback.end())
            return
    url = _URL.fullmatch(text) if not is_speech else None
    if url is not None and "@" not in url[3] and len(url[3].split(maxsplit=1)) > 1:
        url = None  # an address and a word behind it; parsers that disagree need an @ to do so
    if url is None:
        mention = _MENTION.search(lowered)
        if mention:
            is_value = not is_speech and len(text.split(maxsplit=3)) <= 3
            yield Sign("ssrf.metadata" if is_value else "ssrf.mentioned", mention.start(), mention.end())
            return
        if is_speech:
            return
        relative = _PROTOCOL_RELATIVE.fullmatch(text)
        bare = None if relative else _SCHEMELESS.fullmatch(text)
        if relative and (name := _of_url("http", "//", relative[1])) not in (None, "ssrf.single_label"):
            yield Sign(name or "", 0, len(text))
        if bare and position is not Position.PATH:
            name = _of_bare(bare)
            if name:
                yield Sign(name, 0, len(text))
        return
    if url[1].lower() in _OPAQUE:
        return
    name = _of_url(url[1].lower(), url[2], url[3])
    if name is None and _MENTION.search(lowered):  # an open redirect on the way to it
        name = "ssrf.metadata"
    if name and not (position is Position.HEADER and name != "ssrf.metadata"):
        yield Sign(name, url.start(), url.end())


def _of_bare(bare: re.Match[str]) -> str | None:
    """`localhost/`, `169.254.169.254/latest`: no scheme, but a path or two slashes; an address alone says nothing."""
    has_slashes = bare[0].lstrip().startswith(("//", "\\\\"))
    kind = _of_host(bare[1].lower().rstrip("."))
    if kind == "ssrf.metadata" and (bare[3] or has_slashes):
        return kind
    if kind in ("ssrf.loopback", "ssrf.private") and (bare[3] or has_slashes):
        if bare[3] and bare[1].count("/") == 0 and re.fullmatch(r"/\d{1,2}", bare[3]):  # 10.0.0.0/8 is a network
            return None
        is_name = any(map(str.isalpha, bare[1])) and ":" not in bare[1]
        return kind if has_slashes or is_name else "ssrf.host_alone"
    return None


def _of_url(scheme: str, slashes: str, rest: str) -> str | None:
    if scheme in _INTERNAL_SCHEMES:
        return "ssrf.scheme" if slashes or scheme in ("jar", "netdoc") else None
    if scheme not in _WEB and not slashes:
        return None
    hosts = _hosts(rest)
    found = [kind for kind in map(_of_host, hosts) if kind]
    if found:
        for kind in ("ssrf.metadata", "ssrf.loopback", "ssrf.private", "ssrf.disguised", "ssrf.callback"):
            if kind in found:
                return kind
    if len(slashes) < 2 and _is_numeric(rest):
        return "ssrf.disguised"
    if scheme in _WEB and hosts and "." not in hosts[0] and ":" not in hosts[0]:
        return "ssrf.private" if _PORT.match(rest) else "ssrf.single_label"
    return None


def _is_numeric(rest: str) -> bool:
    return re.fullmatch(r"[\d.]+(?:[:/?#].*)?", rest) is not None


def _hosts(rest: str) -> list[str]:
    r"""Name every host that a parser may see behind the slashes."""
    authorities = {
        re.split(r"[/?#]", rest, maxsplit=1)[0],
        re.split(r"[/?#\\]", rest, maxsplit=1)[0],
        re.split(r"[/?#\s]", rest, maxsplit=1)[0],
    }
    if "@" in rest:
        # A `#`, `?` or space before an @ is where parsers part; without one the path may hold any @.
        before = rest.split("@", 1)[0]
        if any(char in before for char in "#?\\ ") or "/" not in before:
            authorities.update(re.split(r"[/?#\\\s]", piece, maxsplit=1)[0] for piece in rest.split("@", 4)[1:5])
    hosts: list[str] = []
    for authority in sorted(authorities):
        host = authority.rsplit("@", 1)[-1].strip()
        if host.startswith("["):
            host = host[1:].split("]", 1)[0]
        elif host.count(":") <= 1:
            host = host.split(":", 1)[0]
        host = host.split("%", 1)[0].rstrip(".").lower()
        if host and host not in hosts:
            hosts.append(host)
    return hosts


def _of_host(host: str) -> str | None:
    """Judge one host: an address in any spelling, or a name."""
    host = host.translate(_DOT_LIKE).strip("[]")
    if host in _METADATA_NAMES:
        return "ssrf.metadata"
    if host in _LOOPBACK_NAMES or host.endswith(_LOOPBACK_DOMAINS):
        return "ssrf.loopback"
    if host in _INTERNAL_NAMES or host.endswith(_INTERNAL_DOMAINS):
        return "ssrf.private"
    rebinding = _REBINDING.search(host)
    if rebinding:
        inner = rebinding[1] or ""
        return _of_host(inner.replace("-", ".")) or "ssrf.disguised"
    if _CALLBACK.search(host):
        return "ssrf.callback"
    address = _address(host)
    if address is None:
        return None
    kind = _of_address(address)
    return kind or ("ssrf.disguised" if isinstance(address, IPv4Address) and _DOTTED.fullmatch(host) is None else None)


def _of_address(address: IPv4Address | IPv6Address) -> str | None:
    if address in _METADATA_ADDRESSES:
        return "ssrf.metadata"
    if isinstance(address, IPv6Address):
        if address.is_loopback or address.is_unspecified:
            return "ssrf.loopback"
        embedded = address.ipv4_mapped or address.sixtofour or _translated(address)
        if embedded is not None:
            return _of_address(embedded) or "ssrf.disguised"
        return "ssrf.private" if any(address in net for net in _PRIVATE_6) else None
    if any(address in net for net in _LOOPBACK):
        return "ssrf.loopback"
    return "ssrf.private" if any(address in net for net in _PRIVATE) else None


def _translated(address: IPv6Address) -> IPv4Address | None:
    """Return the address within one of RFC 6052, or of the old form ::a.b.c.d."""
    high = int(address) >> 32
    if high in (_TRANSLATED_PREFIX, 0):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Read an address as `inet_aton` and WHATWG do: fewer parts, octal, hexadecimal."""
    if ":" in host:
        try:
            return IPv6Address(host.split("%", 1)[0])
        except (AddressValueError, NetmaskValueError, ValueError):
            return None
    parts = host.split(".")
    if len(parts) > _MOST_PARTS or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    numbers = [_number(part) for part in parts]
    if any(number is None for number in numbers):
        return None
    total = 0
    for number in numbers[:-1]:
        total = total << 8 | ((number or 0) & 0xFF)
    total = total << (8 * (5 - len(parts))) | ((numbers[-1] or 0) & ((1 << (8 * (5 - len(parts)))) - 1))
    return IPv4Address(total & 0xFFFFFFFF)


def _number(part: str) -> int | None:
    try:
        if part.startswith("0x"):
            return int(part[2:] or "0", 16)
        if part.startswith("0") and len(part) > 1:
            return int(part, 8)
        return int(part)
    except ValueError:
        return None

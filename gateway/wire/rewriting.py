"""Where an upstream's own names of places lead in public, and the other way round.

A `PathMapping` says which public paths are which paths of the upstream. `Places` turns what an answer
names (RFC 9110 §10.2.2 Location, RFC 8288 Link, Refresh, RFC 6265bis cookies) into public names. Pure
functions of bytes; whether a rewritten path may be forwarded is the resolver's to say.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_ORIGIN: Final = re.compile(rb"(?:(https?):)?//([^/?#\\]*)", re.IGNORECASE).match
# Browsers leave tabs out of an address and read a backslash as a slash (WHATWG URL §4.4).
_OPENS_AUTHORITY: Final = re.compile(r"/\t*[/\\]").match
_DEFAULT_PORTS: Final = {b"http": b":80", b"https": b":443"}
# Each alternative takes whole runs: a Link of 64 KiB that never closes a quote costs one pass.
_LINK_TOKEN: Final = re.compile(rb'<([^<>]*)>|"(?:\\.|[^"\\])*\\?(?:"|\Z)', re.DOTALL)
_REFRESH: Final = re.compile(
    rb"([\t ]*[0-9]*(?:\.[0-9]*)?[\t ]*[;,]?[\t ]*(?:url[\t ]*=[\t ]*)?)(.*)", re.IGNORECASE | re.DOTALL
).fullmatch


def below(prefix: str, path: str) -> str | None:
    """What follows `prefix` in `path`: empty or from a slash on; None when `path` is not at or under it."""
    if not path.startswith(prefix):
        return None
    rest = path[len(prefix) :]
    return rest if not rest or rest[0] == "/" else None


class PathMapping(NamedTuple):
    """`strip` is taken off the public path, `add` put in front of the rest; both are canonical, without a slash at the end."""

    strip: str
    add: str

    def upstream(self, path: str) -> str | None:
        """The upstream's path of a public one; None when it is not at or under `strip`."""
        rest = below(self.strip, path)
        return None if rest is None else self.add + rest or "/"

    def public(self, path: str) -> str:
        """The public path of one of the upstream's; a path without one stays as it is.

        A path already under `strip` is taken for a public one: many portals know where they are mounted.
        """
        rest = below(self.add, path) if self.add else None
        if rest is not None:
            mapped = self.strip + rest or "/"
        elif self.add or below(self.strip, path) is not None:
            return path
        else:
            mapped = self.strip + path
        # attack: `/x//evil.example` and `/x/\\evil.example` must not become a host
        return path if _OPENS_AUTHORITY(mapped) else mapped

    def public_cookie_path(self, path: str) -> str:
        """The public Path of a cookie: a path above `add` covers all of the upstream."""
        if self.add and self.add.startswith(path.rstrip("/") + "/"):
            return self.strip or "/"
        mapped = self.public(path)
        return self.strip if path == "/" and mapped == self.strip + "/" else mapped


class Places(NamedTuple):
    """Everything needed to name a place of the upstream in public."""

    scheme: bytes
    """`http` or `https`, as the browser asked."""
    authority: bytes
    """Host and port as the browser wrote them."""
    upstream_authorities: frozenset[bytes]
    """How the upstream may name itself, lower case."""
    mapping: PathMapping | None = None

    def reference(self, value: bytes) -> bytes:
        """A URI reference (RFC 3986 §4.1) by the public name of what it names; anybody else's stays as it is."""
        found = _ORIGIN(value)
        if found is None:
            return self._path(value) if value.startswith(b"/") else value
        named = found[2].lower()
        scheme = found[1]
        if scheme is not None:
            named = named.removesuffix(_DEFAULT_PORTS[scheme.lower()])
        if named not in self.upstream_authorities and named != self.authority:
            return value
        origin = b"//" + self.authority if scheme is None else b"%b://%b" % (self.scheme, self.authority)
        return origin + self._path(value[found.end() :])

    def link(self, value: bytes) -> bytes:
        """A Link field: each target between `<` and `>`, and nothing inside a quoted string."""
        return _LINK_TOKEN.sub(
            lambda found: found[0] if found[1] is None else b"<%b>" % self.reference(found[1]), value
        )

    def refresh(self, value: bytes) -> bytes:
        """A Refresh field: `5; url=/next`, with or without `url=` and quotes."""
        found = _REFRESH(value)
        if found is None:
            return value
        before, target = found[1], found[2]
        quote = target[:1] if target[:1] in (b'"', b"'") else b""
        inner, closing, rest = target[len(quote) :].partition(quote) if quote else (target, b"", b"")
        return before + quote + self.reference(inner) + closing + rest

    def cookie(self, value: bytes) -> bytes:
        """A Set-Cookie value: its Path mapped, a Domain that is the upstream's own taken away (host-only)."""
        pair, *attributes = value.split(b";")
        kept = [pair]
        for attribute in attributes:
            name, equals, content = attribute.partition(b"=")
            name, content = name.strip(b" \t").lower(), content.strip(b" \t")
            if name == b"domain" and self._is_upstreams(content):
                continue
            if name == b"path" and self.mapping is not None and not _is_host_cookie(pair):
                mapped = self.mapping.public_cookie_path(content.decode("latin-1")).encode("latin-1")
                kept.append(b" Path=%b" % mapped if content.startswith(b"/") else attribute)
            else:
                kept.append(attribute if equals or name else b"")
        return b";".join(kept)

    def _path(self, value: bytes) -> bytes:
        """Map the path at the start of `value`, which goes on with its query and fragment."""
        if self.mapping is None or not value.startswith(b"/"):
            return value
        end = min((at for at in (value.find(b"?"), value.find(b"#")) if at >= 0), default=len(value))
        return self.mapping.public(value[:end].decode("latin-1")).encode("latin-1") + value[end:]

    def _is_upstreams(self, domain: bytes) -> bool:
        """Whether a Domain attribute is the upstream's host or above it, and would not cover the public one."""
        domain = domain.lower().removeprefix(b".")
        suffix = b"." + domain
        if not domain or (b"." + _host(self.authority)).endswith(suffix):
            return False
        return any((b"." + _host(authority)).endswith(suffix) for authority in self.upstream_authorities)


def _host(authority: bytes) -> bytes:
    return authority if authority.endswith(b"]") else authority.rpartition(b":")[0] or authority


def _is_host_cookie(pair: bytes) -> bool:
    """A name that browsers accept with `Path=/` alone (RFC 6265bis §4.1.3.2)."""
    return pair.lstrip(b" \t")[:7].lower() == b"__host-"

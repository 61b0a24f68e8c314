"""The certified npm `oidc-provider`, and a person who signs in there with a browser of their own."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import time
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.machine import cannot_run, free_port
from tests.node import node_modules

HERE = Path(__file__).with_name("openid_provider")
SECRET = "a secret of forty characters, more or less"
CLIENT = "portal"
READY_S = 30.0
_FORM = re.compile(r'<form[^>]*action="([^"]*)"')
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)"')


def private_jwk(kid: str) -> dict[str, Any]:
    """A fresh RSA key for the provider to sign with."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    found: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key))
    return {
        **{name: value for name, value in found.items() if name != "key_ops"},
        "kid": kid,
        "use": "sig",
        "alg": "RS256",
    }


class CertifiedProvider:
    """One process of it; `start` again after `stop`, on the same port, with whatever changed."""

    def __init__(self, directory: Path, *, claims: Mapping[str, Any], trusts: Path | None = None) -> None:
        """Serve people with these claims; `trusts` is a certificate that logout tokens may be sent to."""
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.settings: dict[str, Any] = {
            "port": self.port,
            "keys": [private_jwk("k1")],
            "clients": [],
            "claims": dict(claims),
            "cookie_key": "only for tests",
        }
        self._directory = directory
        self._trusts = trusts
        self._process: subprocess.Popen[bytes] | None = None

    def add_client(self, *origins: str, provider: str = "node", back_channel: bool = True) -> None:
        """Register a gateway."""
        client = {
            "id": CLIENT,
            "secret": SECRET,
            "origins": origins,
            "provider": provider,
            "back_channel": back_channel,
        }
        self.settings["clients"].append(client)

    def start(self) -> None:
        """Start it and wait until it answers."""
        node_modules(HERE)
        path = self._directory / "provider.json"
        path.write_text(json.dumps(self.settings), "utf-8")
        environment = {**os.environ, **({"NODE_EXTRA_CA_CERTS": str(self._trusts)} if self._trusts else {})}
        log = self._directory / "provider.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["node", str(HERE / "server.mjs"), str(path)], stdout=output, stderr=output, env=environment
            )
        deadline = time.monotonic() + READY_S
        while not self._answers():
            if self._process.poll() is not None:
                cannot_run(f"oidc-provider does not start: {log.read_text()[-2000:]}")
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log(self) -> str:
        """What it wrote."""
        return (self._directory / "provider.log").read_text("utf-8")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/.well-known/openid-configuration")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


class Person:
    """A browser at the provider: keeps its cookies and follows its redirects, to the gateway's door."""

    def __init__(self, provider: CertifiedProvider, name: str = "carol") -> None:
        self._provider = provider
        self._name = name
        self._cookies: dict[str, str] = {}

    def sign_in(self, address: str) -> str:
        """Go to the provider's address, sign in where it asks, and return the address back at the gateway."""
        status, location, body = self._ask("GET", address)
        for _ in range(12):
            if status in {302, 303}:
                if not location.startswith(("/", self._provider.issuer)):
                    parts = urlsplit(location)
                    return f"{parts.path}?{parts.query}"
                status, location, body = self._ask("GET", location)
            else:
                form = _FORM.search(body)
                assert status == 200, (status, body[:2000])
                assert form, body[:2000]
                status, location, body = self._ask("POST", unescape(form[1]), {"username": self._name})
        raise AssertionError("the provider leads nowhere")

    def sign_out(self, address: str) -> str:
        """Confirm that the session at the provider ends; return where it sends the browser, or nothing."""
        status, location, body = self._ask("GET", address)
        if status == 200:
            form = _FORM.search(body)
            assert form, body[:2000]
            fields = {name: unescape(value) for name, value in _HIDDEN.findall(body)}
            status, location, body = self._ask("POST", unescape(form[1]), {**fields, "logout": "yes"})
        assert status in {302, 303}, (status, body[:2000])
        return location

    def _ask(self, method: str, address: str, form: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        parts = urlsplit(address)
        connection = http.client.HTTPConnection("127.0.0.1", self._provider.port, timeout=10)
        headers = {"Accept": "text/html"}
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request(method, target, None if form is None else urlencode(form), headers)
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        for line in response.headers.get_all("Set-Cookie") or ():
            name, _, value = line.partition(";")[0].partition("=")
            self._cookies[name] = value
        return response.status, response.getheader("Location") or "", body

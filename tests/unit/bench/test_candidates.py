"""The configurations of the peers are ones the peers accept. Peers that are not on this machine are skipped: they are the bench's, not the suite's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.bench import site
from tests.bench.candidates.caddy import Caddy
from tests.bench.candidates.candidate import Candidate, EvidenceError, MissingError, executable
from tests.bench.candidates.envoy import Envoy
from tests.bench.candidates.gateway import Gateway, said
from tests.bench.candidates.haproxy import HAProxy
from tests.bench.candidates.nginx import Nginx
from tests.bench.process import StartError

CHECKS = [
    (Nginx, ["-t", "-c", "nginx.conf", "-e", "error.log"]),
    (HAProxy, ["-c", "-f", "haproxy.cfg"]),
    (Envoy, ["--mode", "validate", "-c", "envoy.json", "-l", "error"]),
    (Caddy, ["validate", "--config", "Caddyfile", "--adapter", "caddyfile"]),
]


@pytest.fixture
def ground(tmp_path: Path) -> site.Site:
    return site.build(tmp_path / "ground", site.Cores(proxy="0", load="1"))


@pytest.mark.parametrize(("kind", "words"), CHECKS, ids=lambda value: getattr(value, "name", ""))
def test_a_peer_accepts_the_configuration_written_for_it(
    kind: type[Candidate], words: list[str], ground: site.Site
) -> None:
    candidate = kind(ground)
    try:
        candidate.prepare()
    except MissingError as exc:
        pytest.skip(str(exc))
    room = ground.room(candidate.name)
    here = [str(room / word) if (room / word).exists() or word == "error.log" else word for word in words]
    done = subprocess.run(
        [candidate.binary(), *here],
        capture_output=True,
        text=True,
        cwd=room,
        env={**os.environ, **candidate.environment(room)},
        timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_key_of_the_run_is_readable_by_its_owner_only(ground: site.Site) -> None:
    assert ground.key.stat().st_mode & 0o777 == 0o600
    assert ground.chain_and_key.stat().st_mode & 0o777 == 0o600


def test_a_signed_in_candidate_sends_its_cookie_behind_the_portals_own(ground: site.Site) -> None:
    candidate = Nginx(ground)
    candidate.cookie, candidate.tls_cookie = "gw=plain", "__Host-gw=tls"
    assert dict(candidate.fields())["Cookie"].endswith("; gw=plain")
    assert dict(candidate.fields(candidate.tls_url))["Cookie"].endswith("; __Host-gw=tls")
    candidate.tls_cookie = ""
    assert dict(candidate.fields(candidate.tls_url))["Cookie"].endswith("; gw=plain")


def test_a_missing_program_is_named_with_where_to_get_it() -> None:
    with pytest.raises(MissingError, match=r"no `no-such-program` on this machine \(Debian: nothing\)"):
        executable("no-such-program", hint="Debian: nothing")


def test_a_page_is_quoted_by_its_words() -> None:
    assert said(b"<style>a{}</style><h1>Not  found</h1><script>x</script>") == "Not found"


@pytest.fixture
def gateway(ground: site.Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gateway:
    """A candidate whose `gateway` program knows one verb and finds a log of 100 records."""
    program = tmp_path / "gateway"
    program.write_text(
        '#!/bin/sh\n[ "$1 $2" = "audit verify" ] || { echo "no such verb" >&2; exit 2; }\necho \'{"size": 100}\'\n'
    )
    program.chmod(0o700)
    candidate = Gateway(ground)
    monkeypatch.setattr(candidate, "binary", lambda: str(program))
    return candidate


def test_a_log_with_a_record_for_each_answer_is_evidence(gateway: Gateway) -> None:
    gateway.answered = 99
    assert "99 answers" in gateway.evidence()


def test_an_answer_without_its_record_is_no_evidence(gateway: Gateway) -> None:
    gateway.answered = 101
    with pytest.raises(EvidenceError, match="101 answers came, but only 100 records"):
        gateway.evidence()


def test_a_verb_that_fails_is_quoted(gateway: Gateway) -> None:
    with pytest.raises(StartError, match="gateway check ended with 2: no such verb"):
        gateway._verb("check")

"""DokuWiki behind the gateway, in a real browser: what is refused, what works, what stands in the log.

One story is told once, by two people in Chromium (`wiki_story`); every test looks at what it left behind.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import tempfile
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner

from gateway.cli import program
from tests.e2e import dokuwiki
from tests.e2e.dokuwiki import DokuWiki, Seen
from tests.e2e.installed_gateway import InstalledGateway
from tests.e2e.wiki_policy import CASES, HOST, POLICY, SETTINGS, TENANT, rule_of
from tests.e2e.wiki_story import CHROMIUM, PICTURE, SESSION_COOKIE, Answer, Person, Story, picture, tell
from tests.machine import cannot_run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ALLOWED, DENIED = 1, 2
SHOWN = 4000
"""Characters of the programs' own words that are shown when the story breaks off."""
LOGIN = "/.gateway/login?return_to="
AUTHENTICATION = 3002  # OCSF class_uid
OURS = "/.gateway/"
VERIFY = ("audit", "verify", "--json")
BETWEEN_S = 5.0
STREAMS = ("security", "access", "traffic")
SPREAD = 16
"""Of each file of the log, so many bytes are tried, the first and the last among them."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Aftermath:
    """What is left when the story is told and everything has stopped."""

    story: Story
    records: list[Record]
    """What `gateway audit query` showed while the gateway ran."""
    seen: list[Seen]
    """What the wiki was asked."""
    saved: str
    stored: bytes
    boasts: set[str]
    """Header fields of the wiki's bare answers."""
    verified_meanwhile: list[subprocess.CompletedProcess[str]]
    """While the story was told, one after the other."""
    verified_live: subprocess.CompletedProcess[str]
    verified_stopped: subprocess.CompletedProcess[str]
    exit_status: int
    gateway: InstalledGateway

    def of(self, person: Person, route: str, method: str = "GET") -> list[Record]:
        """The records of one person's requests to a route."""
        return [
            record
            for record in self.records
            if user_of(record) == person.name
            and record["unmapped"]["gw"].get("route") == route
            and record["http_request"]["http_method"] == method
        ]

    def events(self) -> list[tuple[str, str, str]]:
        """Sign-in events as the log has them: name, user, tenant."""
        found = [event for record in self.records for event in record["unmapped"]["gw"].get("events", ())]
        return [(event["name"], event.get("user", ""), event.get("tenant", "")) for event in found]


def user_of(record: Record) -> str:
    name: str = record.get("actor", {}).get("user", {}).get("name", "")
    return name


def outcomes(records: list[Record]) -> list[tuple[str, int, int]]:
    """Phase, decision and status of records."""
    return [
        (record["unmapped"]["gw"]["phase"], record["action_id"], record["http_response"]["code"]) for record in records
    ]


def require_the_programs() -> None:
    missing = dokuwiki.missing() + ([] if CHROMIUM.exists() else ["chromium"])
    if missing:
        sentence = f"not installed: {', '.join(missing)}; tests/install-packages installs them"
        cannot_run(sentence)


@pytest.fixture(scope="module")
def aftermath() -> Iterator[Aftermath]:
    require_the_programs()
    base = Path(tempfile.mkdtemp(prefix="gw-"))  # short: Unix socket paths end at 107 bytes
    base.chmod(0o711)  # the wiki's server is another user
    wiki: DokuWiki | None = None
    gateway: InstalledGateway | None = None
    try:
        (base / "wiki").mkdir()
        wiki = DokuWiki(base / "wiki")
        wiki.start()
        gateway = InstalledGateway.init(base / "gateway")
        yield play(wiki, gateway)
    except Exception:
        print(*(part.said()[-SHOWN:] for part in (wiki, gateway) if part is not None), sep="\n")
        raise
    finally:
        for part in (gateway, wiki):
            if part is not None:
                part.stop()
        shutil.rmtree(base, ignore_errors=True)


def play(wiki: DokuWiki, gateway: InstalledGateway) -> Aftermath:
    """Install, tell the story, look at the log, stop, look again."""
    trust = install(wiki, gateway)
    story = Story(
        editor=Person("erin", "editor", "seven quiet lamps on a shelf"),
        reader=Person("rita", "reader", "nobody counts the blue stairs"),
        picture=picture(),
    )
    for person in (story.editor, story.reader):
        roles = ["--tenant", TENANT, "--role", person.role]
        secrets = ["--password-stdin", "--totp-secret", person.secret]
        gateway.verb("user", "add", person.name, *roles, *secrets, stdin=person.password + "\n")
    gateway.start()
    with auditing(gateway) as meanwhile:
        tell(story, f"https://{HOST}:{gateway.port}", trust)
    records = gateway.records()
    live = gateway.attempt(*VERIFY)
    status = gateway.terminate()
    return Aftermath(
        story=story,
        records=records,
        seen=wiki.seen(),
        saved=wiki.page("opening_hours"),
        stored=wiki.media(PICTURE),
        boasts=wiki.bare_fields(),
        verified_meanwhile=meanwhile,
        verified_live=live,
        verified_stopped=gateway.attempt(*VERIFY),
        exit_status=status,
        gateway=gateway,
    )


@contextmanager
def auditing(gateway: InstalledGateway) -> Iterator[list[subprocess.CompletedProcess[str]]]:
    """Have the log verified again and again, as an auditor's timer does; in the end what each run said."""
    verified: list[subprocess.CompletedProcess[str]] = []
    is_over = threading.Event()

    def verify() -> None:
        verified.append(gateway.attempt(*VERIFY))
        while not is_over.wait(BETWEEN_S):
            verified.append(gateway.attempt(*VERIFY))

    with ThreadPoolExecutor(1) as executor:
        auditor = executor.submit(verify)
        try:
            yield verified
        finally:
            is_over.set()
    auditor.result()


def install(wiki: DokuWiki, gateway: InstalledGateway) -> ssl.SSLContext:
    """Put the gateway in front of the wiki; what trusts its certificate."""
    names = {"host": HOST, "tenant": TENANT, "port": gateway.port, "admin_port": gateway.admin_port}
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST, "127.0.0.1")
    tls = gateway.home / "config" / "tls"
    (tls / "cert.pem").write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
    (tls / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    gateway.configure(SETTINGS.format(upstream=wiki.url, **names), {"wiki.yaml": POLICY, "tests/wiki.yaml": CASES})
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return trust


# before and after a session


def test_nothing_but_the_sign_in_page_is_shown_before_sign_in(aftermath: Aftermath) -> None:
    moment = aftermath.story.after["erin: before sign-in"]
    assert moment.place == LOGIN + "/start"
    assert "Sign in" in moment.text
    assert "Open from nine to five" not in moment.text
    unknown = [seen for seen in aftermath.seen if seen.user == "-" and not seen.path.startswith("/lib/")]
    assert unknown == []


def test_a_wrong_password_and_a_wrong_code_lead_nowhere(aftermath: Aftermath) -> None:
    after = aftermath.story.after
    assert after["erin: wrong password"].place == "/.gateway/login"
    assert "The name or the password is not right" in after["erin: wrong password"].text
    assert after["erin: wrong code"].place == "/.gateway/mfa"
    assert "The code is not right" in after["erin: wrong code"].text


def test_password_and_code_lead_to_the_page_that_was_wanted(aftermath: Aftermath) -> None:
    after = aftermath.story.after
    assert after["erin: password"].place == "/.gateway/mfa"
    assert after["erin: code"].place == "/start"
    assert "Open from nine to five" in after["erin: code"].text


def test_after_the_sign_out_everything_is_refused_again(aftermath: Aftermath) -> None:
    after = aftermath.story.after
    assert after["erin: after sign-out"].place == LOGIN + "/opening_hours"
    assert after["erin: download after sign-out"].place == f"{LOGIN}/_media/{PICTURE}"
    assert SESSION_COOKIE not in {cookie["name"] for cookie in aftermath.story.cookies_left}


def test_a_kept_cookie_is_worth_nothing_after_the_sign_out(aftermath: Aftermath) -> None:
    assert aftermath.story.replayed == (302, LOGIN + "/start")


# the work


def test_the_wikis_own_sign_in_works_behind_ours(aftermath: Aftermath) -> None:
    assert "The Librarian" in aftermath.story.after["erin: signed in to the wiki"].text


def test_a_page_is_edited_and_saved(aftermath: Aftermath) -> None:
    moment = aftermath.story.after["erin: saved"]
    assert moment.place == "/opening_hours"
    assert "From ten to six. Ünïcode & <angles>, too." in moment.text
    assert aftermath.saved == "====== Opening hours ======\nFrom ten to six. Ünïcode & <angles>, too.\n"


def test_the_browser_speaks_http_2(aftermath: Aftermath) -> None:
    assert aftermath.story.protocol == "h2"


def test_a_picture_comes_back_byte_for_byte(aftermath: Aftermath) -> None:
    assert len(aftermath.story.picture) > 100_000
    assert aftermath.stored == aftermath.story.picture
    assert aftermath.story.downloaded == aftermath.story.picture


def test_the_account_page_names_the_person_and_this_device(aftermath: Aftermath) -> None:
    text = aftermath.story.after["erin: account"].text
    assert "erin · library" in text
    assert "Chromium on Linux" in text
    assert "This device" in text


# least privilege


@pytest.mark.parametrize(
    ("step", "route"),
    [("refused a page", "page"), ("refused a picture", "media-file"), ("refused to save", "page-save")],
)
def test_the_second_person_is_refused_with_a_page_that_says_which_rule(
    aftermath: Aftermath, step: str, route: str
) -> None:
    assert aftermath.story.after["rita: code"].place == "/start"
    moment = aftermath.story.after[f"rita: {step}"]
    assert moment.status == 403
    assert "Your roles do not allow this." in moment.text
    assert rule_of(route) in moment.text
    assert "From ten to six" not in moment.text


def test_a_refusal_is_a_complete_page_of_html(aftermath: Aftermath) -> None:
    refused = [answer for answer in aftermath.story.answers if answer.status == 403]
    assert len(refused) == 3
    for answer in refused:
        assert answer.values("content-type") == ["text/html; charset=utf-8"]
        assert answer.values("cache-control") == ["no-store"]


# what the wiki gets


def test_the_wiki_is_told_who_asks_and_nobody_else_can_tell_it(aftermath: Aftermath) -> None:
    of_erin = [seen for seen in aftermath.seen if seen.user == "erin"]
    of_rita = [seen for seen in aftermath.seen if seen.user == "rita"]
    assert {(seen.tenant, seen.roles) for seen in of_erin} == {(TENANT, "editor")}
    assert {(seen.tenant, seen.roles) for seen in of_rita} == {(TENANT, "reader")}
    assert {seen.user for seen in aftermath.seen} <= {"erin", "rita", "-"}
    assert {seen.forwarded_for for seen in aftermath.seen} == {"127.0.0.1"}
    assert {seen.host.partition(":")[0] for seen in aftermath.seen} == {HOST}


def test_the_wiki_never_sees_our_cookie(aftermath: Aftermath) -> None:
    cookies = [seen.cookie for seen in aftermath.seen]
    assert any("DokuWiki=" in cookie for cookie in cookies)
    assert not any("gw" in name for cookie in cookies for name in cookie_names(cookie))


def cookie_names(line: str) -> list[str]:
    return [pair.partition("=")[0].strip() for pair in line.split(";")]


def test_the_wiki_never_sees_a_refused_request(aftermath: Aftermath) -> None:
    reached = {seen.request_id for seen in aftermath.seen}
    refused = {record["metadata"]["correlation_uid"] for record in aftermath.records if record.get("action_id") == 2}
    assert refused
    assert not reached & refused


# what the browser gets


def test_the_browser_reports_no_violation_of_any_policy(aftermath: Aftermath) -> None:
    assert aftermath.story.complaints == []


def test_a_script_smuggled_into_our_page_does_not_run(aftermath: Aftermath) -> None:
    assert not aftermath.story.smuggled
    stopped = {sentence.split()[0] for sentence in aftermath.story.smuggling}
    assert {"require-trusted-types-for", "img-src"} <= stopped  # so a violation would have been seen elsewhere, too


def test_every_cookie_is_secure(aftermath: Aftermath) -> None:
    cookies = {cookie["name"]: cookie for cookie in aftermath.story.cookies}
    ours = cookies[SESSION_COOKIE]
    assert (ours["path"], ours["httpOnly"], ours["secure"], ours["sameSite"]) == ("/", True, True, "Lax")
    assert len(ours["value"]) <= 100
    assert ours["domain"] == HOST  # __Host-: no Domain attribute, so no leading dot
    assert "DokuWiki" in cookies
    assert {(cookie["secure"], cookie["sameSite"]) for cookie in cookies.values()} == {(True, "Lax")}


def of_the_gateway(story: Story) -> list[Answer]:
    return [answer for answer in story.answers if answer.url.startswith("https://")]


def is_a_page_of_ours(answer: Answer) -> bool:
    return answer.path.startswith(OURS)


def test_security_headers_stand_on_every_answer_once(aftermath: Aftermath) -> None:
    answers = of_the_gateway(aftermath.story)
    assert {is_a_page_of_ours(answer) for answer in answers} == {True, False}
    for answer in answers:
        assert answer.values("strict-transport-security") == ["max-age=63072000"], answer
        assert answer.values("x-content-type-options") == ["nosniff"], answer
        assert answer.values("x-frame-options") in (["SAMEORIGIN"], ["DENY"]), answer
        opener = "noopener-allow-popups" if is_a_page_of_ours(answer) else "same-origin"
        assert answer.values("cross-origin-opener-policy") == [opener], answer
        assert answer.values("cross-origin-resource-policy") == ["same-origin"], answer
        assert len(answer.values("permissions-policy")) == 1, answer
        assert len(answer.values("referrer-policy")) == 1, answer
        twice = {name for name, count in Counter(name.lower() for name, _ in answer.fields).items() if count > 1}
        assert twice <= {"set-cookie", "content-security-policy"}, answer  # the portal's own policy stands beside ours


def test_pages_of_the_wiki_get_the_protecting_policy_and_ours_a_strict_one(aftermath: Aftermath) -> None:
    html = "text/html; charset=utf-8"
    pages = [answer for answer in of_the_gateway(aftermath.story) if answer.values("content-type") == [html]]
    of_the_wiki = [answer for answer in pages if not is_a_page_of_ours(answer) and answer.status == 200]
    ours = [answer for answer in pages if is_a_page_of_ours(answer)]
    assert of_the_wiki
    assert ours
    for answer in of_the_wiki:
        assert "object-src 'none'; base-uri 'self'; frame-ancestors 'self'" in answer.values("content-security-policy")
    for answer in ours:
        (policy,) = answer.values("content-security-policy")
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_what_the_wiki_boasts_of_does_not_get_out(aftermath: Aftermath) -> None:
    assert {"server", "x-powered-by"} <= aftermath.boasts
    for answer in of_the_gateway(aftermath.story):
        assert not answer.values("server")
        assert not answer.values("x-powered-by")


def test_nothing_behind_the_sign_in_may_be_stored(aftermath: Aftermath) -> None:
    private = ("/start", "/opening_hours", f"/_media/{PICTURE}", "/.gateway/account", "/lib/exe/ajax.php")
    answers = [answer for answer in of_the_gateway(aftermath.story) if answer.path in private]
    assert {answer.path for answer in answers} == set(private)
    for answer in answers:
        assert answer.values("cache-control") == ["no-store"], answer


# the log


def test_the_log_has_the_sign_in_and_the_sign_out_with_user_and_tenant(aftermath: Aftermath) -> None:
    of_erin = [(name, tenant) for name, user, tenant in aftermath.events() if user == "erin"]
    assert [name for name, _ in of_erin] == [
        "login.failed",
        "login.succeeded",
        "session.created",
        "factor.failed",
        "factor.verified",
        "session.rotated",
        "device.added",
        "logout",
    ]
    assert {tenant for _, tenant in of_erin} == {TENANT}


@pytest.mark.parametrize(
    ("route", "refusal"), [("gateway.login", "credentials_refused"), ("gateway.mfa", "code_refused")]
)
def test_each_attempt_to_sign_in_stands_in_the_log_with_its_outcome(
    aftermath: Aftermath, route: str, refusal: str
) -> None:
    records = [
        record
        for record in aftermath.of(aftermath.story.editor, route, "POST")
        if record["unmapped"]["gw"]["phase"] != "intent"
    ]
    assert outcomes(records) == [("single", DENIED, 401), ("single", ALLOWED, 303)]
    assert {record["metadata"]["tenant_uid"] for record in records} == {TENANT}
    assert {record["class_uid"] for record in records} == {AUTHENTICATION}
    assert records[0]["status_detail"] == refusal


def test_the_log_has_exactly_the_changes_that_were_made(aftermath: Aftermath) -> None:
    changes = [
        (record["unmapped"]["gw"]["route"], *outcomes([record])[0])
        for record in aftermath.records
        if record.get("http_request", {}).get("http_method") == "POST"
        and record["unmapped"]["gw"]["route"] != "media-manager"
    ]
    intents_and_outcomes = [
        [(route, "intent", ALLOWED, 0), (route, "single", DENIED if status == 401 else ALLOWED, status)]
        for route, status in (
            ("gateway.login", 401),
            ("gateway.login", 303),
            ("gateway.mfa", 401),
            ("gateway.mfa", 303),
            ("wiki-sign-in", 302),
            ("page-save", 302),
            ("gateway.logout", 303),
            ("gateway.login", 303),
            ("gateway.mfa", 303),
        )
    ]
    expected = [change for pair in intents_and_outcomes for change in pair]
    assert changes == [*expected, ("page-save", "single", DENIED, 403)]


def test_the_edit_stands_in_the_log_before_and_after(aftermath: Aftermath) -> None:
    records = aftermath.of(aftermath.story.editor, "page-save", "POST")
    assert outcomes(records) == [("intent", ALLOWED, 0), ("single", ALLOWED, 302)]
    for record in records:
        assert record["resources"] == [{"type": "page", "uid": "opening_hours"}]
        assert record["unmapped"]["gw"]["action"] == "edit"
        assert record["metadata"]["tenant_uid"] == TENANT
        assert record["policy"]["uid"].startswith("policies/wiki.yaml:")
        assert record["src_endpoint"]["ip"] == "127.0.0.1"
        assert record["actor"]["session"]["is_mfa"] is True
        assert "Chrome/" in record["http_request"]["user_agent"]


def test_the_upload_stands_in_the_log_with_its_size(aftermath: Aftermath) -> None:
    size = len(aftermath.story.picture)
    records = aftermath.of(aftermath.story.editor, "media-manager", "POST")
    (upload,) = [
        record
        for record in records
        if record["http_request"]["body_length"] == size and record["unmapped"]["gw"]["phase"] != "intent"
    ]  # a body that was inspected is known when the request is announced
    assert outcomes([upload]) == [("single", ALLOWED, 200)]
    assert upload["resources"] == [{"type": "media"}]
    assert upload["unmapped"]["gw"]["action"] == "create"
    identity = upload["metadata"]["correlation_uid"]
    intents = [record for record in records if record["metadata"]["correlation_uid"] == identity]
    assert [phase for phase, *_ in outcomes(intents)] == ["intent", "single"]


def test_the_download_stands_in_the_log_with_its_size(aftermath: Aftermath) -> None:
    records = aftermath.of(aftermath.story.editor, "media-file")
    assert {(decision, status) for _, decision, status in outcomes(records)} == {(ALLOWED, 200)}
    last = records[-1]
    assert last["unmapped"]["gw"]["phase"] in ("single", "closing")
    assert last["unmapped"]["gw"]["action"] == "download"
    assert last["resources"] == [{"type": "media", "uid": PICTURE}]
    assert last["http_response"]["length"] == len(aftermath.story.picture)
    assert last["metadata"]["tenant_uid"] == TENANT


@pytest.mark.parametrize(("route", "method"), [("page", "GET"), ("media-file", "GET"), ("page-save", "POST")])
def test_a_refusal_stands_in_the_log_with_its_rule(aftermath: Aftermath, route: str, method: str) -> None:
    records = aftermath.of(aftermath.story.reader, route, method)
    assert outcomes(records) == [("single", DENIED, 403)]
    (record,) = records
    assert record["policy"]["uid"] == rule_of(route)
    assert record["status_detail"] == "role_missing"
    assert record["metadata"]["tenant_uid"] == TENANT
    assert record["unmapped"]["gw"]["decision_inputs"]["roles"] == ["reader"]


def test_every_answer_that_the_browser_had_stands_in_the_log(aftermath: Aftermath) -> None:
    logged: dict[str, list[Record]] = {}
    for record in aftermath.records:
        logged.setdefault(record["metadata"]["correlation_uid"], []).append(record)
    answers = of_the_gateway(aftermath.story)
    assert len(answers) > 50
    for answer in answers:
        assert answer.request_id in logged, answer
        last = logged[answer.request_id][-1]
        assert last["http_request"]["http_method"] == answer.method
        assert last["http_request"]["url"]["path"] == answer.path
        assert last["http_response"]["code"] == answer.status
        assert user_of(last) in (answer.person, "")


def test_every_record_has_an_identifier_of_its_own(aftermath: Aftermath) -> None:
    identifiers = [record["metadata"]["uid"] for record in aftermath.records]
    assert len(set(identifiers)) == len(identifiers)
    assert [text for text in identifiers if str(uuid.UUID(text)) != text or uuid.UUID(text).version != 7] == []


def test_no_secret_stands_in_the_log_or_on_standard_error(aftermath: Aftermath) -> None:
    story = aftermath.story
    secrets = [story.editor.password, story.reader.password, story.editor.secret, story.reader.secret]
    secrets += [cookie["value"] for cookie in story.cookies] + [DokuWiki.PASSWORD, "not the password at all"]
    told = json.dumps(aftermath.records) + aftermath.gateway.said()
    assert not [secret for secret in secrets if secret in told]


def test_the_gateway_ends_well(aftermath: Aftermath) -> None:
    assert aftermath.exit_status == 0
    assert '"level":"error"' not in aftermath.gateway.said()


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (["--user", "erin", "--route", "page-save"], [("intent", ALLOWED, 0), ("single", ALLOWED, 302)]),
        (["--decision", "deny", "--status", "403"], [("single", DENIED, 403)] * 3),
        (["--tenant", TENANT, "--resource", f"media/{PICTURE}", "--status", "403"], [("single", DENIED, 403)]),
    ],
    ids=["what did erin save", "who was refused", "who asked for the picture in vain"],
)
def test_the_operator_finds_it_by_asking(
    copy: InstalledGateway, question: list[str], answer: list[tuple[str, int, int]]
) -> None:
    assert outcomes(copy.records(*question)) == answer


# the proof


def entries(size: int) -> str:
    """The first so many, in words."""
    return f"entries 0 to {size - 1}" if size > 1 else ["no entry", "entry 0"][size]


def sizes(verified: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """How many entries of each stream were proven; all of them must be."""
    assert verified.returncode == 0, verified.stdout + verified.stderr
    answer = json.loads(verified.stdout)
    assert (answer["ok"], answer["exit_code"], answer["findings"]) == (True, 0, [])
    for stream, verdict in answer["streams"].items():
        assert (verdict["exit_code"], verdict["findings"]) == (0, []), verdict
        assert verdict["verdict"].startswith(f"{verdict['origin']}: intact: {entries(verdict['size'])} are what")
        assert verdict["origin"].endswith(f"/{stream}")
        assert (verdict["first"], verdict["proven"]) == (0, verdict["size"])
        assert verdict["vouched"], "its own checkpoint says how long it is"
    return {stream: verdict["size"] for stream, verdict in answer["streams"].items()}


def test_the_log_verifies_while_the_gateway_runs_and_after(aftermath: Aftermath) -> None:
    proven = sizes(aftermath.verified_live)
    assert tuple(proven) == STREAMS
    assert sum(proven.values()) >= len(aftermath.records)
    after = sizes(aftermath.verified_stopped)
    assert after["security"] > proven["security"], "it says that it stopped"
    assert all(after[stream] >= proven[stream] for stream in STREAMS)


def test_the_log_verifies_at_any_moment_while_people_work(aftermath: Aftermath) -> None:
    found = [sizes(verified) for verified in aftermath.verified_meanwhile]
    found.append(sizes(aftermath.verified_live))
    assert len(found) > 1
    for stream in STREAMS:
        grown = [proven.get(stream, 0) for proven in found]  # a log begins with its first record
        assert grown == sorted(grown), stream


@pytest.fixture
def copy(aftermath: Aftermath) -> Iterator[InstalledGateway]:
    """The stopped gateway's directory once more, to lay hands on."""
    with tempfile.TemporaryDirectory(prefix="gw-") as place:
        home = Path(place) / "gateway"
        shutil.copytree(aftermath.gateway.home, home, ignore=shutil.ignore_patterns("*.sock"))
        yield InstalledGateway(home)


def findings(gateway: InstalledGateway) -> tuple[int, set[tuple[str, str]]]:
    """Exit status of `gateway audit verify`; stream and file of each finding."""
    done = CliRunner().invoke(program, [*VERIFY, "-c", str(gateway.config)])
    answer = json.loads(done.stdout)
    assert answer["findings"] == [], "each is of a stream"
    named = {
        (stream, finding.get("file", ""))
        for stream, verdict in answer["streams"].items()
        for finding in verdict["findings"]
    }
    wrong = {stream for stream, verdict in answer["streams"].items() if verdict["exit_code"] == 1}
    assert wrong == {stream for stream, _ in named}
    return done.exit_code, named


def stream_of(file: Path) -> str:
    return file.name.partition("-")[0]


def files_of_the_log(gateway: InstalledGateway) -> list[Path]:
    return sorted((gateway.state / "audit").iterdir())


def largest(gateway: InstalledGateway) -> Path:
    return max(files_of_the_log(gateway), key=lambda file: file.stat().st_size)


def newest(gateway: InstalledGateway, stream: str) -> Path:
    return max(file for file in files_of_the_log(gateway) if stream_of(file) == stream)


def change_one_byte(file: Path, offset: int) -> None:
    content = bytearray(file.read_bytes())
    content[offset] ^= 0x01
    file.write_bytes(content)


def spread(file: Path, count: int) -> list[int]:
    last = file.stat().st_size - 1
    return sorted({last * part // (count - 1) for part in range(count)})


@pytest.mark.parametrize("quarter", range(5))
def test_one_changed_byte_is_found_and_named(copy: InstalledGateway, quarter: int) -> None:
    file = largest(copy)
    change_one_byte(file, (file.stat().st_size - 1) * quarter // 4)
    status, found = findings(copy)
    assert status == 1
    assert (stream_of(file), file.name) in found
    assert found <= {(stream_of(file), file.name), (stream_of(file), "")}, "no other file or stream is accused"


def test_one_changed_byte_is_found_in_any_file(copy: InstalledGateway) -> None:
    files = files_of_the_log(copy)
    assert {(stream_of(file), file.suffix) for file in files} == {
        ("security", ".seg"), ("security", ".log"), ("access", ".log"), ("traffic", ".log"),
    }  # fmt: skip
    for file in files:
        for offset in spread(file, SPREAD):
            change_one_byte(file, offset)
            status, found = findings(copy)
            assert status == 1, (file.name, offset)
            assert (stream_of(file), file.name) in found, (file.name, offset, found)
            assert {stream for stream, _ in found} == {stream_of(file)}, (file.name, offset, found)
            change_one_byte(file, offset)
    assert findings(copy) == (0, set())


def test_one_changed_byte_is_found_in_any_checkpoint(copy: InstalledGateway) -> None:
    files = sorted((copy.state / "checkpoints").iterdir())
    assert {file.name for file in files} == set(STREAMS)
    for file in files:
        for offset in spread(file, SPREAD):
            change_one_byte(file, offset)
            assert findings(copy) == (1, {(file.name, "checkpoint")}), (file.name, offset)
            change_one_byte(file, offset)
    assert findings(copy) == (0, set())


def tiles(gateway: InstalledGateway) -> list[Path]:
    return sorted(file for file in (gateway.state / "tiles").glob("*/tile/**/*") if file.is_file())


def test_one_changed_byte_is_found_in_any_hash_tile_and_in_what_is_said_of_them(copy: InstalledGateway) -> None:
    assert {file.relative_to(copy.state / "tiles").parts[0] for file in tiles(copy)} == set(STREAMS)
    for file in tiles(copy):
        stream = file.relative_to(copy.state / "tiles").parts[0]
        for offset in spread(file, 3):
            change_one_byte(file, offset)
            status, found = findings(copy)
            assert (status, {place for place, _ in found}) == (1, {stream}), (file, offset, found)
            assert all(name.startswith(f"tiles/{stream}") for _, name in found), found
            change_one_byte(file, offset)
    for stream in STREAMS:
        said = copy.state / "tiles" / stream / "state.json"
        for member in (b'"origin":"', b'"root":"', b'"durable_root":"'):
            offset = said.read_bytes().index(member) + len(member)
            change_one_byte(said, offset)
            assert findings(copy) == (1, {(stream, f"tiles/{stream}/state.json")}), member
            change_one_byte(said, offset)
    assert findings(copy) == (0, set())


def test_what_can_be_made_again_is_believed_by_nobody(copy: InstalledGateway) -> None:
    """Hash tiles are derived: a proof is right though every tile was changed, and says what a stranger can check."""
    (saved,) = copy.records("--user", "erin", "--route", "page-save", "--status", "302")
    stream = saved["metadata"]["log_name"]
    uid = saved["metadata"]["uid"]
    for file in [*tiles(copy), *(copy.state / "tiles").glob("*/state.json")]:
        for offset in spread(file, 5):
            change_one_byte(file, offset)
    proof, policy = copy.home / "saved.tlog-proof", copy.home / "trust.policy"
    copy.verb("audit", "prove", "--uid", uid, "-o", str(proof))
    policy.write_text(copy.verb("audit", "trust", "--stream", stream))
    assert f"PROVEN by the node alone: record {uid}" in copy.verb(
        "audit", "check-proof", str(proof), "--policy", str(policy)
    )
    status, found = findings(copy)
    assert (status, {place for place, _ in found}) == (1, set(STREAMS))


@pytest.mark.parametrize("stream", STREAMS)
def test_a_log_without_its_end_is_found(copy: InstalledGateway, stream: str) -> None:
    newest(copy, stream).unlink()
    status, found = findings(copy)
    assert status == 1
    assert {place for place, _ in found} == {stream}


@pytest.mark.parametrize("stream", STREAMS)
def test_a_log_with_its_last_entries_cut_off_is_found(copy: InstalledGateway, stream: str) -> None:
    file = newest(copy, stream)
    os.truncate(file, file.stat().st_size // 2)
    status, found = findings(copy)
    assert status == 1
    assert {place for place, _ in found} == {stream}


def test_a_log_that_is_gone_is_found(copy: InstalledGateway) -> None:
    for file in files_of_the_log(copy):
        file.unlink()
    status, found = findings(copy)
    assert status == 1
    assert {place for place, _ in found} == set(STREAMS)


def test_a_file_that_is_no_part_of_the_log_is_found(copy: InstalledGateway) -> None:
    (copy.state / "audit" / "notes.txt").write_text("nothing")
    status, found = findings(copy)
    assert (status, {name for _, name in found}) == (1, {"notes.txt"})

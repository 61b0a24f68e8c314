"""The library with one rule set in it: one of these a process."""

from __future__ import annotations

import re
import time
from typing import Final

from gateway.crs.rules import RulesError
from gateway.exchange.opinion import Match, Opinion, Question

MAX_MATCHES: Final = 32
MAX_PLACE: Final = 64
_BEFORE: Final = """
SecRuleEngine On
SecRequestBodyAccess On
SecResponseBodyAccess Off
SecRequestBodyLimit 67108864
SecRequestBodyNoFilesLimit 67108864
SecRequestBodyLimitAction Reject
SecRequestBodyJsonDepthLimit 64
SecArgumentsLimit 10000
SecPcreMatchLimit 1000000
SecPcreMatchLimitRecursion 1000000
SecAuditEngine Off
SecDefaultAction "phase:1,log,auditlog,pass"
SecDefaultAction "phase:2,log,auditlog,pass"
SecRule REQUEST_HEADERS:Content-Type "^application/(?:[a-z0-9.-]+[+])?json" "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" "id:200002,phase:2,t:none,log,deny,status:400,msg:'The body cannot be read'"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" "id:200003,phase:2,t:none,log,deny,status:400,msg:'The multipart body is not strict'"
"""
"""What a deployment says before the rules. JSON must be read as such, or what is in it is not looked at; XML is not
read: the wheel's libxml2 is an old one. Errors of reading refuse. With a tenth of these limits of a pattern's steps, rules give
up on long honest texts; what takes ten times as long is ended by the time-out."""
_AFTER: Final = """
SecRule TX:/^MSC_/ "!@streq 0" "id:200005,phase:2,t:none,log,deny,status:400,msg:'A rule gave up'"
"""
"""And after them: the library lets pass what a rule came to no end with."""
LEVELS: Final = """
SecAction "id:900991,phase:1,pass,t:none,nolog,setvar:tx.blocking_paranoia_level={paranoia},setvar:tx.detection_paranoia_level={paranoia},setvar:tx.paranoia_level={paranoia},setvar:tx.executing_paranoia_level={paranoia},setvar:tx.inbound_anomaly_score_threshold={threshold},setvar:tx.outbound_anomaly_score_threshold=100,setvar:tx.crs_setup_version=400"
"""
_PLACE: Final = re.compile(r"against variable `([A-Z_]+(?::[A-Za-z0-9_.\[\]-]{1,64})?)")
_COUNTED: Final = frozenset((949110, 949111, 959100, 980130, 980170, 901001))
"""Rules that only sum up what others found."""


class Engine:
    """Judges requests by one rule set."""

    def __init__(self, rules: str) -> None:
        """Load the rules, as `read_rules` made them.

        Raises:
            RulesError: the library is not there, or does not take the rules. It would then stop nothing.

        """
        try:
            from libmodsecurity import ModSecurity, RulesSet, Transaction  # noqa: PLC0415 - an extra, and slow to load
        except ImportError as error:
            raise RulesError("the library is not installed: pip install gateway[waf]") from error
        self._library = ModSecurity()
        self._library.set_log_callback(lambda _: None)  # what it would write holds payloads
        self._transaction = Transaction
        self._rules = RulesSet()
        text = _BEFORE + rules + _AFTER
        self.loaded = self._rules.load(text)
        """Rules, actions and markers."""
        if self.loaded < 0:
            raise RulesError("the rules cannot be loaded: " + _first_line(self._rules.get_parser_error()))
        if not self.judge(PROBE).matches:
            raise RulesError("the rules load and see nothing: none matched a plain attack")

    def judge(self, asked: Question) -> Opinion:
        """Judge one request."""
        began = time.perf_counter_ns()
        found: list[Match] = []
        transaction = self._transaction(self._library, self._rules)
        transaction.process_connection(asked.client_ip or "0.0.0.0", 0, "127.0.0.1", 0)  # noqa: S104 - no address is known
        transaction.process_uri(asked.target.decode("latin-1"), asked.method, asked.version)
        for name, value in asked.fields:
            transaction.add_request_header(name.decode("latin-1"), value.decode("latin-1"))
        transaction.process_request_headers()
        stopped = transaction.intervention()
        is_hostile = stopped is not None and stopped.disruptive
        if not is_hostile:
            if asked.body:
                transaction.append_request_body(asked.body)
            transaction.process_request_body()
            stopped = transaction.intervention()
            is_hostile = stopped is not None and stopped.disruptive
        for message in transaction.get_rule_messages():
            if message.rule_id not in _COUNTED and len(found) < MAX_MATCHES:
                place = _PLACE.search(message.match)
                found.append(Match(message.rule_id, message.severity, place[1][:MAX_PLACE] if place else ""))
        return Opinion(is_hostile, found, (time.perf_counter_ns() - began) // 1000)


PROBE: Final = Question(
    method="GET",
    target=b"/?probe=%27%20UNION%20SELECT%20password%20FROM%20users--%20&x=%3Cscript%3Ealert(1)%3C/script%3E",
    version="1.1",
    client_ip="127.0.0.1",
    fields=[(b"host", b"localhost"), (b"user-agent", b"probe"), (b"accept", b"*/*")],
    body=b"",
)
"""What some rule of every rule set must see."""


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:300] if text.strip() else "the library does not say why"

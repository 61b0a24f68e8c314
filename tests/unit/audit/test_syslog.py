"""Messages of RFC 5424 that no record can break out of."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.delivery import Delivery
from gateway.audit.syslog import frame, write_message
from tests.fakes.log_source import ORIGIN, TIME_NS, batch

_HEAD = re.compile(
    rb"<([0-9]{1,3})>1 [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}Z ([!-~]{1,255}) gateway - ([!-~]{1,32}) "
    rb'\[audit@32473 origin="((?:[^"\\\]]|\\.)*)" index="([0-9]+)"\] ',
    re.DOTALL,
)


def written(record: dict[str, Any], origin: str = ORIGIN) -> re.Match[bytes]:
    message = write_message(Delivery(4, TIME_NS, record, b"{}"), origin=origin, enterprise=32473)
    match = _HEAD.match(message)
    assert match is not None, message
    assert message[match.end() :] == b"{}"
    return match


def test_a_message_names_facility_severity_host_event_and_place() -> None:
    delivery = batch(4, 1).deliveries[0]
    message = write_message(delivery, origin=ORIGIN, enterprise=32473)
    match = _HEAD.match(message)
    assert match is not None
    assert match.groups() == (b"110", b"node-a", b"gateway.reloaded", ORIGIN.encode(), b"4")
    assert message.endswith(delivery.line)


def test_severities_of_ocsf_become_those_of_syslog() -> None:
    assert [written({"severity_id": n})[1] for n in range(1, 7)] == [b"110", b"109", b"108", b"107", b"106", b"105"]
    assert written({"severity_id": "high"})[1] == b"109"


@given(
    host=st.text(max_size=300),
    event=st.text(max_size=60),
    origin=st.text(st.characters(blacklist_categories=["Cs"]), max_size=40),
)
def test_no_text_of_a_record_forges_a_field(host: str, event: str, origin: str) -> None:
    match = written({"device": {"hostname": host}, "unmapped": {"gw": {"event": event}}}, origin)
    value = re.sub(rb"\\(.)", rb"\1", match[4], flags=re.DOTALL)
    assert value.decode() == origin


def test_a_record_of_odd_shape_is_a_message_all_the_same() -> None:
    written({"device": 3, "unmapped": [], "type_uid": None})


def test_a_frame_begins_with_the_length_of_its_message() -> None:
    assert frame("é".encode()) == b"2 \xc3\xa9"


def test_a_delivery_is_not_changed() -> None:
    delivery = batch(0, 1).deliveries[0]
    before = msgspec.structs.asdict(delivery)
    write_message(delivery, origin=ORIGIN, enterprise=1)
    assert msgspec.structs.asdict(delivery) == before

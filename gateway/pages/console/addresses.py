"""Every address of the console, and the form it takes."""

from __future__ import annotations

from typing import Final

from gateway.exchange.stream import STREAMS
from gateway.pages.console import evidence, people, policy, trial
from gateway.pages.console.door import Address

_ROOT: Final = "/.gateway/admin"
_NAME: Final = "{name:[A-Za-z0-9][A-Za-z0-9._-]{0,63}}"
_PERSON: Final = f"{_ROOT}/people/{{person:u_[0-9a-f]{{32}}}}"
"""Whatever is no id of a person is no address: it goes back into one."""
_STREAM: Final = f"{{stream:{'|'.join(STREAMS)}}}"

ADDRESSES: Final = (
    Address(_ROOT, policy.show_overview),
    Address(f"{_ROOT}/", policy.show_overview),
    Address(f"{_ROOT}/routes", policy.show_routes),
    Address(f"{_ROOT}/routes/{_NAME}", policy.show_route),
    Address(f"{_ROOT}/export", policy.export_routes),
    Address(f"{_ROOT}/roles", policy.show_roles),
    Address(f"{_ROOT}/roles/{_NAME}", policy.show_role),
    Address(
        f"{_ROOT}/try",
        trial.show_trial,
        form="console-try",
        fields=trial.TRIAL_FIELDS,
        submit=trial.try_request,
        changes=False,
    ),
    Address(f"{_ROOT}/people", people.show_people),
    Address(_PERSON, people.show_person),
    Address(f"{_PERSON}/disable", people.show_person, readable=False, form="console-disable", submit=people.disable),
    Address(f"{_PERSON}/enable", people.show_person, readable=False, form="console-enable", submit=people.enable),
    Address(
        f"{_PERSON}/end",
        people.show_person,
        readable=False,
        form="console-end",
        fields=frozenset({"handle"}),
        submit=people.end_session,
    ),
    Address(
        f"{_PERSON}/end-all", people.show_person, readable=False, form="console-end-all", submit=people.end_sessions
    ),
    Address(
        f"{_PERSON}/factors", people.show_person, readable=False, form="console-factors", submit=people.reset_factors
    ),
    Address(f"{_ROOT}/sessions", people.show_sessions),
    Address(f"{_ROOT}/evidence", evidence.show_evidence),
    Address(f"{_ROOT}/evidence/export", evidence.export_evidence),
    Address(f"{_ROOT}/evidence/proof", evidence.show_proof),
    Address(f"{_ROOT}/evidence/{_STREAM}/{{index:[0-9]{{1,18}}}}", evidence.show_record),
)

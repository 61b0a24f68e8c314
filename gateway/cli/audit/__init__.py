"""`gateway audit`: prove the audit log, search it, watch it.

`verify` needs nothing but the files and tells how much that proves. What shows people's data
records each use of itself before anything is shown.
"""

from __future__ import annotations

import click

from gateway.cli.audit.check_proof import check_proof_verb
from gateway.cli.audit.cursors import cursors_verb, replay_verb
from gateway.cli.audit.export import export_verb
from gateway.cli.audit.gaps import gaps_verb
from gateway.cli.audit.hold import hold_group
from gateway.cli.audit.key import key_group
from gateway.cli.audit.open_intents import open_intents_verb
from gateway.cli.audit.prove import prove_verb
from gateway.cli.audit.query import query_verb
from gateway.cli.audit.receipt_key import receipt_key_verb
from gateway.cli.audit.recover import recover_verb
from gateway.cli.audit.retention import retention_group
from gateway.cli.audit.schema import schema_verb
from gateway.cli.audit.seal import seal_verb
from gateway.cli.audit.tail import tail_verb
from gateway.cli.audit.trust import trust_verb
from gateway.cli.audit.verify import verify_verb


@click.group(short_help="Verify and query the audit trail.")
def audit() -> None:
    """Prove the audit trail, search it, watch it."""


for _verb in (
    verify_verb,
    query_verb,
    tail_verb,
    gaps_verb,
    open_intents_verb,
    export_verb,
    prove_verb,
    check_proof_verb,
    schema_verb,
    trust_verb,
    cursors_verb,
    replay_verb,
    seal_verb,
    recover_verb,
    receipt_key_verb,
    key_group,
    retention_group,
    hold_group,
):
    audit.add_command(_verb)

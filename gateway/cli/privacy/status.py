"""`gateway privacy status`: how people are sealed in the log, and who was erased; about one person, what is known of them."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from gateway.cli.administration import Administration, administration, answer, moment, refuse
from gateway.cli.policy.reading import count
from gateway.cli.privacy.subject import request, subject_data
from gateway.store.tables import SUBJECT_KEYS


@click.command()
@click.option("--subject", help="Name or id of a person.")
@click.option("--tenant", help="Organisation of the person.")
def status(*, subject: str | None, tenant: str | None) -> None:
    """Show what is set, how many people have a key, and what was erased; with --subject one person."""
    if (subject is None) is not (tenant is None):
        refuse("name both: --subject and --tenant")
    if subject is not None and tenant is not None:
        _of_person(subject, tenant)
        return
    with administration() as act:
        _of_gateway(act)


def _of_gateway(act: Administration) -> None:
    privacy = act.settings.audit.privacy
    erasures = subject_data(act).erasures.all()
    keys = sum(act.store.rows.keys(SUBJECT_KEYS).values())
    days = privacy.anonymous / 86_400
    answer(
        {
            "ok": True,
            "subject_keys": privacy.subject_keys,
            "anonymous_s": privacy.anonymous,
            "keys": keys,
            "erasures": [{"at": erasure.at, "tokens": list(erasure.tokens)} for erasure in erasures],
        },
        [
            "Records name people under keys of their own." if privacy.subject_keys else "Records name people in clear.",
            f"{count(keys, 'key')}; those of strangers end {days:g} {'day' if days == 1 else 'days'} after their day.",
            *(f"erased {moment(erasure.at)}: {', '.join(erasure.tokens) or 'no keys'}" for erasure in erasures),
        ],
    )


def _of_person(subject: str, tenant: str) -> None:
    with request(subject, tenant, "") as asked:
        asked.record("privacy.status_shown", "view")
        held = asked.data.tell(asked.person, now=asked.act.now)
        restricted = any(stored.restricted for stored in asked.keys) or bool(
            asked.person.user is not None and asked.person.user.restricted
        )
        counts = {name: len(value) if isinstance(value, list) else int(bool(value)) for name, value in held.items()}
        since = min((stored.created for stored in asked.keys), default=0.0)
    day = datetime.fromtimestamp(since, UTC).date().isoformat() if since else "never"
    answer(
        {"ok": True, "id": asked.person.id, "restricted": restricted, "held": counts, "keys_since": day},
        [
            f"{asked.person.id} at {tenant}{': restricted' if restricted else ''}; sealed in the log since {day}.",
            *(f"{count:>5}  {name.replace('_', ' ')}" for name, count in counts.items() if count),
        ],
    )

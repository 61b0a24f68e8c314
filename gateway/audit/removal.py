"""Judges what was removed from a log by the log's own records: what a legal hold kept must not have gone.

Takes holds and removals in the order in which they were recorded. What files beside the log say of either is not
looked at; nor is anything claimed that the records which can be read do not say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.audit.finding import Finding, Kind
from gateway.audit.tally import Hold, Prune


def judge_removals(holds: Sequence[Hold], prunes: Sequence[Prune], *, is_unread: bool) -> Iterator[Finding]:
    """Say what was removed under a hold. `is_unread`: some of the records between could not be opened."""
    for prune in prunes:
        if not prune.files:
            continue
        for name, in_force in _in_force(holds, prune.index).items():
            covered = [hold.covers(prune) for hold in in_force]
            if any(each is not False for each in covered):
                kind, message = _judge(prune, name, is_covered=any(covered), is_unread=is_unread)
                yield Finding(kind=kind, message=message, first_index=prune.index)


def _in_force(holds: Sequence[Hold], index: int) -> dict[str, list[Hold]]:
    """Return the holds that were in force at a record, by case; one that was recorded again counts as both."""
    found: dict[str, list[Hold]] = {}
    for hold in holds:
        if hold.index >= index:
            break
        if hold.is_released:
            found.pop(hold.name, None)
        else:
            found.setdefault(hold.name, []).append(hold)
    return found


def _judge(prune: Prune, name: str, *, is_covered: bool, is_unread: bool) -> tuple[Kind, str]:
    what = f"entries of the {prune.stream} stream up to {prune.last}"
    if is_unread:  # attack: a file that is not ours to open, in the place of the one that ended the hold
        return (
            Kind.UNDECRYPTABLE,
            f"whether the legal hold {name} was in force over {what}, which were removed, can be read with the keys only",
        )
    if is_covered:
        return Kind.PRUNED_HELD, f"{what} were removed while the legal hold {name} was in force over them"
    return (
        Kind.HELD,
        f"whether the legal hold {name} kept {what} cannot be told: the record of their removal has no times",
    )

"""Whatever transactions do in whatever order, every place keeps what a dictionary would."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store.rows import Backend, Row, Transaction
from gateway.store.tables import USERS
from tests.contract.conftest import NOW

IDS = st.sampled_from([b"a", b"b", b"c", b"\0\xff"])
TOKENS = st.dictionaries(st.sampled_from(["name", "tenant", "email"]), st.sampled_from([b"", b"x", b"y"]), max_size=3)
ENDS = st.sampled_from([None, NOW + 100, NOW + 200])
ROWS = st.builds(
    lambda row_id, value, key, tokens, expires: Row(id=row_id, value=value, key=key, tokens=tokens, expires=expires),
    IDS,
    st.binary(max_size=8),
    st.integers(0, 3),
    TOKENS,
    ENDS,
)
STEPS = st.one_of(ROWS, IDS)
WORK = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.lists(STEPS, max_size=5), st.booleans()),
        st.tuples(st.just("sweep"), st.sampled_from([NOW, NOW + 100, NOW + 150, NOW + 200]), st.none()),
        st.tuples(st.just("clear"), st.sampled_from(["name", "tenant"]), st.sampled_from([b"", b"x"])),
    ),
    max_size=8,
)
Model = dict[bytes, Row]


class UndoneError(Exception):
    """A transaction that changes its mind."""


def change(rows: Backend, model: Model, steps: list[Row | bytes], *, fails: bool) -> Model:
    """Change rows and model alike; both stay as they are when the transaction fails."""

    def work(tx: Transaction) -> Model:
        left = dict(model)
        for step in steps:
            if isinstance(step, Row):
                tx.put(USERS, step)
                left[step.id] = step
            else:
                assert tx.delete(USERS, step) is (left.pop(step, None) is not None)
            agrees(tx, left)
        if fails:
            raise UndoneError
        return left

    try:
        return rows.transact(work)
    except UndoneError:
        return model


def agrees(place: Any, model: Model) -> None:
    """Look at everything in every way."""
    wanted = [b"a", b"b", b"c", b"\0\xff"]
    assert place.get_many(USERS, wanted) == model
    for row_id in wanted:
        assert place.get(USERS, row_id) == model.get(row_id)
    for index in ("name", "tenant", "email"):
        for token in (b"", b"x", b"y"):
            expected = sorted(row.id for row in model.values() if row.tokens.get(index) == token)
            assert sorted(row.id for row in place.find(USERS, index, token)) == expected
            if hasattr(place, "count"):
                assert place.count(USERS, index, token) == len(expected)


@given(WORK)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_place_keeps_what_a_dictionary_would(rows: Backend, work: list[tuple[str, Any, Any]]) -> None:
    rows.clear(USERS)
    model: Model = {}
    for what, first, second in work:
        if what == "change":
            model = change(rows, model, first, fails=second)
        elif what == "sweep":
            over = sorted(row.id for row in model.values() if row.expires is not None and row.expires <= first)
            assert sorted(rows.sweep(USERS, first)) == over
            model = {row_id: row for row_id, row in model.items() if row_id not in over}
        else:
            kept = {row_id: row for row_id, row in model.items() if row.tokens.get(first) != second}
            assert rows.clear(USERS, first, second) == len(model) - len(kept)
            model = kept
        agrees(rows, model)
        keys = [row.key for row in model.values()]
        assert rows.keys(USERS) == {key: keys.count(key) for key in keys}
        assert {row.id for row in rows.all(USERS)} == model.keys()

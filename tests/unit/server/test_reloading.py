"""What is counted and said of reloads."""

from __future__ import annotations

from pathlib import Path

from gateway.server.reloading import Reloads, content, keys_changed


def values(reloads: Reloads) -> dict[str, list[tuple[tuple[str, ...], float]]]:
    return {sample.name: sample.values for sample in reloads.samples()}


def test_before_the_first_reload_all_is_well() -> None:
    found = values(Reloads({}))
    assert found["gateway_policy_last_reload_success"] == [((), 1.0)]
    assert found["gateway_policy_last_reload_duration_seconds"] == [((), 0.0)]
    assert found["gateway_policy_reloads_total"] == [(("success",), 0.0), (("failure",), 0.0)]
    assert found["gateway_policy_reload_timestamp_seconds"] == []


def test_a_refused_reload_shows_until_one_succeeds() -> None:
    reloads = Reloads({"success": 2})
    reloads.count(success=False, seconds=1.5)
    found = values(reloads)
    assert found["gateway_policy_last_reload_success"] == [((), 0.0)]
    assert found["gateway_policy_last_reload_duration_seconds"] == [((), 1.5)]
    reloads.count(success=True, seconds=0.5)
    found = values(reloads)
    assert found["gateway_policy_last_reload_success"] == [((), 1.0)]
    assert found["gateway_policy_reloads_total"] == [(("success",), 3.0), (("failure",), 1.0)]
    assert [labels for labels, _ in found["gateway_policy_reload_timestamp_seconds"]] == [("failure",), ("success",)]


def test_the_labels_of_each_metric_stay_the_same_whether_or_not_it_has_a_value() -> None:
    before, after = Reloads({}), Reloads({})
    after.count(success=True, seconds=0.1)
    assert [sample.labels for sample in before.samples()] == [sample.labels for sample in after.samples()]


def test_one_content_has_one_name_whether_it_is_sound_or_not(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    missing = content(path)
    path.write_text("{")
    broken = content(path)
    assert broken == content(path) != missing
    path.write_text("{ ")
    path.touch()
    assert content(path) != ()


def test_a_reload_names_the_keys_that_changed_and_no_value() -> None:
    before = {"http": {"max_body": 1}, "tenants": {"a": {"hosts": ["x"]}}, "candidate": None, "same": [1]}
    after = {"http": {"max_body": 2}, "tenants": {"b": {"hosts": ["secret"]}}, "candidate": None, "same": [1]}
    assert keys_changed(before, after) == ["http.max_body", "tenants.a", "tenants.b"]

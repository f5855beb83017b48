"""Flattening of configurations within MLflow's limits."""

from __future__ import annotations

from fran.tracking.environment import git_commit, package_versions
from fran.tracking.params import flatten


def test_nested_values_get_dotted_keys_and_lists_become_json() -> None:
    config = {"a": {"b": {"c": 1}, "d": None}, "e": [0.8, 0.8, 1.5], "f": {}, "g": True, "h": "text"}
    expected = {"a.b.c": "1", "a.d": "null", "e": "[0.8, 0.8, 1.5]", "f": "{}", "g": "true", "h": "text"}
    assert flatten(config) == (expected, [])


def test_what_does_not_fit_is_named_and_never_shortened() -> None:
    config = {"ok": "x" * 250, "long": "x" * 251, "k" * 251: 1, "odd?key": 2, "remapping": {1: 2, "3 4": 5}}
    params, aside = flatten(config)
    assert params == {"ok": "x" * 250, "remapping.1": "2", "remapping.3 4": "5"}
    assert aside == ["long", "k" * 251, "odd?key"]


def test_versions_and_commit(tmp_path) -> None:  # type: ignore[no-untyped-def]
    versions = package_versions()
    assert {"python", "torch", "numpy", "mlflow"} <= set(versions)
    assert git_commit(tmp_path) is None
    commit = git_commit()
    assert commit is None or len(commit.removesuffix("-dirty")) == 40

from __future__ import annotations

from pathlib import Path

import pytest

from fran.datasources.datasource import Datasource
from fran.errors import ConfigError
from fran.io.files import read_json, write_json
from fran.projects.mask_labels import read_rules, update_rules
from fran.projects.project import Project

HARMLESS = {"dusting_threshold": 0, "k_largest": None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mask_labels.json"


def test_new_rules_change_nothing(path: Path) -> None:
    update_rules(path, {1: "kidney", 3: "cyst"})
    assert read_rules(path) == {1: {**HARMLESS, "name": "kidney"}, 3: {**HARMLESS, "name": "cyst"}}


def test_a_rule_follows_its_name(path: Path) -> None:
    write_json(path, {"1": {"name": "kidney", "k_largest": 2}, "2": {**HARMLESS, "name": "cyst"}})
    update_rules(path, {1: "liver", 2: "kidney"})
    assert read_rules(path) == {1: {**HARMLESS, "name": "liver"}, 2: {**HARMLESS, "k_largest": 2, "name": "kidney"}}


def test_a_rule_without_a_name_belongs_to_its_value(path: Path) -> None:
    write_json(path, {"1": {"dusting_threshold": 300, "k_largest": 1}})
    update_rules(path, {1: "kidney"})
    assert read_rules(path) == {1: {"dusting_threshold": 300, "k_largest": 1, "name": "kidney"}}


def test_a_rule_that_was_set_comes_back_with_its_label(path: Path) -> None:
    update_rules(path, {1: "kidney", 2: "cyst"})
    rules = read_json(path)
    rules["2"]["dusting_threshold"] = 40
    write_json(path, rules)
    update_rules(path, {1: "kidney"})
    assert set(read_rules(path)) == {1}
    update_rules(path, {1: "kidney", 4: "cyst"})
    assert read_rules(path)[4]["dusting_threshold"] == 40
    assert "retired" not in read_json(path)


def test_unchanged_file_is_not_written_again(path: Path) -> None:
    update_rules(path, {1: "kidney"})
    stamp = path.stat().st_mtime_ns
    update_rules(path, {1: "kidney"})
    assert path.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("content", [[1], {"kidney": {}}, {"1": 3}])
def test_what_is_no_rule(path: Path, content: object) -> None:
    write_json(path, content)
    with pytest.raises(ConfigError, match=r"mask_labels\.json: expected"):
        update_rules(path, {1: "kidney"})


def test_values_are_those_of_the_output(project: Project, kits: Path, lits: Path) -> None:
    project.add_data(
        [Datasource(kits, labels={1: "kidney", 2: "cyst"}), Datasource(lits, labels={1: "liver", 3: "cyst"})]
    )
    project.set_lm_groups([["kits"], ["lits"]])
    project.maybe_store_projectwide_properties()
    names = {value: rule["name"] for value, rule in read_rules(project.folders.mask_labels).items()}
    assert names == {1: "kidney", 2: "kits_cyst", 3: "liver", 4: "lits_cyst"} == project.output_names

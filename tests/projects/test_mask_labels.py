from __future__ import annotations

from pathlib import Path

import pytest

from fran.datasources.datasource import Datasource
from fran.errors import ConfigError
from fran.io.files import read_json, write_json
from fran.labels import LabelScheme
from fran.projects.mask_labels import HARMLESS, LabelRule, adopt_rules, read_rules, rules_for, update_rules
from fran.projects.project import Project


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mask_labels.json"


def test_new_rules_change_nothing(path: Path) -> None:
    update_rules(path, {1: "kidney", 3: "cyst"})
    assert read_json(path) == {"1": {**HARMLESS, "name": "kidney"}, "3": {**HARMLESS, "name": "cyst"}}
    assert read_rules(path) == {1: LabelRule("kidney"), 3: LabelRule("cyst")}
    assert not any(rule.changes for rule in read_rules(path).values())


def test_a_rule_follows_its_name(path: Path) -> None:
    write_json(path, {"1": {"name": "kidney", "k_largest": 2}, "2": {**HARMLESS, "name": "cyst"}})
    update_rules(path, {1: "liver", 2: "kidney"})
    assert read_rules(path) == {1: LabelRule("liver"), 2: LabelRule("kidney", k_largest=2)}


def test_a_rule_without_a_name_belongs_to_its_value(path: Path) -> None:
    write_json(path, {"1": {"dusting_threshold": 300, "k_largest": 1}})
    update_rules(path, {1: "kidney"})
    assert read_rules(path) == {1: LabelRule("kidney", dusting_threshold=300, k_largest=1)}


def test_a_rule_that_was_set_comes_back_with_its_label(path: Path) -> None:
    update_rules(path, {1: "kidney", 2: "cyst"})
    rules = read_json(path)
    rules["2"]["dusting_threshold"] = 40
    write_json(path, rules)
    update_rules(path, {1: "kidney"})
    assert set(read_rules(path)) == {1}
    update_rules(path, {1: "kidney", 4: "cyst"})
    assert read_rules(path)[4].dusting_threshold == 40
    assert "retired" not in read_json(path)


def test_unchanged_file_is_not_written_again(path: Path) -> None:
    update_rules(path, {1: "kidney"})
    stamp = path.stat().st_mtime_ns
    update_rules(path, {1: "kidney"})
    assert path.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("content", [[1], {"kidney": {}}, {"0": {}}, {"01": {}}, {"1": 3}])
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
    names = {value: rule.name for value, rule in read_rules(project.folders.mask_labels).items()}
    assert names == {1: "kidney", 2: "kits_cyst", 3: "liver", 4: "lits_cyst"} == project.output_names


def test_everything_that_is_wrong_is_said_at_once(path: Path) -> None:
    wrong = {
        "1": {"dusting_treshold": 300, "k_largest": 0},
        "2": {"dusting_threshold": 2.5, "fill_holes": 1, "name": 3},
        "3": {"dusting_threshold_mm3": -1, "k_largest": True},
        "7": {"k_largest": 1},
    }
    write_json(path, wrong)
    with pytest.raises(ConfigError) as caught:
        read_rules(path, {1: "kidney", 2: "cyst", 3: "liver"})
    lines = str(caught.value).splitlines()
    assert str(path) in lines[0]
    assert len(lines) == 1 + 8
    for said in (
        "label 1: unknown key 'dusting_treshold'; did you mean 'dusting_threshold'?",
        "label 1: k_largest: expected a whole number, 1 or more, or null, found 0",
        "label 2: dusting_threshold: expected a whole number of voxels, 0 or more (a volume is",
        "label 2: fill_holes: expected true or false, found 1",
        "label 3: dusting_threshold_mm3: expected a volume in mm³, 0 or more, found -1",
        "label 3: k_largest: expected a whole number, 1 or more, or null, found True",
        "label 7: there is no such label; choices: 1 kidney, 2 cyst, 3 liver",
    ):
        assert any(said in line for line in lines), said


def test_a_rule_finds_its_label_in_a_model_by_name_else_by_value() -> None:
    model = LabelScheme((2, 5), {2: "kidney", 5: "liver"})
    rules = {
        1: LabelRule("kidney", k_largest=2),
        2: LabelRule("cyst", k_largest=1),
        5: LabelRule(fill_holes=True),
        9: LabelRule("spleen"),
    }
    found, strangers = rules_for(rules, model)
    assert found == {2: LabelRule("kidney", k_largest=2), 5: LabelRule("liver", fill_holes=True)}
    assert strangers == {2: rules[2]}, "a rule that changes nothing is missed by nobody"
    with pytest.raises(ConfigError, match=r"label 5 \(liver\): expected one rule, found two"):
        rules_for({4: LabelRule("liver", k_largest=1), 5: rules[5]}, model)


def test_rules_that_were_found_replace_found_ones_and_none_that_a_person_set(path: Path) -> None:
    names = {1: "kidney", 2: "cyst", 3: "liver"}
    update_rules(path, names)
    rules = read_json(path)
    rules["3"]["k_largest"] = 1
    rules["retired"] = {"spleen": {"k_largest": 1, "name": "spleen"}}
    write_json(path, rules)
    first = {1: LabelRule("kidney", dusting_threshold_mm3=50.0), 3: LabelRule("liver", fill_holes=True)}
    assert adopt_rules(path, first, {}, names) == [3]
    by_hand = LabelRule("liver", k_largest=1)
    assert read_rules(path) == {1: first[1], 2: LabelRule("cyst"), 3: by_hand}
    second = {2: LabelRule("cyst", k_largest=2)}
    assert adopt_rules(path, second, first, names) == [3]
    assert read_rules(path) == {1: LabelRule("kidney"), 2: second[2], 3: by_hand}
    rules = read_json(path)
    assert rules["retired"] == {"spleen": {"k_largest": 1, "name": "spleen"}}
    rules["2"]["k_largest"] = 4
    write_json(path, rules)
    assert adopt_rules(path, {}, second, names) == [2, 3]
    assert read_rules(path)[2].k_largest == 4

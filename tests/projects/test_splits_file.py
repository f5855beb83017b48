"""splits_final.json of nnU-Net, in and out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fran.datasources.datasource import Datasource
from fran.errors import ConfigError
from fran.io.files import write_json
from fran.projects.project import Project
from fran.projects.splits_file import write_splits

from .raw_cases import write_cases

Folds = list[dict[str, list[str]]]


def folds_of(*val: list[str], extra: tuple[str, ...] = ()) -> Folds:
    """Folds in which every case that does not validate is trained on."""
    everything = [c for cases in val for c in cases] + list(extra)
    return [{"train": [c for c in everything if c not in cases], "val": cases} for cases in val]


NAMES = [f"kits_{k:02d}" for k in range(6)]
THREE = folds_of(NAMES[:2], NAMES[2:4], NAMES[4:])


@pytest.fixture
def filled(project: Project, kits: Path) -> Project:
    project.add_data(Datasource(kits, modality="CT"))
    return project


def file(tmp_path: Path, content: Any) -> Path:
    write_json(tmp_path / "splits_final.json", content)
    return tmp_path / "splits_final.json"


def test_in_and_out_again(filled: Project, tmp_path: Path) -> None:
    path = file(tmp_path, THREE)
    found = filled.take_folds(path)
    assert (found.n_folds, found.never) == (3, ())
    for number, fold in enumerate(THREE):
        split = filled.split(number)
        assert {"train": list(split.train), "val": list(split.val)} == fold
    frozen = json.loads(filled.folders.validation_folds.read_text())
    assert (frozen["n_folds"], frozen["fold_1"]) == (3, NAMES[2:4])
    write_splits(tmp_path / "out.json", [filled.split(k) for k in range(3)])
    assert json.loads((tmp_path / "out.json").read_text()) == THREE
    filled.take_folds(path)  # once more changes nothing


def test_folds_that_were_dealt_are_moved_only_when_asked(filled: Project, tmp_path: Path) -> None:
    filled.assign_folds()
    path = file(tmp_path, THREE)
    with pytest.raises(ConfigError, match=rf"fran project folds project=organs from={path} reassign=true"):
        filled.take_folds(path)
    assert len({case.fold for case in filled.cases()}) == 5
    filled.take_folds(path, reassign=True)
    assert [case.fold for case in filled.cases()] == [0, 0, 1, 1, 2, 2]
    with pytest.raises(ConfigError, match="expected the folds that project organs has, found 3 cases in other folds"):
        filled.take_folds(file(tmp_path, folds_of(NAMES[:3], NAMES[3:])))


def test_a_new_case_is_dealt_to_a_fold_of_the_file(filled: Project, kits: Path, tmp_path: Path) -> None:
    filled.take_folds(file(tmp_path, THREE))
    write_cases(kits, "kits", 1, start=7)
    filled.add_data(Datasource(kits, modality="CT"))
    folds = filled.assign_folds()
    assert {c: folds[c] for c in NAMES} == {c: k // 2 for k, c in enumerate(NAMES)}
    assert 0 <= folds["kits_07"] < 3
    assert filled.database.setting("folds")["from"] == str(tmp_path / "splits_final.json")


def test_cases_that_are_only_ever_trained_on(filled: Project, tmp_path: Path) -> None:
    """One split, as benchmarks have it: what never validates is a fold more."""
    found = filled.take_folds(file(tmp_path, [{"train": NAMES[2:], "val": NAMES[:2]}]))
    assert (found.n_folds, found.never) == (2, tuple(NAMES[2:]))
    split = filled.split(0)
    assert (split.train, split.val) == (tuple(NAMES[2:]), tuple(NAMES[:2]))


def test_cases_may_be_called_by_their_label_maps(project: Project, tmp_path: Path) -> None:
    kits = write_cases(tmp_path / "raw" / "kits", "kits", 6)
    for path in sorted(kits.glob("*/*_03.nii.gz")):
        path.rename(path.with_name("kits_03_late.nii.gz"))
    project.add_data(Datasource(kits, modality="CT"))
    late = [*NAMES[:3], "kits_03_late", *NAMES[4:]]
    project.take_folds(file(tmp_path, folds_of(late[:3], late[3:])))
    assert [case.fold for case in project.cases()] == [0, 0, 0, 1, 1, 1]


def test_two_data_sets_bring_their_folds_one_after_the_other(filled: Project, lits: Path, tmp_path: Path) -> None:
    filled.take_folds(file(tmp_path, folds_of(NAMES[:3], NAMES[3:])))
    filled.add_data(Datasource(lits, modality="CT"))
    filled.take_folds(file(tmp_path, folds_of(["lits_00", "lits_01"], ["lits_02", "lits_03"])))
    assert [case.fold for case in filled.cases()] == [0, 0, 0, 1, 1, 1, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected a fold or more, found an empty list"),
        ({"train": [], "val": []}, r'expected \[\{"train"'),
        ([{"train": ["kits_00"]}], r"found KeyError\('val'\)"),
        (folds_of([*NAMES[:3], "kits_99"], NAMES[3:]), r"1 case \(kits_99\): not in the project, .*kits_0"),
        (folds_of(NAMES[:3], NAMES[3:5]), r"1 case \(kits_05\) of the project: in no fold"),
        ([{"train": NAMES[2:], "val": NAMES[:3]}], r"fold 0: 1 case \(kits_02\) in train and in val"),
        (folds_of(NAMES[:4], NAMES[3:]), r"fold 1: 1 case \(kits_03\) in val, and in that of another fold"),
        (
            [*THREE[:2], {"train": NAMES[1:4], "val": NAMES[4:]}],
            r"fold 2: 1 case \(kits_00\) neither in train nor in val",
        ),
        ([*THREE[:2], {"train": NAMES[:4], "val": [*NAMES[4:], "kits_05"]}], r"fold 2: 1 case \(kits_05\) twice"),
        ([*THREE, {"train": NAMES, "val": []}], "fold 3: nothing in val"),
    ],
)
def test_files_that_cannot_be_taken(filled: Project, tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        filled.take_folds(file(tmp_path, content))
    assert all(case.fold is None for case in filled.cases())


def test_test_cases_are_in_no_fold(filled: Project, lits: Path, tmp_path: Path) -> None:
    filled.add_data(Datasource(lits, modality="CT"), test=True)
    with pytest.raises(ConfigError, match=r"2 cases \(lits_00, lits_03\): kept for testing"):
        filled.take_folds(file(tmp_path, folds_of([*NAMES[:3], "lits_00"], [*NAMES[3:], "lits_03"])))


def test_a_file_that_is_not_there(filled: Project, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.json: expected a JSON file, found none"):
        filled.take_folds(tmp_path / "absent.json")

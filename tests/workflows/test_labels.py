"""Labels of several datasources on their way: from raw files over case files to channels, and what commands say."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from fran.data.source import CaseSource
from fran.datasources.datasource import Datasource
from fran.io.manifest import Manifest
from fran.io.volume import read_volume
from fran.labels import LabelFlow
from fran.plans.schema import Plan
from fran.projects.folders import ProjectFolders
from fran.projects.project import Project
from fran.workflows.label_flow import label_flow, label_table, table_path
from fran.workflows.plan_data import plan_data
from fran.workflows.preprocess import bring_up_to_date
from fran.workflows.schema import PreprocessConfig

SPACING_MM = (0.9, 2.0, 1.1)
AFFINE = np.array([[0.9, 0.0, 0.0, -5.0], [0.0, 0.0, -2.0, 40.0], [0.0, 1.1, 0.0, 3.0], [0.0, 0.0, 0.0, 1.0]])
NAMES = {"kits": {1: "kidney", 2: "tumour"}, "lits": {1: "liver", 3: "tumour"}}
APART = [["kits"], ["lits"]]
CROP = {"mode": "lbd", "expand_by": 100.0}  # a margin wider than the volume, so that voxels stay where they are


def write_source(folder: Path, names: dict[int, str], n: int) -> Path:
    """`n` pairs of 6 x 8 x 10 voxels with every label."""
    for side in ("images", "lms"):
        (folder / side).mkdir(parents=True)
    for k in range(n):
        rng = np.random.default_rng([k, *folder.name.encode()])
        lm = np.zeros((6, 8, 10), np.uint8)
        for place, label in enumerate(names):
            lm[1 + place : 3 + place, 2:5, 1 + k % 3 : 6] = label
        image = rng.integers(-900, 1200, lm.shape).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(image, AFFINE), folder / "images" / f"{folder.name}_{k}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(lm, AFFINE), folder / "lms" / f"{folder.name}_{k}.nii.gz")
    (folder / "labels.json").write_text(json.dumps({str(v): name for v, name in names.items()}))
    return folder


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for name, labels in NAMES.items():
        write_source(tmp_path / "raw" / name, labels, 2)
    return tmp_path / "raw"


@pytest.fixture
def project(raw: Path, tmp_path: Path, fran_home: Path) -> Project:
    made = Project("organs", ProjectFolders("organs", tmp_path / "projects", tmp_path / "cold", tmp_path / "rapid"))
    made.create()
    made.add_data([Datasource(raw / name) for name in NAMES])
    return made


def plan(**keys: object) -> Plan:
    return Plan(spacing=list(SPACING_MM), patch_dim0=4, patch_dim1=4, **keys)  # type: ignore[arg-type]


def channels(project: Project, of: Plan, case_id: str) -> tuple[np.ndarray, LabelFlow]:
    """What a network would see of a case, after preprocessing it."""
    data = plan_data(project, [of])
    bring_up_to_date(project, data, PreprocessConfig(num_processes=1))
    flow = data.flow
    source = CaseSource(
        Manifest.load(data.folder), [case_id], flow.scheme, {}, label_maps=flow.on_the_fly, unannotated=flow.unannotated
    )
    return source.volume(case_id)[1], flow


def raw_labels(project: Project, case_id: str) -> np.ndarray:
    (row,) = [case for case in project.cases() if case.case_id == case_id]
    return read_volume(row.lm, role="lm").array


@pytest.mark.parametrize(
    ("keys", "case_id", "names"),
    [
        ({"lm_groups": APART}, "kits_0", {1: "kidney", 2: "kits_tumour"}),
        ({"lm_groups": APART}, "lits_1", {1: "liver", 3: "lits_tumour"}),
        ({"lm_groups": APART, "classes": ["liver", "tumour"]}, "kits_0", {1: "background", 2: "tumour"}),
        ({"lm_groups": APART, "classes": ["liver", "tumour"]}, "lits_1", {1: "liver", 3: "tumour"}),
        ({"lm_groups": APART, "classes": {"organ": ["liver", "kidney"]}}, "lits_0", {1: "organ", 3: "background"}),
        ({"remapping_source": [None, {1: 3, 3: 2}]}, "lits_0", {1: "liver", 3: "tumour"}),
        ({"remapping_source": "null,{1: 7, 3: 7}"}, "lits_0", {1: "liver+tumour", 3: "liver+tumour"}),
        ({"lm_groups": APART, "remapping_train": {4: 2, "rest": "keep"}}, "lits_0", {1: "liver", 3: "tumour"}),
        ({"datasources": ["lits"]}, "lits_0", {1: "liver", 3: "tumour"}),
        ({"datasources": ["lits"], "remapping_train": [[3], [0]]}, "lits_0", {1: "liver", 3: "background"}),
        ({"lm_groups": APART, "remapping_lbd": {4: 2}, **CROP}, "lits_0", {1: "liver", 3: "tumour"}),
        ({"lm_groups": APART, "remapping_lbd": {2: 9, 4: 9}, **CROP}, "kits_0", {1: "kidney", 2: "tumour"}),
    ],
)
def test_every_voxel_becomes_the_channel_of_its_name(
    keys: dict, case_id: str, names: dict[int, str], project: Project
) -> None:
    seen, flow = channels(project, plan(**keys), case_id)
    drawn = raw_labels(project, case_id)
    names = {0: "background", **names}
    assert sorted(names) == np.unique(drawn).tolist()
    for value, name in names.items():
        assert {flow.scheme.channel_names[c] for c in np.unique(seen[drawn == value])} == {name}


def test_merged_imported_labels_are_classes_and_never_win(project: Project, raw: Path, tmp_path: Path) -> None:
    for path in (raw / "lits" / "lms").iterdir():
        theirs = nibabel.load(path)
        lm = np.full(theirs.shape, 5, np.uint8)
        lm[:, :, :1] = 7
        (tmp_path / "maps").mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(lm, theirs.affine), tmp_path / "maps" / path.name)
    imported = {"imported_folder": str(tmp_path / "maps"), "merge_imported_labels": True}
    of = plan(datasources=["lits"], imported_labels=[5], remapping_imported={5: 20, 7: 21}, **imported, **CROP)
    seen, flow = channels(project, of, "lits_0")
    assert dict(flow.scheme.names) == {1: "liver", 3: "tumour", 20: "label_20"}
    drawn = raw_labels(project, "lits_0")
    maps = read_volume(tmp_path / "maps" / "lits_0.nii.gz", role="lm").array
    expected = np.where(drawn > 0, drawn, np.where(maps == 5, 20, 0))
    np.testing.assert_array_equal(flow.scheme.from_channels(seen), expected)


def test_predictions_of_one_datasource_have_its_own_values(project: Project) -> None:
    flow = label_flow(project, plan(datasources=["lits"]))
    seen = np.array([[[0, 1, 2]]], np.uint8)
    assert flow.scheme.from_channels(seen).tolist() == [[[0, 1, 3]]]


def test_a_users_own_table_wins(fran_home: Path) -> None:
    assert "kidney" in label_table().structures
    own = fran_home / "conf" / "labels" / "tsl.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(table_path().read_text().replace("lungs: [lung_*]", "lungs: [lung_*, trachea]"))
    assert table_path() == own
    assert 16 in label_table().ids("TSL.lungs")


def test_show_says_what_becomes_of_every_label(fran, raw: Path) -> None:  # type: ignore[no-untyped-def]
    folders = [str(raw / name) for name in NAMES]
    assert fran("init", "-t", "organs", "-i", *folders).returncode == 0
    refused = fran("labels", "show", "project=organs")
    assert refused.returncode == 2
    assert "found 1 to be 'kidney' in kits and 'liver' in lits" in refused.stderr
    shown = fran("labels", "show", "project=organs", "lm_groups=[[kits],[lits]]", "classes=[liver,tumour]")
    assert shown.returncode == 0, shown.stderr
    cells = [line.split() for line in shown.stdout.splitlines()]
    assert ["lits", "3", "tumour", "4", "2", "1", "tumour", "yes"] in cells
    assert ["kits", "1", "kidney", "1", "0", "0", "(background)", "yes"] in cells
    assert "kits does not annotate liver" in shown.stdout


def test_what_is_not_annotated_comes_from_the_datasource(fran, raw: Path, fran_home: Path) -> None:  # type: ignore[no-untyped-def]
    (raw / "lits" / "labels.json").write_text(json.dumps({"1": "liver", "3": "tumour", "4": "vessel"}))
    assert fran("init", "-t", "livers", "-i", str(raw / "lits"), "annotated=[liver,3]").returncode == 0
    shown = fran("labels", "show", "project=livers")
    rows = [line.split() for line in shown.stdout.splitlines() if line.startswith("lits  ")]
    assert [(row[2], row[-1]) for row in rows] == [("liver", "yes"), ("tumour", "yes"), ("vessel", "no")]
    refused = fran("labels", "show", "project=livers", "classes=[liver,vessel]")
    assert refused.returncode == 2
    assert "lits know it by name but do not list it as annotated" in refused.stderr


def test_tsl_prints_the_table(fran) -> None:  # type: ignore[no-untyped-def]
    shown = fran("labels", "tsl")
    assert shown.returncode == 0, shown.stderr
    assert sum(line[:1].isdigit() for line in shown.stdout.splitlines()) == 117
    found = fran("labels", "tsl", "find=Kidney_left")
    assert [line.split()[:2] for line in found.stdout.splitlines() if line[:1].isdigit()] == [["3", "kidney_left"]]
    assert fran("labels", "tsl", "find=nothing_like_it").returncode == 2

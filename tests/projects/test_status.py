"""Where a project stands, as plain data."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from fran.datasources.datasource import Datasource
from fran.io.manifest import Manifest, ManifestEntry
from fran.projects.project import Project
from fran.projects.status import project_status


@pytest.fixture
def both(project: Project, kits: Path, lits: Path) -> Project:
    project.add_data([Datasource(kits, labels={1: "kidney", 2: "cyst"}, modality="CT"), Datasource(lits, test=True)])
    return project


def test_before_anything_is_added(project: Project) -> None:
    found = project_status(project)
    assert (found["n_cases"], found["datasources"], found["labels"], found["runs"]) == (0, [], [], [])
    assert found["folds"]["dealt"] is False
    assert json.loads(json.dumps(found)) == found


def test_cases_folds_and_labels(both: Project) -> None:
    assert project_status(both)["folds"]["unassigned"] == 6
    both.maybe_store_projectwide_properties()
    found = project_status(both)
    assert (found["n_cases"], found["n_training"], found["n_test"]) == (10, 6, 4)
    kits, lits = found["datasources"]
    assert (kits["n_cases"], kits["n_test"], kits["modalities"], kits["folder_exists"]) == (6, 0, {"CT": 6}, True)
    assert (lits["n_cases"], lits["n_test"]) == (4, 4)
    assert sum(counts["kits"] for counts in found["folds"]["cases"].values()) == 6
    assert found["folds"]["digest"] == both.split(0).digest
    rows = {row["name"]: row for row in found["labels"]}
    assert {name: (row["value"], row["n_cases"]) for name, row in rows.items()} == {
        "kidney": (1, 6),
        "cyst": (2, 3),
        "label_3": (3, 0),
    }
    assert rows["cyst"]["n_voxels"] == sum(c.labels.get(2, 0) for c in both.training_cases())
    assert json.loads(json.dumps(found)) == found


def test_groups_that_leave_a_datasource_out_are_said(both: Project, kits: Path, tmp_path: Path) -> None:
    both.set_lm_groups([["kits"], ["lits"]])
    kits.rename(tmp_path / "raw" / "late")
    (tmp_path / "raw" / "late" / "labels.json").write_text('{"1": "kidney", "2": "cyst"}')
    both.drop_data("kits")
    both.add_data([Datasource(tmp_path / "raw" / "late", alias="kits")])
    assert "none for late" in project_status(both)["labels"]


def test_preprocessed_folders_and_runs(both: Project) -> None:
    entry = ManifestEntry("x.h5", "k", 7, (1, 2, 3), (1.0, 1.0, 1.0), {1: 2}, {}, "CT", "kits")
    folder = both.folders.fixed_spacing / "spc_100_100_100_abcd"
    Manifest(folder, "source", {}, "key", {"kits_00": entry, "gone_00": entry}).save()
    broken = both.folders.lbd / "spc_100_100_100_ex010_abcd"
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    run = both.folders.checkpoints / "plan1-dynunet-f0-1"
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump({"plan_name": "plan1", "fold": 0}))
    (run / "metrics.csv").write_text("epoch,val/dice\n0,\n1,0.5\n2,nan\n3,0.25\n")
    (both.folders.checkpoints / "no_run").mkdir()
    found = project_status(both)
    source, lbd = found["preprocessed"]
    assert (source["stage"], source["n_cases"], source["n_unused"], source["bytes"]) == ("source", 1, 1, 14)
    assert lbd["stage"] == "unreadable"
    (row,) = found["runs"]
    began = datetime.fromisoformat(row.pop("started_at")).timestamp()
    assert began == pytest.approx((run / "config.yaml").stat().st_mtime)
    assert row == {
        "name": "plan1-dynunet-f0-1",
        "plan": "plan1",
        "fold": 0,
        "epochs": 4,
        "best_dice": 0.5,
        "checkpoint": False,
    }


def test_groups_parted_by_folds_are_named(both: Project) -> None:
    both.assign_folds()
    with both.database.transaction() as transaction:
        transaction._connection.execute("UPDATE datasources SET patient = 'p' WHERE ds = 'kits'")
    (group,) = project_status(both)["folds"]["parted_groups"]
    assert group == [f"kits_{k:02d}" for k in range(6)]

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fran.errors import CasesFailed
from fran.io.manifest import Manifest
from fran.io.volume import read_volume, stem
from fran.preprocessing.chain import GeometryChain
from fran.preprocessing.run import run_stage
from fran.preprocessing.stages.source import CaseJob, SourceParams

pytestmark = pytest.mark.realdata


def jobs_of(folder: Path, modality: str) -> list[CaseJob]:
    images = sorted((folder / "images").glob("*.nii.gz"))
    return [CaseJob(stem(p), p, folder / "lms" / p.name, modality=modality, datasource=folder.name) for p in images]


@pytest.mark.parametrize(
    ("name", "modality", "spacing_mm", "least_dice"),
    [
        ("kitsnat", "CT", (1.5, 1.5, 3.0), 0.95),  # slice axis first
        ("brainslab", "MR", (1.0, 1.0, 1.0), 1.0),  # PSR, at its own spacing
        ("cord", "MR", (0.8, 0.8, 3.0), 0.9),  # oblique, mixed axes, slices up to 17 mm
        ("stspet", "PET", (3.0, 3.0, 3.0), 0.95),  # float32
        ("totalsegct", "CT", (3.0, 3.0, 3.0), 1.0),  # many labels
    ],
)
def test_labels_come_back(
    shared_data: Path,
    tmp_path: Path,
    name: str,
    modality: str,
    spacing_mm: tuple[float, float, float],
    least_dice: float,
) -> None:
    jobs = jobs_of(shared_data / name, modality)
    assert run_stage(jobs, SourceParams(spacing_mm), tmp_path).done == len(jobs) > 0
    manifest = Manifest.load(tmp_path)
    for job in jobs:
        reader, raw = manifest.reader(job.case_id), read_volume(job.lm, role="lm").array
        back = GeometryChain.from_dict(reader.meta.geometry).labels_to_ras(reader.read_all()[1])
        for label in np.unique(raw)[1:]:
            a, b = back == label, raw == label
            assert 2 * (a & b).sum() / (a.sum() + b.sum()) >= least_dice, (job.case_id, label)


def test_every_defect_is_one_failed_case(shared_data: Path, tmp_path: Path) -> None:
    """Geometry, unreadable files, voxel values and dimensions; the good case of each scenario goes through."""
    names = "lblsize lblspacing lblorigin lbldirection shearaffine truncimg trunclbl hugeheader zerobyteimg zerobytelbl"
    names += " isadir lblfloat lblnegative imgnan imginf img4d img2d rgb"
    jobs = [job for name in names.split() for job in jobs_of(shared_data / "broken" / name, "MR")]
    bad = {job.case_id for job in jobs if "_bad" in job.case_id}
    with pytest.raises(CasesFailed) as failed:
        run_stage(jobs, SourceParams((1.5, 1.5, 1.5)), tmp_path)
    assert {p.case_id for p in failed.value.problems} == bad
    assert set(Manifest.load(tmp_path).cases) == {job.case_id for job in jobs} - bad
    kinds = {p.case_id: p.what for p in failed.value.problems}
    assert set(kinds.values()) <= {"DataError", "GeometryError", "LabelValueError"}, kinds


def test_odd_but_valid_cases_go_through(shared_data: Path, tmp_path: Path) -> None:
    names = ["lblorigintiny", "lblreoriented", "notgz", "lblfloatint", "lblint64", "lblempty", "imgconst", "imgscaled"]
    jobs = [job for name in [*names, "img4done", "tinyvol"] for job in jobs_of(shared_data / "broken" / name, "MR")]
    summary = run_stage(jobs, SourceParams((1.5, 1.5, 1.5)), tmp_path)
    assert summary.done == len(jobs)
    assert [(n.case_id, n.severity) for n in summary.notes] == [("lblorigintiny_bad1", "warning")]

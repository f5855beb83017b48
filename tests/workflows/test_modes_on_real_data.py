"""Every mode from the command line on real scans, each followed by the start of a training."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fran.io.manifest import Manifest

from .plan_folder import write_plan

Fran = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.realdata]

SMALL = ("patch_dim0=32", "patch_dim1=32", "preprocess.num_processes=1")
QUICK = (
    *("model.filters=4", "trainer.max_epochs=1", "trainer.steps_per_epoch=2", "trainer.num_workers=0"),
    *("trainer.batch_size=1", "trainer.max_val_cases=1", "tracking=none", "fold=0"),
)
ONE_FILE = {"source", "lbd", "rbd", "whole"}
CASES = 6

IMPORTING = ("plan=plan3", "mode=lbd", "imported_folder={lms}")
MODES = [
    ("source", ("plan=plan3",)),
    ("whole", ("plan=plan3", "mode=whole")),
    ("lbd", ("plan=plan3", "mode=lbd", "expand_by=4")),
    ("lbd", ("plan=plan3", "mode=lbd", "imported_folder={lms}", "remapping_imported={{1: 1}}")),
    (
        "lbd",
        (
            "plan=plan3",
            "mode=lbd",
            "imported_folder={lms}",
            "remapping_imported={{1: 1, 2: 2}}",
            "merge_imported_labels=true",
        ),
    ),
    ("rbd", ("plan=plan3", "mode=rbd", "localiser={lms}", "localiser_regions=[2]")),
    ("pbd", ("plan=patches", "patch_overlap=0.5")),
    ("pbd", ("plan=plan3", "mode=sourcepbd")),
]


@pytest.mark.parametrize(("stage", "keys"), MODES, ids=[" ".join(keys) for _, keys in MODES])
def test_a_mode_preprocesses_and_trains(
    fran, fran_home: Path, shared_data: Path, tmp_path: Path, stage: str, keys: tuple[str, ...]
) -> None:  # type: ignore[no-untyped-def]
    raw = tmp_path / "raw" / "hippo"
    for kind in ("images", "lms"):
        (raw / kind).mkdir(parents=True)
        for file in sorted((shared_data / "hippo" / kind).iterdir())[:CASES]:
            shutil.copy(file, raw / kind)
    write_plan(fran_home, "crop", "plan3", source_plan="plan3", mode="lbd", expand_by=8)
    write_plan(fran_home, "patches", "crop", source_plan="crop", mode="pbd")
    assert (
        fran("init", "-t", "hippo", "-i", str(raw), "modality=MR", "labels={1: anterior, 2: posterior}").returncode == 0
    )
    given = tuple(key.format(lms=raw / "lms") for key in keys)
    done = fran("preprocess", "project=hippo", *given, *SMALL)
    assert done.returncode == 0, done.stderr
    assert f"{stage}: {CASES} cases preprocessed" in done.stderr
    folder = Path(done.stderr.rpartition("were there already: ")[2].split()[0])
    manifest = Manifest.load(folder)
    assert manifest.stage == stage and len(manifest.files_by_case()) == CASES
    assert (len(manifest.cases) == CASES) == (stage in ONE_FILE)
    trained = fran("train", "project=hippo", *given, *SMALL, *QUICK, "run=first")
    assert trained.returncode == 0, trained.stderr
    assert f"{stage}: 0 cases preprocessed" in trained.stderr and "run first: 1 epoch in" in trained.stderr
    output = tmp_path / "predictions"
    predicted = fran("infer", "project=hippo", "runs=[first]", f"input={raw}", f"output={output}")
    assert predicted.returncode == 0, predicted.stderr
    assert len(list(output.glob("*.nii.gz"))) == CASES

"""Two real datasources that call different structures 1, in one project and in two label groups."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from fran.io.checkpoint import read_model

log = logging.getLogger(__name__)

NAMES = {"1": "anterior", "2": "posterior", "3": "prostate"}
NUMBERING = {"hippo": {1: 1, 2: 2}, "prostatemr": {1: 3}}  # values in the raw files to values of the network
GROUPS = "lm_groups=[[hippo],[prostatemr]]"
TRAINING = (
    "preset=cpu",
    "spacing=[1,1,1]",
    "patch_dim0=32",
    "patch_dim1=32",
    "model.filters=8",
    "tracking=none",
    "trainer.max_epochs=1",
    "trainer.steps_per_epoch=200",
    "trainer.threads=1",
    "trainer.max_val_cases=4",
)


def copy_cases(source: Path, target: Path, n: int) -> Path:
    for kind in ("images", "lms"):
        (target / kind).mkdir(parents=True)
        for path in sorted((source / kind).glob("*.nii.gz"))[:n]:
            shutil.copy(path, target / kind / path.name)
    return target


def dices(prediction: Path, reference: Path, numbering: dict[int, int]) -> dict[str, float]:
    pred, ref = (np.asarray(nibabel.load(path).dataobj) for path in (prediction, reference))
    found = {}
    for raw, value in numbering.items():
        inside, wanted = pred == value, ref == raw
        found[NAMES[str(value)]] = 2.0 * (inside & wanted).sum() / max(int(inside.sum() + wanted.sum()), 1)
    return found


@pytest.mark.slow
@pytest.mark.realdata
def test_outputs_carry_the_values_and_names_of_their_group(fran, fran_home, shared_data, tmp_path) -> None:  # type: ignore[no-untyped-def]
    raw = {name: copy_cases(shared_data / name, tmp_path / "raw" / name, 17) for name in NUMBERING}
    assert fran("init", "-t", "both", "-i", str(raw["hippo"]), "labels={1: anterior, 2: posterior}").returncode == 0
    assert fran("init", "-t", "both", "-i", str(raw["prostatemr"]), "labels={1: prostate}").returncode == 0
    refused = fran("train", "project=both", *TRAINING)
    assert refused.returncode == 2
    assert "found 1 to be 'anterior' in hippo and 'prostate' in prostatemr" in refused.stderr

    trained = fran("train", "project=both", GROUPS, "run=first", "vip_label=3", *TRAINING, timeout=900)
    assert trained.returncode == 0, trained.stderr
    assert "prostatemr does not annotate anterior, posterior" in trained.stderr
    meta = read_model(fran_home / "cold" / "checkpoints" / "both" / "first").meta
    assert (meta["labels"]["values"], meta["labels"]["names"]) == ([1, 2, 3], NAMES)
    assert meta["unannotated"] == {"hippo": [3], "prostatemr": [1, 2]}
    origins = {(row["datasource"], row["raw"]): row["name"] for row in meta["label_origin"]}
    assert origins == {("hippo", 1): "anterior", ("hippo", 2): "posterior", ("prostatemr", 1): "prostate"}

    output, held_out = tmp_path / "predictions", meta["datasets"]["val"]
    new = tmp_path / "new"
    new.mkdir()
    for case_id in held_out:
        image = f"{case_id}.nii.gz"
        shutil.copy(raw[case_id.split("_")[0]] / "images" / image, new / image)
    predicted = fran("infer", "project=both", "runs=[first]", f"input={new}", f"output={output}")
    assert predicted.returncode == 0, predicted.stderr
    scores: dict[str, list[float]] = {name: [] for name in NAMES.values()}
    for case_id in held_out:
        assert json.loads((output / f"{case_id}.json").read_text())["labels"]["names"] == NAMES
        source = case_id.split("_")[0]
        files = output / f"{case_id}.nii.gz", raw[source] / "lms" / f"{case_id}.nii.gz"
        for label, dice in dices(*files, NUMBERING[source]).items():
            scores[label].append(dice)
    log.info("Dice of held-out cases: %s", {name: np.round(found, 2).tolist() for name, found in scores.items()})
    assert min(np.mean(found) for found in scores.values()) > 0.4

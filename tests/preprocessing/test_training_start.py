"""Training reads the manifest of any mode, and never asks which it was."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fran.data
from fran import keys
from fran.data.datamodule import CropDataModule, DataSpec
from fran.data.sampling import weights_by_file
from fran.io.manifest import Manifest
from fran.labels import LabelScheme
from fran.plans.schema import MODE_ALIASES, MODES
from fran.preprocessing.stages.stage import folder_of

from .awkward import MODES as CHAINS
from .awkward import SPACING_MM, VOLUMES, made

LABELS = LabelScheme((2, 7), {2: "left", 7: "right"})
CT = {"intensity_clip_range": [-200.0, 900.0], "mean_fg": 300.0, "std_fg": 200.0}
SIZE = (16, 16, 8)


@pytest.mark.parametrize("mode", list(CHAINS))
def test_crops_come_from_every_mode(mode: str, tmp_path: Path) -> None:
    jobs = [VOLUMES[name].write(tmp_path / "raw", f"kits_{i}") for i, name in enumerate(("plain", "one slice"))]
    stages = CHAINS[mode](SPACING_MM, tmp_path / "raw" / "lms")
    manifest = made(stages, jobs, tmp_path / "out")
    whole = tmp_path / "out" / "source"
    data = DataSpec(manifest.folder, ("kits_0",), ("kits_1",), LABELS, CT, val_manifest=folder_of(whole, stages[0]))
    module = CropDataModule(data, SIZE, batch_size=4, steps_per_epoch=2, fg_fraction=1.0, num_workers=0)
    batches = list(module.train_dataloader())
    assert len(batches) == 2
    for batch in batches:
        assert batch[keys.IMAGE].shape == (4, 1, *SIZE) and batch[keys.LM].max() <= 2
        assert {manifest.cases[file_id].parent or file_id for file_id in batch[keys.CASE_ID]} == {"kits_0"}
    assert any(batch[keys.LM].any() for batch in batches)
    (case,) = list(module.val_dataloader())
    assert case[keys.CASE_ID] == ["kits_1"] and tuple(case[keys.IMAGE].shape[2:]) == (40, 33, 1), "a whole case"


def test_the_data_room_knows_no_mode() -> None:
    for file in Path(fran.data.__file__).parent.glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        assert not {c for c in constants if isinstance(c, str)} & {*MODES, *MODE_ALIASES}, file
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not attributes & {"stage", "mode", "canonical_mode"}, file
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not [m for m in imported if m and m.startswith(("fran.preprocessing", "fran.plans"))], file


def test_a_cases_weight_is_that_of_each_of_its_files(tmp_path: Path) -> None:
    job = VOLUMES["plain"].write(tmp_path / "raw")
    manifest: Manifest = made(CHAINS["sourcepbd"](SPACING_MM, tmp_path), [job], tmp_path / "out")
    weights = weights_by_file(manifest, {job.case_id: 3.0}, {})
    assert len(manifest.cases) > 1 and weights == dict.fromkeys(manifest.cases, 3.0)

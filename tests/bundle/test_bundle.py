"""Bundles: the same voxels as the run, formats that compute the same, and MONAI's own reading."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from torch import nn

from fran.bundle.formats import TOLERANCE, check
from fran.bundle.members import is_bundle, read_bundle
from fran.bundle.scoring import scoring_of
from fran.bundle.write import write_bundle
from fran.errors import ConfigError, StoreError
from fran.inference.predictor import Predictor
from fran.io.checkpoint import ModelFile
from fran.io.volume import read_volume

Run = Callable[..., ModelFile]
DYNUNET = "fran.networks.dynunet.dynunet"


def _labels(models: list[ModelFile], image: Path) -> np.ndarray:
    return Predictor(models, "cpu", precision="32").predict(read_volume(image)).array


@pytest.mark.parametrize("ending", ["", ".zip"])
def test_a_bundle_predicts_the_voxels_of_the_run(ending: str, run: Run, images: Path, tmp_path: Path) -> None:
    model = run("one")
    bundle = write_bundle([model], tmp_path / f"model{ending}")
    assert is_bundle(bundle.path)
    model.path.unlink()
    members = read_bundle(bundle.path, tmp_path / "unpacked")
    for image in sorted(images.iterdir()):
        found = _labels(members, image)
        assert len(np.unique(found)) > 1
        np.testing.assert_array_equal(found, _labels([model_again(model, tmp_path)], image))
    assert not list(tmp_path.glob(".tmp-*"))


def model_again(model: ModelFile, tmp_path: Path) -> ModelFile:
    """The run's own checkpoint, elsewhere, for it was taken away."""
    path = tmp_path / "again.ckpt"
    torch.save({}, path)
    return ModelFile(path, model.meta, model.state_dict)


def test_folds_are_one_bundle(run: Run, images: Path, tmp_path: Path) -> None:
    models = [
        run("f0", seed=0),
        run("f1", seed=1, properties={"intensity_clip_range": [-100, 200], "mean_fg": 0, "std_fg": 50}),
    ]
    bundle = write_bundle(models, tmp_path / "folds.zip")
    members = read_bundle(bundle.path, tmp_path / "unpacked")
    image = images / "kits_2.nii.gz"
    np.testing.assert_array_equal(_labels(members, image), _labels(models, image))
    assert (_labels(members, image) != _labels(models[:1], image)).any()
    with pytest.raises(ConfigError, match="runs of one patch_size"):
        write_bundle([models[0], run("f2", patch_size=[16, 16, 8])], tmp_path / "mixed")


@pytest.mark.parametrize("target", [DYNUNET])
def test_every_format_computes_what_the_network_does(target: str, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    bundle = write_bundle([run("one", target=target)], tmp_path / "model", ("torchscript", "onnx"))
    assert [c.file for c in bundle.checks] == ["model.ts", "model.onnx"]
    assert all(c.max_difference <= TOLERANCE for c in bundle.checks)
    stored = json.loads((bundle.path / "configs" / "metadata.json").read_text())["fran"]["checks"]
    assert [c["file"] for c in stored] == ["model.ts", "model.onnx"]
    assert stored[1]["opset"] == 18
    assert stored[1]["dynamic_axes"] == ["batch"]


def test_a_file_that_computes_something_else_is_refused(run: Run, tmp_path: Path) -> None:
    reference = scoring_of([run("one")])

    class Off(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return reference(image) + torch.tensor([0.0, 0.01, 0.0]).view(1, 3, 1, 1, 1)

    with pytest.raises(StoreError, match="expected probabilities within"):
        check(tmp_path / "model.ts", Off(), reference, (16, 12, 8), (-200, 300), {})


def test_what_goes_out_tells_nothing_of_patients_and_places(run: Run, tmp_path: Path) -> None:
    parts: list[tuple[float, float, str]] = []
    bundle = write_bundle([run("one")], tmp_path / "model", on_part=lambda *part: parts.append(part))
    assert parts == [(0, 3, "weights"), (1, 3, "torchscript"), (2, 3, "model"), (3, 3, "")]
    for file in bundle.path.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert not any(word in content for word in (b"jane_doe", b"/secret", b"secret@host", str(tmp_path).encode())), (
            file
        )
    page = (bundle.path / "docs" / "README.md").read_text()
    assert "| 117 | tumour |" in page
    assert "fran infer runs=[model]" in page
    with pytest.raises(ConfigError, match="expected a new folder or zip"):
        write_bundle([run("one")], tmp_path / "model")


def test_monai_reads_and_runs_it_without_fran(run: Run, images: Path, tmp_path: Path) -> None:
    from monai.bundle import ConfigParser

    models = [run(f"f{seed}", seed=seed, target="torch.nn.Conv3d") for seed in range(2)]
    bundle = write_bundle(models, tmp_path / "model")
    (images / "kits_2.nii.gz").unlink()
    parser = ConfigParser()
    parser.read_config(str(bundle.path / "configs" / "inference.json"))
    parser.read_meta(str(bundle.path / "configs" / "metadata.json"))
    assert "fran" not in json.dumps({k: v for k, v in parser.config.items() if k != "_meta_"})
    parser["bundle_root"], parser["dataset_dir"] = str(bundle.path), str(images)
    parser["output_dir"], parser["device"] = str(tmp_path / "eval"), "$torch.device('cpu')"
    parser.parse()
    with torch.no_grad():
        parser.get_parsed_content("run", lazy=True)
    found = next((tmp_path / "eval").rglob("*.nii.gz"))
    image = images / "kits_1.nii.gz"
    label_map = np.asarray(nibabel.load(found).dataobj)
    wanted = read_volume(image).reorientation.invert(_labels(models, image))
    assert set(np.unique(label_map)) <= {0, 3, 117}
    assert len(np.unique(label_map)) > 1
    assert (label_map == wanted).mean() > 0.999


def test_a_modality_without_units_is_normalised_outside(run: Run, images: Path, tmp_path: Path) -> None:
    from monai.bundle import ConfigParser

    from fran.io.intensity import intensity_statistics

    bundle = write_bundle([run("mr", modality="MR")], tmp_path / "model")
    parser = ConfigParser(json.loads((bundle.path / "configs" / "inference.json").read_text()))
    normalise: Any = parser.get_parsed_content("preprocessing::transforms::4::func")
    raw = np.random.default_rng(1).normal(100, 30, (9, 8, 7)).astype(np.float32)
    raw[:3] = 0
    s = intensity_statistics(raw)
    wanted = (np.clip(raw, s["p005"], s["p995"]) - s["mean"]) / s["std"]
    np.testing.assert_allclose(normalise(torch.from_numpy(raw)).numpy(), wanted, atol=1e-3)

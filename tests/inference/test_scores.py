"""Accumulating scores in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from fran.errors import StoreError
from fran.inference import scores
from fran.inference.predictor import Predictor
from fran.inference.scores import add_probabilities, zeros_on_disk
from fran.io.checkpoint import ModelFile
from fran.io.volume import read_volume


@pytest.mark.parametrize("slab_bytes", [1, 1 << 26])
def test_probabilities_are_averaged(monkeypatch: pytest.MonkeyPatch, slab_bytes: int) -> None:
    monkeypatch.setattr(scores, "_SLAB_BYTES", slab_bytes)
    logits = [torch.randn((3, 5, 4, 2), generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    expected = (logits[0].softmax(0) + logits[1].softmax(0)) / 2
    total = None
    for one in logits:
        total = add_probabilities(one.clone(), total, 0.5)
    torch.testing.assert_close(total, expected)


def test_a_tensor_on_disk_is_zero_and_leaves_nothing_behind(tmp_path: Path) -> None:
    tensor = zeros_on_disk((3, 4, 5), tmp_path)
    assert tensor.shape == (3, 4, 5)
    assert not tensor.any()
    tensor += 2
    assert tensor.sum() == 120
    del tensor
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="scratch"):
        zeros_on_disk((1 << 20, 1 << 20, 1 << 10), tmp_path)


@pytest.mark.parametrize("n_models", [1, 2])
def test_scores_on_disk_give_the_same_label_map(
    n_models: int, make_model: Callable[..., ModelFile], tmp_path: Path
) -> None:
    raw = np.random.default_rng(8).integers(-200, 600, (9, 8, 7)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(raw, np.diag([0.8, 1.2, 3.0, 1.0])), tmp_path / "kits_1.nii.gz")
    volume = read_volume(tmp_path / "kits_1.nii.gz")
    models = [make_model(f"run{n}", low=100.5 + 80 * n) for n in range(n_models)]
    in_memory = Predictor(models, "cpu").predict(volume).array
    on_disk = Predictor(models, "cpu", max_score_bytes=0, scratch=tmp_path).predict(volume).array
    np.testing.assert_array_equal(in_memory, on_disk)
    assert len(np.unique(in_memory)) == 3

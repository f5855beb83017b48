"""Checkpoints of networks whose answer is known: a threshold on the intensity, written as a 1x1x1 convolution."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fran.io.checkpoint import ModelFile, read_model, write_checkpoint

LOW, HIGH = 100.5, 300.5


@pytest.fixture(autouse=True)
def any_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """``precision=auto`` is 32 here, also on a CPU that computes in bf16."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)


@pytest.fixture
def rule() -> Callable[..., np.ndarray]:
    """What the networks of `make_model` compute: label 3 above `low`, 117 above `high`."""

    def apply(raw: np.ndarray, low: float = LOW, high: float = HIGH) -> np.ndarray:
        return np.where(raw > high, 117, np.where(raw > low, 3, 0)).astype(np.uint8)

    return apply


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., ModelFile]:
    """Write and read back a checkpoint; keywords replace entries of its description, `state` the weights."""

    def make(
        name: str = "run1", low: float = LOW, high: float = HIGH, state: dict[str, Any] | None = None, **meta: Any
    ) -> ModelFile:
        spec = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3, "kernel_size": 1}
        # mean 50 and std 10: the convolution sees (raw - 50) / 10
        low, high = (low - 50) / 10, (high - 50) / 10
        weight = torch.tensor([0.0, 1.0, 2.0]).reshape(3, 1, 1, 1, 1)
        bias = torch.tensor([0.0, -low, -low - high])
        description = {
            "format": 1,
            "run": name,
            "project": "kits",
            "network": spec,
            "labels": {
                "values": [3, 117],
                "names": {"3": "kidney", "117": "tumour"},
                "origins": {"3": [["kits", 1, "kidney"]], "117": [["kits", 2, "tumour"], ["lits", 2, "lesion"]]},
            },
            "modality": "CT",
            "properties": {"intensity_clip_range": [-500.0, 900.0], "mean_fg": 50.0, "std_fg": 10.0},
            "spacing": [0.8, 1.2, 3.0],
            "patch_size": [6, 6, 4],
            "mode": "source",
            **meta,
        }
        path = tmp_path / "checkpoints" / name / "best.ckpt"
        weights = {"weight": weight, "bias": bias} if state is None else state
        write_checkpoint({"state_dict": {f"network.{k}": v for k, v in weights.items()}, "fran": description}, path)
        return read_model(path)

    return make

"""TorchScript and ONNX files of a scoring module, each run again beside the original before it is kept."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fran.bundle.scoring import Scoring
from fran.errors import ConfigError, FranError, StoreError

log = logging.getLogger(__name__)

#: Largest difference of a probability, and share of voxels whose channel may differ: float32 sums in another order.
TOLERANCE = 1e-4
SHARE = 1e-4
OPSET = 18
N_PATCHES = 3
Vox = tuple[int, int, int]


@dataclass(frozen=True)
class Checked:
    """How near a written file came to the network it was made from."""

    file: str
    max_difference: float
    different_voxels: float
    details: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """For metadata.json."""
        return {
            "file": self.file,
            "largest_difference_of_a_probability": self.max_difference,
            "share_of_voxels_with_another_label": self.different_voxels,
            "tolerance": TOLERANCE,
            "patches": N_PATCHES,
            **self.details,
        }


def write_torchscript(
    scoring: Scoring, patch: Vox, path: Path, limits: tuple[float, float], reference: nn.Module
) -> Checked:
    """Trace the module for patches of one size and any batch.

    Args:
        scoring: the module.
        patch: (x, y, z) voxels.
        path: file to write.
        limits: lowest and highest raw value of the patches that are tried.
        reference: what the file is held against.

    Raises:
        FranError: the network cannot be traced.
        StoreError: the file computes something else.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on shapes that a trace fixes; the check below is what counts
        try:
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                scoring, _patches(1, patch, limits, 0), check_trace=False
            )
        except (RuntimeError, TypeError, ValueError) as error:
            raise FranError(f"formats: the network cannot become TorchScript: {_first_line(error)}") from error
        torch.jit.save(traced, str(path))
        loaded = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    return check(path, lambda image: loaded(image), reference, patch, limits, {})


def write_onnx(scoring: Scoring, patch: Vox, path: Path, limits: tuple[float, float], reference: nn.Module) -> Checked:
    """Export the module for patches of one size and any batch, with the weights in the file.

    Raises:
        ConfigError: the libraries are not installed.
        FranError: the network cannot be exported.
        StoreError: the file computes something else.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # what torch's exporter needs
    except ModuleNotFoundError as error:
        raise ConfigError(f"formats: onnx needs {error.name}: pip install 'fran[onnx]'") from error
    example = _patches(2, patch, limits, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                scoring,
                (example,),
                str(path),
                input_names=["image"],
                output_names=["scores"],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
                external_data=False,
                verbose=False,
            )
        except (RuntimeError, TypeError, ValueError, torch.onnx.OnnxExporterError) as error:
            raise FranError(f"formats: the network cannot become ONNX: {_first_line(error)}") from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(image: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])

    return check(path, run, reference, patch, limits, {"opset": OPSET, "dynamic_axes": ["batch"]})


def check(
    path: Path,
    run: Callable[[Tensor], Tensor],
    reference: nn.Module,
    patch: Vox,
    limits: tuple[float, float],
    details: Mapping[str, Any],
) -> Checked:
    """Hold a file against the network on random patches, one alone and two in a batch.

    Raises:
        StoreError: beyond the tolerance.
    """
    worst, different = 0.0, []
    with torch.inference_mode():
        for seed, batch in enumerate((1, N_PATCHES - 1), 1):
            image = _patches(batch, patch, limits, seed)
            wanted, found = reference(image).softmax(1), run(image).softmax(1)
            worst = max(worst, float((wanted - found).abs().max()))
            different.append(float((wanted.argmax(1) != found.argmax(1)).float().mean()))
    share = float(np.mean(different))
    if not (worst <= TOLERANCE and share <= SHARE):
        raise StoreError(
            f"{path.name}: expected probabilities within {TOLERANCE:g} of the network's, found {worst:.2g} "
            f"off and {share:.2%} of voxels with another label; leave this format out with formats=[…]"
        )
    log.info(
        "%s: run again on %d random patches, largest difference of a probability %.1g", path.name, N_PATCHES, worst
    )
    return Checked(path.name, worst, share, details)


def _patches(batch: int, patch: Sequence[int], limits: tuple[float, float], seed: int) -> Tensor:
    noise = torch.rand(batch, 1, *patch, generator=torch.Generator().manual_seed(seed))
    return noise * (limits[1] - limits[0]) + limits[0]


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"

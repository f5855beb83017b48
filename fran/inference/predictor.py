"""One model, or an ensemble of models, applied to whole volumes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fran.augmentation.normalise import normalise_stored, window_for
from fran.errors import ConfigError, StoreError, choices
from fran.inference.scores import add_probabilities, zeros_on_disk
from fran.io.checkpoint import ModelFile
from fran.io.files import file_digest
from fran.io.volume import Volume
from fran.labels import LabelScheme
from fran.networks.build import build_network
from fran.networks.sliding_window import sliding_window
from fran.preprocessing.prepare import PreparedImage, prepare_case_image

MODES = ("source",)
PRECISIONS = ("auto", "32", "bf16")
#: What the members of an ensemble must have in common.
SHARED = ("spacing", "labels", "modality", "mode")
#: Share of a GPU's free memory that a volume and its scores may take; beyond it they stay in the main memory.
GPU_SHARE = 0.6


@dataclass(frozen=True, eq=False)
class Prediction:
    """Label map of one volume.

    Attributes:
        array: (x, y, z) label values in RAS+ order on the voxels of the input, uint8 or uint16.
        seconds: wall time of the parts "prepare", "network" and "export".
    """

    array: NDArray[Any]
    seconds: dict[str, float]


class Predictor:
    """Keeps the networks in memory while it is applied to one volume after the other.

    Several models are an ensemble: the mean of their softmax probabilities decides.

    Args:
        models: checkpoints as read by `fran.io.checkpoint.read_model`.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1", ...
        overlap: share of a tile covered by the next one.
        tile_batch: tiles per forward pass.
        precision: "32", "bf16" (autocast), or "auto": bf16 on CUDA devices that have it, else 32.
        trusted: modules of the user's own that the networks may come from.
        max_score_bytes: scores (n_classes x voxels x 4 bytes) beyond this are kept in a temporary file, whose pages the
            system can drop from memory.
        scratch: folder of that file; the system's temporary folder by default.

    Raises:
        ConfigError: no models, models that do not belong together, a mode without prediction, or bad settings.
        StoreError: weights that do not fit their network.
    """

    def __init__(
        self,
        models: Sequence[ModelFile],
        device: str | torch.device = "auto",
        overlap: float = 0.5,
        tile_batch: int = 2,
        *,
        precision: str = "auto",
        trusted: Sequence[str] = (),
        max_score_bytes: int = 4 << 30,
        scratch: Path | str | None = None,
    ) -> None:
        check_ensemble(models)
        self.models = tuple(models)
        self.device = resolve_device(device)
        self.overlap, self.tile_batch = overlap, tile_batch
        self.max_score_bytes, self.scratch = max_score_bytes, scratch
        self.precision = _resolve_precision(precision, self.device)
        meta = models[0].meta
        self.labels = LabelScheme.from_dict(meta["labels"])
        self.modality = str(meta["modality"])
        self.spacing_mm = tuple(float(s) for s in meta["spacing"])
        self.half_precision = bool(meta.get("config", {}).get("half_precision", False))
        self.networks = [_load(model, self.device, trusted) for model in models]
        self._digests = [file_digest(model.path) for model in models]

    def predict(self, volume: Volume, on_batch: Callable[[int, int], None] | None = None) -> Prediction:
        """Label map of a volume as returned by `fran.io.volume.read_volume`.

        Args:
            volume: the image.
            on_batch: called with (tiles done, tiles in all) of the current model.
        """
        started = perf_counter()
        prepared = prepare_case_image(volume, self.spacing_mm, self.modality, self.half_precision)
        ready = perf_counter()
        scores = self.scores(prepared, on_batch)
        applied = perf_counter()
        channels = prepared.chain.scores_to_ras(scores)
        array = self.labels.from_channels(channels)
        seconds = {"prepare": ready - started, "network": applied - ready, "export": perf_counter() - applied}
        return Prediction(array, seconds)

    def scores(
        self, prepared: PreparedImage, on_batch: Callable[[int, int], None] | None = None
    ) -> NDArray[np.float32]:
        """Scores (n_classes, x, y, z) on the prepared grid: logits of one model, mean probabilities of several."""
        # unresampled voxels may be a read-only view of what the file's reader returned
        stored = torch.from_numpy(np.require(prepared.stored, requirements=["C", "W"]))[None, None]
        home = self._home(stored.numel())
        stored = stored.to(home)
        total: Tensor | None = None
        for model, network in zip(self.models, self.networks, strict=True):
            image = normalise_stored(stored, self._window(model, prepared).to(home))
            logits = self._logits(model, network, image, on_batch)
            total = logits if len(self.models) == 1 else add_probabilities(logits, total, 1 / len(self.models))
        assert total is not None
        scores: NDArray[np.float32] = total.cpu().numpy()
        return scores

    def describe(self) -> dict[str, Any]:
        """What decides the result besides the image, as plain data: two equal descriptions give equal label maps."""
        models = [
            {"run": str(model.meta.get("run", model.path.parent.name)), "checkpoint": model.path.name, "digest": digest}
            for model, digest in zip(self.models, self._digests, strict=True)
        ]
        settings = {"overlap": self.overlap, "precision": self.precision}
        return {"models": models, "settings": settings, "labels": self.labels.to_dict()}

    def _logits(
        self, model: ModelFile, network: nn.Module, image: Tensor, on_batch: Callable[[int, int], None] | None
    ) -> Tensor:
        with self._autocast():
            return sliding_window(
                network,
                image,
                model.meta["patch_size"],
                self.labels.n_classes,
                self.overlap,
                self.tile_batch,
                tile_device=self.device,
                on_batch=on_batch,
                allocate=self._allocate if image.device.type == "cpu" else None,
            )[0]

    def _window(self, model: ModelFile, prepared: PreparedImage) -> Tensor:
        window = window_for(self.modality, prepared.intensity, model.meta["properties"])
        return torch.tensor([[prepared.slope, prepared.inter, *window.as_tuple()]], dtype=torch.float32)

    def _allocate(self, shape: tuple[int, ...]) -> Tensor:
        if 4 * math.prod(shape) <= self.max_score_bytes:
            return torch.zeros(shape)
        return zeros_on_disk(shape, self.scratch)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _home(self, n_voxels: int) -> torch.device:
        """Where volume and scores live: on the GPU if they fit, else in main memory, and only tiles go over."""
        if self.device.type != "cuda":
            return torch.device("cpu")
        copies = 2 + self.labels.n_classes * (1 if len(self.models) == 1 else 2)
        free, _ = torch.cuda.mem_get_info(self.device)
        return self.device if 4 * copies * n_voxels < GPU_SHARE * free else torch.device("cpu")


def check_ensemble(models: Sequence[ModelFile]) -> None:
    """Raise `ConfigError` unless the models can be applied together."""
    if not models:
        raise ConfigError("models: expected at least one checkpoint, found none; name a run")
    for model in models:
        mode = str(model.meta["mode"])
        if mode not in MODES:
            raise ConfigError(f"{model.path}: mode '{mode}' cannot be predicted; {choices(mode, MODES)}")
        if model.meta["modality"].upper() == "CT":
            window_for("CT", {}, model.meta["properties"])
    first = models[0]
    for key in SHARED:
        for other in models[1:]:
            if _comparable(first.meta, key) != _comparable(other.meta, key):
                raise ConfigError(
                    f"ensemble: expected models of one {key}, found {_comparable(first.meta, key)} in {first.path} "
                    f"and {_comparable(other.meta, key)} in {other.path}; predict with each of them alone"
                )


def resolve_device(device: str | torch.device) -> torch.device:
    """The device meant by a setting; "auto" is CUDA where there is one.

    Raises:
        ConfigError: not a device, or not one of this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device: found '{device}'; {choices(device, ['auto', 'cpu', 'cuda', 'cuda:0'])}") from error
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device: '{device}' is not there ({torch.cuda.device_count()} CUDA devices); use auto or cpu"
        )
    return resolved


def _resolve_precision(precision: str, device: torch.device) -> str:
    if precision not in PRECISIONS:
        raise ConfigError(f"precision: found '{precision}'; {choices(precision, PRECISIONS)}")
    if precision == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "32"
    return precision


def _comparable(meta: Mapping[str, Any], key: str) -> Any:
    if key == "labels":
        return LabelScheme.from_dict(meta[key]).names
    if key == "spacing":
        return [round(float(s), 6) for s in meta[key]]
    return meta[key]


def _load(model: ModelFile, device: torch.device, trusted: Sequence[str]) -> nn.Module:
    network = build_network(model.meta["network"], trusted)
    try:
        network.load_state_dict(model.state_dict)
    except RuntimeError as error:
        raise StoreError(f"{model.path}: its weights do not fit the network it describes: {error}") from error
    return network.to(device).eval().requires_grad_(False)

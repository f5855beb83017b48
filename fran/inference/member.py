"""One network of an ensemble: tiles of stored values in, scores out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from fran.augmentation.normalise import normalise_stored, window_for
from fran.errors import ConfigError, StoreError, choices
from fran.inference.mirror import View, mirrored
from fran.inference.scores import softmax
from fran.io.checkpoint import ModelFile
from fran.io.files import file_digest
from fran.networks.build import build_network
from fran.networks.convolution import quicken_on_cpu
from fran.networks.sliding_window import first_head
from fran.networks.tiling import Vox
from fran.preprocessing.prepare import PreparedImage

PRECISIONS = ("auto", "32", "bf16", "16")
_TYPES = {"bf16": torch.bfloat16, "16": torch.float16}


class Member:
    """A network in memory.

    Args:
        model: its checkpoint.
        device: where it runs.
        n_classes: output channels, background included.
        precision: "32", "bf16" or "16".
        views: mirrored ways to look at a tile, the plain one first; the mean of their probabilities counts.
        probabilities: give probabilities instead of logits; always so with several views.
        trusted: modules of the user's own that the network may come from.

    Raises:
        StoreError: weights that do not fit the network.
    """

    def __init__(
        self,
        model: ModelFile,
        device: torch.device,
        n_classes: int,
        precision: str,
        views: Sequence[View],
        probabilities: bool,
        trusted: Sequence[str] = (),
    ) -> None:
        self.path, self.meta, self.digest = model.path, model.meta, file_digest(model.path)
        self.patch: Vox = tuple(int(n) for n in model.meta["patch_size"])  # type: ignore[assignment]
        self.features = _first_width(model.state_dict)
        self.network = load_network(model, device, trusted)
        self._device, self._n_classes, self._precision = device, n_classes, precision
        self._views, self._probabilities = tuple(views), probabilities

    def window(self, prepared: PreparedImage) -> Tensor:
        """(1, 6) slope, inter, lo, hi, mean, std of a case."""
        window = window_for(str(self.meta["modality"]), prepared.intensity, self.meta["properties"])
        return torch.tensor([[prepared.slope, prepared.inter, *window.as_tuple()]], dtype=torch.float32)

    @staticmethod
    def uniform(tile: Tensor, window: Tensor) -> float | None:
        """The one value that a tile of stored values has after clipping, None where it has several.

        Args:
            tile: (1, 1, x, y, z).
            window: of the case.
        """
        slope, inter, low, high = window[0, :4].tolist()
        least, most = (float(v) * slope + inter for v in torch.aminmax(tile))
        least, most = (min(max(v, low), high) for v in (least, most))
        return least if least == most else None

    @torch.inference_mode()
    def scores(self, tiles: Tensor, window: Tensor) -> Tensor:
        """(n, n_classes, *patch) logits or probabilities of tiles (n, 1, *patch) of stored values."""
        image = normalise_stored(tiles.to(self._device), window.to(self._device))
        if self._device.type == "cpu":
            image = image.contiguous(memory_format=torch.channels_last_3d)
        if not self._probabilities:
            return self._logits(image)
        total: Tensor | None = None
        for view in self._views:
            part = mirrored(softmax(self._logits(mirrored(image, view.axes))), view.axes)
            part = part if view.channels is None else part[:, list(view.channels)]
            total = part if total is None else total.add_(part)
        assert total is not None
        return total.div_(len(self._views))

    def _logits(self, image: Tensor) -> Tensor:
        with self._autocast():
            return first_head(self.network(image), len(image), self._n_classes, self.patch)

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = _TYPES.get(self._precision)
        return nullcontext() if dtype is None else torch.autocast(self._device.type, dtype=dtype)


def load_network(model: ModelFile, device: torch.device, trusted: Sequence[str] = ()) -> nn.Module:
    """The network of a checkpoint with its weights, ready to predict.

    Raises:
        StoreError: the weights do not fit.
    """
    network = build_network(model.meta["network"], trusted)
    try:
        network.load_state_dict(model.state_dict)
    except RuntimeError as error:
        raise StoreError(f"{model.path}: its weights do not fit the network it describes: {error}") from error
    network = network.to(device).eval().requires_grad_(False)
    return quicken_on_cpu(network) if device.type == "cpu" else network


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


def resolve_precision(precision: str, device: torch.device) -> str:
    """The arithmetic meant by a setting; "auto" takes bf16 where the hardware computes in it, else 32.

    Raises:
        ConfigError: not a precision, or float16 on a CPU, which only emulates it.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision: found '{precision}'; {choices(precision, PRECISIONS)}")
    if precision == "16" and device.type == "cpu":
        raise ConfigError("precision: 16 needs a GPU; on a CPU use auto, bf16 or 32")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "16"
    computes = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return "bf16" if device.type == "cpu" and computes is not None and computes() else "32"


def _first_width(state_dict: Mapping[str, Tensor]) -> int:
    """Channels after the first convolution, those at full resolution in the usual networks."""
    return next((int(w.shape[0]) for w in state_dict.values() if w.ndim == 5), 1)

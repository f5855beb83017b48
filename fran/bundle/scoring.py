"""One module from raw intensities to scores: what TorchScript and ONNX hold, free of fran's own code."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fran.augmentation.normalise import window_for
from fran.errors import ConfigError, StoreError
from fran.io.checkpoint import ModelFile
from fran.networks.build import build_network
from fran.networks.norm import InstanceNorm3d


class Scoring(nn.Module):
    """Scores of patches: the logits of one network, or the logarithm of the mean probabilities of several.

    The largest score is the channel either way, also after interpolation, as in `fran infer`.

    Args:
        networks: in evaluation mode, with weights.
        windows: (lo, hi, mean, std) in HU by which each network's image is normalised; None for modalities that are
            normalised by their own statistics, whose image must come normalised.
    """

    def __init__(
        self, networks: Sequence[nn.Module], windows: Sequence[tuple[float, float, float, float]] | None
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.windows = windows

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, x, y, z) to (B, classes, x, y, z) float32."""
        found = [self._logits(image, index) for index in range(len(self.networks))]
        if len(found) == 1:
            return found[0]
        return torch.stack([f.softmax(1) for f in found]).mean(0).clamp_min(1e-12).log()

    def _logits(self, image: Tensor, index: int) -> Tensor:
        if self.windows is not None:
            lo, hi, mean, std = self.windows[index]
            image = (image.clamp(lo, hi) - mean) / std
        found = self.networks[index](image)
        return found[0] if isinstance(found, list | tuple) else found  # type: ignore[no-any-return]


def scoring_of(models: Sequence[ModelFile], trusted: Sequence[str] = (), plain: bool = True) -> Scoring:
    """The module of a model or an ensemble.

    Args:
        models: that predict together.
        trusted: modules of the user's own that networks may come from.
        plain: made of PyTorch's own operations alone, as files need it; else exactly what `fran infer` runs.

    Raises:
        ConfigError: the models cannot share a patch.
        StoreError: weights do not fit their network.
    """
    patches = {tuple(model.meta["patch_size"]) for model in models}
    if len(patches) > 1:
        raise ConfigError(f"run: expected runs of one patch_size, found {sorted(patches)}; export them apart")
    networks = [_network(model, trusted) for model in models]
    networks = [_plain(network) for network in networks] if plain else networks
    is_ct = str(models[0].meta["modality"]).upper() == "CT"
    windows = [window_for("CT", {}, m.meta["properties"]).as_tuple() for m in models] if is_ct else None
    return Scoring(networks, windows).eval().requires_grad_(False)


def _network(model: ModelFile, trusted: Sequence[str]) -> nn.Module:
    network = build_network(model.meta["network"], trusted)
    try:
        network.load_state_dict(model.state_dict)
    except RuntimeError as error:
        raise StoreError(f"{model.path}: its weights do not fit the network it describes: {error}") from error
    return network.eval()


def _plain(network: nn.Module) -> nn.Module:
    """A copy with PyTorch's instance normalisation, whose values are equal: fran's is no operation of TorchScript."""
    network = copy.deepcopy(network)
    for module in network.modules():
        for name, child in module.named_children():
            if type(child) is InstanceNorm3d:
                plain = nn.InstanceNorm3d(child.num_features, child.eps, affine=child.affine)
                plain.weight, plain.bias = child.weight, child.bias
                setattr(module, name, plain)
    return network

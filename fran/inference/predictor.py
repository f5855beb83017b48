"""One model, or the mean of several, applied to whole volumes."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fran.errors import ConfigError, DataError
from fran.geometry import Grid
from fran.inference.case import OnBatch, Prediction, Prepared
from fran.inference.crops import CropRule, GuideFolder, cropped, resized
from fran.inference.ensemble import check_ensemble, mirror_axes, mode_of
from fran.inference.layout import Layout, Work, winning_channels
from fran.inference.member import Member, resolve_device, resolve_precision
from fran.inference.memory import MemoryPlan, Needs, parse_bytes, plan_memory, used_memory
from fran.inference.mirror import views
from fran.inference.probabilities import ProbabilityFile
from fran.io.checkpoint import ModelFile
from fran.io.volume import Volume, stem
from fran.labels import LabelScheme
from fran.networks.sliding_window import TileBatch
from fran.preprocessing.prepare import PreparedImage, prepare_case_image

log = logging.getLogger(__name__)


class Predictor:
    """Keeps the networks in memory while it is applied to one volume after the other.

    Several models are an ensemble: the mean of their softmax probabilities decides. Scores exist for a window of
    planes at a time: as soon as no later tile touches a plane, the voxels that read it are exported and it is released.

    Args:
        models: checkpoints as read by `fran.io.checkpoint.read_model`.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1", ...
        overlap: share of a tile covered by the next one.
        tile_batch: tiles per forward pass; halved when the device runs out of memory.
        precision: "32", "bf16" or "16" (autocast), or "auto": bf16 where the hardware computes in it, else 16 on a GPU
            and 32 on a CPU.
        mirror: axes along which tiles are looked at mirrored too, some of "x", "y", "z"; "auto" are those that the
            training mirrored; none by default.
        trusted: modules of the user's own that the networks may come from.
        ram: what this process may take, such as "8GB"; "auto" is most of what is free.
        vram: the same for the GPU.
        scratch: folder of the temporary file that takes the scores where memory does not; the system's by default.
        localiser: what says where a case is cut: another predictor, or a folder of label maps; None predicts whole
            images.
        crop: how it is cut; None is as the checkpoint says.

    Raises:
        ConfigError: no models, models that do not belong together, or bad settings.
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
        mirror: str | Sequence[str] = (),
        trusted: Sequence[str] = (),
        ram: str | int | None = None,
        vram: str | int | None = None,
        scratch: Path | str | None = None,
        localiser: Predictor | GuideFolder | None = None,
        crop: CropRule | None = None,
    ) -> None:
        check_ensemble(models)
        meta = models[0].meta
        self.device, self.overlap = resolve_device(device), overlap
        self.precision = resolve_precision(precision, self.device)
        self.ram, self.vram, self.scratch = parse_bytes(ram), parse_bytes(vram), scratch
        self.labels = LabelScheme.from_dict(meta["labels"])
        self.modality, self.mode = str(meta["modality"]), mode_of(meta)
        self.spacing_mm = tuple(float(s) for s in meta["spacing"])
        self.half_precision = bool((meta.get("config") or {}).get("half_precision", False))
        self.mirror = mirror_axes(mirror, models, self.labels)
        looks = views(self.mirror, self.labels.channel_names)
        self._probabilities = len(models) * len(looks) > 1
        self.members = tuple(
            Member(m, self.device, self.labels.n_classes, self.precision, looks, self._probabilities, trusted)
            for m in models
        )
        self.crop = crop or CropRule.of(meta)
        self.localiser, self._regions = localiser, _regions(localiser, self.crop)
        self._check_localiser()
        self._batch = TileBatch(tile_batch)
        self._said: tuple[str, str, int] | None = None

    def predict(self, volume: Volume, on_batch: OnBatch | None = None) -> Prediction:
        """Label map of a volume as returned by `fran.io.volume.read_volume`.

        Args:
            volume: the image.
            on_batch: called with (tiles done, tiles in all) after each forward pass.
        """
        return self.run(self.prepare(volume), on_batch)

    def prepare(self, volume: Volume) -> Prepared:
        """What the network needs of a volume; the volume itself may be forgotten then."""
        started = perf_counter()
        image = prepare_case_image(volume, self.spacing_mm, self.modality, self.half_precision)
        guide = self.localiser.prepare(volume) if isinstance(self.localiser, Predictor) else None
        return Prepared(volume.path, image, perf_counter() - started, guide)

    def run(self, prepared: Prepared, on_batch: OnBatch | None = None, probabilities: Path | None = None) -> Prediction:
        """The label map of a prepared case.

        Args:
            prepared: from `prepare`.
            on_batch: called with (tiles done, tiles in all) after each forward pass.
            probabilities: file for the probabilities of the classes, see `ProbabilityFile`; None writes none.
        """
        started = perf_counter()
        image, facts = self._placed(prepared)
        placed = perf_counter()
        with self._sink(probabilities, prepared.image.chain.ras, image) as sink:
            if image is None:
                array = self.labels.from_channels(prepared.image.chain.slab_argmax().empty(self.labels.n_classes))
                exported = 0.0
            else:
                channels, exported, more = self._channels(image, prepared.path, on_batch, sink)
                array, facts = _values(channels, self.labels), facts | more
        seconds = {"prepare": prepared.seconds, "network": perf_counter() - placed - exported, "export": exported}
        if self.localiser is not None:
            seconds["localiser"] = placed - started
        return Prediction(array, seconds, facts)

    @contextmanager
    def _sink(self, path: Path | None, grid: Grid, image: PreparedImage | None) -> Iterator[ProbabilityFile | None]:
        if path is None:
            yield None
            return
        with ProbabilityFile(path, grid, self.labels.channel_names) as file:
            if image is None or image.chain.covers is not None:
                file.background()
            yield file

    def describe(self) -> dict[str, Any]:
        """What decides the result besides the image, as plain data: two equal descriptions give equal label maps."""
        models = [
            {"run": str(m.meta.get("run", m.path.parent.name)), "checkpoint": m.path.name, "digest": m.digest}
            for m in self.members
        ]
        settings: dict[str, Any] = {"overlap": self.overlap, "precision": self.precision}
        if self.mirror:
            settings["mirror"] = list(self.mirror)
        described = {"models": models, "settings": settings, "labels": self.labels.to_dict()}
        return described if self.localiser is None else described | {"localiser": self._describe_localiser()}

    def _describe_localiser(self) -> dict[str, Any]:
        assert self.localiser is not None
        rule = {
            "margin_mm": self.crop.margin_mm,
            "regions": None if self._regions is None else list(self._regions),
            "empty": self.crop.empty,
        }
        if isinstance(self.localiser, GuideFolder):
            return rule | {"folder": str(self.localiser.folder)}
        return rule | {"models": self.localiser.describe()["models"]}

    def _check_localiser(self) -> None:
        if self.localiser is not None and self.mode == "whole":
            raise ConfigError(
                f"localiser: {self.members[0].path} was trained on whole images resized to its patch, so it cannot be "
                "applied to a crop; leave localiser out"
            )
        if isinstance(self.localiser, Predictor) and self.localiser.localiser is not None:
            raise ConfigError("localiser: expected a run that needs none itself; use one of mode source or whole")

    def _placed(self, prepared: Prepared) -> tuple[PreparedImage | None, dict[str, Any]]:
        """The image as the network wants it, None where nothing is to be predicted, and what was done."""
        image = prepared.image
        if self.mode == "whole":
            return resized(image, self.crop.patch_size), {"used": "whole image"}
        if self.localiser is None:
            return image, {"used": "whole image"}
        lm, grid, facts = self._guide(prepared)
        box = self.crop.box(lm, grid, image.chain.stored, self._regions)
        if box is not None:
            return cropped(image, box), facts | {"used": "crop", "box_vox": [list(c) for c in box]}
        log.warning("%s: the localiser found nothing; %s", stem(prepared.path), _EMPTY_WORDS[self.crop.empty])
        return image if self.crop.empty == "whole" else None, facts | {"used": _EMPTY_WORDS[self.crop.empty]}

    def _guide(self, prepared: Prepared) -> tuple[NDArray[Any], Grid, dict[str, Any]]:
        if isinstance(self.localiser, GuideFolder):
            lm, grid = self.localiser.read(prepared.path, stem(prepared.path))
            return lm, grid, {"label_map": str(self.localiser.path(prepared.path, stem(prepared.path)))}
        assert self.localiser is not None and prepared.guide is not None
        found = self.localiser.run(prepared.guide)
        return found.array, prepared.guide.image.chain.ras, {}

    def _channels(
        self, image: PreparedImage, path: Path, on_batch: OnBatch | None, sink: ProbabilityFile | None
    ) -> tuple[NDArray[Any], float, dict[str, Any]]:
        """Channel indices on the raw grid, the seconds of the export, and where the scores were."""
        layout = Layout.of(image.chain, [m.patch for m in self.members], self.overlap, self._batch.size)
        plan = self._plan(image, layout, path)
        stored = torch.from_numpy(np.require(image.stored, requirements=["C", "W"]))[None, None]
        windows = [member.window(image) for member in self.members]
        work = Work(
            scores=[partial(m.scores, window=w) for m, w in zip(self.members, windows, strict=True)],
            uniform=[partial(m.uniform, window=w) for m, w in zip(self.members, windows, strict=True)],
            stored=stored.to(self.device) if plan.image == "gpu" else stored,
            n_classes=self.labels.n_classes,
            probabilities=self._probabilities,
            home=self.device if plan.sums == "gpu" else torch.device("cpu"),
            scratch=(self.scratch or tempfile.gettempdir()) if plan.sums == "disk" else None,
            sink=sink,
        )
        batch = self._batch if plan.tile_batch == self._batch.size else TileBatch(plan.tile_batch)
        try:
            channels, seconds = winning_channels(layout, work, batch, on_batch)
        except torch.OutOfMemoryError as error:
            raise DataError(_NO_ROOM.format(vram=self.vram or "auto", error=str(error).partition(".")[0])) from error
        return channels, seconds, {"scores": plan.sums, "planes": layout.planes, "tile_batch": batch.size}

    def _plan(self, image: PreparedImage, layout: Layout, path: Path) -> MemoryPlan:
        widest = max(self.members, key=lambda m: math.prod(m.patch) * m.features)
        raw = image.chain.ras.shape
        n_classes, window = self.labels.n_classes, layout.window
        needs = Needs.of(image.stored.shape, raw, n_classes, window, widest.patch, widest.features)
        gpu = self._gpu_budget() if self.device.type == "cuda" else None
        plan = plan_memory(needs, self._batch.size, self.ram, used_memory(), gpu)
        # what was said for the case before need not be said again
        log.log(logging.DEBUG if plan.choice == self._said else logging.INFO, "%s: %s", stem(path), plan.text)
        self._said = plan.choice
        return plan

    def _gpu_budget(self) -> int:
        free, total = torch.cuda.mem_get_info(self.device)
        if self.vram is None:
            return int(free)
        torch.cuda.set_per_process_memory_fraction(min(1.0, self.vram / total), self.device)
        return int(min(self.vram, free))


_EMPTY_WORDS = {"whole": "the whole image is predicted", "empty": "the label map is empty"}
_NO_ROOM = (
    "the GPU has no room for a single tile ({error}; vram={vram}); free it from other programs, give more vram, or use "
    "device=cpu"
)


def _values(channels: NDArray[Any], labels: LabelScheme) -> NDArray[Any]:
    """Label values of channel indices, in the same memory where they fit into it."""
    if channels.dtype != np.uint8 or max(labels.values, default=0) > 255:
        return labels.from_channels(channels)
    for plane in channels:
        plane[...] = labels.from_channels(plane)
    return channels


def _regions(localiser: Predictor | GuideFolder | None, crop: CropRule) -> tuple[int, ...] | None:
    if isinstance(localiser, GuideFolder):
        return crop.values(localiser.names, localiser.folder)
    return None if localiser is None else crop.values(localiser.labels.names, localiser.members[0].path)

"""Training crops and whole validation cases as datasets.

Everything that is drawn follows from (seed, index), so samples do not depend on the number of workers, and training can
go on from any index.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from fran import keys
from fran.data.sampling import CLASS_SETTING, check_weights, one_pass, shares
from fran.data.source import CaseSource, as_tensor
from fran.errors import ConfigError

Vox = tuple[int, int, int]
Sample = dict[str, Any]
JITTER = 0.25
_ORDER_STREAM = 1


class CropDataset(Dataset[Sample]):
    """Crop number `index` of an endless sequence.

    Args:
        source: where the cases come from.
        patch_size: (x, y, z) voxels; smaller volumes are padded, centred.
        fg_fraction: share of crops placed on a voxel of a foreground class; the class is drawn first, so that small
            structures are seen as often as large ones. The voxel lies within a quarter of the patch from its centre.
        seed: of the whole sequence.
        case_weights: file id to relative frequency, see `fran.data.sampling`; without, every case comes once before any
            comes again.
        class_weights: label name to relative frequency among foreground classes; 1 for those not named.
        samples_per_file: so many consecutive crops are cut from one case, of one reading where a reading of the whole
            case is not more than the crops together.
        artefacts: changes a stored crop by its window and seed, see `fran.data.artefacts`.
        margins: what the augmentation of the sample with a seed draws in from around a patch, see
            `fran.augmentation.batched.BatchAugmentation.margins`; such samples are read with it.

    A sample holds IMAGE and LM of `patch_size`, WINDOW, SEED, CASE_ID and ANNOTATED, and WIDE where it has margins, see
    `fran.keys`.
    """

    def __init__(
        self,
        source: CaseSource,
        patch_size: Vox,
        fg_fraction: float = 0.5,
        seed: int = 0,
        case_weights: Mapping[str, float] | None = None,
        class_weights: Mapping[str, float] | None = None,
        samples_per_file: int = 1,
        margins: Callable[[int, Vox], tuple[Vox, Vox] | None] | None = None,
        artefacts: Callable[[NDArray[Any], NDArray[np.float32], int], NDArray[Any]] | None = None,
    ) -> None:
        if samples_per_file < 1:
            raise ConfigError(f"samples_per_file: expected 1 or more, found {samples_per_file}")
        if not 0 <= fg_fraction <= 1:
            raise ConfigError(f"trainer.fg_fraction: expected 0 to 1, found {fg_fraction}")
        self.source, self.patch_size, self.fg_fraction, self.seed = source, patch_size, fg_fraction, seed
        self.samples_per_file, self.margins, self.artefacts = samples_per_file, margins, artefacts
        self.case_shares = shares(case_weights or {}, source.case_ids)
        names = source.labels.channel_names
        given = class_weights or {}
        check_weights(given, names[1:], CLASS_SETTING)
        self.class_weights = {channel: float(given.get(name, 1)) for channel, name in enumerate(names)}
        self._pass: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def __getitem__(self, index: int) -> Sample:
        draw = np.random.default_rng([self.seed, index])
        case_id = self._case(index // self.samples_per_file)
        start = self._start(case_id, draw)
        seed = int(draw.integers(2**62))
        return {
            **self._voxels(case_id, start, seed),
            keys.WINDOW: self.source.window(case_id),
            keys.SEED: seed,
            keys.CASE_ID: case_id,
            keys.ANNOTATED: self.source.annotated(case_id),
        }

    def _voxels(self, case_id: str, start: Vox, seed: int) -> Sample:
        keep, size = self._reads_whole(case_id), self.patch_size
        found = self.margins(seed, size) if self.margins is not None else None
        if found is None:
            image, channels = self.source.crop(case_id, start, size, keep=keep)
            return {keys.IMAGE: self._spoilt(image, case_id, seed), keys.LM: channels}
        before, after = found
        x, y, z = (a - b for a, b in zip(start, before, strict=True))
        nx, ny, nz = (n + b + a for n, b, a in zip(size, before, after, strict=True))
        image, channels = self.source.crop(case_id, (x, y, z), (nx, ny, nz), keep=keep)
        wide = self._spoilt(image, case_id, seed), channels
        inner = tuple(slice(b, b + n) for b, n in zip(before, size, strict=True))
        return {keys.IMAGE: wide[0][inner], keys.LM: wide[1][inner], keys.WIDE: wide}

    def _spoilt(self, image: Any, case_id: str, seed: int) -> Any:
        if self.artefacts is None:
            return image
        window = self.source.window(case_id)
        if isinstance(image, torch.Tensor):
            return as_tensor(self.artefacts(image.cpu().numpy(), window, seed)).to(image.device)
        return self.artefacts(image, window, seed)

    def _reads_whole(self, case_id: str) -> bool:
        if self.samples_per_file == 1:
            return False
        return math.prod(self.source.shape(case_id)) <= self.samples_per_file * math.prod(self.patch_size)

    def _case(self, reading: int) -> str:
        ids = self.source.case_ids
        number, place = divmod(reading, len(ids))
        if self._pass[0] != number:
            draw = np.random.default_rng([self.seed, number, _ORDER_STREAM])
            self._pass = (number, one_pass(self.case_shares, len(ids), draw))
        return ids[int(self._pass[1][place])]

    def _start(self, case_id: str, draw: np.random.Generator) -> Vox:
        """First voxel of the crop; negative where the volume is smaller than the patch."""
        shape = self.source.shape(case_id)
        centre = self._foreground_centre(case_id, draw) if draw.random() < self.fg_fraction else None
        start = []
        for axis, (full, size) in enumerate(zip(shape, self.patch_size, strict=True)):
            if full <= size:
                start.append(-((size - full) // 2))
            elif centre is None:
                start.append(int(draw.integers(0, full - size + 1)))
            else:
                reach = int(size * JITTER)
                wanted = int(centre[axis]) - size // 2 + int(draw.integers(-reach, reach + 1))
                start.append(min(max(wanted, 0), full - size))
        return start[0], start[1], start[2]

    def placed_shares(self) -> NDArray[np.float64]:
        """(C,) share of the crops that will be placed on a voxel of each channel."""
        found = np.zeros(self.source.labels.n_classes)
        ids = self.source.case_ids
        case_shares = np.full(len(ids), 1 / len(ids)) if self.case_shares is None else self.case_shares
        for case_id, share in zip(ids, case_shares, strict=True):
            weights = self._weights(case_id)
            for channel, weight in weights.items():
                found[channel] += share * self.fg_fraction * weight / sum(weights.values())
        return found

    def _weights(self, case_id: str) -> dict[int, float]:
        """Weight of each foreground channel that the case holds and that is drawn at all."""
        return {c: w for c in self.source.channels_present(case_id) if (w := self.class_weights[c])}

    def _foreground_centre(self, case_id: str, draw: np.random.Generator) -> NDArray[np.generic] | None:
        """A voxel of a class drawn by weight; of another where none of its voxels are stored (fg_indices_exclude).

        Case files without any sample give a voxel of the class's bounding box.
        """
        weights = self._weights(case_id)
        while weights:
            shares = np.array(list(weights.values()))
            channel = list(weights)[int(draw.choice(len(shares), p=shares / shares.sum()))]
            if not self.source.has_foreground_samples:
                return _inside(self.source.boxes(case_id, channel), draw)
            voxels = self.source.foreground(case_id, channel)
            if len(voxels):
                centre: NDArray[np.generic] = voxels[int(draw.integers(len(voxels)))]
                return centre
            del weights[channel]
        return None


class CaseDataset(Dataset[Sample]):
    """Whole cases, for validation."""

    def __init__(self, source: CaseSource) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        case_id = self.source.case_ids[index]
        image, channels = self.source.volume(case_id)
        return {
            keys.IMAGE: image,
            keys.LM: channels,
            keys.WINDOW: self.source.window(case_id),
            keys.SEED: 0,
            keys.CASE_ID: case_id,
            keys.ANNOTATED: self.source.annotated(case_id),
        }


class EpochSampler(Sampler[int]):
    """Indices of one epoch of the endless sequence; with several processes they take turns.

    The epoch, and where in it a resumed training begins, are all the state there is: Lightning sets the epoch before
    each, the data module both after a resume.

    Args:
        per_epoch: indices of one process in an epoch.
        rank, world_size: which of how many processes.
        turn: consecutive indices that stay with one process.
    """

    def __init__(self, per_epoch: int, rank: int = 0, world_size: int = 1, turn: int = 1) -> None:
        self.per_epoch, self.rank, self.world_size, self.turn = per_epoch, rank, world_size, turn
        self.epoch = 0
        self._begun = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.epoch = epoch

    def go_on(self, epoch: int, taken: int) -> None:
        """Begin with `epoch`, of which `taken` indices have been used; the length stays that of a whole epoch."""
        self.epoch, self._begun = epoch, (epoch, taken)

    def __len__(self) -> int:
        return self.per_epoch

    def __iter__(self) -> Iterator[int]:
        used = self._begun[1] if self._begun[0] == self.epoch else 0
        for taken in range(self.epoch * self.per_epoch + used, (self.epoch + 1) * self.per_epoch):
            number, place = divmod(taken, self.turn)
            yield (number * self.world_size + self.rank) * self.turn + place


def collate(samples: Sequence[Sample]) -> Sample:
    """Batch with IMAGE int16 and LM integer (B, 1, x, y, z), WINDOW (B, 6), SEED and CASE_ID lists.

    ANNOTATED (B, C) comes only with batches that lack a label somewhere, WIDE only with those that have a sample with
    margins, so that the others cost nothing.
    """
    annotated = np.stack([s[keys.ANNOTATED] for s in samples])
    extra = {} if annotated.all() else {keys.ANNOTATED: torch.from_numpy(annotated)}
    wide = [
        (row, as_tensor(s[keys.WIDE][0])[None], _labels(as_tensor(s[keys.WIDE][1]))[None])
        for row, s in enumerate(samples)
        if keys.WIDE in s
    ]
    return (
        ({keys.WIDE: wide} if wide else {})
        | extra
        | {
            keys.IMAGE: torch.stack([as_tensor(s[keys.IMAGE]) for s in samples])[:, None],
            keys.LM: _labels(torch.stack([as_tensor(s[keys.LM]) for s in samples])[:, None]),
            keys.WINDOW: torch.from_numpy(np.stack([s[keys.WINDOW] for s in samples])),
            keys.SEED: [s[keys.SEED] for s in samples],
            keys.CASE_ID: [s[keys.CASE_ID] for s in samples],
        }
    )


def _labels(channels: torch.Tensor) -> torch.Tensor:
    # torch has few operations for uint16
    return channels if channels.dtype == torch.uint8 else channels.to(torch.int32)


def _inside(boxes: Sequence[tuple[Vox, Vox]], draw: np.random.Generator) -> NDArray[np.generic]:
    low, high = boxes[int(draw.integers(len(boxes)))]
    return draw.integers(low, high)

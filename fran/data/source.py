"""Cases of a manifest as arrays: label channels, windows, foreground voxels, a bounded number of open files.

Nothing here asks which preprocessing mode wrote the manifest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fran.augmentation.normalise import window_for
from fran.data.cache import CACHES, volumes_bytes
from fran.errors import CaseProblem, CasesFailed, ConfigError, DataError, choices
from fran.io.casefile import MAX_FG_INDICES, CaseMeta, CaseReader
from fran.io.manifest import Manifest
from fran.labels import LabelScheme

Vox = tuple[int, int, int]
Arrays = tuple[Any, Any]
"""Image and channels: NumPy arrays, or tensors where the volumes are kept on a device."""
MAX_OPEN_FILES = 64
MAX_CACHED_FOREGROUND = 256


class CaseSource:
    """Read crops and whole volumes of some cases of a manifest.

    Ids in all methods, and in `case_ids`, are those of files, which are the cases' own where a case is one file.

    Args:
        manifest: of any stage.
        case_ids: the project's cases to use; a case of several files is used with all of them.
        labels: the label values and their channels.
        properties: the dataset's properties for `window_for`.
        label_map: stored label value to label value, applied before `labels`; values not listed stay, 0 is background.
        cache: "none" reads from the files, "ram" keeps every volume in memory once it was read, "device" as tensors on
            `device`, so that crops are tensors there.
        unannotated: datasource to the label values (after `label_map`) that its annotators did not draw.
        label_maps: datasource to a map that takes the place of `label_map` for its cases; it lists every value.

    Raises:
        CasesFailed: cases that the manifest lacks, whose label map holds a value outside `labels`, or one that the
            case's datasource is said not to annotate.
        ConfigError: no case, or an unknown cache.
    """

    def __init__(
        self,
        manifest: Manifest,
        case_ids: Sequence[str],
        labels: LabelScheme,
        properties: Mapping[str, Any],
        label_map: Mapping[int, int] | None = None,
        cache: str = "none",
        unannotated: Mapping[str, Collection[int]] | None = None,
        label_maps: Mapping[str, Mapping[int, int]] | None = None,
    ) -> None:
        if cache not in CACHES:
            raise ConfigError(f"trainer.cache: found {cache!r}; {choices(cache, CACHES)}")
        files = manifest.files_by_case()
        _check_cases(manifest, case_ids, files)
        self.manifest = manifest
        self.case_ids = tuple(file_id for case_id in case_ids for file_id in files[case_id])
        self.labels = labels
        self.properties = dict(properties)
        self.cache, self.device = cache, torch.device("cpu")
        self._table = _channel_table(labels, label_map or {})
        self._tables = {ds: _channel_table(labels, own, complete=True) for ds, own in (label_maps or {}).items()}
        self._hidden = _hidden_channels(labels, unannotated or {})
        self._check_labels()
        self._readers: dict[str, CaseReader] = {}
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._foreground: OrderedDict[tuple[str, int], NDArray[np.generic]] = OrderedDict()
        self._volumes: dict[str, Arrays] = {}
        self._metas: dict[str, CaseMeta] = {}
        self._last: tuple[str, Arrays] | None = None
        self._minimum: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self.case_ids)

    def shape(self, case_id: str) -> Vox:
        """(x, y, z) voxels."""
        return self.manifest.cases[case_id].shape

    def window(self, case_id: str) -> NDArray[np.float32]:
        """(6,) slope, inter, lo, hi, mean, std, see `fran.keys.WINDOW`."""
        entry, meta = self.manifest.cases[case_id], self._meta(case_id)
        window = window_for(entry.modality, entry.intensity, self.properties)
        return np.array([meta.slope, meta.inter, *window.as_tuple()], dtype=np.float32)

    def crop(self, case_id: str, start: Vox, size: Vox, *, keep: bool = False) -> Arrays:
        """Stored image and channel indices of a box, padded with the stored minimum and 0 outside the volume.

        With `keep` the whole case is read, and kept until another is asked for.
        """
        if keep or self.cache != "none":
            image, channels = self._kept_volume(case_id)
            return _padded(image, start, size, self._minimum[case_id]), _padded(channels, start, size, 0)
        image, lm = self.reader(case_id).read(start, size)
        return image, self._channels(case_id, lm)

    def volume(self, case_id: str) -> Arrays:
        """Stored image and channel indices of the whole case."""
        if case_id in self._volumes:
            return self._volumes[case_id]
        image, lm = self.reader(case_id).read_all()
        arrays = image, self._channels(case_id, lm)
        if self.cache != "none":
            self._minimum[case_id] = image.min()
            arrays = self._volumes[case_id] = self._resident(arrays)
        return arrays

    def _resident(self, arrays: Arrays) -> Arrays:
        if self.cache != "device":
            return arrays
        image, channels = (as_tensor(array) for array in arrays)
        # few operations know 16 bit labels on a device
        channels = channels if channels.dtype == torch.uint8 else channels.to(torch.int32)
        return image.to(self.device), channels.to(self.device)

    def _kept_volume(self, case_id: str) -> Arrays:
        """The case's volume, read again only where another case came between and there is no cache."""
        if self._last is None or self._last[0] != case_id:
            self._last = case_id, self.volume(case_id)
        image, channels = self._last[1]
        if case_id not in self._minimum:
            self._minimum[case_id] = image.min()
        return image, channels

    def foreground(self, case_id: str, channel: int) -> NDArray[np.generic]:
        """(n, 3) sampled voxels of one channel; n may be 0."""
        key = (case_id, channel)
        if key not in self._foreground:
            table = self._table_of(case_id)
            stored = [v for v in self.manifest.cases[case_id].labels if table[v] == channel]
            found = [self.reader(case_id).fg_indices(value) for value in stored]
            self._foreground[key] = np.concatenate(found) if found else np.empty((0, 3), np.int16)
            if self.cache == "none" and len(self._foreground) > MAX_CACHED_FOREGROUND:
                self._foreground.popitem(last=False)
        self._foreground.move_to_end(key)
        return self._foreground[key]

    @property
    def has_foreground_samples(self) -> bool:
        """Whether the case files were made with samples of the foreground (``use_fg_indices``)."""
        return bool(self.manifest.params.get("use_fg_indices", True))

    def boxes(self, case_id: str, channel: int) -> list[tuple[Vox, Vox]]:
        """(first voxel, one past the last voxel) of each stored label that is one channel."""
        table = self._table_of(case_id)
        return [box for value, box in self._meta(case_id).bboxes.items() if table[value] == channel]

    def channels_present(self, case_id: str) -> list[int]:
        """Foreground channels with at least one voxel in the case."""
        counts, table = self.manifest.cases[case_id].labels, self._table_of(case_id)
        return sorted({int(table[v]) for v, n in counts.items() if n} - {0})

    def annotated(self, case_id: str) -> NDArray[np.bool_]:
        """(C,) whether each channel was drawn in the case's datasource; background always."""
        drawn = np.ones(self.labels.n_classes, dtype=bool)
        drawn[list(self._hidden.get(self.manifest.cases[case_id].datasource, ()))] = False
        return drawn

    def reader(self, case_id: str) -> CaseReader:
        """The case's reader. Beyond a bound the file least recently used is closed; where its parts lie stays known."""
        if case_id not in self._readers:
            self._readers[case_id] = self.manifest.reader(case_id)
        self._recent[case_id] = None
        self._recent.move_to_end(case_id)
        if len(self._recent) > MAX_OPEN_FILES:
            self._readers[self._recent.popitem(last=False)[0]].close()
        return self._readers[case_id]

    def _meta(self, case_id: str) -> CaseMeta:
        """What the case's file says besides voxels; kept with the volume where that is kept."""
        if self.cache == "none":
            return self.reader(case_id).meta
        if case_id not in self._metas:
            self._metas[case_id] = self.reader(case_id).meta
        return self._metas[case_id]

    def hold(self, cache: str, device: torch.device, *, foreground: bool = False) -> None:
        """Keep all volumes in "ram", so that forked workers share one copy, or on the "device".

        With `foreground` its samples are kept too, in memory: no file is opened for a crop any more.
        """
        self.cache, self.device = cache, device
        for case_id in self.case_ids if cache != "none" else ():
            self.volume(case_id)
            self._meta(case_id)
            for channel in self.channels_present(case_id) if foreground and self.has_foreground_samples else ():
                self.foreground(case_id, channel)

    def foreground_bytes(self) -> int:
        """What `hold` takes in memory for the samples of the foreground, at most."""
        if not self.has_foreground_samples:
            return 0
        counts = (n for case_id in self.case_ids for n in self.manifest.cases[case_id].labels.values())
        return sum(min(n, MAX_FG_INDICES) for n in counts) * 3 * np.dtype(np.int16).itemsize

    def bytes(self, *, on_device: bool = False) -> int:
        """What `hold` takes for the volumes."""
        label_bytes = 1 if self._table.dtype == np.uint8 else (4 if on_device else 2)
        return volumes_bytes((self.shape(case_id) for case_id in self.case_ids), label_bytes)

    def _check_labels(self) -> None:
        """The manifest counts every label, so what would stop a training half-way is found without reading."""
        problems = [p for case_id in self.case_ids for p in (self._unknown(case_id), self._not_drawn(case_id)) if p]
        if problems:
            raise CasesFailed(f"{len(problems)} of {len(self.case_ids)} cases have unexpected labels", problems)

    def _unknown(self, case_id: str) -> CaseProblem | None:
        counts, table = self.manifest.cases[case_id].labels, self._table_of(case_id)
        strangers = sorted(v for v, n in counts.items() if n and table[v] >= self.labels.n_classes)
        if not strangers:
            return None
        expected, where = f"labels {[0, *self.labels.values]}", str(self.manifest.path(case_id))
        step = "add them to the project's labels or remap them (remapping_train)"
        return CaseProblem(case_id, where, "unknown labels", expected, f"also {strangers[:10]}", step)

    def _not_drawn(self, case_id: str) -> CaseProblem | None:
        datasource = self.manifest.cases[case_id].datasource
        found = sorted(self._hidden.get(datasource, frozenset()) & set(self.channels_present(case_id)))
        if not found:
            return None
        listed = ", ".join(self.labels.channel_names[channel] for channel in found)
        expected, where = f"no label that datasource {datasource} does not annotate", str(self.manifest.path(case_id))
        step = f"correct what {datasource} is said to annotate, or relabel the case"
        return CaseProblem(case_id, where, "label said to be unannotated", expected, listed, step)

    def _table_of(self, case_id: str) -> NDArray[Any]:
        """Channel by stored value, for the case's datasource."""
        return self._tables.get(self.manifest.cases[case_id].datasource, self._table)

    def _channels(self, case_id: str, lm: NDArray[Any]) -> NDArray[Any]:
        channels: NDArray[Any] = self._table_of(case_id)[lm]
        if channels.size and channels.max() >= self.labels.n_classes:
            strangers = np.unique(lm[channels >= self.labels.n_classes]).tolist()
            raise DataError(
                f"Case {case_id}: {self.manifest.path(case_id)}: expected labels {[0, *self.labels.values]},"
                f" found also {strangers[:10]}; add them to the project's labels or remap them (remapping_train)"
            )
        return channels


def _channel_table(labels: LabelScheme, label_map: Mapping[int, int], complete: bool = False) -> NDArray[Any]:
    """Channel by stored value; values that a complete map does not list are unknown."""
    table = labels.lookup()
    mapped = table.copy()
    if complete:
        mapped[1:] = np.iinfo(table.dtype).max
    for stored, value in label_map.items():
        mapped[stored] = table[value]
    return mapped


def _hidden_channels(labels: LabelScheme, unannotated: Mapping[str, Collection[int]]) -> dict[str, frozenset[int]]:
    """Channels that each datasource did not annotate; values that are no label of this training do not matter."""
    channel = {value: number for number, value in enumerate(labels.values, start=1)}
    hidden = {ds: frozenset(channel[v] for v in values if v in channel) for ds, values in unannotated.items()}
    return {ds: channels for ds, channels in hidden.items() if channels}


def _check_cases(manifest: Manifest, case_ids: Sequence[str], known: Collection[str]) -> None:
    if not case_ids:
        raise ConfigError(f"no cases were given for {manifest.folder}; check the fold and the datasources of the plan")
    lacking = [case_id for case_id in case_ids if case_id not in known]
    if lacking:
        where, step = str(manifest.folder), "run `fran preprocess`"
        problems = [
            CaseProblem(c, where, "preprocessed case", "an entry in the manifest", "none", step) for c in lacking
        ]
        raise CasesFailed(f"{len(lacking)} of {len(case_ids)} cases are not preprocessed", problems)


def as_tensor(array: Any) -> torch.Tensor:
    """The same memory as a tensor; tensors stay."""
    return array if isinstance(array, torch.Tensor) else torch.from_numpy(array)


def _padded(array: Any, start: Vox, size: Vox, fill: float) -> Any:
    """Box of an array or tensor, with `fill` where it leaves it."""
    box = list(zip(start, size, array.shape, strict=True))
    inside = tuple(slice(max(0, a), max(0, min(a + n, full))) for a, n, full in box)
    part = array[inside]
    if part.shape == tuple(size):
        return part
    result: Any = np.empty(size, array.dtype) if isinstance(array, np.ndarray) else array.new_empty(size)
    result[...] = fill
    result[tuple(slice(s.start - a, s.start - a + n) for s, a, n in zip(inside, start, part.shape, strict=True))] = part
    return result

"""What a case becomes before the network sees it: the whole volume, resized, or cut to what a localiser found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fran.errors import ConfigError, choices
from fran.geometry import Grid
from fran.io.casefile import Vox
from fran.io.volume import read_volume
from fran.preprocessing.boxes import union
from fran.preprocessing.foreground import Box, label_boxes
from fran.preprocessing.guides import guide_files, guide_of, predicted_names, region_values
from fran.preprocessing.placing import place_labels
from fran.preprocessing.prepare import PreparedImage
from fran.preprocessing.resampling import resample_image
from fran.preprocessing.stages.crop import Cut
from fran.preprocessing.stages.whole import as_stored

MODES = ("source", "whole", "lbd", "rbd", "pbd", "sourcepbd")
EMPTY = ("whole", "empty")
Used = Literal["whole image", "crop", "whole image, for the localiser found nothing", "nothing: an empty label map"]


@dataclass(frozen=True)
class CropRule:
    """How a case is cut, as the checkpoint or the command says.

    Attributes:
        patch_size: least size (x, y, z) in voxels.
        margin_mm: on each side of what was found.
        regions: labels of the localiser that count, by name or value; None is all of them.
        empty: what happens to a case in which the localiser finds none of them: "whole", it is predicted uncut, as the
            training's data were made; "empty", its label map is empty.
    """

    patch_size: Vox
    margin_mm: float = 0.0
    regions: tuple[str, ...] | None = None
    empty: str = "whole"

    @classmethod
    def of(
        cls,
        meta: Mapping[str, Any],
        margin_mm: float | None = None,
        regions: Sequence[Any] | None = None,
        empty: str = "whole",
    ) -> CropRule:
        """Rule of a checkpoint, with what the command says in its place.

        Raises:
            ConfigError: `empty` is not one of `EMPTY`, or the margin is negative.
        """
        if empty not in EMPTY:
            raise ConfigError(f"localiser_empty: found '{empty}'; {choices(empty, EMPTY)}")
        config = meta.get("config") or {}
        margin = float(config.get("expand_by") or 0.0) if margin_mm is None else float(margin_mm)
        if margin < 0:
            raise ConfigError(f"margin_mm: expected 0 or more, found {margin}")
        wanted = config.get("localiser_regions") if regions is None else regions
        named = None if wanted is None or list(wanted) == ["all"] else tuple(str(r) for r in wanted)
        x, y, z = (int(n) for n in meta["patch_size"])
        return cls((x, y, z), margin, named, empty)

    def values(self, names: Mapping[int, str], where: Path) -> tuple[int, ...] | None:
        """Label values of the regions; None is all.

        Raises:
            ConfigError: a region that the localiser does not name.
        """
        return None if self.regions is None else region_values(self.regions, dict(names), where)

    def box(self, lm: NDArray[Any], grid: Grid, stored: Grid, values: tuple[int, ...] | None) -> Box | None:
        """The box to cut from the stored volume around a label map, inside the volume; None where it has no region.

        Args:
            lm: (x, y, z) on `grid`, RAS+.
            grid: of the label map.
            stored: of the prepared volume.
            values: labels that count; None is all of them.
        """
        counted = lm if values is None else np.where(np.isin(lm, values), lm, 0)
        found = union(label_boxes(place_labels(counted, grid, stored))[1].values())
        if found is None:
            return None
        low, high = Cut(self.patch_size, self.margin_mm).box(found, stored.spacing_mm, stored.shape)
        x, y, z = (max(0, a) for a in low)
        i, j, k = (min(n, b) for b, n in zip(high, stored.shape, strict=True))
        return (x, y, z), (i, j, k)


@dataclass(frozen=True)
class GuideFolder:
    """Label maps of another origin, one for each image, named as it.

    Attributes:
        folder: of the label maps.
        files: by name without ending.
        names: of their labels, as far as fran wrote them.
    """

    folder: Path
    files: Mapping[str, Path]
    names: Mapping[int, str]

    @classmethod
    def of(cls, folder: Path) -> GuideFolder:
        """Those of a folder.

        Raises:
            ConfigError: there is no such folder, or it holds none.
        """
        return cls(folder, guide_files(folder), predicted_names(folder))

    def path(self, image: Path, case_id: str) -> Path:
        """The label map of an image; where it is missing, the path at which it was expected."""
        return guide_of(dict(self.files), self.folder, case_id, image)

    def read(self, image: Path, case_id: str) -> tuple[NDArray[Any], Grid]:
        """(x, y, z) label map of an image and its grid.

        Raises:
            DataError: it is missing or cannot be read.
        """
        volume = read_volume(self.path(image, case_id), role="lm")
        return volume.array, volume.grid


def resized(prepared: PreparedImage, shape: Vox) -> PreparedImage:
    """A prepared image brought to a shape, as mode ``whole`` does; the intensity statistics stay the case's."""
    chain = prepared.chain.resized(shape)
    array = resample_image(prepared.stored, prepared.chain.stored, chain.stored)
    return replace(prepared, stored=as_stored(array, prepared.stored.dtype), chain=chain)


def cropped(prepared: PreparedImage, box: Box) -> PreparedImage:
    """A prepared image cut to a box inside it; the intensity statistics stay the case's."""
    low, high = box
    part = prepared.stored[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return replace(prepared, stored=np.ascontiguousarray(part), chain=prepared.chain.cropped(low, high))

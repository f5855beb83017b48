"""What the stages share: the sample of foreground, the job of a stage that reads another's files, writing a part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.errors import DataError
from fran.geometry import Grid
from fran.io.casefile import Affine, CaseMeta, write_case
from fran.io.files import file_digest
from fran.labels import Remapping
from fran.preprocessing.chain import GeometryChain
from fran.preprocessing.foreground import Box, label_boxes, sample_fg_indices


@dataclass(frozen=True)
class Sampling:
    """What is kept of the foreground, so that training can centre its crops on it.

    Attributes:
        use: keep a sample of the voxels of each label.
        exclude: labels to leave out of it.
        seed: of the sample.
    """

    use: bool = True
    exclude: tuple[int, ...] = ()
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, in which equal meanings are equal."""
        exclude = sorted(set(self.exclude)) if self.use else []
        return {"use_fg_indices": self.use, "fg_indices_exclude": exclude, "seed": self.seed}

    def indices(
        self, lm: NDArray[np.generic], counts: Mapping[int, int], bboxes: Mapping[int, Box], file_id: str
    ) -> dict[int, NDArray[np.generic]]:
        """Label → (n, 3) voxels of a label map (x, y, z)."""
        if not self.use:
            return {}
        wanted = dict(counts)
        return sample_fg_indices(lm, wanted, dict(bboxes), case_id=file_id, seed=self.seed, exclude=set(self.exclude))


WITH_SAMPLE = Sampling()
"""Every label, seed 0."""


@dataclass(frozen=True)
class ChildJob:
    """One case of a stage that reads what the stage before it made.

    Attributes:
        case_id: the project's id.
        datasource: its name; chooses the remapping.
        image: raw image, by which a user knows the case.
        parent: case file of the stage before.
        parent_key: content address of that file.
        guide: label map of another origin that says where to cut; None where the stage reads none.
        guide_digest: its ``file_digest`` where that is known.
    """

    case_id: str
    datasource: str
    image: Path
    parent: Path
    parent_key: str
    guide: Path | None = None
    guide_digest: str | None = None

    @property
    def has_digests(self) -> bool:
        """Whether the guide's digest is known, where there is one."""
        return self.guide is None or bool(self.guide_digest)

    def with_digests(self) -> ChildJob:
        """The job with the guide's digest.

        Raises:
            DataError: the guide cannot be read.
        """
        if self.guide is None or self.guide_digest:
            return self
        try:
            return replace(self, guide_digest=file_digest(self.guide))
        except OSError as error:
            raise DataError(
                f"case {self.case_id}: {self.guide}: expected a label map that says where to cut, found:"
                f" {error.strerror}; add it under that name, or leave the case or its datasource out of the plan"
            ) from error

    @property
    def origins(self) -> tuple[str, ...]:
        """Content addresses of the inputs."""
        return (self.parent_key,) if self.guide is None else (self.parent_key, self.guide_digest or "")


@dataclass(frozen=True, eq=False)
class Part:
    """A volume made from a parent's case file.

    Attributes:
        image: (x, y, z) stored values in the parent's dtype, slope and inter.
        lm: (x, y, z) label map.
        chain: geometry of both.
        number, count: which of how many files of the case; 0 of 0 is the case's only one.
    """

    image: NDArray[Any]
    lm: NDArray[Any]
    chain: GeometryChain
    number: int = 0
    count: int = 0


def write_part(path: Path, part: Part, parent: CaseMeta, key: str, sampling: Sampling) -> None:
    """Write a case file.

    The intensity statistics stay those of the whole case: a crop and the whole volume are normalised alike, in
    training, validation and inference.
    """
    counts, bboxes = label_boxes(part.lm)
    grid = part.chain.stored
    geometry = part.chain.to_dict()
    if part.count:
        geometry["part"] = [part.number, part.count]
    meta = replace(
        parent,
        case_id=path.stem,
        key=key,
        shape=grid.shape,
        affine=affine_rows(grid),
        spacing_mm=grid.spacing_mm,
        labels=counts,
        geometry=geometry,
        bboxes=bboxes,
    )
    indices = sampling.indices(part.lm, counts, bboxes, path.stem)
    write_case(path, np.ascontiguousarray(part.image), np.ascontiguousarray(part.lm), meta, indices)


def relabelled(lm: NDArray[Any], remapping: Remapping) -> NDArray[Any]:
    """The label map with new values, itself where nothing changes."""
    return lm if remapping.is_identity else remapping.apply(lm)


def affine_rows(grid: Grid) -> Affine:
    """A grid's affine as plain tuples."""
    return tuple((a, b, c, d) for a, b, c, d in grid.affine.tolist())

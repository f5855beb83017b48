"""Modes ``pbd`` and ``sourcepbd``: a case cut into overlapping patches, a file each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

from fran.io.casefile import CaseReader
from fran.preprocessing.boxes import grid_starts, union
from fran.preprocessing.chain import GeometryChain
from fran.preprocessing.foreground import Box
from fran.preprocessing.stages.crop import Cut
from fran.preprocessing.stages.derived import DerivedStage
from fran.preprocessing.stages.parts import ChildJob, Part, write_part
from fran.preprocessing.stages.stage import Made, part_file


@dataclass(frozen=True)
class PbdStage(DerivedStage):
    """Patches on a regular grid over the box of the labels and its margin.

    The last patch on an axis is pushed back to end with the box, so that none is padded but where the volume itself is
    smaller than a patch. A case without labels gives one patch at its centre. The files are ``<case id>_000.h5``, and
    so on, x slowest.

    Attributes:
        parent: stage whose files are read; with a ``source`` stage, this is what is called ``sourcepbd``.
        cut: patch size, margin, foreground sample.
        overlap: least share of a patch that neighbours have in common, 0 up to but not 1.
    """

    name: ClassVar[str] = "pbd"
    version: ClassVar[int] = 1
    many_files: ClassVar[bool] = True

    cut: Cut
    overlap: float = 0.0

    def __post_init__(self) -> None:
        assert 0 <= self.overlap < 1, self.overlap

    @property
    def readable(self) -> str:
        """Beginning of the folder's name."""
        size = "_".join(f"{n:03d}" for n in self.cut.patch_size)
        return f"{self.parent.readable}_p{size}_ov{round(100 * self.overlap):02d}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, in which equal meanings are equal."""
        return self.cut.to_dict() | {"patch_overlap": float(self.overlap)}

    def case_params(self, job: ChildJob) -> dict[str, Any]:
        """All of :meth:`to_dict`."""
        return self.to_dict()

    def process(self, job: ChildJob, key: str, folder: Path) -> Made:
        """Cut one case into patches.

        Raises:
            StoreError: the parent's file is damaged.
        """
        with CaseReader(job.parent) as reader:
            meta = reader.meta
            chain = GeometryChain.from_dict(meta.geometry)
            box = self.cut.box(union(meta.bboxes.values()), meta.spacing_mm, meta.shape)
            lows = self._lows(box)
            files = tuple(part_file(folder, job.case_id, number) for number in range(len(lows)))
            for number, (path, low) in enumerate(zip(files, lows, strict=True)):
                x, y, z = (a + n for a, n in zip(low, self.cut.patch_size, strict=True))
                image, lm = reader.read(low, self.cut.patch_size)
                part = Part(image, lm, chain.cropped(low, (x, y, z)), number, len(lows))
                write_part(path, part, meta, key, self.cut.sampling)
        return Made(files)

    def _lows(self, box: Box) -> list[tuple[int, int, int]]:
        axes = zip(*box, self.cut.patch_size, strict=True)
        return list(product(*(grid_starts(a, b, n, self.overlap) for a, b, n in axes)))  # type: ignore[arg-type]

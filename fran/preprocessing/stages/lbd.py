"""Mode ``lbd``: a case cut to its labels, or to imported ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fran.errors import CaseProblem
from fran.io.casefile import CaseReader
from fran.preprocessing.boxes import union
from fran.preprocessing.chain import GeometryChain
from fran.preprocessing.foreground import Box
from fran.preprocessing.relabelling import SAME_LABELS, Relabelling
from fran.preprocessing.stages.crop import (
    Cut,
    Guide,
    Imported,
    cut_case,
    labels_in,
    no_foreground,
    padded_part,
    read_guide,
)
from fran.preprocessing.stages.derived import DerivedStage
from fran.preprocessing.stages.parts import ChildJob, relabelled
from fran.preprocessing.stages.stage import Made


@dataclass(frozen=True)
class LbdStage(DerivedStage):
    """Crop to the bounding box of the labels, plus a margin, at least of patch size.

    The box is made around the case's own labels; with imported label maps around those, and with merged ones around
    both. A case without any is cut to a patch at its centre.

    Attributes:
        cut: size, margin, foreground sample.
        remapping: of the label map, after the box was made.
        imported: label maps of another origin.
    """

    name: ClassVar[str] = "lbd"
    version: ClassVar[int] = 1

    cut: Cut
    remapping: Relabelling = SAME_LABELS
    imported: Imported | None = None

    @property
    def readable(self) -> str:
        """Beginning of the folder's name."""
        around = f"_{self.imported.readable}" if self.imported else ""
        return f"{self.parent.readable}_{self.cut.readable}{around}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, in which equal meanings are equal."""
        imported = self.imported.to_dict() if self.imported else None
        return self.cut.to_dict() | {"remapping": self.remapping.to_dict(), "imported": imported}

    def case_params(self, job: ChildJob) -> dict[str, Any]:
        """The part of :meth:`to_dict` that one case depends on; what it imports is known by its digest."""
        params = self.cut.to_dict() | {"remapping": self.remapping.at(job.datasource).canonical()}
        if self.imported is not None and job.guide is not None:
            params["imported"] = self.imported.remapping.at(job.datasource).canonical()
            params["merge"] = self.imported.merge
        return params

    def guide_folder(self, datasource: str) -> Path | None:
        """Imported label maps of a datasource."""
        return self.imported.folder(datasource) if self.imported else None

    def process(self, job: ChildJob, key: str, folder: Path) -> Made:
        """Cut one case.

        Raises:
            DataError: its imported label map is missing or cannot be used.
            StoreError: the parent's file is damaged.
        """
        with CaseReader(job.parent) as reader:
            meta = reader.meta
            guide = self._guide(job, GeometryChain.from_dict(meta.geometry))
            found = self._found(union(meta.bboxes.values()), guide)
            box = self.cut.box(found, meta.spacing_mm, meta.shape)
            lm = labels_in(reader, box)
            notes = [] if found else [no_foreground(job, job.guide, "a patch at the image's centre")]
            notes += _cut_away(job, lm, meta.labels)
            if guide is not None and self.imported is not None and self.imported.merge:
                lm = _merged(lm, padded_part(guide.lm, box))
            lm = relabelled(lm, self.remapping.at(job.datasource))
            made = cut_case(job, key, folder, self.cut, box, reader, lm)
        return replace(made, notes=tuple(notes))

    def _guide(self, job: ChildJob, chain: GeometryChain) -> Guide | None:
        if job.guide is None or self.imported is None:
            return None
        return read_guide(job, self.imported.remapping.at(job.datasource), chain)

    def _found(self, own: Box | None, guide: Guide | None) -> Box | None:
        if guide is None or self.imported is None:
            return own
        if not self.imported.merge:
            return guide.box
        return union(box for box in (own, guide.box) if box is not None)


def _merged(own: NDArray[Any], imported: NDArray[Any]) -> NDArray[Any]:
    dtype = np.uint8 if max(own.max(), imported.max()) <= 255 else np.uint16
    return np.where(own > 0, own, imported).astype(dtype)


def _cut_away(job: ChildJob, lm: NDArray[Any], counts: dict[int, int]) -> list[CaseProblem]:
    """Warning where labels of the case lie outside what is kept."""
    lost = sum(counts.values()) - int(np.count_nonzero(lm))
    if not lost:
        return []
    return [
        CaseProblem(
            case_id=job.case_id,
            path=str(job.guide),
            what="labels outside the crop",
            expected="the case's own labels inside the box of the imported ones",
            found=f"{lost} of {sum(counts.values())} labelled voxels outside",
            next_step="raise expand_by, or set merge_imported_labels=true to keep both",
            severity="warning",
        )
    ]

"""Mode ``rbd``: a case cut to the regions that a localiser has found in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from fran.errors import CaseProblem
from fran.io.casefile import CaseReader
from fran.labels import Remapping
from fran.preprocessing.chain import GeometryChain
from fran.preprocessing.foreground import Box
from fran.preprocessing.relabelling import SAME_LABELS, Relabelling
from fran.preprocessing.stages.crop import Cut, Imported, cut_case, labels_in, no_foreground, read_guide
from fran.preprocessing.stages.derived import DerivedStage
from fran.preprocessing.stages.parts import ChildJob, relabelled
from fran.preprocessing.stages.stage import Made


@dataclass(frozen=True)
class RbdStage(DerivedStage):
    """Crop to the bounding box of a localiser's regions, plus a margin, at least of patch size.

    A case in which the localiser has found none of them is kept whole: nothing says where to cut.

    Attributes:
        cut: size, margin, foreground sample.
        localiser: the label maps that the localiser predicted, or that were imported in its place.
        regions: their label values, after their remapping, to crop to; None is all of them.
        remapping: of the case's own label map.
    """

    name: ClassVar[str] = "rbd"
    version: ClassVar[int] = 1

    cut: Cut
    localiser: Imported
    regions: tuple[int, ...] | None = None
    remapping: Relabelling = SAME_LABELS

    @property
    def readable(self) -> str:
        """Beginning of the folder's name."""
        return f"{self.parent.readable}_{self.cut.readable}_{self.localiser.readable}"

    def _shared(self) -> dict[str, Any]:
        return self.cut.to_dict() | {"regions": None if self.regions is None else sorted(set(self.regions))}

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, in which equal meanings are equal; the regions' maps are part of each case's key."""
        return self._shared() | {"localiser": self.localiser.to_dict(), "remapping": self.remapping.to_dict()}

    def case_params(self, job: ChildJob) -> dict[str, Any]:
        """The part of :meth:`to_dict` that one case depends on; what the localiser found is known by its digest."""
        own, guides = (part.at(job.datasource).canonical() for part in (self.remapping, self.localiser.remapping))
        return self._shared() | {"remapping": own, "imported": guides}

    def guide_folder(self, datasource: str) -> Path | None:
        """The localiser's predictions."""
        return self.localiser.folder(datasource)

    def process(self, job: ChildJob, key: str, folder: Path) -> Made:
        """Cut one case.

        Raises:
            DataError: its prediction is missing or cannot be used.
            StoreError: the parent's file is damaged.
        """
        with CaseReader(job.parent) as reader:
            meta = reader.meta
            guide = read_guide(job, self._wanted(job.datasource), GeometryChain.from_dict(meta.geometry))
            box: Box = ((0, 0, 0), meta.shape)
            box = self.cut.box(guide.box or box, meta.spacing_mm, meta.shape)
            notes: list[CaseProblem] = []
            if guide.box is None:
                notes.append(no_foreground(job, job.guide, "the whole image"))
            lm = relabelled(labels_in(reader, box), self.remapping.at(job.datasource))
            made = cut_case(job, key, folder, self.cut, box, reader, lm)
        return replace(made, notes=tuple(notes))

    def _wanted(self, datasource: str) -> Remapping:
        imported = self.localiser.remapping.at(datasource)
        if self.regions is None:
            return imported
        return imported.compose(Remapping.of({value: value for value in self.regions}, rest=0))

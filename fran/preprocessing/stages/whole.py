"""Mode ``whole``: a case resized to the network's patch, so that one look takes in all of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fran.io.casefile import CaseReader, Vox
from fran.preprocessing.chain import GeometryChain
from fran.preprocessing.relabelling import SAME_LABELS, Relabelling
from fran.preprocessing.resampling import resample_image, resample_labels
from fran.preprocessing.stages.derived import DerivedStage
from fran.preprocessing.stages.parts import WITH_SAMPLE, ChildJob, Part, Sampling, relabelled, write_part
from fran.preprocessing.stages.stage import Made, case_file


@dataclass(frozen=True)
class WholeStage(DerivedStage):
    """Resize to a shape, as a spacing is reached: images without aliasing, label maps by the largest share.

    Attributes:
        patch_size: shape (x, y, z) of every case.
        sampling: of the foreground.
        remapping: of the label map, after it was resized.
    """

    name: ClassVar[str] = "whole"
    version: ClassVar[int] = 1

    patch_size: Vox
    sampling: Sampling = WITH_SAMPLE
    remapping: Relabelling = SAME_LABELS

    @property
    def readable(self) -> str:
        """Beginning of the folder's name."""
        return f"{self.parent.readable}_w{'_'.join(f'{n:03d}' for n in self.patch_size)}"

    def _shared(self) -> dict[str, Any]:
        return {"patch_size": list(self.patch_size)} | self.sampling.to_dict()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, in which equal meanings are equal."""
        return self._shared() | {"remapping": self.remapping.to_dict()}

    def case_params(self, job: ChildJob) -> dict[str, Any]:
        """The part of :meth:`to_dict` that one case depends on."""
        return self._shared() | {"remapping": self.remapping.at(job.datasource).canonical()}

    def process(self, job: ChildJob, key: str, folder: Path) -> Made:
        """Resize one case.

        Raises:
            StoreError: the parent's file is damaged.
        """
        with CaseReader(job.parent) as reader:
            meta = reader.meta
            image, lm = reader.read_all()
        before = GeometryChain.from_dict(meta.geometry)
        chain = before.resized(self.patch_size)
        resized = as_stored(resample_image(image, before.stored, chain.stored), image.dtype)
        labels = relabelled(resample_labels(lm, before.stored, chain.stored), self.remapping.at(job.datasource))
        path = case_file(folder, job.case_id)
        write_part(path, Part(resized, labels, chain), meta, key, self.sampling)
        return Made((path,))


def as_stored(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Interpolated stored values in the dtype they had; it is clipped to its range before."""
    return (array if dtype.kind == "f" else np.rint(array)).astype(dtype)

"""Cutting a case to a box: what the modes lbd and rbd have in common."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.errors import CaseProblem, DataError
from fran.io.casefile import CaseReader, Vox
from fran.io.volume import read_volume
from fran.labels import Remapping
from fran.preprocessing.boxes import centred, expanded, grown, union
from fran.preprocessing.chain import GeometryChain
from fran.preprocessing.foreground import Box, label_boxes
from fran.preprocessing.keys import canonical_json
from fran.preprocessing.placing import place_labels
from fran.preprocessing.relabelling import EVERYBODY, SAME_LABELS, Relabelling
from fran.preprocessing.stages.parts import WITH_SAMPLE, ChildJob, Part, Sampling, relabelled, write_part
from fran.preprocessing.stages.stage import Made, case_file

_NAME_LENGTH = 24


@dataclass(frozen=True)
class Cut:
    """How a case is cut, whatever its box is made around.

    Attributes:
        patch_size: least size (x, y, z) in voxels.
        expand_by_mm: margin on each side of the box.
        sampling: of the foreground.
    """

    patch_size: Vox
    expand_by_mm: float = 0.0
    sampling: Sampling = WITH_SAMPLE

    def __post_init__(self) -> None:
        assert min(self.patch_size) >= 1 and self.expand_by_mm >= 0, self

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        own = {"patch_size": list(self.patch_size), "expand_by_mm": float(self.expand_by_mm)}
        return own | self.sampling.to_dict()

    @property
    def readable(self) -> str:
        """Part of a folder's name."""
        return f"ex{round(self.expand_by_mm):03d}"

    def box(self, found: Box | None, spacing_mm: tuple[float, float, float], shape: Vox) -> Box:
        """The box to cut: ``found`` with its margin and at least of patch size; a centred patch where it is None."""
        if found is None:
            return centred(self.patch_size, shape)
        return grown(expanded(found, self.expand_by_mm, spacing_mm, shape), self.patch_size, shape)


@dataclass(frozen=True)
class Imported:
    """Label maps of another origin.

    Attributes:
        folders: (datasource, folder of label maps), sorted, or ``"*"`` for all; others have none.
        remapping: of the imported labels; values that do not count become 0 by it.
        merge: put them into the case's label map, where its own labels win.
    """

    folders: tuple[tuple[str, Path], ...]
    remapping: Relabelling = SAME_LABELS
    merge: bool = False

    def folder(self, datasource: str) -> Path | None:
        """Folder of a datasource's label maps."""
        table = dict(self.folders)
        return table.get(datasource, table.get(EVERYBODY))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form without the folders: of the maps, their content counts, which is part of each case's key."""
        return {"remapping": self.remapping.to_dict(), "merge": self.merge}

    @property
    def readable(self) -> str:
        """Part of a folder's name, by which crops to label maps of two origins lie apart: their name, and digits.

        It is no part of any content address: where the label maps have moved to, the crops go along.
        """
        names = dict.fromkeys(p.parent.name if p.name == "lms" else p.name for _, p in self.folders)
        name = re.sub(r"[^A-Za-z0-9]+", "-", "-".join(names))[:_NAME_LENGTH].strip("-")
        places = canonical_json([(ds, folder.as_posix()) for ds, folder in self.folders])
        return f"{name}_{hashlib.blake2b(places.encode(), digest_size=3).hexdigest()}"


@dataclass(frozen=True, eq=False)
class Guide:
    """A label map of another origin on a case's stored grid.

    Attributes:
        lm: (x, y, z).
        box: around its labels; None where it has none.
    """

    lm: NDArray[Any]
    box: Box | None


def read_guide(job: ChildJob, remapping: Remapping, chain: GeometryChain) -> Guide:
    """Read a job's guide, remap it and bring it to the stored grid.

    Raises:
        DataError: it cannot be read, or its labels lie outside the image.
    """
    assert job.guide is not None, "the job has no guide"
    volume = read_volume(job.guide, role="lm")
    values = relabelled(volume.array, remapping)
    lm = place_labels(values, volume.grid, chain.stored)
    box = union(label_boxes(lm)[1].values())
    if box is None and values.any():
        raise DataError(
            f"case {job.case_id}: {job.guide}: expected labels inside the image {job.image} ({chain.stored}), found"
            f" all of them outside it ({volume.grid}); is it the label map of another case?"
        )
    return Guide(lm, box)


def cut_case(job: ChildJob, key: str, folder: Path, cut: Cut, box: Box, reader: CaseReader, lm: NDArray[Any]) -> Made:
    """Write the case cut to ``box``.

    Args:
        job: the case.
        key: content address.
        folder: of the file.
        cut: sampling of the foreground.
        box: in voxels of the parent's volume; it may leave that, where padding is written.
        reader: of the parent's file.
        lm: final label map of the box.
    """
    low, high = box
    image = reader.read(low, _size(box))[0]
    chain = GeometryChain.from_dict(reader.meta.geometry).cropped(low, high)
    path = case_file(folder, job.case_id)
    write_part(path, Part(image, lm, chain), reader.meta, key, cut.sampling)
    return Made((path,))


def labels_in(reader: CaseReader, box: Box) -> NDArray[Any]:
    """The parent's label map in a box, 0 outside the volume."""
    return np.asarray(reader.read(box[0], _size(box))[1])


def padded_part(lm: NDArray[Any], box: Box) -> NDArray[Any]:
    """A box of a label map, 0 outside it."""
    inside = [slice(max(0, a), max(0, min(b, n))) for a, b, n in zip(*box, lm.shape, strict=True)]
    out = np.zeros(_size(box), lm.dtype)
    out[tuple(slice(s.start - a, s.stop - a) for s, a in zip(inside, box[0], strict=True))] = lm[tuple(inside)]
    return out


def no_foreground(job: ChildJob, guide: Path | None, taken: str) -> CaseProblem:
    """Note about a case with nothing to cut to."""
    return CaseProblem(
        case_id=job.case_id,
        path=str(guide or job.image),
        what="labels to cut to",
        expected="a labelled voxel at least",
        found="none",
        next_step=f"nothing: {taken} was taken",
        severity="note",
    )


def _size(box: Box) -> Vox:
    x, y, z = (b - a for a, b in zip(*box, strict=True))
    return x, y, z

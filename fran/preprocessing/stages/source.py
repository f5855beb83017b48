"""Mode ``source``: one case in, the same case at a fixed spacing out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fran.datasources.grids import TOLERANCE_VOXELS
from fran.errors import CaseProblem, DataError, GeometryError
from fran.geometry import Grid
from fran.io.casefile import CaseMeta, write_case
from fran.io.files import file_digest
from fran.io.volume import Volume, read_volume
from fran.preprocessing.foreground import label_boxes
from fran.preprocessing.keys import readable_spacing, stage_key
from fran.preprocessing.prepare import PreparedImage, prepare_case_image
from fran.preprocessing.relabelling import SAME_LABELS, Relabelling
from fran.preprocessing.resampling import resample_labels
from fran.preprocessing.stages.parts import Sampling, affine_rows, relabelled
from fran.preprocessing.stages.stage import Made, case_file

_EXACT_MM = 1e-4


@dataclass(frozen=True)
class CaseJob:
    """One raw case.

    Attributes:
        case_id: unique in the project; names the case file.
        image, lm: raw files.
        image_digest, lm_digest: ``file_digest`` of each where it is known already; None lets the stage read the files.
        modality: "CT", "MR", ...
        datasource: name of the datasource, kept in the manifest; chooses the remapping.
    """

    case_id: str
    image: Path
    lm: Path
    image_digest: str | None = None
    lm_digest: str | None = None
    modality: str = "CT"
    datasource: str = ""

    @property
    def has_digests(self) -> bool:
        """Whether both digests are known."""
        return bool(self.image_digest and self.lm_digest)

    def with_digests(self) -> CaseJob:
        """The job with both digests, reading the files where one is not known.

        Raises:
            DataError: a file cannot be read.
        """
        try:
            return replace(
                self,
                image_digest=self.image_digest or file_digest(self.image),
                lm_digest=self.lm_digest or file_digest(self.lm),
            )
        except OSError as error:
            raise DataError(
                f"case {self.case_id}: {error.filename}: expected a readable file, found: {error.strerror};"
                " restore it or leave the case out"
            ) from error


@dataclass(frozen=True)
class SourceParams:
    """What the stage reads from a plan.

    Attributes:
        spacing_mm: wanted spacing (x, y, z).
        use_fg_indices: store a sample of foreground voxels, from which training draws its crops.
        fg_indices_exclude: labels to leave out of that sample.
        seed: of the sample.
        remapping: new label values.
        half_precision: store images other than CT as float16.
        clip_hu: window (low, high) that CT is clipped to.
    """

    name: ClassVar[str] = "source"
    version: ClassVar[int] = 2
    many_files: ClassVar[bool] = False

    spacing_mm: tuple[float, float, float]
    use_fg_indices: bool = True
    fg_indices_exclude: tuple[int, ...] = ()
    seed: int = 0
    remapping: Relabelling = SAME_LABELS
    half_precision: bool = False
    clip_hu: tuple[int, int] | None = None

    @property
    def sampling(self) -> Sampling:
        """What is kept of the foreground."""
        return Sampling(self.use_fg_indices, self.fg_indices_exclude, self.seed)

    @property
    def readable(self) -> str:
        """Beginning of the folder's name."""
        return readable_spacing(self.spacing_mm)

    def _shared(self) -> dict[str, Any]:
        half = {"half_precision": True} if self.half_precision else {}
        return {"spacing_mm": [float(v) for v in self.spacing_mm], **self.sampling.to_dict(), **half}

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, in which equal meanings are equal."""
        return self._shared() | self._clip() | {"remapping": self.remapping.to_dict()}

    def _clip(self) -> dict[str, Any]:
        return {} if self.clip_hu is None else {"clip_hu": list(self.clip_hu)}

    def key(self) -> str:
        """Content address of the stage with these parameters."""
        return stage_key((), self.to_dict(), self.version, self.name)

    def case_key(self, job: CaseJob) -> str:
        """Content address of one case; ``job`` has both digests.

        File names are not part of it, nor is the datasource but for its remapping: they change nothing in the file.
        """
        assert job.image_digest and job.lm_digest, "case_key needs the digests"
        own = {"case_id": job.case_id, "modality": job.modality}
        if job.modality.upper() == "CT":
            own |= self._clip()
        params = {**self._shared(), **own, "remapping": self.remapping.at(job.datasource).canonical()}
        return stage_key((job.image_digest, job.lm_digest), params, self.version, self.name)

    def guide_folder(self, datasource: str) -> Path | None:
        """The stage reads raw files alone."""
        return None

    def process(self, job: CaseJob, key: str, folder: Path) -> Made:
        """Make the case file; see :func:`process_case`."""
        path = case_file(folder, job.case_id)
        return Made((path,), tuple(process_case(job, self, key, path)))


def process_case(job: CaseJob, params: SourceParams, key: str, path: Path) -> list[CaseProblem]:
    """Read, reorient, resample, encode and write one case.

    Args:
        job: the raw case.
        params: of the stage.
        key: content address written into the file.
        path: case file to write.

    Returns:
        notes and warnings about the case.

    Raises:
        DataError: a raw file cannot be used.
        GeometryError: image and label map do not cover the same voxels.
    """
    image, lm = read_volume(job.image), read_volume(job.lm, role="lm")
    notes = check_same_grid(job, image, lm)
    array = relabelled(lm.array, params.remapping.at(job.datasource))
    prepared = prepare_case_image(image, params.spacing_mm, job.modality, params.half_precision, params.clip_hu)
    del image, lm  # the raw volumes would add to the peak while the label map is resampled
    labels = resample_labels(array, prepared.chain.ras, prepared.chain.stored)
    if prepared.n_clipped:
        notes.append(_clipped(job, prepared.n_clipped))
    write_prepared(path, prepared, np.ascontiguousarray(labels), job, params, key)
    return notes


def write_prepared(
    path: Path, image: PreparedImage, lm: NDArray[np.generic], job: CaseJob, params: SourceParams, key: str
) -> None:
    """Write a prepared case with its boxes, foreground sample and geometry."""
    counts, bboxes = label_boxes(lm)
    indices = params.sampling.indices(lm, counts, bboxes, job.case_id)
    grid = image.chain.stored
    meta = CaseMeta(
        case_id=job.case_id,
        key=key,
        shape=grid.shape,
        affine=affine_rows(grid),
        spacing_mm=grid.spacing_mm,
        slope=image.slope,
        inter=image.inter,
        modality=job.modality,
        labels=counts,
        intensity=image.intensity,
        geometry=image.chain.to_dict(),
        bboxes=bboxes,
    )
    write_case(path, image.stored, lm, meta, indices)


def check_same_grid(job: CaseJob, image: Volume, lm: Volume) -> list[CaseProblem]:
    """Compare the RAS+ grids of image and label map, so that their stored axis orders may differ.

    Returns:
        a note or a warning when they differ by less than the tolerance that the scan of a datasource allows; the
        image's grid is used for both.

    Raises:
        GeometryError: they differ by more; the message has both values.
    """
    if image.grid.shape != lm.grid.shape:
        raise _different("shape", job, image, lm, f"{image.grid.shape}", f"{lm.grid.shape}")
    distance = image.grid.max_distance_mm(lm.grid)
    if distance <= _EXACT_MM:
        return []
    name, expected, found = _first_difference(image.grid, lm.grid)
    if distance >= TOLERANCE_VOXELS * min(image.grid.spacing_mm):
        raise _different(f"{name} (corners are {distance:.4g} mm apart)", job, image, lm, expected, found)
    return [
        CaseProblem(
            case_id=job.case_id,
            path=str(job.lm),
            what=f"{name}: label map and image are {distance:.2g} mm apart",
            expected=expected,
            found=found,
            next_step="nothing: the label map is taken to be on the image's grid",
            severity="note" if distance <= 0.01 * min(image.grid.spacing_mm) else "warning",
        )
    ]


def _first_difference(a: Grid, b: Grid) -> tuple[str, str, str]:
    if not np.allclose(a.spacing_mm, b.spacing_mm, rtol=1e-4):
        return "spacing", str(a.spacing_mm), str(b.spacing_mm)
    if not np.allclose(a.affine[:3, :3], b.affine[:3, :3], atol=1e-4):
        return "direction", str(np.round(a.affine[:3, :3], 5).tolist()), str(np.round(b.affine[:3, :3], 5).tolist())
    return "origin", str(np.round(a.affine[:3, 3], 5).tolist()), str(np.round(b.affine[:3, 3], 5).tolist())


def _different(name: str, job: CaseJob, image: Volume, lm: Volume, expected: str, found: str) -> GeometryError:
    return GeometryError(
        f"case {job.case_id}: {name}: image and label map must be on one grid; expected {expected} as in {image.path}"
        f" ({image.native.orientation}), found {found} in {lm.path} ({lm.native.orientation}), both turned to RAS;"
        " resample the label map to its image or correct its header"
    )


def _clipped(job: CaseJob, count: int) -> CaseProblem:
    return CaseProblem(
        case_id=job.case_id,
        path=str(job.image),
        what="intensity range",
        expected=f"HU within [{np.iinfo(np.int16).min}, {np.iinfo(np.int16).max}]",
        found=f"{count} voxels outside",
        next_step="nothing: they were clipped; check the file if it is not a CT",
        severity="warning",
    )

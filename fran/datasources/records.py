"""What fran knows about one raw case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.errors import CaseProblem

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]
PERCENTILES = (0.5, 5.0, 25.0, 50.0, 75.0, 95.0, 99.5)


@dataclass(frozen=True)
class FileStamp:
    """Size in bytes and modification time in ns notice a change cheaply, the digest of the bytes decides."""

    bytes: int
    mtime_ns: int
    digest: str

    def matches(self, path: Path) -> bool:
        """Whether `path` still has this size and modification time."""
        try:
            status = path.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.bytes, self.mtime_ns)


@dataclass(frozen=True)
class Stats:
    """Statistics of a set of voxels in raw units; the std is the population one (ddof 0)."""

    n: int
    mean: float
    std: float
    min: float
    max: float
    percentiles: Mapping[str, float]

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Stats:
        """Inverse of `dataclasses.asdict`."""
        return cls(**stored)


@dataclass(frozen=True)
class CaseFacts:
    """Everything that follows from the bytes of one image and its label map.

    Attributes:
        image_stamp: of the image file.
        lm_stamp: of the label map file.
        size: voxels (x, y, z), RAS.
        spacing_mm: (x, y, z), RAS.
        orientation: axis code of the image as stored, such as ``"LPS"``.
        lm_orientation: the same of the label map.
        affine_difference: largest difference between an element of the image's RAS affine and the label map's.
        shift_mm: largest distance between matching corners of both grids.
        labels: voxels of each label value but 0.
        integer_valued: whether every voxel of the image is a whole number.
        image: statistics of the whole image (percentiles good to one bin of `CaseArrays.bins`).
        foreground: statistics of the image where the label map is not 0; None where it is 0 everywhere.
        image_content: digest of the image's voxels; equal for the same scan in another file format.
        lm_content: the same of the label map; empty where nothing is labelled.
    """

    image_stamp: FileStamp
    lm_stamp: FileStamp
    size: Shape
    spacing_mm: Triple
    orientation: str
    lm_orientation: str
    affine_difference: float
    shift_mm: float
    labels: Mapping[int, int]
    integer_valued: bool
    image: Stats
    foreground: Stats | None
    image_content: str = ""
    lm_content: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        # not asdict, which copies deeply and took longer than a small case does to measure
        return {
            **vars(self),
            "image_stamp": vars(self.image_stamp),
            "lm_stamp": vars(self.lm_stamp),
            "labels": {str(v): n for v, n in self.labels.items()},
            "image": vars(self.image),
            "foreground": self.foreground and vars(self.foreground),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> CaseFacts:
        """Inverse of `to_dict`, also after a trip through JSON."""
        foreground = stored["foreground"]
        return cls(
            **dict(stored)
            | {
                "image_stamp": FileStamp(**stored["image_stamp"]),
                "lm_stamp": FileStamp(**stored["lm_stamp"]),
                "size": tuple(stored["size"]),
                "spacing_mm": tuple(stored["spacing_mm"]),
                "labels": {int(v): int(n) for v, n in stored["labels"].items()},
                "image": Stats.from_dict(stored["image"]),
                "foreground": Stats.from_dict(foreground) if foreground else None,
            }
        )

    @property
    def content(self) -> tuple[str, str]:
        """Digests of image and label map."""
        return self.image_stamp.digest, self.lm_stamp.digest


@dataclass(frozen=True)
class Refusal:
    """What is wrong with the bytes of a pair: it holds until one of the files changes."""

    image_stamp: FileStamp
    lm_stamp: FileStamp
    problems: tuple[CaseProblem, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Refusal:
        """Inverse of `to_dict`."""
        problems = tuple(CaseProblem(**problem) for problem in stored["problems"])
        return cls(FileStamp(**stored["image_stamp"]), FileStamp(**stored["lm_stamp"]), problems)

    @property
    def content(self) -> tuple[str, str]:
        """Digests of image and label map."""
        return self.image_stamp.digest, self.lm_stamp.digest


@dataclass(frozen=True, eq=False)
class CaseArrays:
    """The larger statistics of a case.

    Attributes:
        sample: float32 (n,), at most 20 000 foreground voxels in raw units, drawn without replacement, in random order:
            the first k of them are a fair sample too.
        histogram: int64 (256,), foreground voxels in equal bins from `CaseFacts.foreground` min to max.
        bins: float64 (4, m) of the whole image: lower bin edge, voxels, sum and sum of squares of each bin that holds
            any. Bins are one unit wide, so exact, for whole numbers that span up to 4096; else there are 4096 equal
            ones from min to max.
    """

    sample: NDArray[np.float32]
    histogram: NDArray[np.int64]
    bins: NDArray[np.float64]


@dataclass(frozen=True)
class CaseRecord:
    """One good case of a datasource.

    Attributes:
        case_id: ``<title>_<case id>``, or the whole file name of a patch.
        datasource: name of the datasource.
        patient: cases of one patient never part in a split; where no pattern was given, the case id (of a patch: the id
            of the case that it was cut from).
        modality: ``"CT"``, ``"MR"``, … as declared or inferred.
        image: file.
        lm: file.
        facts: what was measured.
    """

    case_id: str
    datasource: str
    patient: str
    modality: str
    image: Path
    lm: Path
    facts: CaseFacts

    @property
    def has_foreground(self) -> bool:
        """Whether any voxel bears a label."""
        return bool(self.facts.labels)

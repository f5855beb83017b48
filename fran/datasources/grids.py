"""Whether a label map lies on its image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fran.errors import CaseProblem
from fran.io.volume import Volume

TOLERANCE_VOXELS = 0.5
"""A label map may lie off its image by less than this part of the smallest voxel side: each of its voxels is then
still nearest to the image voxel it is paired with."""


def compare_grids(case_id: str, image: Volume, lm: Volume) -> CaseProblem | None:
    """The first property in which two grids, turned to RAS, differ too much to be paired.

    Order: size, spacing, direction, origin. A shift below `TOLERANCE_VOXELS` is not a problem here.
    """
    tolerance = TOLERANCE_VOXELS * min(image.grid.spacing_mm)
    if image.grid.shape == lm.grid.shape and image.grid.max_distance_mm(lm.grid) < tolerance:
        return None
    shift = np.round(lm.grid.affine[:3, 3] - image.grid.affine[:3, 3], 3)
    if image.grid.shape != lm.grid.shape:
        what = "size"
    elif not np.allclose(image.grid.spacing_mm, lm.grid.spacing_mm, rtol=1e-3):
        what = "spacing"
    elif image.native.orientation != lm.native.orientation:
        what = "orientation"
    elif not np.allclose(_directions(image), _directions(lm), atol=1e-3):
        what = "direction"
    else:
        what = f"origin, off by {shift.tolist()} mm (limit {tolerance:.3g} mm in all)"
    step = "find out which of the two is right; export or resample the label map on the image's grid"
    return CaseProblem(
        case_id, str(lm.path), f"label map grid: {what}", f"{image.native} as {image.path}", str(lm.native), step
    )


def _directions(volume: Volume) -> NDArray[np.float64]:
    return np.asarray(volume.grid.affine[:3, :3] / np.array(volume.grid.spacing_mm))

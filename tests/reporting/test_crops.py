from __future__ import annotations

from pathlib import Path

import numpy as np

from fran.reporting.crops import Crop, draw_crops


def test_crops_are_drawn_in_one_window(tmp_path: Path) -> None:
    from matplotlib.image import imread

    image = np.zeros((12, 10, 6), np.float32)
    lm = np.zeros(image.shape, np.uint8)
    image[3:8, 2:6, 1:4] = lm[3:8, 2:6, 1:4] = 1
    crops = [Crop("dark", image, lm), Crop("bright", image + 2, lm, index=2), Crop("empty", image * 0, lm * 0)]
    file = draw_crops(crops, ["background", "organ"], (1.0, 1.5, 2.0), tmp_path / "new" / "crops.png", columns=3)
    picture = imread(file)[..., :3]
    dark, bright, empty = (picture[:, part].mean() for part in np.array_split(np.arange(picture.shape[1]), 3))
    assert bright > dark + 0.1 > empty + 0.1
    assert (
        file.read_bytes() == draw_crops(crops, ["background", "organ"], (1.0, 1.5, 2.0), file, columns=3).read_bytes()
    )
